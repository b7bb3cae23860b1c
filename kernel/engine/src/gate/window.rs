//! What was measured of two releases in a span of time, by who counts requests at the target.

use std::collections::BTreeMap;

use code_deploy_record::{Error, Latency, Release, RunFolder, Sample, SampleFollower, Source};

/// Sums of one release of one service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    /// Requests.
    pub count: u64,
    /// The failed ones.
    pub failed: u64,
    /// Those that were another release's, which had no instance to answer them.
    pub taken_over: u64,
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
        self.taken_over += sample.taken_over();
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

/// Follows the samples of who counts requests as they are written, and adds up those of two
/// releases.
#[derive(Debug)]
pub struct WindowReader {
    samples: SampleFollower,
    source: Source,
    new: (Release, i64),
    stable: Option<(Release, i64)>,
    window: Window,
}

impl WindowReader {
    /// Returns a reader of the samples that `source` writes in `run`, from the given seconds on, each
    /// as Unix time.
    #[must_use]
    pub fn new(
        run: &RunFolder,
        source: Source,
        new: (Release, i64),
        stable: Option<(Release, i64)>,
    ) -> Self {
        let since = stable.as_ref().map_or(new.1, |stable| new.1.min(stable.1));
        Self {
            samples: run.follow_samples(source, since),
            source,
            new,
            stable,
            window: Window::default(),
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
        let (new, source, window) = (&self.new, self.source, &mut self.window);
        let stable = self.stable.as_ref();
        self.samples.look(|sample| {
            if is_of(sample, source, new) {
                add(&mut window.new, sample);
            }
            if stable.is_some_and(|stable| is_of(sample, source, stable)) {
                add(&mut window.stable, sample);
            }
        })?;
        Ok(&self.window)
    }
}

fn is_of(sample: &Sample, source: Source, (release, since): &(Release, i64)) -> bool {
    sample.source == source && sample.release == release.as_str() && sample.second >= *since
}

fn add(sums: &mut BTreeMap<String, Sums>, sample: &Sample) {
    let of_service = sums.entry(sample.service.clone());
    of_service.or_default().add(sample);
}
