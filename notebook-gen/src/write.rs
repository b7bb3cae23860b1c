//! Notebooks on disk.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::page::Page;
use crate::{Error, Result};

/// Writes notebooks to `NAME.ipynb` and their charts to `charts/NAME.svg` in a folder, which is
/// made where it is not there. Each file is written under another name, flushed and then named, so
/// that at any moment the old or the new one is there, whole. Returns the notebooks' paths in
/// order, then the charts'.
///
/// # Errors
/// [`Error::Io`]. Files that were written before it are whole.
pub fn write(pages: &[Page], folder: &Path) -> Result<Vec<PathBuf>> {
    create(folder)?;
    let mut written = Vec::new();
    for page in pages {
        let path = folder.join(format!("{}.ipynb", page.name));
        replace(&path, page.text.as_bytes())?;
        written.push(path);
    }
    let mut charts: Vec<_> = pages.iter().flat_map(|page| &page.charts).collect();
    charts.sort_by_key(|(kind, _)| *kind);
    charts.dedup_by_key(|(kind, _)| *kind);
    if !charts.is_empty() {
        let beside = folder.join("charts");
        create(&beside)?;
        for (kind, picture) in charts {
            let path = beside.join(format!("{kind}.svg"));
            replace(&path, picture.svg.as_bytes())?;
            written.push(path);
        }
        flush(&beside)?;
    }
    flush(folder)?;
    Ok(written)
}

fn create(folder: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder).map_err(Error::io("create", folder))
}

fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("{}.part", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options
        .open(&temporary)
        .map_err(Error::io("create", &temporary))?;
    file.write_all(content)
        .map_err(Error::io("write", &temporary))?;
    file.sync_all().map_err(Error::io("flush", &temporary))?;
    std::fs::rename(&temporary, path).map_err(Error::io("name", path))
}

fn flush(folder: &Path) -> Result<()> {
    let file = File::open(folder).map_err(Error::io("open", folder))?;
    file.sync_all().map_err(Error::io("flush", folder))
}
