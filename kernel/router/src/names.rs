//! Which names are accepted, and how many of each.

use crate::error::Error;

/// Most services of one router; with the other two it bounds every table and every sample file.
pub(crate) const MAX_SERVICES: usize = 64;
/// Most releases of one service at a time.
pub(crate) const MAX_RELEASES: usize = 8;
/// Most instances of one release at a time.
pub(crate) const MAX_BACKENDS: usize = 64;
const MAX_LENGTH: usize = 64;

/// Accepts 1 to 64 letters, digits and `. _ - +`.
///
/// # Errors
/// [`Error::Refused`] with code `bad-name`.
pub(crate) fn check(what: &str, name: &str) -> Result<(), Error> {
    let fits = (1..=MAX_LENGTH).contains(&name.len());
    let clean = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b));
    if fits && clean {
        return Ok(());
    }
    let shown: String = name.chars().take(MAX_LENGTH).collect();
    Err(Error::refused(
        "bad-name",
        format!(
            "{what} name {shown:?} must be 1 to {MAX_LENGTH} letters, digits, `.`, `_`, `-` or `+`"
        ),
    ))
}
