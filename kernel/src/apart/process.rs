//! The process that carries out a cell's command.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_engine::Notice;
use code_deploy_engine::context::Answer;
use code_deploy_notebook_gen::Chart;
use code_deploy_record::Report;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines, Stdin};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{End, Order, Said, Word};
use crate::dispatch::Dispatcher;
use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::machine::Machine;
use crate::session::Told;

/// Lines that a kernel may be behind before some are lost: a run is never held up by who looks on.
const BEHIND: usize = 4096;

/// How long a kernel that lives may take for the last lines.
const LAST_LINES: Duration = Duration::from_secs(10);

/// Carries out the order on standard input. How the command ended is said to the kernel; the exit
/// code is the command's, too.
pub fn main() -> ExitCode {
    // A session of its own: what ends the kernel's processes does not reach it. This fails only for
    // the leader of a process group, which already has what is wanted.
    let session = nix::unistd::setsid();
    let machine = match Machine::present() {
        Ok(machine) => machine,
        Err(failure) => return refuse(&failure),
    };
    crate::log_to_stderr(&machine);
    if let Err(error) = session {
        tracing::debug!(%error, "no session of its own");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&Failure::cannot_start(format!("cannot start: {error}"))),
    };
    let exit = runtime.block_on(carry_out(machine));
    // A thread that waits for the kernel's next word must not keep the program.
    runtime.shutdown_background();
    ExitCode::from(exit.code())
}

fn refuse(failure: &Failure) -> ExitCode {
    crate::terminal::Terminal::new(false, String::new()).failure(failure);
    ExitCode::from(failure.exit.code())
}

async fn carry_out(machine: Machine) -> Exit {
    let mut words = BufReader::new(tokio::io::stdin()).lines();
    let order: Order = match words.next_line().await {
        Ok(Some(line)) => match serde_json::from_str(&line) {
            Ok(order) => order,
            Err(error) => return not_ordered(&error.to_string()),
        },
        Ok(None) => return not_ordered("nothing was asked"),
        Err(error) => return not_ordered(&error.to_string()),
    };
    let tasks = TaskTracker::new();
    let (lines, waiting) = mpsc::channel(BEHIND);
    let writer = tasks.spawn(write_all(waiting));
    let (answers, answered) = mpsc::channel(1);
    let interrupt = CancellationToken::new();
    tasks.spawn(listen(words, answers, interrupt.clone()));
    let face = Arc::new(DistantFace {
        lines,
        lost: AtomicUsize::new(0),
        answers: Mutex::new(answered),
    });
    let told = Told::default();
    told.note(order.told);
    let dispatcher = Dispatcher {
        machine,
        global: order.global,
        face: Arc::<DistantFace>::clone(&face),
        opened: order.opened,
        told: told.clone(),
        interrupt: interrupt.clone(),
        apart: None,
    };
    let work = dispatcher.carry_out(order.command);
    let done = crate::until_interrupted_twice(work, &interrupt, crate::Ends::AtASafePoint).await;
    let (exit, end) = match done {
        Ok(exit) => (exit, End::Exit(exit)),
        Err(failure) => (failure.exit, End::Failure(failure)),
    };
    drop(dispatcher);
    let told = told.all();
    let last = async {
        // Nobody to say it to is fine: the record has it.
        drop(face.lines.send(Said::Done { end, told }).await);
        drop(face);
        drop(writer.await);
    };
    if tokio::time::timeout(LAST_LINES, last).await.is_err() {
        tracing::warn!(limit = ?LAST_LINES, "the kernel did not take how the command ended");
    }
    exit
}

fn not_ordered(why: &str) -> Exit {
    tracing::error!(why, "this process was not told what to do");
    Exit::Usage
}

/// Writes what there is to say for as long as somebody takes it.
async fn write_all(mut waiting: mpsc::Receiver<Said>) {
    let mut out = tokio::io::stdout();
    while let Some(said) = waiting.recv().await {
        let Ok(mut line) = serde_json::to_vec(&said) else {
            continue;
        };
        line.push(b'\n');
        let written = async {
            out.write_all(&line).await?;
            out.flush().await
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "the kernel is gone; the command goes on");
            return;
        }
    }
}

/// Takes the kernel's words until it is gone.
async fn listen(
    mut words: Lines<BufReader<Stdin>>,
    answers: mpsc::Sender<Option<Answer>>,
    interrupt: CancellationToken,
) {
    while let Ok(Some(line)) = words.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Word::Interrupt) => interrupt.cancel(),
            Ok(Word::Answer(answer)) => drop(answers.send(answer).await),
            Err(error) => tracing::warn!(%error, "a word of the kernel is lost"),
        }
    }
}

/// The cell's face, as this process sees it.
struct DistantFace {
    lines: mpsc::Sender<Said>,
    /// Lines that nobody took and that nobody was told of.
    lost: AtomicUsize,
    answers: Mutex<mpsc::Receiver<Option<Answer>>>,
}

impl DistantFace {
    fn say(&self, said: Said) {
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 {
            let text = format!("({lost} entries were not shown; see `%record`)");
            if self.lines.try_send(Said::Text(text)).is_ok() {
                self.lost.fetch_sub(lost, Ordering::Relaxed);
            }
        }
        if self.lines.try_send(said).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Face for DistantFace {
    fn report(&self, title: &str, report: &Report) {
        let (title, report) = (title.to_owned(), report.clone());
        self.say(Said::Report { title, report });
    }

    fn chart(&self, chart: &Chart) {
        self.say(Said::Text(chart.caption_text()));
    }

    fn text(&self, text: &str) {
        self.say(Said::Text(text.to_owned()));
    }

    fn value(&self, _kind: &str, _value: &serde_json::Value) -> bool {
        false
    }

    fn notice(&self, notice: &Notice) {
        self.say(match notice {
            Notice::Event(event) => Said::Event(Box::new(event.as_ref().clone())),
            Notice::Progress(progress) => Said::Progress(progress.clone()),
        });
    }

    /// Asks the person at the cell; nobody can be asked once the kernel is gone.
    async fn ask(&self, summary: &str) -> Option<Answer> {
        let mut answers = self.answers.lock().await;
        let summary = summary.to_owned();
        self.lines.send(Said::Ask { summary }).await.ok()?;
        answers.recv().await?
    }
}
