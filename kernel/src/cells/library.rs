//! The crate that Rust cells use as `code_deploy`: its source is in this program, and is written where cargo can
//! read it when a cell names it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use code_deploy_record::Digest;

use crate::machine::Machine;

/// The name of the crate in cells.
pub const NAME: &str = "code_deploy";

/// A workspace of its own: one above it, in the user's home perhaps, has nothing to do with it.
const MANIFEST: &str = concat!(
    "[package]\nname = \"code_deploy\"\nversion = \"",
    env!("CARGO_PKG_VERSION"),
    "\"\nedition = \"2024\"\n\n[workspace]\n"
);

const FILES: [(&str, &str); 9] = [
    ("Cargo.toml", MANIFEST),
    ("src/lib.rs", include_str!("../../cells-api/src/lib.rs")),
    (
        "src/display.rs",
        include_str!("../../cells-api/src/display.rs"),
    ),
    ("src/error.rs", include_str!("../../cells-api/src/error.rs")),
    ("src/input.rs", include_str!("../../cells-api/src/input.rs")),
    ("src/read.rs", include_str!("../../cells-api/src/read.rs")),
    ("src/run.rs", include_str!("../../cells-api/src/run.rs")),
    (
        "src/series.rs",
        include_str!("../../cells-api/src/series.rs"),
    ),
    ("src/svg.rs", include_str!("../../cells-api/src/svg.rs")),
];

/// Returns the folder of the crate; writes what of it is not there or not as it should be.
///
/// # Errors
/// When it cannot be written.
pub fn prepare(machine: &Machine) -> Result<PathBuf, String> {
    prepare_in(&cache(machine))
}

/// The user's folder for what can be made again.
fn cache(machine: &Machine) -> PathBuf {
    let set = |name: &str| machine.variable(name).map(PathBuf::from);
    let absolute = |path: &PathBuf| path.is_absolute();
    let cache = set("XDG_CACHE_HOME").filter(absolute);
    let in_home = || Some(set("HOME").filter(absolute)?.join(".cache"));
    cache.or_else(in_home).map_or_else(
        || machine.runtime.clone(),
        |cache| cache.join("code-deploy"),
    )
}

fn prepare_in(cache: &Path) -> Result<PathBuf, String> {
    let whole: String = FILES
        .iter()
        .flat_map(|(name, text)| [*name, *text])
        .collect();
    let digest = Digest::of(whole.as_bytes());
    let folder = cache.join("cells").join(digest.short());
    let sources = folder.join("src");
    let failed = |error: std::io::Error| {
        format!(
            "the crate `{NAME}` cannot be written into {}: {error}; the cell was not run; set XDG_CACHE_HOME to a \
             folder that you may write",
            folder.display()
        )
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(&sources).map_err(failed)?;
    for (name, text) in FILES {
        write(&folder.join(name), text).map_err(failed)?;
    }
    Ok(folder)
}

/// Writes a file whole or not at all; another kernel may do the same at the same time.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_file_of_the_crate_is_in_this_program() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("cells-api/src");
        let mut there: Vec<String> = std::fs::read_dir(sources)
            .unwrap()
            .map(|entry| format!("src/{}", entry.unwrap().file_name().to_string_lossy()))
            .collect();
        let mut held: Vec<&str> = FILES[1..].iter().map(|(name, _)| *name).collect();
        there.sort();
        held.sort_unstable();
        assert_eq!(there, held);
    }

    #[test]
    fn the_crate_is_private_and_mended_where_it_was_changed() {
        let cache = std::env::temp_dir().join(format!("code-deploy-cells-{}", std::process::id()));
        let folder = prepare_in(&cache).unwrap();
        let manifest = folder.join("Cargo.toml");
        std::fs::write(&manifest, "torn").unwrap();
        assert_eq!(prepare_in(&cache).unwrap(), folder);
        assert_eq!(std::fs::read_to_string(&manifest).unwrap(), MANIFEST);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&manifest)), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        std::fs::remove_dir_all(cache).unwrap();
    }
}
