use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evcxr::{CommandContext, Completions, EvalContext, EvalContextOutputs, EvalOutputs};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{getpgrp, getpid};
use serde_json::Value;

use super::protocol::{Event, Request};
use super::render;
use crate::cells::{CellError, MimeBundle};

/// The words after the program's name under which evcxr starts the process that runs user code.
const RUNTIME_WORDS: [&str; 2] = ["internal", "rust-runtime"];
/// evcxr calls the program as a wrapper of rustc with this set.
const RUSTC_WRAPPER: &str = "EVCXR_RUSTC_WRAPPER";
/// The kernel sends one request at a time.
const REQUESTS: usize = 4;
/// Lines that wait because the kernel reads slower than the cell writes; evcxr's own queue has no limit.
const LINES_LIMIT: usize = 50_000;
/// Text in one event at most.
const TEXT_LIMIT: usize = 64 * 1024;
/// A result larger than this would stop the page that shows it.
const RESULT_LIMIT: usize = 32 * 1024 * 1024;
/// What evcxr says where there is no help.
const NO_HELP: &str = "No documentation found";
/// The value of a cell that has none, such as a loop; shown, it would say nothing.
const NO_VALUE: &str = "()";
/// How often output is collected while a cell runs.
const COLLECT: Duration = Duration::from_millis(1);

/// Must be the first call in the program's `main`: where this process was started by evcxr to run user code
/// or as a wrapper of rustc, it does that and never returns.
///
/// Only the process started for it becomes one: a program of ours that user code starts inherits evcxr's
/// environment, and must not.
pub fn early_hook() {
    let mut words = std::env::args_os().skip(1);
    let runtime = RUNTIME_WORDS
        .iter()
        .all(|word| words.next().is_some_and(|next| next == *word));
    if runtime || std::env::var_os(RUSTC_WRAPPER).is_some() {
        evcxr::runtime_hook();
    }
}

/// Compiles and runs Rust cells for the kernel, over standard input and output, until the input ends.
#[must_use]
pub fn host_main() -> ExitCode {
    let events = Events::default();
    if let Some(reason) = missing_toolchain() {
        events.send(&Event::Unavailable { reason });
        return ExitCode::SUCCESS;
    }
    let requests = read_requests();
    let (context, outputs) = match start() {
        Ok(started) => started,
        Err(error) => {
            let reason = format!("the Rust compiler does not work here: {error}");
            events.send(&Event::Unavailable { reason });
            return ExitCode::SUCCESS;
        }
    };
    let collector = Collector::start(outputs, events.clone());
    events.send(&Event::Ready);
    let mut host = Host {
        context,
        collector,
        events,
    };
    while let Ok(request) = requests.recv() {
        let answer = host.answer(request);
        host.events.send(&answer);
    }
    ExitCode::SUCCESS
}

fn start() -> Result<(CommandContext, EvalContextOutputs), evcxr::Error> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(RUNTIME_WORDS);
    let (context, outputs) = EvalContext::with_subprocess_command(command)?;
    Ok((CommandContext::with_eval_context(context), outputs))
}

/// Returns what is missing and what to do, or `None` where cargo and rustc are there.
fn missing_toolchain() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    let in_home =
        |name: &str, rest: &str| std::env::var_os(name).map(|home| Path::new(&home).join(rest));
    folders.extend(in_home("CARGO_HOME", "bin"));
    folders.extend(in_home("HOME", ".cargo/bin"));
    let found = |tool: &OsString| folders.iter().any(|folder| folder.join(tool).is_file());
    let missing: Vec<_> = ["cargo", "rustc"]
        .iter()
        .filter(|tool| !found(&tool.into()))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    Some(format!(
        "a cell without a magic is Rust, and this machine has no {} on PATH; everything else works without; \
         install Rust from https://rustup.rs and run this cell again",
        names.join(" and no ")
    ))
}

/// Reads requests on a thread of its own, so that the end of the kernel is noticed while a cell runs.
fn read_requests() -> Receiver<Request> {
    let (sender, requests) = sync_channel(REQUESTS);
    let read = move || {
        forward_requests(&sender);
        end_group();
    };
    std::thread::spawn(read);
    requests
}

