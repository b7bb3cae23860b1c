//! A cell's command in a process of its own, which outlives the kernel.
//!
//! # Flow
//! The kernel starts `internal command` and writes an [`Order`] to it. The process carries the
//! command out as a terminal would, and says what there is to show, line by line ([`Said`]); the
//! kernel shows it in the cell, and passes on the stop button and a person's answers ([`Word`]).
//!
//! # Guarantees
//! The process has a session of its own. When the kernel dies, restarts or is shut down, it goes on
//! with its command to the end; only a person's second press of the stop button ends it at once.
//!
//! # Caveats
//! What it has to show is lost when nobody takes it; the record has all.

pub mod process;

use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use code_deploy_engine::context::Answer;
use code_deploy_engine::{Notice, Progress};
use code_deploy_jupyter::Interrupt;
use code_deploy_record::{Event, Report, RunId};
use code_deploy_targets::local::ProcessId;
use futures::future::{BoxFuture, FusedFuture as _, FutureExt as _, OptionFuture};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::commands::{self, GlobalArgs};
use crate::dispatch::{Dispatcher, Opened};
use crate::face::Face;
use crate::failure::{Exit, Failure};

/// How long it may take until a stop turns out to be the first half of a restart: Jupyter interrupts a kernel just
/// before it asks it to end, and the command is to go on then.
pub const WHO_STOPS: Duration = Duration::from_millis(300);

/// What the process is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    command: commands::Command,
    global: GlobalArgs,
    opened: Option<Opened>,
    told: Vec<RunId>,
}

/// What the process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Text(String),
    Report { title: String, report: Report },
    Event(Box<Event>),
    Progress(Progress),
    Ask { summary: String },
    Done { end: End, told: Vec<RunId> },
}

/// How the command ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum End {
    Exit(Exit),
    Failure(Failure),
}

/// What the kernel says while the process works.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Interrupt,
    Answer(Option<Answer>),
}

/// Carries commands out in processes of their own, for one cell.
#[derive(Debug, Clone)]
pub struct Apart {
    interrupt: Interrupt,
}

impl Apart {
    /// Returns what carries out the commands of the cell that this interrupts.
    pub fn new(interrupt: Interrupt) -> Self {
        Self { interrupt }
    }

    /// Carries a command out and shows at the dispatcher's face what the process says.
    ///
    /// # Errors
    /// Why the command did not do what was asked; `CD0803` when its process ended without a word.
    ///
    /// # Cancel safety
    /// When the future is dropped while the kernel goes on, the process is made to end.
    pub async fn carry_out(
        &self,
        dispatcher: &Dispatcher,
        command: commands::Command,
    ) -> Result<Exit, Failure> {
        let order = Order {
            command,
            global: dispatcher.global.clone(),
            opened: dispatcher.opened.clone(),
            told: dispatcher.told.all(),
        };
        let mut talk = Talk::begin(dispatcher, &order).await?;
        let guard = EndsWithCell::new(talk.child.id(), self.interrupt.clone());
        let end = talk.follow(dispatcher, &self.interrupt).await;
        guard.released();
        match end {
            Some(End::Exit(exit)) => Ok(exit),
            Some(End::Failure(failure)) => Err(failure),
            None => Err(talk.ended_without_a_word().await),
        }
    }
}

/// A conversation with a process.
struct Talk {
    child: Child,
    words: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Talk {
    async fn begin(dispatcher: &Dispatcher, order: &Order) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| {
            Failure::cannot_start(format!(
                "the process for this command cannot be started: {error}"
            ))
        };
        let mut child = Command::new(&dispatcher.machine.program)
            .args(["internal", "command"])
            .current_dir(&dispatcher.machine.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(cannot)?;
        let no_pipe = || cannot(std::io::Error::other("it has no pipes"));
        let words = child.stdin.take().ok_or_else(no_pipe)?;
        let said = child.stdout.take().ok_or_else(no_pipe)?;
        let said = BufReader::new(said).lines();
        let mut talk = Self { child, words, said };
        talk.tell(order).await.map_err(cannot)?;
        Ok(talk)
    }

    async fn tell(&mut self, word: &impl Serialize) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(word)?;
        line.push(b'\n');
        self.words.write_all(&line).await?;
        self.words.flush().await
    }

