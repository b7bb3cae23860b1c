//! One round: a deployment, a kill, and what comes of both.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use code_deploy_record::{EventBody, RunFolder, RunState};
use code_deploy_wire::{Client as KernelClient, Kernel};
use tokio::process::Child;
use tokio::time::Instant;

use crate::client::{Client, Sums};
use crate::judge::{Struck, judge};
use crate::place::ended;
use crate::plan::{Blow, Victim};
use crate::processes::{Process, kill_pid, processes_of};
use crate::{Error, Place, Verdict};

/// The two releases that are deployed over each other.
const RELEASES: [&str; 2] = ["1.0.0", "1.1.0"];

/// The pause between two looks at the journal.
const LOOK: Duration = Duration::from_millis(2);

/// How long a run that goes on by itself may take.
const LIMIT: Duration = Duration::from_secs(240);

/// How often a run is gone on with until it must have come to rest.
const TRIES: u32 = 5;

/// The variable by which the program kills itself at a write of its journal.
const AT_WRITE: &str = "CODE_DEPLOY_TEST_KILL_AT_WRITE";

/// What came of a round.
#[derive(Debug)]
pub struct Round {
    /// Its number.
    pub number: u64,
    /// Who was killed.
    pub victim: Victim,
    /// How many lines the journal had when the kill was wanted.
    pub line: usize,
    /// In which process the kill was: its role or command line.
    pub killed: Vec<String>,
    /// How long the whole round took.
    pub took: Duration,
    /// How long after the router was killed a request was answered that was begun after that.
    pub router_back: Option<Duration>,
    /// How long after a rollback was asked for it began, and how long after the last step had stopped.
    pub steered: Option<(Duration, Duration)>,
    /// Requests that were answered well.
    pub answered: u64,
    /// What was found.
    pub verdict: Verdict,
    /// What the commands said, for a round that went wrong.
    pub said: String,
}

/// The shop as it runs between rounds.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    place: &'a Place,
    address: SocketAddr,
    /// Which of the two releases runs.
    stable: usize,
    /// How many lines the journal of a whole run has.
    lines: usize,
}

/// What carries the run of a round out.
enum Carrier {
    Terminal(Child),
    Cell(Box<(Kernel, KernelClient)>),
}

impl<'a> Stage<'a> {
    /// Deploys the first release, and the second over it, to learn how long a journal is.
    pub(crate) async fn set_up(place: &'a Place) -> Result<Self, Error> {
        for release in RELEASES {
            let words = ["dev", "local", "--to", release];
            let said = place.run(&words).await?;
            if said.code != Some(0) {
                return Err(Error::Command {
                    command: words.join(" "),
                    code: said.code,
                    said: said.text,
                });
            }
        }
        let runs = place.runs()?;
        let mut address = None;
        let mut lines = 0;
        for (folder, _) in &runs {
            lines = 0;
            for event in folder.events()? {
                lines += 1;
                if let EventBody::ClientStarted { url, .. } = event?.body {
                    address = url
                        .trim_start_matches("http://")
                        .trim_end_matches('/')
                        .parse()
                        .ok();
                }
            }
        }
        let address = address.ok_or_else(|| Error::TimedOut {
            what: "the outside client's start".to_owned(),
            limit: LIMIT,
        })?;
        Ok(Self {
            place,
            address,
            stable: 1,
            lines,
        })
    }