fn forward_requests(sender: &SyncSender<Request>) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        match serde_json::from_str(&line) {
            Ok(request) => {
                if sender.send(request).is_err() {
                    return;
                }
            }
            Err(error) => tracing::error!(%error, "a request of the kernel could not be read"),
        }
    }
}

/// Ends this process and everything a cell has started, when it leads a group of its own.
fn end_group() {
    if getpgrp() == getpid() {
        let _ = killpg(getpgrp(), Signal::SIGKILL);
    }
}

struct Host {
    context: CommandContext,
    collector: Collector,
    events: Events,
}

impl Host {
    fn runtime_pid(&self) -> u32 {
        self.context
            .process_handle()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .id()
    }

    fn answer(&mut self, request: Request) -> Event {
        match request {
            Request::Execute { code } => {
                self.collector.resume(self.runtime_pid());
                let result = self.context.execute(&code);
                let panicked = self.collector.finish();
                match (result, panicked) {
                    (Ok(_), Some(text)) => Event::Failed {
                        error: panic_error(&text),
                        lost: false,
                    },
                    (Ok(outputs), None) => done(outputs),
                    (Err(error), _) => {
                        let (error, lost) = render::cell_error(&error, &code);
                        Event::Failed { error, lost }
                    }
                }
            }
            Request::Complete { code, position } => {
                let position = floor(&code, position);
                let found = self
                    .context
                    .completions(&code, position)
                    .unwrap_or_else(|error| {
                        tracing::debug!(%error, "no completion");
                        Completions {
                            start_offset: position,
                            end_offset: position,
                            ..Default::default()
                        }
                    });
                let candidates = found.completions.into_iter();
                Event::Completed {
                    matches: candidates
                        .map(|found| (found.code, found.kind.to_owned()))
                        .collect(),
                    start: found.start_offset,
                    end: found.end_offset,
                }
            }
            Request::Inspect { code, position } => {
                let found = self.context.hover_at(&code, floor(&code, position)).ok();
                let bundle = found
                    .filter(|(text, _)| text != NO_HELP)
                    .map(|(text, html)| MimeBundle::text(text).with("text/html", html));
                Event::Inspected { bundle }
            }
        }
    }
}

/// evcxr reports a panic as text on standard error only; a cell that panicked has failed all the same.
fn panic_error(text: &str) -> CellError {
    CellError::new(
        "Panic",
        format!("{text}; variables this cell had defined or taken are lost"),
    )
}

fn failed(error: impl ToString) -> Event {
    Event::Failed {
        error: CellError::new("RustError", error.to_string()),
        lost: false,
    }
}

fn floor(code: &str, position: usize) -> usize {
    code.floor_char_boundary(position.min(code.len()))
}

fn done(outputs: EvalOutputs) -> Event {
    let size: usize = outputs.content_by_mime_type.values().map(String::len).sum();
    if size > RESULT_LIMIT {
        let text = format!(
            "the result has {size} bytes, the limit is {RESULT_LIMIT}; nothing is shown; the value is kept \
             where it has a name"
        );
        return failed(text);
    }
    let mut bundle = MimeBundle::default();
    if outputs.content_by_mime_type.len() == 1 && outputs.get("text/plain") == Some(NO_VALUE) {
        return Event::Done { bundle };
    }
    for (mime, text) in outputs.content_by_mime_type {
        let json = mime == "application/json" || mime.ends_with("+json");
        let value = json.then(|| serde_json::from_str(&text).ok()).flatten();
        bundle = bundle.with(mime, value.unwrap_or(Value::String(text)));
    }
    Event::Done { bundle }
}

/// Writes events, one a line.
#[derive(Clone, Default)]
struct Events {
    order: Arc<Mutex<()>>,
}

impl Events {
    /// Where the kernel has gone there is nobody to tell; the reader of requests ends the process.
    fn send(&self, event: &Event) {
        let _one_at_a_time = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(mut line) = serde_json::to_vec(event) else {
            return;
        };
        line.push(b'\n');
        let mut output = std::io::stdout().lock();
        let _ = output.write_all(&line).and_then(|()| output.flush());
    }
}

/// Sends what a cell prints while it runs.
struct Collector {
    shared: Arc<Shared>,
    thread: std::thread::Thread,
}

