use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use evcxr::{CommandContext, Completions, Error, EvalCallbacks, EvalContext, EvalOutputs};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{getpgrp, getpid};

use super::program::RESULT_LIMIT;
use super::protocol::{Event, Request};
use super::questions::{Answer, Questions};
use super::relay::{Relay, Told};
use super::{NO_ANSWER, RUNTIME_WORDS, render};
use super::{folder, frames};
use crate::cells::{CellError, MimeBundle};

/// The kernel sends one request at a time.
const REQUESTS: usize = 4;
/// The kernel answers each question once.
const ANSWERS: usize = 1;
/// What evcxr says where there is no help.
const NO_HELP: &str = "No documentation found";
/// The value of a cell that has none, such as a loop; shown, it would say nothing.
const NO_VALUE: &str = "()";
/// What a cell printed without a line end stays in its process until this is run.
const FLUSH: &str = "{ use std::io::Write as _; let _ = std::io::stdout().flush(); }";

/// Compiles and runs Rust cells for the kernel, over standard input and output, until the input ends.
#[must_use]
pub fn host_main() -> ExitCode {
    let events = Events::default();
    if let Some(reason) = missing_toolchain() {
        events.send(&Event::Unavailable { reason });
        return ExitCode::SUCCESS;
    }
    let folder = std::env::var_os(frames::FOLDER).map(PathBuf::from);
    let (requests, answers) = read_requests(folder.clone());
    let started = start(folder.as_deref(), &events);
    let (context, relay) = match started {
        Ok(started) => started,
        Err(error) => {
            let reason = format!("the Rust compiler does not work here: {error}");
            events.send(&Event::Unavailable { reason });
            return ExitCode::SUCCESS;
        }
    };
    events.send(&Event::Ready);
    let mut host = Host {
        context,
        relay,
        events,
        answers,
    };
    while let Ok(request) = requests.recv() {
        let answer = host.answer(request);
        host.events.send(&answer);
    }
    ExitCode::SUCCESS
}