    /// Carries a round out.
    pub(crate) async fn round(&mut self, number: u64, blow: Blow) -> Result<Round, Error> {
        let began = Instant::now();
        let (from, to) = (RELEASES[self.stable], RELEASES[1 - self.stable]);
        let before = self.place.count();
        let line = self.lines * usize::try_from(blow.share).unwrap_or(0) / 1000 + 1;
        let output = self.place.path().join("deploying");
        let client = Client::start(self.address);
        let mut carrier = self.begin(to, blow, line, &output).await?;
        if blow.victim != Victim::RunnerAtWrite {
            self.wait_for_line(before, line, &mut carrier).await?;
            tokio::time::sleep(blow.delay).await;
        }
        let (struck, killed) = self.strike(blow, &mut carrier).await?;
        let (mut said, by_itself) = self.rest(before, blow, carrier).await?;
        let sums = client.stop().await;
        let run = self.place.runs_after(before)?.pop();
        let verdict = judge(self.place, run.as_ref(), &sums, &struck, from).await?;
        let served = RELEASES.iter().position(|name| *name == verdict.serves);
        self.stable = served.unwrap_or(self.stable);
        let steered = run.as_ref().map(|(folder, _)| steered(folder));
        let deploying = std::fs::read(&output).unwrap_or_default();
        said.insert_str(0, &String::from_utf8_lossy(&deploying));
        let by_itself = by_itself.then(|| "the runner, by itself".to_owned());
        let killed = killed.iter().map(|process| process.line.clone());
        let killed = killed.chain(by_itself);
        Ok(Round {
            number,
            victim: blow.victim,
            line,
            killed: killed.collect(),
            took: began.elapsed(),
            router_back: router_back(blow.victim, &struck, &sums),
            steered: steered.transpose()?.flatten(),
            answered: sums.answered,
            verdict,
            said,
        })
    }

    async fn begin(
        &self,
        to: &str,
        blow: Blow,
        line: usize,
        output: &Path,
    ) -> Result<Carrier, Error> {
        if blow.victim == Victim::Kernel {
            return self.begin_in_cell(to);
        }
        let when = if blow.before { "before" } else { "after" };
        let variables: Vec<(&str, String)> = match blow.victim {
            Victim::RunnerAtWrite => vec![(AT_WRITE, format!("{when}:{line}"))],
            _ => Vec::new(),
        };
        let words = ["dev", "local", "--to", to];
        let child = self.place.start(&words, &variables, output)?;
        Ok(Carrier::Terminal(child))
    }

    /// Begins the run by one cell and has another carry out all of it.
    fn begin_in_cell(&self, to: &str) -> Result<Carrier, Error> {
        let mut kernel = Kernel::start(&self.place.kernel())?;
        let mut client = kernel.client()?;
        let file = self.place.project().join("deploy.yaml");
        let begin = format!("%code-deploy -f {} dev local --to {to}", file.display());
        let begun = client.run(&begin)?;
        if begun.reply["status"] != "ok" {
            let said = format!("{}\n{}", begun.text, begun.reply);
            return Err(Error::Command {
                command: begin,
                code: None,
                said,
            });
        }
        client.send_cell("%resume")?;
        Ok(Carrier::Cell(Box::new((kernel, client))))
    }

