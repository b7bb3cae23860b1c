//! Takes the figures, each kernel in turn within each round.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use code_deploy_benches::Error;
use code_deploy_benches::recorded::open_run;
use code_deploy_wire::{Client, Kernel, Kind, Socket};
use serde_json::{Value, json};

use crate::cells::{FLOOD, STAMPS};
use crate::figure::Figure;
use crate::peer::Peer;

/// No-op cells of one kernel in one round.
const NOOPS: usize = 50;
/// After so long a cell that said it has begun surely waits or computes.
const SETTLE: Duration = Duration::from_millis(300);
/// Outputs that come so long after `idle` are counted as late.
const LATE: Duration = Duration::from_millis(200);
/// The longest that a kernel may take to end.
const END_LIMIT: Duration = Duration::from_secs(20);
const MIB: f64 = 1024.0 * 1024.0;

/// What was measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// The kernels, in the order they were measured.
    pub peers: Vec<String>,
    /// Samples of each figure and kernel, in the unit of the figure.
    pub samples: BTreeMap<(Figure, String), Vec<f64>>,
    /// What went wrong or is to be known, each once, with how often.
    pub remarks: BTreeMap<String, usize>,
}

/// A kernel that lives through all rounds.
struct Lasting {
    kernel: Kernel,
    client: Client,
}

struct Bench<'a> {
    peer: &'a Peer,
    lasting: Option<Lasting>,
    round: usize,
}

type Taken = Vec<(Figure, f64)>;

/// Takes the chosen figures of every kernel. A kernel that fails costs its own figures only, and is told of.
pub fn all(peers: &[Peer], chosen: &[Figure], rounds: usize) -> Measured {
    let mut measured = Measured::default();
    let mut benches: Vec<Bench<'_>> = peers.iter().map(Bench::new).collect();
    measured.peers = peers.iter().map(|peer| peer.spec.name.clone()).collect();
    for round in 0..rounds {
        for figures in groups(chosen, rounds, round) {
            progress(&format!(
                "round {} of {rounds}: {}",
                round + 1,
                figures.title()
            ));
            for bench in &mut benches {
                bench.round = round;
                let mut remarks = Vec::new();
                match bench.take(figures, &mut remarks) {
                    Ok(taken) => {
                        for (figure, value) in taken {
                            let key = (figure, bench.peer.spec.name.clone());
                            measured.samples.entry(key).or_default().push(value);
                        }
                    }
                    Err(error) => {
                        remarks.push(crate::with_sources(&error));
                        bench.lasting = None;
                    }
                }
                for remark in remarks {
                    *measured.remarks.entry(remark).or_default() += 1;
                }
            }
        }
    }
    measured
}

/// Figures that are taken of one process are taken together.
fn groups(chosen: &[Figure], rounds: usize, round: usize) -> Vec<Figure> {
    let due = |figure: Figure| chosen.contains(&figure) && round < figure.rounds(rounds);
    let one_life = [
        Figure::Start,
        Figure::Memory,
        Figure::MemoryAll,
        Figure::Shutdown,
    ];
    let mut groups = Vec::new();
    if one_life.into_iter().any(due) {
        groups.push(Figure::Start);
    }
    if due(Figure::RustFirst) || due(Figure::RustLater) {
        groups.push(Figure::RustFirst);
    }
    let alone = chosen.iter().copied();
    let alone = alone.filter(|figure| !one_life.contains(figure) && *figure != Figure::RustLater);
    groups.extend(alone.filter(|figure| due(*figure) && *figure != Figure::RustFirst));
    groups
}

impl<'a> Bench<'a> {
    fn new(peer: &'a Peer) -> Self {
        Self {
            peer,
            lasting: None,
            round: 0,
        }
    }

