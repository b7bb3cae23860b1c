//! Notebooks on disk.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use code_deploy_record::disk::writer_of;

use crate::page::Page;
use crate::{Error, Result};

/// The folder of the charts beside the notebooks.
pub const CHARTS: &str = "charts";

/// Returns whether a file is a notebook or a picture by its name.
#[must_use]
pub fn is_page(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("ipynb" | "svg" | "png"))
}

/// Returns the files that [`write`] gives, as paths within its folder with their content: the
/// notebooks in order, then the charts.
#[must_use]
pub fn files(pages: &[Page]) -> Vec<(PathBuf, Vec<u8>)> {
    into_files(pages.to_vec())
}

/// Returns what [`files`] does, without keeping the pages: their texts are megabytes.
#[must_use]
pub fn into_files(pages: Vec<Page>) -> Vec<(PathBuf, Vec<u8>)> {
    let mut charts: Vec<_> = pages.iter().flat_map(|page| page.charts.clone()).collect();
    charts.sort_by_key(|(kind, _)| *kind);
    charts.dedup_by_key(|(kind, _)| *kind);
    let charts = charts.into_iter().map(|(kind, picture)| {
        let path = Path::new(CHARTS).join(format!("{kind}.svg"));
        (path, picture.svg.clone().into_bytes())
    });
    let notebooks = pages.into_iter().map(|page| {
        let name = PathBuf::from(format!("{}.ipynb", page.name));
        (name, page.text.into_bytes())
    });
    notebooks.chain(charts).collect()
}

/// Returns the paths of the notebooks and pictures in a folder and in the one of charts within it
/// that [`write`] would not give for `pages`: they are of another run, or were put there. Hidden ones are left
/// out: systems and editors keep what is their own under such names.
///
/// # Errors
/// [`Error::Io`] when a folder cannot be read.
pub fn others(pages: &[Page], folder: &Path) -> Result<Vec<PathBuf>> {
    let own: Vec<PathBuf> = files(pages).into_iter().map(|(path, _)| path).collect();
    let mut others = Vec::new();
    for part in ["", CHARTS] {
        for name in names(&folder.join(part))? {
            let is_hidden = name.to_string_lossy().starts_with('.');
            let path = Path::new(part).join(name);
            if !is_hidden && is_page(&path) && !own.contains(&path) {
                others.push(path);
            }
        }
    }
    others.sort();
    Ok(others)
}

/// Returns the names of the files in a folder; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<OsString>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(Error::io("read", folder))?.file_name());
    }
    Ok(names)
}

/// Writes notebooks to `NAME.ipynb` and their charts to `charts/NAME.svg` in a folder. Returns the
/// notebooks' paths in order, then the charts'.
///
/// # Errors
/// As [`write_files`].
pub fn write(pages: &[Page], folder: &Path) -> Result<Vec<PathBuf>> {
    write_files(&files(pages), folder)
}

/// Writes files, named by their paths within a folder, which is made where it is not there. Each file
/// is written under another name, flushed and then named, so that at any moment the old or the new one
/// is there, whole. What processes left there that were killed while they wrote these files is removed first.
/// Returns their paths.
///
/// # Errors
/// [`Error::Io`]. Files that were written before it are whole.
pub fn write_files(files: &[(PathBuf, Vec<u8>)], folder: &Path) -> Result<Vec<PathBuf>> {
    create(folder)?;
    let mut folders = BTreeSet::from([folder.to_owned()]);
    for (name, _) in files {
        folders.insert(beside(&folder.join(name), folder));
    }
    for one in &folders {
        create(one)?;
        let paths = files.iter().map(|(name, _)| folder.join(name));
        let here = paths.filter(|path| beside(path, folder) == *one);
        let stems: BTreeSet<String> = here.filter_map(|path| stem(&path)).collect();
        // Where a link leads, nothing is removed; the folder itself was named.
        if one == folder || !is_link(one) {
            clear(one, &stems);
        }
    }
    let mut written = Vec::new();
    for (name, content) in files {
        let path = folder.join(name);
        replace(&path, content)?;
        written.push(path);
    }
    folders.iter().rev().try_for_each(|folder| flush(folder))?;
    Ok(written)
}

/// Returns the folder in which a file is to be written.
fn beside(path: &Path, folder: &Path) -> PathBuf {
    path.parent().unwrap_or(folder).to_owned()
}

fn stem(path: &Path) -> Option<String> {
    Some(path.file_stem()?.to_str()?.to_owned())
}

fn is_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// Removes from a folder what processes that live no more were writing there as one of these files
/// (`NAME.PID.part`). What cannot be removed stays: nothing depends on it. A folder that is a link is left alone.
pub fn remove_left(folder: &Path, names: &[&str]) {
    if !is_link(folder) {
        clear(
            folder,
            &names.iter().map(|name| (*name).to_owned()).collect(),
        );
    }
}

/// Removes what is left of files whose names begin so; all else in the folder may be somebody's own.
fn clear(folder: &Path, beginnings: &BTreeSet<String>) {
    let found = match names(folder) {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "what was left there is not looked for");
            return;
        }
    };
    for name in found {
        let writer = name.to_str().and_then(writer_of);
        let Some((_, process)) = writer.filter(|(of, _)| beginnings.contains(*of)) else {
            continue;
        };
        let path = folder.join(&name);
        let is_file = std::fs::symlink_metadata(&path).is_ok_and(|one| one.is_file());
        if !is_file || Path::new("/proc").join(process.to_string()).exists() {
            continue;
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "what a killed process left stays");
            }
            _ => {}
        }
    }
}

fn create(folder: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder).map_err(Error::io("create", folder))
}

/// Writes a file as `STEM.PID.part` and names it then.
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