    /// Waits until the new run's journal has that many lines, or nobody writes it any more.
    async fn wait_for_line(
        &self,
        before: usize,
        line: usize,
        carrier: &mut Carrier,
    ) -> Result<(), Error> {
        let until = Instant::now() + LIMIT;
        while self.place.lines_of_run_after(before) < line {
            let over = match carrier {
                Carrier::Terminal(child) => {
                    let status = child.try_wait().map_err(Error::process("look at"))?;
                    status.is_some()
                }
                Carrier::Cell(_) => self.come_to_rest(before)?.is_some(),
            };
            if over {
                return Ok(());
            }
            if Instant::now() >= until {
                let what = format!("line {line} of the journal");
                return Err(Error::TimedOut { what, limit: LIMIT });
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    fn come_to_rest(&self, before: usize) -> Result<Option<(RunFolder, RunState)>, Error> {
        let new = self.place.runs_after(before)?.pop();
        Ok(new.filter(|(_, state)| state.finished.is_some()))
    }

    async fn strike(
        &self,
        blow: Blow,
        carrier: &mut Carrier,
    ) -> Result<(Vec<Struck>, Vec<Process>), Error> {
        let all = processes_of(self.place.path())?;
        let of_role = |role: &str| -> Vec<Process> {
            all.iter()
                .filter(|p| p.role() == Some(role))
                .cloned()
                .collect()
        };
        let runner = match carrier {
            Carrier::Terminal(child) => child.id(),
            Carrier::Cell(_) => None,
        };
        let runner = runner.map(|pid| Process {
            pid,
            line: "the runner".to_owned(),
        });
        let victims: Vec<Process> = match blow.victim {
            Victim::Runner => runner.into_iter().collect(),
            Victim::RunnerAtWrite => Vec::new(),
            Victim::Nobody => {
                self.place.run(&["rollback", "--reason", "a drill"]).await?;
                Vec::new()
            }
            Victim::Kernel => {
                if let Carrier::Cell(pair) = carrier {
                    pair.0.kill();
                }
                Vec::new()
            }
            Victim::Router => of_role("router"),
            Victim::Keeper => of_role("router-keeper"),
            Victim::Service => {
                let all = of_role("shop");
                let at = all.len() * blow.which / 1000;
                all.get(at).cloned().into_iter().collect()
            }
            Victim::RouterAndRunner => of_role("router").into_iter().chain(runner).collect(),
        };
        let from = Instant::now();
        for victim in &victims {
            kill_pid(victim.pid)?;
        }
        let to = Instant::now();
        let serves = blow.victim.serves();
        Ok((vec![Struck { from, to, serves }], victims))
    }

    /// Waits until the run has come to rest; where nobody goes on with it, a person does. Also says
    /// whether the runner was killed by its own hand.
    async fn rest(
        &self,
        before: usize,
        blow: Blow,
        carrier: Carrier,
    ) -> Result<(String, bool), Error> {
        let mut said = String::new();
        let mut by_itself = false;
        match carrier {
            Carrier::Terminal(mut child) => {
                ended(&mut child, &["dev", "local"]).await?;
                let status = child.try_wait().map_err(Error::process("look at"))?;
                let killed = status.is_some_and(|status| status.signal() == Some(9));
                by_itself = killed && blow.victim == Victim::RunnerAtWrite;
            }
            Carrier::Cell(_) => self.wait_for_rest(before).await?,
        }
        for _ in 0..TRIES {
            let open = self.place.runs_after(before)?.pop();
            if open.is_none_or(|(_, state)| state.finished.is_some()) {
                break;
            }
            let word = if blow.takes_back {
                "rollback"
            } else {
                "resume"
            };
            let answer = self.place.run(&[word]).await?;
            said.push_str(&format!("\n{word}: {:?}\n{}", answer.code, answer.text));
        }
        Ok((said, by_itself))
    }

    /// Waits for the end of a run that goes on without its kernel.
    async fn wait_for_rest(&self, before: usize) -> Result<(), Error> {
        let until = Instant::now() + LIMIT;
        while self.come_to_rest(before)?.is_none() {
            if Instant::now() >= until {
                let what = "the end of a run whose kernel was killed".to_owned();
                return Err(Error::TimedOut { what, limit: LIMIT });
            }
            tokio::time::sleep(LOOK * 100).await;
        }
        // Its process writes notebooks still.
        while self.works()? {
            tokio::time::sleep(LOOK * 10).await;
        }
        Ok(())
    }

    fn works(&self) -> Result<bool, Error> {
        let all = processes_of(self.place.path())?;
        Ok(all.iter().any(|process| process.role() == Some("command")))
    }
}

/// Returns how long after a person asked for a rollback it began, and how long after the end of the
/// step that was under way; nothing when nobody asked, or the run was taken over for it.
fn steered(folder: &RunFolder) -> Result<Option<(Duration, Duration)>, Error> {
    let (mut asked, mut stopped) = (None, None);
    for event in folder.events()? {
        let event = event?;
        match event.body {
            EventBody::SteeringAsked { .. } => asked = Some(event.time),
            EventBody::StepFinished { .. } if asked.is_some() => stopped = Some(event.time),
            EventBody::Resumed { .. } => asked = None,
            EventBody::RollbackStarted { .. } => {
                let since = |time: DateTime<Utc>| (event.time - time).to_std().unwrap_or_default();
                let asked = asked.map(since);
                return Ok(asked.map(|asked| (asked, stopped.map_or(Duration::ZERO, since))));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn router_back(victim: Victim, struck: &[Struck], sums: &Sums) -> Option<Duration> {
    let struck = struck.first().filter(|_| victim.is_a_router())?;
    sums.first_answer_after(struck.to)
}
