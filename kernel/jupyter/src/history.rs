//! What was run, for the arrow keys of consoles; kept across restarts where there is a place for it.

mod store;

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use store::Store;

/// Inputs that are remembered; older ones are forgotten.
const LIMIT: usize = 10_000;
/// Bytes of inputs that are remembered.
const BYTES_LIMIT: usize = 8 * 1024 * 1024;
/// An input longer than this is data and not something to come back to with an arrow key.
const INPUT_LIMIT: usize = 64 * 1024;
/// Inputs that wait for the disk.
const QUEUE: usize = 1024;
/// How long a request waits for the inputs of earlier sessions, which lie on a disk.
const LOAD_LIMIT: Duration = Duration::from_secs(5);
/// The number of a session whose inputs are not kept.
const FIRST: i64 = 1;

/// Spec: <https://jupyter-client.readthedocs.io/en/latest/messaging.html#history>.
#[derive(Debug, Deserialize)]
#[serde(tag = "hist_access_type", rename_all = "lowercase")]
pub(crate) enum HistoryRequest {
    Range {
        #[serde(default)]
        session: i64,
        #[serde(default)]
        start: i64,
        stop: Option<i64>,
        #[serde(default)]
        output: bool,
    },
    Tail {
        #[serde(default)]
        n: Option<usize>,
        #[serde(default)]
        output: bool,
    },
    Search {
        #[serde(default)]
        pattern: Option<String>,
        #[serde(default)]
        n: Option<usize>,
        #[serde(default)]
        unique: bool,
        #[serde(default)]
        output: bool,
    },
}

/// An input, with the number of its session and its own in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    session: i64,
    line: u64,
    input: Arc<str>,
}

/// The inputs of this session and the earlier ones.
#[derive(Debug)]
pub(crate) struct History {
    remembered: Arc<Mutex<Remembered>>,
    loaded: watch::Receiver<bool>,
    keeper: Mutex<Option<Keeper>>,
}

/// The thread that keeps inputs in the file: a slow disk holds up no cell.
#[derive(Debug)]
struct Keeper {
    inputs: SyncSender<(u64, Arc<str>)>,
    ended: oneshot::Receiver<()>,
}

#[derive(Debug, Clone)]
struct Remembered {
    session: i64,
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl History {
    /// Begins a session. With a file, the inputs of earlier sessions are read from it, and those of this one are
    /// kept there; a file that cannot be used costs no more than that.
    pub(crate) fn begin(file: Option<PathBuf>) -> Self {
        let remembered = Arc::new(Mutex::new(Remembered {
            session: FIRST,
            entries: VecDeque::new(),
            bytes: 0,
        }));
        let (ready, loaded) = watch::channel(file.is_none());
        let keeper = file.and_then(|file| Keeper::start(file, &remembered, ready));
        Self {
            remembered,
            loaded,
            keeper: Mutex::new(keeper),
        }
    }

    /// Remembers an input. Never waits.
    pub(crate) fn add(&self, line: u64, input: &str) {
        if input.len() > INPUT_LIMIT {
            return;
        }
        let mut remembered = lock(&self.remembered);
        let session = remembered.session;
        let input: Arc<str> = input.into();
        remembered.push(Entry {
            session,
            line,
            input: Arc::clone(&input),
        });
        // Queued under the same lock, so that what is read from the file comes before it in both places.
        if let Some(keeper) = lock(&self.keeper).as_ref()
            && let Err(TrySendError::Full(_)) = keeper.inputs.try_send((line, input))
        {
            tracing::warn!(
                line,
                "the disk is slow: this input is not kept in the history"
            );
        }
    }

    /// Returns the entries asked for as `(session, line, input)`, oldest first; with outputs wanted the
    /// input is paired with null, because outputs are not remembered.
    pub(crate) async fn find(&self, request: &HistoryRequest) -> Value {
        let mut loaded = self.loaded.clone();
        let ready = tokio::time::timeout(LOAD_LIMIT, loaded.wait_for(|loaded| *loaded)).await;
        if ready.is_err() {
            tracing::warn!(limit = ?LOAD_LIMIT, "the history of earlier sessions was not read in time");
        }
        // A search takes a while, and the next cell is remembered on the thread of the sockets.
        let remembered = lock(&self.remembered).clone();
        remembered.find(request)
    }

    /// Waits until everything is in the file; nothing is kept any more afterwards.
    pub(crate) async fn end(&self) {
        let keeper = lock(&self.keeper).take();
        if let Some(Keeper { inputs, ended }) = keeper {
            drop(inputs);
            // An error says that the thread has ended, too.
            let _ = ended.await;
        }
    }
}

impl Keeper {
    fn start(
        file: PathBuf,
        remembered: &Arc<Mutex<Remembered>>,
        ready: watch::Sender<bool>,
    ) -> Option<Self> {
        let (inputs, queue) = sync_channel(QUEUE);
        let (end, ended) = oneshot::channel();
        let remembered = Arc::clone(remembered);
        let keep = move || {
            let store = Store::new(file);
            let session = load(&store, &remembered);
            ready.send_replace(true);
            if let Some(session) = session {
                keep(&store, session, &queue);
            }
            let _ = end.send(());
        };
        let thread = std::thread::Builder::new().name("history".into());
        match thread.spawn(keep) {
            Ok(_) => Some(Self { inputs, ended }),
            Err(error) => {
                tracing::warn!(%error, "no thread for the history: it ends with this kernel");
                None
            }
        }
    }
}

/// Reads what earlier sessions left; `None` where the file cannot be used.
fn load(store: &Store, remembered: &Mutex<Remembered>) -> Option<i64> {
    match store.begin() {
        Ok((session, earlier)) => {
            lock(remembered).put_before(session, earlier);
            Some(session)
        }
        Err(error) => {
            let path = store.path().display();
            tracing::warn!(%path, %error, "the history cannot be kept: it ends with this kernel");
            None
        }
    }
}

fn keep(store: &Store, session: i64, queue: &Receiver<(u64, Arc<str>)>) {
    while let Ok(first) = queue.recv() {
        let waiting = std::iter::once(first).chain(queue.try_iter().take(QUEUE));
        let entry = |(line, input)| Entry {
            session,
            line,
            input,
        };
        let entries: Vec<Entry> = waiting.map(entry).collect();
        if let Err(error) = store.append(&entries) {
            let path = store.path().display();
            tracing::warn!(%path, %error, inputs = entries.len(), "inputs are not kept in the history");
        }
    }
}

impl Remembered {
    fn push(&mut self, entry: Entry) {
        self.bytes += entry.input.len();
        self.entries.push_back(entry);
        self.forget();
    }