    fn take(&mut self, figure: Figure, remarks: &mut Vec<String>) -> Result<Taken, Error> {
        let language = self.peer.language;
        match figure {
            Figure::Start => self.one_life(),
            Figure::Kill => self.kill(),
            Figure::RustFirst => self.rust(),
            Figure::Noop => self.noops(),
            Figure::Displays | Figure::DisplaysStalled => match language.displays() {
                Some(code) => self.flood(figure, &code, remarks),
                None => Ok(Vec::new()),
            },
            Figure::Prints | Figure::PrintsStalled => {
                self.flood(figure, &language.prints(), remarks)
            }
            Figure::InterruptWait => self.interrupt(figure, language.waits(), remarks),
            Figure::InterruptCompute => match language.computes() {
                Some(code) => self.interrupt(figure, code, remarks),
                None => Ok(Vec::new()),
            },
            Figure::InterruptCommand => match language.waits_for_run() {
                Some(code) => self.interrupt_command(code, remarks),
                None => Ok(Vec::new()),
            },
            Figure::ChildOutput => match language.stamps() {
                Some(code) => self.stamps(&code, remarks),
                None => Ok(Vec::new()),
            },
            Figure::Memory | Figure::MemoryAll | Figure::Shutdown | Figure::RustLater => {
                Ok(Vec::new())
            }
        }
    }

    /// Start, memory after ten cells, and the end on request.
    fn one_life(&self) -> Result<Taken, Error> {
        let failed = self.failed("start, memory and shutdown");
        let mut kernel = Kernel::start(&self.peer.spec).map_err(&failed)?;
        drop(kernel.answers().map_err(&failed)?);
        let start = milliseconds(kernel.started);
        let mut client = kernel.client().map_err(&failed)?;
        for _ in 0..10 {
            self.noop(&mut client)?;
        }
        let (memory, all) = (kernel.memory(), kernel.memory_of_all());
        let asked = Instant::now();
        client
            .control("shutdown_request", &json!({"restart": false}))
            .map_err(&failed)?;
        kernel.ended(END_LIMIT).map_err(&failed)?;
        Ok(vec![
            (Figure::Start, start),
            (Figure::Memory, memory as f64 / MIB),
            (Figure::MemoryAll, all as f64 / MIB),
            (Figure::Shutdown, milliseconds(asked)),
        ])
    }

    fn kill(&self) -> Result<Taken, Error> {
        let failed = self.failed("kill -9");
        let mut kernel = Kernel::start(&self.peer.spec).map_err(&failed)?;
        let mut client = kernel.client().map_err(&failed)?;
        self.noop(&mut client)?;
        kernel.kill_and_start().map_err(&failed)?;
        let mut client = kernel.client().map_err(&failed)?;
        self.noop(&mut client)?;
        Ok(vec![(Figure::Kill, milliseconds(kernel.started))])
    }

    fn rust(&self) -> Result<Taken, Error> {
        if self.peer.language.rust(0).is_none() {
            return Ok(Vec::new());
        }
        let failed = self.failed("Rust cells");
        let mut kernel = Kernel::start(&self.peer.spec).map_err(&failed)?;
        let started = kernel.started;
        let mut client = kernel.client().map_err(&failed)?;
        let mut taken = Vec::new();
        for number in 0..4 {
            let Some((code, printed)) = self.peer.language.rust(number) else {
                break;
            };
            // One kernel makes Rust ready when it starts, the other for its first cell: who waits for that cell
            // waits for both.
            let (figure, since) = match number {
                0 => (Figure::RustFirst, started),
                _ => (Figure::RustLater, Instant::now()),
            };
            let ran = client.run(&code).map_err(&failed)?;
            taken.push((figure, milliseconds(since)));
            if ran.text != printed {
                return Err(
                    self.unexpected(format!("a Rust cell printed {:?}: {}", ran.text, ran.reply))
                );
            }
        }
        Ok(taken)
    }

