//! Reading the files of samples: several at a time, each by several threads, merged by time.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use code_deploy_record::{Error as RecordError, Sample, SampleLines, SampleReader, Source};

use crate::Result;
use crate::facts::Facts;

/// Bytes of a samples file that are taken apart together.
const TOGETHER: usize = 16 * 1024;

/// Batches that a reader is ahead of what takes them.
const AHEAD: usize = 1;

/// Readers that a file has at most.
const MOST_READERS: usize = 8;

/// Returns how many readers each of so many files gets, so that all processors have something to do.
pub(super) fn readers_of_each(files: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / files.max(1)).clamp(1, MOST_READERS)
}

/// What a reader gives: the samples of a batch of lines.
pub(super) type Batches = Receiver<Result<Vec<Sample>>>;

/// Reads a file with a thread that cuts it into batches and so many that take these apart in turn, until
/// nobody takes their samples any more. The batches are to be taken in the same turn.
pub(super) fn read_ahead<'scope>(
    scope: &'scope Scope<'scope, '_>,
    path: &'scope Path,
    readers: usize,
) -> Vec<Batches> {
    let (mut cut, mut taken) = (Vec::new(), Vec::new());
    for _ in 0..readers {
        let (to_reader, lines) = sync_channel::<Result<SampleLines>>(AHEAD);
        let (give, samples) = sync_channel(AHEAD);
        cut.push(to_reader);
        taken.push(samples);
        scope.spawn(move || {
            for lines in lines {
                let batch = lines.and_then(|lines| Ok(lines.samples()?));
                if give.send(batch).is_err() {
                    return;
                }
            }
        });
    }
    scope.spawn(move || cut_lines(path, &cut));
    taken
}

fn cut_lines(path: &Path, readers: &[SyncSender<Result<SampleLines>>]) {
    let mut readers = readers.iter().cycle();
    let mut give = |lines: Result<SampleLines>| {
        let whole = lines.is_ok();
        let next = readers.next();
        next.is_some_and(|reader| reader.send(lines).is_ok()) && whole
    };
    let mut file = match SampleReader::open(path) {
        Ok(file) => file,
        Err(error) => {
            give(Err(error.into()));
            return;
        }
    };
    while let Some(lines) = file.next_lines(TOGETHER).transpose() {
        if !give(lines.map_err(Into::into)) {
            return;
        }
    }
}

/// The samples of a file, in order.
pub(super) struct Stream {
    /// The next one.
    pub(super) waiting: Sample,
    batch: std::vec::IntoIter<Sample>,
    readers: Vec<Batches>,
    /// The reader whose turn it is.
    turn: usize,
}

impl Stream {
    /// Returns nothing for a file without a sample.
    pub(super) fn begin(readers: Vec<Batches>) -> Result<Option<Self>> {
        let (mut batch, mut turn) = (Vec::new().into_iter(), 0);
        let first = next_of(&mut batch, &readers, &mut turn)?;
        Ok(first.map(|waiting| Self {
            waiting,
            batch,
            readers,
            turn,
        }))
    }

    /// Returns the sample that waits, and has the one behind it wait; nothing when there is none behind
    /// it.
    pub(super) fn next(&mut self) -> Result<Option<Sample>> {
        let behind = next_of(&mut self.batch, &self.readers, &mut self.turn)?;
        Ok(behind.map(|behind| std::mem::replace(&mut self.waiting, behind)))
    }
}

fn next_of(
    batch: &mut std::vec::IntoIter<Sample>,
    readers: &[Batches],
    turn: &mut usize,
) -> Result<Option<Sample>> {
    loop {
        if let Some(sample) = batch.next() {
            return Ok(Some(sample));
        }
        let next = readers.get(*turn).map(Receiver::recv);
        let Some(Ok(next)) = next else {
            return Ok(None);
        };
        *turn = (*turn + 1) % readers.len();
        *batch = next?.into_iter();
    }
}

pub(super) fn earliest(streams: &[Stream]) -> Option<usize> {
    let seconds = streams.iter().enumerate();
    seconds
        .min_by_key(|(place, stream)| (stream.waiting.second, *place))
        .map(|(place, _)| place)
}

pub(super) fn files(facts: &Facts, source: Source) -> Result<Vec<PathBuf>> {
    let folder = facts.folder.samples_path();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(RecordError::io("read", &folder)(error).into()),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(RecordError::io("read", &folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let matches = name.is_some_and(|name| {
            name.starts_with(source.word())
                && name.ends_with(".jsonl")
                && !name.contains("failures")
        });
        files.extend(matches.then_some(path));
    }
    files.sort();
    Ok(files)
}
