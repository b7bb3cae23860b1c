//! What the engine and its record cost: the journal beside the disk it lies on, a record of a
//! million events, a plan for a thousand services, and how a run grows with its services.

mod journal;
mod large;

use std::path::Path;

use code_deploy_benches::Error;

/// Measures everything, in `folder` for what lies on a disk.
///
/// # Errors
/// When something cannot be written, read or carried out.
pub fn engine(folder: &Path, largest: usize) -> Result<String, Error> {
    let mut text = String::new();
    text.push_str(&journal::beside_the_disk(folder)?);
    text.push_str(&journal::of_a_million(folder)?);
    text.push_str(&large::plan()?);
    text.push_str(&large::growth(largest)?);
    Ok(text)
}