    fn noops(&mut self) -> Result<Taken, Error> {
        let mut lasting = self.lasting()?;
        let mut taken = Vec::with_capacity(NOOPS);
        for _ in 0..NOOPS {
            let asked = Instant::now();
            self.noop(&mut lasting.client)?;
            taken.push((Figure::Noop, milliseconds(asked)));
        }
        self.lasting = Some(lasting);
        Ok(taken)
    }

    fn flood(
        &mut self,
        figure: Figure,
        code: &str,
        remarks: &mut Vec<String>,
    ) -> Result<Taken, Error> {
        let failed = self.failed(figure.title());
        let mut lasting = self.lasting()?;
        let stalled = matches!(figure, Figure::DisplaysStalled | Figure::PrintsStalled);
        let stalled = stalled.then(|| stalled_reader(&lasting.kernel)).transpose();
        let stalled = stalled.map_err(&failed)?;
        let mut asked = Instant::now();
        let client = &mut lasting.client;
        let cell = client.send_cell(code).map_err(&failed)?;
        let first = client.shown(&cell).map_err(&failed)?;
        if self.peer.language.is_compiled() {
            asked = Instant::now();
        }
        let ran = client.ran(&cell).map_err(&failed)?;
        let taken = milliseconds(asked);
        drop(stalled);
        let displays = ran.counts.get("display_data").copied().unwrap_or(0);
        let displays = displays + usize::from(first.kind == "display_data");
        let text = first.content["text"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
            + &ran.text;
        let found = displays + text.lines().count();
        let late = late(&mut lasting.client);
        let (name, title) = (&self.peer.spec.name, figure.title());
        if found != FLOOD {
            remarks.push(format!(
                "{name}: {title}: {found} of {FLOOD} came before idle"
            ));
        }
        if late > 0 {
            remarks.push(format!("{name}: {title}: outputs after idle"));
        }
        self.lasting = Some(lasting);
        Ok(vec![(figure, taken)])
    }

    fn interrupt(
        &mut self,
        figure: Figure,
        code: &str,
        remarks: &mut Vec<String>,
    ) -> Result<Taken, Error> {
        let failed = self.failed(figure.title());
        let mut lasting = self.lasting()?;
        let Lasting { kernel, client } = &mut lasting;
        let cell = client.send_cell(code).map_err(&failed)?;
        client.printed(&cell).map_err(&failed)?;
        let queued = client
            .send_cell(self.peer.language.noop())
            .map_err(&failed)?;
        settle();
        let asked = Instant::now();
        kernel.interrupt(client).map_err(&failed)?;
        let reply = client.reply(&cell).map_err(&failed)?;
        let taken = milliseconds(asked);
        let behind = client.ran(&queued).map_err(&failed)?.reply;
        self.check_stopped(&reply, &behind, remarks);
        self.lasting = Some(lasting);
        Ok(vec![(figure, taken)])
    }

    /// In a folder with a run that has not ended and is not worked on.
    fn interrupt_command(&mut self, code: &str, remarks: &mut Vec<String>) -> Result<Taken, Error> {
        let figure = Figure::InterruptCommand;
        let mut lasting = self.lasting()?;
        let open = open_run(&lasting.kernel.folder());
        open.map_err(|error| self.unexpected(format!("no run could be laid out: {error}")))?;
        let failed = self.failed(figure.title());
        let Lasting { kernel, client } = &mut lasting;
        let cell = client.send_cell(code).map_err(&failed)?;
        client.shown(&cell).map_err(&failed)?;
        let queued = client
            .send_cell(self.peer.language.noop())
            .map_err(&failed)?;
        settle();
        let asked = Instant::now();
        kernel.interrupt(client).map_err(&failed)?;
        let reply = client.reply(&cell).map_err(&failed)?;
        let taken = milliseconds(asked);
        let behind = client.ran(&queued).map_err(&failed)?.reply;
        self.check_stopped(&reply, &behind, remarks);
        self.lasting = Some(lasting);
        Ok(vec![(figure, taken)])
    }

    fn check_stopped(&self, reply: &Value, behind: &Value, remarks: &mut Vec<String>) {
        let name = &self.peer.spec.name;
        if reply["status"] != "error" {
            let status = &reply["status"];
            remarks.push(format!("{name}: an interrupted cell ends as {status}"));
        }
        if behind["status"] != "aborted" {
            let status = &behind["status"];
            remarks.push(format!(
                "{name}: a cell behind an interrupted one ends as {status}"
            ));
        }
    }

    /// The ages of the lines of a child that writes what time it is.
    fn stamps(&mut self, code: &str, remarks: &mut Vec<String>) -> Result<Taken, Error> {
        let figure = Figure::ChildOutput;
        let failed = self.failed(figure.title());
        let mut lasting = self.lasting()?;
        let cell = lasting.client.send_cell(code).map_err(&failed)?;
        let mut taken = Vec::new();
        loop {
            let output = lasting.client.output(END_LIMIT).map_err(&failed)?;
            let now = nanoseconds_now();
            if output.parent != cell {
                continue;
            }
            if output.content["execution_state"] == "idle" {
                break;
            }
            let text = output.content["text"].as_str().unwrap_or_default();
            let written = text.lines().filter_map(|line| line.parse::<u128>().ok());
            let ages = written.map(|written| now.saturating_sub(written) as f64 / 1e6);
            taken.extend(ages.map(|age| (figure, age)));
        }
        if taken.len() != STAMPS {
            remarks.push(format!(
                "{}: {} of {STAMPS} lines of a child were seen",
                self.peer.spec.name,
                taken.len()
            ));
        }
        lasting.client.reply(&cell).map_err(&failed)?;
        self.lasting = Some(lasting);
        Ok(taken)
    }

    fn noop(&self, client: &mut Client) -> Result<(), Error> {
        let ran = client
            .run(self.peer.language.noop())
            .map_err(self.failed("a no-op cell"))?;
        if ran.reply["status"] == "ok" {
            return Ok(());
        }
        Err(self.unexpected(format!("a no-op cell failed: {}", ran.reply)))
    }

    fn lasting(&mut self) -> Result<Lasting, Error> {
        if let Some(lasting) = self.lasting.take() {
            return Ok(lasting);
        }
        let failed = self.failed("the start of a kernel");
        let mut kernel = Kernel::start(&self.peer.spec).map_err(&failed)?;
        let client = kernel.client().map_err(&failed)?;
        Ok(Lasting { kernel, client })
    }

    fn failed(&self, figure: &str) -> impl Fn(code_deploy_wire::Error) -> Error + use<> {
        let (peer, figure) = (self.peer.spec.name.clone(), figure.to_owned());
        move |source| Error::Kernel {
            peer: peer.clone(),
            figure: figure.clone(),
            source,
        }
    }

    fn unexpected(&self, what: String) -> Error {
        Error::Unexpected {
            peer: self.peer.spec.name.clone(),
            what,
        }
    }
}

/// Says what is under way, on standard error. Nobody there to read it is no failure.
fn progress(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "the age of a line is the difference to the clock of another process"
)]
fn nanoseconds_now() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos())
}

/// Subscribes to everything and then reads nothing more.
fn stalled_reader(kernel: &Kernel) -> Result<Socket, code_deploy_wire::Error> {
    let mut socket = Socket::connect(kernel.ports.iopub, Kind::Subscriber, b"")?;
    socket.subscribe()?;
    Ok(socket)
}

fn late(client: &mut Client) -> usize {
    let mut late = 0;
    while let Ok(output) = client.output(LATE) {
        late += usize::from(output.kind == "display_data" || output.kind == "stream");
    }
    late
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

#[expect(
    clippy::disallowed_methods,
    reason = "the cell is given time to wait, in a program that measures"
)]
fn settle() {
    std::thread::sleep(SETTLE);
}
