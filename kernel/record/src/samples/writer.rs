//! The writer of a samples file.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::Sample;
use crate::disk::{AppendFile, Create, Disk, SystemDisk};
use crate::folder::create_private;
use crate::{Error, Result};

/// Appends samples to one file.
#[derive(Debug)]
pub struct SampleWriter {
    file: Box<dyn AppendFile>,
    path: PathBuf,
    /// Whether the last write failed: it may have left a part of a line.
    torn: bool,
}

impl SampleWriter {
    /// Opens `folder/NAME.jsonl` for appending, or creates it, and ends a line that a crash left
    /// torn, so that it does not damage the next.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(folder: &Path, name: &str) -> Result<Self> {
        Self::on_disk(&SystemDisk, folder, name)
    }

    pub(crate) fn on_disk(disk: &dyn Disk, folder: &Path, name: &str) -> Result<Self> {
        create_private(disk, folder)?;
        let path = folder.join(format!("{name}.jsonl"));
        let opened = disk.append(&path, Create::IfMissing);
        let mut file = opened.map_err(Error::io("open", &path))?;
        if is_torn(disk, &path).map_err(Error::io("read", &path))? {
            file.append(b"\n").map_err(Error::io("append to", &path))?;
        }
        let torn = false;
        Ok(Self { file, path, torn })
    }

    /// Appends samples, all in one write. What a write before left of a line, as on a disk that is
    /// full, is ended first.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Histogram`].
    pub fn append(&mut self, samples: &[Sample]) -> Result<()> {
        let mut lines = Vec::new();
        if self.torn {
            lines.push(b'\n');
        }
        for sample in samples {
            serde_json::to_writer(&mut lines, sample)?;
            lines.push(b'\n');
        }
        let written = self.file.append(&lines);
        self.torn = written.is_err();
        written.map_err(Error::io("append to", &self.path))
    }

    /// Makes sure that everything appended is on disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&mut self) -> Result<()> {
        self.file.flush().map_err(Error::io("flush", &self.path))
    }

    /// Returns the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Returns whether the last line of a file has no end.
fn is_torn(disk: &dyn Disk, path: &Path) -> std::io::Result<bool> {
    let mut file = disk.read(path)?;
    let mut last = [b'\n'];
    if file.length()? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok(last != [b'\n'])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;
    use crate::samples::{SampleReader, Source};

    /// A file on a disk that has room for so many bytes.
    #[derive(Debug, Clone)]
    struct Cramped(Arc<Mutex<(Vec<u8>, usize)>>);

    impl AppendFile for Cramped {
        fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (written, room) = &mut *inner;
            let fits = bytes.len().min(*room - written.len());
            written.extend_from_slice(&bytes[..fits]);
            if fits == bytes.len() {
                return Ok(());
            }
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }

        fn cut(&mut self, length: u64) -> std::io::Result<()> {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            inner.0.truncate(length);
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_left_of_a_line_does_not_damage_the_next() {
        let whole = |second| Sample::empty(second, "orders", "1.0.0", Source::Router);
        for room in [0, 1, 40, 200] {
            let file = Cramped(Arc::new(Mutex::new((Vec::new(), 100_000))));
            let mut writer = SampleWriter {
                file: Box::new(file.clone()),
                path: PathBuf::from("router.jsonl"),
                torn: false,
            };
            writer.append(&[whole(1)]).unwrap();
            let used = file.0.lock().unwrap().0.len();
            file.0.lock().unwrap().1 = used + room;
            writer.append(&[whole(2), whole(3)]).unwrap_err();
            writer.append(&[whole(4)]).unwrap_err();
            file.0.lock().unwrap().1 = 100_000;
            writer.append(&[whole(5)]).unwrap();

            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("router.jsonl");
            std::fs::write(&path, &file.0.lock().unwrap().0).unwrap();
            let read: Vec<_> = SampleReader::open(&path).unwrap().collect();
            let seconds = read.into_iter().map(|sample| sample.unwrap().second);
            let seconds: Vec<i64> = seconds.collect();
            for cut in 0..used - 1 {
                let line = &file.0.lock().unwrap().0[..cut];
                assert_eq!(Sample::of_line(&[line, b"\n"].concat()).unwrap(), None);
            }
            let kept = seconds.iter().filter(|second| [1, 5].contains(second));
            assert_eq!(kept.count(), 2, "room for {room}: {seconds:?}");
        }
    }
}