    fn forget(&mut self) {
        while self.entries.len() > LIMIT || self.bytes > BYTES_LIMIT {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= oldest.input.len();
        }
    }

    fn put_before(&mut self, session: i64, earlier: Vec<Entry>) {
        self.session = session;
        for entry in &mut self.entries {
            entry.session = session;
        }
        for entry in earlier.into_iter().rev() {
            self.bytes += entry.input.len();
            self.entries.push_front(entry);
        }
        self.forget();
    }

    fn find(&self, request: &HistoryRequest) -> Value {
        let all = self.entries.iter();
        let (entries, output): (Vec<&Entry>, bool) = match request {
            HistoryRequest::Range {
                session,
                start,
                stop,
                output,
            } => {
                // 0 is this session, negative numbers count back from it.
                let session = match *session {
                    back @ ..=0 => self.session.saturating_add(back),
                    number => number,
                };
                let within = *start..stop.unwrap_or(i64::MAX);
                let wanted = |entry: &&Entry| {
                    entry.session == session && within.contains(&entry.line.cast_signed())
                };
                (all.filter(wanted).collect(), *output)
            }
            HistoryRequest::Tail { n, output } => (last(all.collect(), *n), *output),
            HistoryRequest::Search {
                pattern,
                n,
                unique,
                output,
            } => {
                let pattern: Vec<char> = pattern.as_deref().unwrap_or("*").chars().collect();
                let mut found: Vec<_> = all.filter(|entry| glob(&pattern, &entry.input)).collect();
                if *unique {
                    found = newest_of_each(found);
                }
                (last(found, *n), *output)
            }
        };
        entries
            .into_iter()
            .map(|entry| entry.shown(output))
            .collect()
    }
}

impl Entry {
    fn shown(&self, with_output: bool) -> Value {
        if with_output {
            json!([self.session, self.line, [&*self.input, Value::Null]])
        } else {
            json!([self.session, self.line, &*self.input])
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn last<T>(mut entries: Vec<T>, n: Option<usize>) -> Vec<T> {
    let skipped = entries.len().saturating_sub(n.unwrap_or(usize::MAX));
    entries.split_off(skipped)
}

fn newest_of_each(entries: Vec<&Entry>) -> Vec<&Entry> {
    let mut seen = HashSet::new();
    let mut kept: Vec<_> = entries
        .into_iter()
        .rev()
        .filter(|entry| seen.insert(&*entry.input))
        .collect();
    kept.reverse();
    kept
}

/// Matches `*` and `?`, in time linear in pattern times text.
fn glob(pattern: &[char], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || text.get(t) == Some(&c) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star_p, star_t)) = star else {
                    return false;
                };
                star = Some((star_p, star_t + 1));
                p = star_p + 1;
                t = star_t + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn history() -> History {
        let history = History::begin(None);
        for (line, input) in [(1, "1+2"), (2, "%status"), (3, "1+3"), (4, "1+2")] {
            history.add(line, input);
        }
        history
    }

    async fn find_in(history: &History, request: Value) -> Value {
        history
            .find(&serde_json::from_value(request).unwrap())
            .await
    }

    #[tokio::test]
    async fn tail_returns_the_last_inputs_oldest_first() {
        let request = json!({"hist_access_type": "tail", "n": 2, "output": false, "raw": true});
        let found = find_in(&history(), request).await;
        assert_eq!(found, json!([[1, 3, "1+3"], [1, 4, "1+2"]]));
    }

    #[tokio::test]
    async fn range_excludes_its_end() {
        let request = json!({
            "hist_access_type": "range", "session": 0, "start": 1, "stop": 3, "output": true,
        });
        assert_eq!(
            find_in(&history(), request).await,
            json!([[1, 1, ["1+2", null]], [1, 2, ["%status", null]]])
        );
    }

    #[tokio::test]
    async fn search_matches_wildcards_and_can_keep_the_newest_of_equal_inputs() {
        let request = json!({"hist_access_type": "search", "pattern": "1?2*", "unique": true});
        assert_eq!(find_in(&history(), request).await, json!([[1, 4, "1+2"]]));
    }

    #[test]
    fn the_oldest_is_forgotten_at_the_limit() {
        let history = History::begin(None);
        (0..=LIMIT as u64).for_each(|line| history.add(line, "x"));
        let remembered = lock(&history.remembered);
        assert_eq!(remembered.entries.len(), LIMIT);
        assert_eq!(remembered.entries[0].line, 1);
    }

    #[tokio::test]
    async fn inputs_are_there_again_in_the_next_sessions() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("state/history.jsonl");
        for input in ["first", "second"] {
            let history = History::begin(Some(file.clone()));
            history.add(1, input);
            history.end().await;
        }
        // A line that another program cut off takes no other with it.
        let mut text = std::fs::read(&file).unwrap();
        text.extend(b"{\"session\":2,\"li");
        std::fs::write(&file, text).unwrap();
        let history = History::begin(Some(file.clone()));
        history.add(1, "third");
        let all = json!([[1, 1, "first"], [2, 1, "second"], [3, 1, "third"]]);
        let tail = json!({"hist_access_type": "tail"});
        assert_eq!(find_in(&history, tail.clone()).await, all);
        let before = json!({"hist_access_type": "range", "session": -1});
        assert_eq!(find_in(&history, before).await, json!([[2, 1, "second"]]));
        history.end().await;
        let history = History::begin(Some(file));
        assert_eq!(find_in(&history, tail).await, all);
    }