fn start(folder: Option<&Path>, events: &Events) -> Result<(CommandContext, Relay), evcxr::Error> {
    let folder = folder.ok_or_else(|| "no folder is set for it".to_owned())?;
    let relay = Relay::start(folder, events.clone())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(RUNTIME_WORDS);
    // Nothing that a cell writes goes through evcxr's queues, which have no bound: see `program`.
    let (context, _) = EvalContext::with_subprocess_command(command)?;
    Ok((CommandContext::with_eval_context(context), relay))
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
fn read_requests(folder: Option<PathBuf>) -> (Receiver<Request>, Receiver<Answer>) {
    let (request, requests) = sync_channel(REQUESTS);
    let (answer, answers) = sync_channel(ANSWERS);
    let read = move || {
        forward_requests(&request, &answer);
        if let Some(folder) = folder {
            // What is still being compiled there may be left.
            let _ = folder::remove(&folder);
        }
        end_group();
    };
    std::thread::spawn(read);
    (requests, answers)
}

fn forward_requests(requests: &SyncSender<Request>, answers: &SyncSender<Answer>) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        match serde_json::from_str(&line) {
            Ok(Request::Answer { line, reason }) => {
                let answer = line.ok_or(reason);
                if let Err(TrySendError::Disconnected(_)) = answers.try_send(answer) {
                    return;
                }
            }
            Ok(request) => {
                if requests.send(request).is_err() {
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
    relay: Relay,
    events: Events,
    answers: Receiver<Answer>,
}

impl Host {
    fn answer(&mut self, request: Request) -> Event {
        match request {
            Request::Execute { code, dependencies } => self.execute(&code, &dependencies),
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
                    .map(|(text, html)| {
                        let markdown = format!("```rust\n{text}\n```");
                        MimeBundle::text(text)
                            .with("text/markdown", markdown)
                            .with("text/html", html)
                    });
                Event::Inspected { bundle }
            }
            Request::Answer { .. } => failed("an answer came to no question"),
        }
    }

    /// Adds crates; returns why one cannot be added. Where they are there already this takes no time.
    fn add(&mut self, dependencies: &[String]) -> Option<Event> {
        dependencies.iter().find_map(|dependency| {
            let error = self.context.execute(dependency).err()?;
            let (mut error, lost) = render::cell_error(&error, dependency);
            error.evalue = format!("`{dependency}` failed: {}", error.evalue);
            Some(Event::Failed { error, lost })
        })
    }

    fn execute(&mut self, code: &str, dependencies: &[String]) -> Event {
        // Also what adds a crate runs: nothing may wait for the next cell meanwhile.
        self.relay.begin();
        if let Some(failure) = self.add(dependencies) {
            self.relay.end();
            return failure;
        }
        // A question that an earlier cell left behind.
        while self.answers.try_recv().is_ok() {}
        let questions = Questions {
            relay: &self.relay,
            events: &self.events,
            answers: &self.answers,
            refused: RefCell::default(),
            empty_answers: Cell::default(),
            process: self.context.process_handle(),
        };
        let mut callbacks = EvalCallbacks {
            input_reader: &|_| questions.ask(),
        };
        let result = self.context.execute_with_callbacks(code, &mut callbacks);
        let refused = questions.refused.take();
        if result.is_ok() && prints_without_line_end(code) {
            let _ = self.context.execute(FLUSH);
        }
        let told = self.relay.end();
        let ended = match &result {
            Err(Error::SubprocessTerminated(how)) => told.ended.as_ref().or(Some(how)),
            _ => None,
        };
        if let Some(failure) = failure(&told, refused, ended) {
            return failure;
        }
        match result {
            Ok(outputs) => done(outputs),
            Err(error) => {
                let (told, lost) = render::cell_error(&error, code);
                let kept = self.context.variables_and_types().map(|(name, _)| name);
                let error = render::with_kept(&error, told, kept.collect());
                Event::Failed { error, lost }
            }
        }
    }
}

/// Returns what went wrong that evcxr does not tell, or tells otherwise.
fn failure(told: &Told, refused: Option<String>, ended: Option<&String>) -> Option<Event> {
    let kept = "variables of earlier cells are kept, those that this cell defined or took are lost";
    let (error, lost) = if let Some(how) = ended {
        let error = render::ended(how.trim());
        match refused {
            Some(reason) => {
                let text = format!("{reason}; {}", error.evalue);
                (CellError::new(NO_ANSWER, text), true)
            }
            None => (error, true),
        }
    } else if let Some(reason) = refused {
        let then = if told.panic.is_some() {
            kept
        } else {
            "it was given an empty line"
        };
        let text = format!("{reason}; {then}");
        (CellError::new(NO_ANSWER, text), false)
    } else if let Some(text) = &told.panic {
        let text = format!("the cell panicked: {text}; {kept}");
        (CellError::new("Panic", text), false)
    } else if let Some(text) = &told.gave_up {
        let text = format!("{text}; a `?` ended the cell: {kept}");
        (CellError::new("Error", text), false)
    } else {
        let text = too_large(told.too_large?);
        (CellError::new("RustError", text), false)
    };
    Some(Event::Failed { error, lost })
}

fn too_large(size: u64) -> String {
    format!(
        "the result has {size} bytes, the limit is {RESULT_LIMIT}; nothing is shown; the value is kept where it \
         has a name"
    )
}

/// Says whether what the cell prints last may have no line end.
fn prints_without_line_end(code: &str) -> bool {
    code.match_indices("print!")
        .any(|(at, _)| !code[..at].ends_with('e'))
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
        return failed(too_large(size as u64));
    }
    let mut bundle = MimeBundle::default();
    if outputs.content_by_mime_type.len() == 1 && outputs.get("text/plain") == Some(NO_VALUE) {
        return Event::Done { bundle };
    }
    for (mime, text) in outputs.content_by_mime_type {
        let value = render::content(&mime, text);
        bundle = bundle.with(mime, value);
    }
    Event::Done { bundle }
}

/// Writes events, one a line.
#[derive(Debug, Clone, Default)]
pub(super) struct Events {
    order: Arc<Mutex<()>>,
}

impl Events {
    /// Where the kernel has gone there is nobody to tell; the reader of requests ends the process.
    pub(super) fn send(&self, event: &Event) {
        let _one_at_a_time = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(mut line) = serde_json::to_vec(event) else {
            return;
        };
        line.push(b'\n');
        let mut output = std::io::stdout().lock();
        let _ = output.write_all(&line).and_then(|()| output.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_that_may_have_no_line_end_is_told_from_the_others() {
        assert!(prints_without_line_end("println!(); print!(\"x\")"));
        assert!(!prints_without_line_end("println!(); eprint!(\"x\")"));
    }
}
