//! What the router measured of two releases in a span of time.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;

use code_deploy_record::{Error, Latency, Release, RunFolder, Sample, Source};

/// Sums of one release of one service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    /// Requests.
    pub count: u64,
    /// The failed ones.
    pub failed: u64,
    /// Latency of the answered ones.
    pub latency: Latency,
}

impl Sums {
    /// Returns the share of failed requests in percent, or nothing without requests.
    #[must_use]
    pub fn failed_percent(&self) -> Option<f64> {
        (self.count > 0).then(|| self.failed as f64 * 100.0 / self.count as f64)
    }

    fn add(&mut self, sample: &Sample) {
        self.count += sample.count;
        self.failed += sample.failed();
        self.latency.add(&sample.latency);
    }
}

/// What was measured of the new and of the stable release of each service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Window {
    /// The new release's sums, by service.
    pub new: BTreeMap<String, Sums>,
    /// The stable release's sums, by service.
    pub stable: BTreeMap<String, Sums>,
}

/// Follows the router's samples as they are written, and adds up those of two releases. Reads
/// each byte once.
#[derive(Debug)]
pub struct WindowReader {
    run: RunFolder,
    new: Release,
    stable: Option<Release>,
    new_since: i64,
    stable_since: i64,
    read: BTreeMap<PathBuf, u64>,
    window: Window,
}

impl WindowReader {
    /// Returns a reader of the samples of `run` from the given seconds on, each as Unix time.
    #[must_use]
    pub fn new(run: RunFolder, new: (Release, i64), stable: Option<(Release, i64)>) -> Self {
        let (new, new_since) = new;
        let stable_since = stable.as_ref().map_or(i64::MAX, |(_, since)| *since);
        let stable = stable.map(|(release, _)| release);
        let (read, window) = (BTreeMap::new(), Window::default());
        Self {
            run,
            new,
            stable,
            new_since,
            stable_since,
            read,
            window,
        }
    }

    /// Returns the sums so far.
    #[must_use]
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Reads what was written since the last call; returns the sums so far.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::BadSample`].
    pub fn look(&mut self) -> Result<&Window, Error> {
        let folder = self.run.samples_path();
        let mut paths = match self.run.disk().entries(&folder) {
            Ok(paths) => paths,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(&self.window),
            Err(error) => return Err(Error::io("read", &folder)(error)),
        };
        paths.retain(|path| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.starts_with(Source::Router.word()) && name.ends_with(".jsonl")
        });
        for path in paths {
            self.follow(path)?;
        }
        Ok(&self.window)
    }

    fn follow(&mut self, path: PathBuf) -> Result<(), Error> {
        let read = self.run.disk().read(&path);
        let mut file = read.map_err(Error::io("read", &path))?;
        let mut position = self.read.get(&path).copied().unwrap_or(0);
        file.seek(SeekFrom::Start(position))
            .map_err(Error::io("read", &path))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader
                .read_until(b'\n', &mut line)
                .map_err(Error::io("read", &path))?;
            if line.last() != Some(&b'\n') {
                break;
            }
            position += read as u64;
            match Sample::of_line(&line) {
                Ok(Some(sample)) => self.add(&sample),
                Ok(None) => {}
                Err(error) => {
                    let what = error.to_string();
                    return Err(Error::BadSample {
                        path,
                        line: 0,
                        what,
                    });
                }
            }
        }
        self.read.insert(path, position);
        Ok(())
    }

    fn add(&mut self, sample: &Sample) {
        if sample.source != Source::Router {
            return;
        }
        if sample.release == self.new.as_str() && sample.second >= self.new_since {
            self.window
                .new
                .entry(sample.service.clone())
                .or_default()
                .add(sample);
        }
        let stable = self
            .stable
            .as_ref()
            .is_some_and(|stable| sample.release == stable.as_str());
        if stable && sample.second >= self.stable_since {
            self.window
                .stable
                .entry(sample.service.clone())
                .or_default()
                .add(sample);
        }
    }
}