    #[tokio::test]
    async fn sessions_at_the_same_time_have_numbers_of_their_own() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("history.jsonl");
        let both = [(); 2].map(|()| History::begin(Some(file.clone())));
        for history in &both {
            history.add(1, "x");
        }
        for history in &both {
            history.end().await;
        }
        let history = History::begin(Some(file));
        let found = find_in(&history, json!({"hist_access_type": "tail"})).await;
        let mut sessions: Vec<_> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e[0].as_i64())
            .collect();
        sessions.sort();
        assert_eq!(sessions, [Some(1), Some(2)]);
    }

    #[tokio::test]
    async fn a_file_that_has_grown_is_cut_to_what_is_remembered() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("history.jsonl");
        let input = "x".repeat(INPUT_LIMIT);
        let lines = 2 * BYTES_LIMIT / INPUT_LIMIT + 1;
        let line = |line| format!("{{\"session\":1,\"line\":{line},\"input\":\"{input}\"}}\n");
        std::fs::write(&file, (0..lines).map(line).collect::<String>()).unwrap();
        let before = std::fs::metadata(&file).unwrap().len();
        let history = History::begin(Some(file.clone()));
        let newest = json!({"hist_access_type": "tail", "n": 1});
        let found = find_in(&history, newest).await;
        assert_eq!(found[0][1], lines as u64 - 1);
        assert!(lock(&history.remembered).bytes <= BYTES_LIMIT);
        history.end().await;
        assert!(std::fs::metadata(&file).unwrap().len() < before);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_costs_no_more_than_the_next_session() {
        let folder = tempfile::TempDir::new().unwrap();
        let history = History::begin(Some(folder.path().to_owned()));
        history.add(1, "x");
        let found = find_in(&history, json!({"hist_access_type": "tail"})).await;
        assert_eq!(found, json!([[1, 1, "x"]]));
        history.end().await;
    }
}
