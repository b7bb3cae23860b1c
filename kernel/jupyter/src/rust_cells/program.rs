//! The process that evcxr starts to run cells. It runs them in a child of its own, whose output it reads:
//! what cells write goes to the host at the host's pace, what evcxr's generated code says goes to evcxr.
//!
//! Without it evcxr would keep in memory all that a cell writes, and a line without an end would be shown at its
//! end only.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::frames::{Asked, Display, FOLDER, Frame, TEXT_LIMIT, Teller};
use super::scanner::{ASK, END, Piece, Said, Scanner};
use super::shown::Shown;

/// What one value shows at most, in bytes; more would stop the page that shows it.
pub(super) const RESULT_LIMIT: usize = 32 * 1024 * 1024;
/// The prompt of who understands [`REFUSED`] begins so.
const CAN_REFUSE: char = '\u{1}';
/// A pipe holds less than what that many reads take; another thread or child may fill it for ever.
const READS: usize = 64;
/// Shells report a process that a signal ended so.
const SIGNALLED: i32 = 128;

/// Runs cells in a child process until that ends; returns the status to end with.
pub(super) fn run(arguments: &[&str]) -> std::io::Result<i32> {
    let folder = std::env::var_os(FOLDER).map(PathBuf::from);
    let folder = folder.ok_or_else(|| std::io::Error::other("no folder is set"))?;
    let teller = Teller::connect(&folder)?;
    let arguments = arguments.iter().map(OsString::from);
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .env_remove(FOLDER)
        // evcxr asks for them; of a cell they show the inside of evcxr.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let pid = child.id();
    let (ended, waiting) = watch(child)?;
    let mut program = Program {
        pid,
        stderr,
        teller,
        scanner: Scanner::default(),
        out: Shown::default(),
        err: Shown::default(),
        content: None,
    };
    program.follow(stdout, &ended)?;
    let status = waiting
        .join()
        .map_err(|_| std::io::Error::other("the wait failed"))??;
    program.teller.tell(&Frame::Ended(status.to_string()))?;
    let signalled = || SIGNALLED + status.signal().unwrap_or(0);
    Ok(status.code().unwrap_or_else(signalled))
}

type Waiting = JoinHandle<std::io::Result<ExitStatus>>;

/// Waits for the child beside everything else; the socket is closed when the child has ended.
fn watch(mut child: Child) -> std::io::Result<(UnixStream, Waiting)> {
    let (ended, open) = UnixStream::pair()?;
    let wait = move || {
        let status = child.wait();
        drop(open);
        status
    };
    Ok((ended, std::thread::spawn(wait)))
}

struct Program {
    pid: u32,
    stderr: Option<ChildStderr>,
    teller: Teller,
    scanner: Scanner,
    out: Shown,
    err: Shown,
    content: Option<Content>,
}

/// What a value shows, while it comes.
#[derive(Default)]
struct Content {
    begin: String,
    /// Where it goes while the cell runs; what has none is the value of the cell.
    display: Option<Display>,
    bytes: Vec<u8>,
    size: u64,
}

impl Program {
    fn follow(
        &mut self,
        mut stdout: Option<ChildStdout>,
        ended: &UnixStream,
    ) -> std::io::Result<()> {
        let mut buffer = vec![0; TEXT_LIMIT];
        let mut reads_left = READS;
        loop {
            let ready = readiness(stdout.as_ref(), self.stderr.as_ref(), Some(ended))?;
            if ready.stderr {
                self.read_stderr(&mut buffer)?;
            }
            if ready.stdout {
                stdout = self.read_stdout(stdout, &mut buffer)?;
            }
            // What the child's own children write later belongs to nobody.
            reads_left -= usize::from(ready.ended);
            if reads_left == 0 || ready.ended && !ready.stdout && !ready.stderr {
                break;
            }
        }
        let mut scanner = std::mem::take(&mut self.scanner);
        let mut left = Vec::new();
        scanner.finish(&mut |piece| {
            if let Piece::Text(bytes) = piece {
                left.extend_from_slice(bytes);
            }
        });
        self.text(&left)?;
        self.end_of_text()
    }

    fn read_stdout(
        &mut self,
        mut stdout: Option<ChildStdout>,
        buffer: &mut [u8],
    ) -> std::io::Result<Option<ChildStdout>> {
        let Some(pipe) = &mut stdout else {
            return Ok(None);
        };
        let count = pipe.read(buffer)?;
        if count == 0 {
            return Ok(None);
        }
        let mut scanner = std::mem::take(&mut self.scanner);
        let mut result = Ok(());
        scanner.feed(&buffer[..count], &mut |piece| {
            if result.is_ok() {
                result = match piece {
                    Piece::Text(bytes) => self.text(bytes),
                    Piece::Line(said, line) => self.line(said, line),
                };
            }
        });
        self.scanner = scanner;
        result.map(|()| stdout)
    }

    fn read_stderr(&mut self, buffer: &mut [u8]) -> std::io::Result<()> {
        let Some(pipe) = &mut self.stderr else {
            return Ok(());
        };
        let count = pipe.read(buffer)?;
        if count == 0 {
            self.stderr = None;
            return Ok(());
        }
        let text = self.err.take(&buffer[..count]);
        self.tell_text(text, Frame::Stderr)
    }