    /// Shows what the process says until it says how the command ended; nothing when it ends
    /// without that.
    async fn follow(&mut self, dispatcher: &Dispatcher, interrupt: &Interrupt) -> Option<End> {
        let mut asked: OptionFuture<BoxFuture<'_, Option<Answer>>> = None.into();
        let mut stopped = pin!(stopped(dispatcher, interrupt).fuse());
        loop {
            // Cancel safe: a line that was not read whole stays in the reader, and a question stays
            // asked.
            let word = tokio::select! {
                line = self.said.next_line() => {
                    let line = line.ok()??;
                    match serde_json::from_str(&line) {
                        Ok(Said::Done { end, told }) => {
                            dispatcher.told.note(told);
                            return Some(end);
                        }
                        Ok(Said::Ask { summary }) => {
                            let face = Arc::clone(&dispatcher.face);
                            asked = Some(async move { face.ask(&summary).await }.boxed()).into();
                        }
                        Ok(said) => show(said, &*dispatcher.face),
                        Err(error) => tracing::warn!(%error, "a line of a command's process is lost"),
                    }
                    continue;
                }
                Some(answer) = &mut asked => {
                    asked = None.into();
                    Word::Answer(answer)
                }
                () = &mut stopped, if !stopped.is_terminated() => Word::Interrupt,
            };
            if let Err(error) = self.tell(&word).await {
                tracing::debug!(%error, "a command's process does not listen any more");
            }
        }
    }

    async fn ended_without_a_word(&mut self) -> Failure {
        let how = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Failure::new(
            Exit::Refused,
            crate::codes::PROCESS_ENDED,
            format!("the process that carried this command out ended ({how})"),
            "The record holds everything up to its last complete line; no process goes on with the \
             run.",
            "`%status` shows where the run stands, `%resume` goes on to its end, `%rollback` goes back.",
        )
    }
}

/// Waits until a person stops the cell, and not the end of the kernel.
async fn stopped(dispatcher: &Dispatcher, interrupt: &Interrupt) {
    dispatcher.interrupt.cancelled().await;
    tokio::time::sleep(WHO_STOPS).await;
    if interrupt.kernel_ends() {
        std::future::pending::<()>().await;
    }
}

fn show(said: Said, face: &dyn Face) {
    match said {
        Said::Text(text) => face.text(&text),
        Said::Report { title, report } => face.report(&title, &report),
        Said::Event(event) => face.notice(&Notice::Event(event.into())),
        Said::Progress(progress) => face.notice(&Notice::Progress(progress)),
        Said::Ask { .. } | Said::Done { .. } => {}
    }
}

/// Ends the process when the cell is ended at once by a person, and not when the kernel goes.
struct EndsWithCell {
    process: Option<ProcessId>,
    interrupt: Interrupt,
}

impl EndsWithCell {
    fn new(pid: Option<u32>, interrupt: Interrupt) -> Self {
        let process = pid.and_then(ProcessId::of);
        Self { process, interrupt }
    }

    fn released(mut self) {
        self.process = None;
    }
}

impl Drop for EndsWithCell {
    fn drop(&mut self) {
        let Some(process) = self.process.filter(|_| !self.interrupt.kernel_ends()) else {
            return;
        };
        // With it goes what it started for a while; what outlives a command has a session of its own.
        let ended = process.kill().and_then(|()| {
            let session = process.session();
            session.iter().try_for_each(ProcessId::kill)
        });
        if let Err(error) = ended {
            tracing::error!(%error, pid = process.pid, "a command's process was not ended");
        }
    }
}