struct Shared {
    outputs: Mutex<EvalContextOutputs>,
    events: Events,
    active: AtomicBool,
    panics: Mutex<Panics>,
}

impl Collector {
    fn start(outputs: EvalContextOutputs, events: Events) -> Self {
        let shared = Arc::new(Shared {
            outputs: Mutex::new(outputs),
            events,
            active: AtomicBool::new(false),
            panics: Mutex::default(),
        });
        let collecting = Arc::clone(&shared);
        let handle = std::thread::spawn(move || {
            loop {
                if collecting.active.load(Ordering::Acquire) {
                    collecting.collect();
                    std::thread::park_timeout(COLLECT);
                } else {
                    std::thread::park();
                }
            }
        });
        Self {
            shared,
            thread: handle.thread().clone(),
        }
    }

    fn resume(&self, runtime_pid: u32) {
        *self.shared.panics() = Panics {
            runtime_pid,
            ..Panics::default()
        };
        self.shared.active.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Sends what is left and returns what the cell panicked with. Standard error comes through a thread of
    /// evcxr's: it gets a moment more.
    fn finish(&self) -> Option<String> {
        self.shared.active.store(false, Ordering::Release);
        self.shared.collect();
        std::thread::park_timeout(COLLECT * 3);
        self.shared.collect();
        self.shared.panics().text.take()
    }
}

/// Finds the panic of a cell in what it writes to standard error.
#[derive(Debug, Default)]
struct Panics {
    /// Cells run on the first thread of their process, whose thread id is the process id; panics of threads a cell
    /// started are its own affair.
    runtime_pid: u32,
    head_seen: bool,
    text: Option<String>,
}

impl Panics {
    fn look_at(&mut self, line: &str) {
        if std::mem::take(&mut self.head_seen) {
            self.text = Some(format!("the cell panicked: {line}"));
        } else if line.starts_with("thread '") && line.contains(" panicked at ") {
            self.head_seen = line.contains(&format!("({}) panicked at ", self.runtime_pid));
        }
    }
}

impl Shared {
    fn collect(&self) {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let stdout = || outputs.stdout.try_recv().ok();
        let stderr = || outputs.stderr.try_recv().ok();
        let stderr = || stderr().inspect(|line| self.panics().look_at(line));
        self.forward(stdout, outputs.stdout.len(), |text| Event::Stdout { text });
        self.forward(stderr, outputs.stderr.len(), |text| Event::Stderr { text });
    }

    fn panics(&self) -> MutexGuard<'_, Panics> {
        self.panics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forward(
        &self,
        next: impl Fn() -> Option<String>,
        waiting: usize,
        event: impl Fn(String) -> Event,
    ) {
        let left_out = waiting.saturating_sub(LINES_LIMIT);
        (0..left_out).for_each(|_| drop(next()));
        let mut text = match left_out {
            0 => String::new(),
            count => {
                format!("[{count} lines left out: the cell writes faster than they can be shown]\n")
            }
        };
        while let Some(line) = next() {
            for piece in pieces(&line) {
                if text.len() + piece.len() > TEXT_LIMIT {
                    self.events.send(&event(std::mem::take(&mut text)));
                }
                text.push_str(piece);
            }
            text.push('\n');
        }
        if !text.is_empty() {
            self.events.send(&event(text));
        }
    }
}

/// Cuts a long line between characters.
fn pieces(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(rest.floor_char_boundary(TEXT_LIMIT));
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn only_a_panic_of_the_cells_own_thread_fails_the_cell() {
        let mut panics = Panics {
            runtime_pid: 42,
            ..Panics::default()
        };
        panics.look_at("thread '<unnamed>' (43) panicked at src/lib.rs:1:1:");
        panics.look_at("not ours");
        assert_eq!(panics.text, None);
        panics.look_at("thread '<unnamed>' (42) panicked at src/lib.rs:1:1:");
        panics.look_at("boom");
        assert_eq!(panics.text.unwrap(), "the cell panicked: boom");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = "é".repeat(TEXT_LIMIT);
        let cut: Vec<&str> = pieces(&line).collect();
        assert_eq!(cut.concat(), line);
        assert!(cut.iter().all(|piece| piece.len() <= TEXT_LIMIT));
    }
}