    /// What was written before a line of evcxr's comes before what that line brings about.
    fn drain_stderr(&mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; TEXT_LIMIT];
        for _ in 0..READS {
            if !readiness(None, self.stderr.as_ref(), None)?.stderr {
                break;
            }
            self.read_stderr(&mut buffer)?;
        }
        Ok(())
    }

    fn text(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if let Some(content) = &mut self.content {
            content.size += bytes.len() as u64;
            let room = RESULT_LIMIT - content.bytes.len();
            content
                .bytes
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
            return Ok(());
        }
        let text = self.out.take(bytes);
        self.tell_text(text, Frame::Stdout)
    }

    fn tell_text(&mut self, text: String, frame: fn(String) -> Frame) -> std::io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.teller.tell(&frame(text))
    }

    fn end_of_text(&mut self) -> std::io::Result<()> {
        let (out, err) = (self.out.finish(), self.err.finish());
        self.tell_text(out, Frame::Stdout)?;
        self.tell_text(err, Frame::Stderr)
    }

    fn line(&mut self, said: Said, line: &str) -> std::io::Result<()> {
        self.drain_stderr()?;
        if let Some(display) = self.content.as_mut().and_then(|open| open.display.take()) {
            self.show(display)?;
            if said == Said::End {
                return Ok(());
            }
        }
        match said {
            Said::Begin => {
                let begin = line.to_owned();
                self.content = Some(Content {
                    begin,
                    ..Content::default()
                });
                return Ok(());
            }
            Said::BeginDisplay { update, mime, id } => {
                let (id, data) = (unescaped(&id), String::new());
                self.content = Some(Content {
                    display: Some(Display {
                        update,
                        id,
                        mime,
                        data,
                    }),
                    ..Content::default()
                });
                return Ok(());
            }
            Said::Clear { wait } => return self.teller.tell(&Frame::Clear(wait)),
            Said::Ask { prompt, password } => return self.ask(&prompt, password),
            Said::Done => {
                self.end_of_text()?;
                self.teller.tell(&Frame::Done)?;
            }
            Said::Panicked => self.teller.tell(&Frame::Panicked(self.pid))?,
            Said::GaveUp => self.teller.tell(&Frame::GaveUp)?,
            Said::ChangedType | Said::End => {}
        }
        match self.content.take() {
            Some(content) if said == Said::Done => {
                self.pass_content(&content, END)?;
                pass(line)
            }
            Some(content) => self.pass_content(&content, line),
            None if said == Said::End => Ok(()),
            None => pass(line),
        }
    }

    fn pass_content(&mut self, content: &Content, end: &str) -> std::io::Result<()> {
        if content.size > RESULT_LIMIT as u64 {
            self.teller.tell(&Frame::TooLarge(content.size))?;
        }
        let text = String::from_utf8_lossy(&content.bytes);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        pass(&format!("{}\n{text}\n{end}", content.begin))
    }

    fn show(&mut self, mut display: Display) -> std::io::Result<()> {
        let content = self.content.take().unwrap_or_default();
        if content.size > RESULT_LIMIT as u64 {
            return self.teller.tell(&Frame::TooLarge(content.size));
        }
        let text = String::from_utf8_lossy(&content.bytes);
        display.data = text.strip_suffix('\n').unwrap_or(&text).to_owned();
        self.teller.tell(&Frame::Display(display))
    }

    /// evcxr reads of a prompt only what stands before the first colon: the host has it whole.
    fn ask(&mut self, prompt: &str, password: bool) -> std::io::Result<()> {
        let own = prompt.strip_prefix(CAN_REFUSE);
        let prompt = own.map_or_else(|| prompt.to_owned(), unescaped);
        let can_refuse = own.is_some();
        self.teller.tell(&Frame::Asked(Asked {
            prompt,
            password,
            can_refuse,
        }))?;
        pass(ASK)
    }
}

/// Tells evcxr.
fn pass(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => plain.extend(letters.next().map(|next| match next {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            })),
            other => plain.push(other),
        }
    }
    plain
}

struct Ready {
    stdout: bool,
    stderr: bool,
    ended: bool,
}

/// Says what can be read; waits for one of them where the end of the child is one.
fn readiness(
    stdout: Option<&ChildStdout>,
    stderr: Option<&ChildStderr>,
    ended: Option<&UnixStream>,
) -> std::io::Result<Ready> {
    let pipes = [
        stdout.map(AsFd::as_fd),
        stderr.map(AsFd::as_fd),
        ended.map(AsFd::as_fd),
    ];
    let mut polled: Vec<PollFd<'_>> = pipes
        .iter()
        .flatten()
        .map(|pipe| PollFd::new(*pipe, PollFlags::POLLIN))
        .collect();
    let timeout = if ended.is_some() {
        PollTimeout::NONE
    } else {
        PollTimeout::ZERO
    };
    while let Err(errno) = poll(&mut polled, timeout) {
        if errno != nix::errno::Errno::EINTR {
            return Err(errno.into());
        }
    }
    let mut any = polled.iter().map(|pipe| pipe.any().unwrap_or(false));
    let mut is_ready = |there: bool| there && any.next().unwrap_or(false);
    Ok(Ready {
        stdout: is_ready(stdout.is_some()),
        stderr: is_ready(stderr.is_some()),
        ended: is_ready(ended.is_some()),
    })
}
