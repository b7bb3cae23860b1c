//! A program whose output is wanted: without a shell, with little of the environment, within bounds.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use code_deploy_record::Redactor;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// How far a program may go.
pub(super) struct Bounds {
    /// How long it may take.
    pub(super) time: Duration,
    /// How many bytes it may give.
    pub(super) bytes: usize,
}

/// How much of the end of what it says beside its output is kept, in bytes.
const SAID: usize = 8 * 1024;

/// How many of its last lines are told.
const LINES: usize = 6;

/// How many characters of them are told.
const CHARACTERS: usize = 800;

/// Finds a program in the folders of a `PATH`. Folders that depend on where the reader is are left out.
pub(super) fn find(name: &str, path: &str) -> Option<PathBuf> {
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    let mut files = folders.map(|folder| folder.join(name));
    files.find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    std::fs::metadata(file)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs a command and returns what it gives. It has no input, and what it has started ends with it. Blocks.
///
/// # Errors
/// Why there is nothing to return, in words that go on after its name.
pub(super) fn output(command: &mut Command, bounds: &Bounds) -> Result<String, String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A group of its own, so that what it starts ends with it.
    let child = command.process_group(0).spawn();
    let child = child.map_err(|error| format!("it cannot be started: {error}"))?;
    let mut running = Running {
        child,
        is_ended: false,
    };
    let (given, said) = running.listen(bounds)?;
    let status = running.end().map_err(unread)?;
    if !status.success() {
        return Err(format!("it ended with {status}: {}", told(&said)));
    }
    String::from_utf8(given).map_err(|_| "what it gives is not UTF-8".to_owned())
}

fn unread(error: io::Error) -> String {
    format!("it cannot be listened to: {error}")
}

/// A program that was started; ended when it is dropped.
struct Running {
    child: Child,
    is_ended: bool,
}

impl Running {
    /// Returns what it gives, and the end of what it says beside that, once it has ended.
    fn listen(&mut self, bounds: &Bounds) -> Result<(Vec<u8>, Vec<u8>), String> {
        let limit = Limit {
            began: Instant::now(),
            time: bounds.time,
        };
        let number = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let number = number.ok_or_else(|| "it has no number".to_owned())?;
        let handle = pidfd_open(number, PidfdFlags::empty());
        let handle = handle.map_err(|errno| unread(errno.into()))?;
        let outputs = (self.child.stdout.take(), self.child.stderr.take());
        let (Some(given), Some(said)) = outputs else {
            return Err("it has no output".to_owned());
        };
        let mut pipes = [Pipe::of(given.into()), Pipe::of(said.into())];
        while pipes.iter().any(|pipe| pipe.is_open) {
            read_ready(&mut pipes, limit.left()?).map_err(unread)?;
            let [given, said] = &mut pipes;
            if given.kept.len() > bounds.bytes {
                return Err(format!("it gives more than {} bytes", bounds.bytes));
            }
            said.keep_end();
        }
        let mut has_ended = false;
        while !has_ended {
            let ready = wait(&[handle.as_fd()], limit.left()?).map_err(unread)?;
            has_ended = ready.contains(&true);
        }
        let [given, said] = pipes;
        Ok((given.kept, said.kept))
    }

    /// Ends what is left of it, and returns how it ended.
    fn end(&mut self) -> io::Result<ExitStatus> {
        // Until it is waited for, its number means no other process.
        let number = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = number.filter(|_| !self.is_ended) {
            match kill_process_group(group, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let status = self.child.wait()?;
        self.is_ended = true;
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, "a program that makes manifests could not be ended");
        }
    }
}

/// How long something may still take.
struct Limit {
    began: Instant,
    time: Duration,
}

impl Limit {
    fn left(&self) -> Result<Duration, String> {
        let left = self.time.checked_sub(self.began.elapsed());
        left.filter(|left| !left.is_zero())
            .ok_or_else(|| format!("it did not end within {} s", self.time.as_secs()))
    }
}

/// One of a program's outputs.
struct Pipe {
    from: File,
    kept: Vec<u8>,
    is_open: bool,
}

impl Pipe {
    fn of(from: OwnedFd) -> Self {
        Self {
            from: File::from(from),
            kept: Vec::new(),
            is_open: true,
        }
    }

    /// Reads what is there; the end of it closes the pipe.
    fn read(&mut self) -> io::Result<()> {
        let mut part = [0; 16 * 1024];
        match self.from.read(&mut part) {
            Ok(0) => self.is_open = false,
            Ok(count) => self
                .kept
                .extend_from_slice(part.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn keep_end(&mut self) {
        let more = self.kept.len().saturating_sub(SAID);
        self.kept.drain(..more);
    }
}

/// Waits until an open pipe can be read, and reads those that can.
fn read_ready(pipes: &mut [Pipe], limit: Duration) -> io::Result<()> {
    let mut open: Vec<&mut Pipe> = pipes.iter_mut().filter(|pipe| pipe.is_open).collect();
    let ready = {
        let handles: Vec<BorrowedFd<'_>> = open.iter().map(|pipe| pipe.from.as_fd()).collect();
        wait(&handles, limit)?
    };
    for (pipe, is_ready) in open.iter_mut().zip(ready) {
        if is_ready {
            pipe.read()?;
        }
    }
    Ok(())
}

/// Waits until something can be read, or has ended; says of each whether it is so.
fn wait(handles: &[BorrowedFd<'_>], limit: Duration) -> io::Result<Vec<bool>> {
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    let watched = handles.iter();
    let watched = watched.map(|handle| PollFd::from_borrowed_fd(*handle, PollFlags::IN));
    let mut watched: Vec<PollFd<'_>> = watched.collect();
    match poll(&mut watched, Some(&limit)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let ready = watched.iter().map(|one| !one.revents().is_empty());
    Ok(ready.collect())
}

/// Returns the end of what a program said, in one line that a terminal shows as it is.
fn told(said: &[u8]) -> String {
    let text = Redactor::default().clean(&String::from_utf8_lossy(said));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.collect();
    let last = lines.get(lines.len().saturating_sub(LINES)..);
    let words = last.unwrap_or_default().join(" ");
    let shown = words.chars().filter(|sign| !sign.is_control());
    let shown: String = shown.take(CHARACTERS).collect();
    match shown.is_empty() {
        true => "it does not say why".to_owned(),
        false => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs words of a shell, which stand for a program.
    fn run(words: &str, bounds: &Bounds) -> Result<String, String> {
        let mut command = Command::new("/bin/sh");
        output(command.args(["-c", words]).env_clear(), bounds)
    }

    const WIDE: Bounds = Bounds {
        time: Duration::from_secs(60),
        bytes: 1024,
    };

    #[test]
    fn what_a_program_gives_is_returned_and_what_it_says_beside_it_is_not() {
        let given = run("echo warning >&2; echo a: 1", &WIDE);
        assert_eq!(given.as_deref(), Ok("a: 1\n"));
    }

    #[test]
    fn a_failure_is_told_with_its_last_lines_and_without_passwords() {
        let words = "echo at https://ann:hunter2hunter2@example.org/base >&2; printf '\\033Error: no\\n' >&2; exit 3";
        let why = run(words, &WIDE).unwrap_err();
        assert!(why.starts_with("it ended with exit status: 3: "), "{why}");
        assert!(why.ends_with("Error: no"), "{why}");
        assert!(!why.contains("hunter2") && !why.contains('\u{1b}'), "{why}");
        let why = run("exit 1", &WIDE).unwrap_err();
        assert!(why.ends_with("it does not say why"), "{why}");
    }

    #[test]
    fn a_program_that_says_much_beside_its_output_is_told_by_the_end_of_it() {
        let many = "i=0; while [ $i -lt 3000 ]; do echo much of it >&2; i=$((i+1)); done; echo last >&2; exit 1";
        let why = run(many, &WIDE).unwrap_err();
        assert!(why.ends_with("much of it last"), "{why}");
    }

    #[test]
    fn a_program_without_an_end_is_stopped_by_what_it_gives() {
        let why = run("while :; do echo and so on; done", &WIDE).unwrap_err();
        assert_eq!(why, "it gives more than 1024 bytes");
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_what_it_started() {
        use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};

        let folder = tempfile::tempdir().unwrap();
        let [held, silent] = ["held", "silent"].map(|name| folder.path().join(name));
        for pipe in [&held, &silent] {
            mkfifoat(CWD, pipe, Mode::RWXU).unwrap();
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let mut listened = File::from(open(&held, flags, Mode::empty()).unwrap());
        // Each holds a pipe, and waits for somebody who says something, and there is nobody.
        let waits = format!(
            "exec 3> {}; read word < {}",
            held.display(),
            silent.display()
        );
        let bounds = Bounds {
            time: Duration::from_millis(500),
            bytes: 1024,
        };
        let why = run(&format!("({waits}) & {waits}"), &bounds).unwrap_err();
        assert_eq!(why, "it did not end within 0 s");
        // The pipe is at its end once nobody holds it any more.
        while !matches!(listened.read(&mut [0; 1]), Ok(0)) {
            wait(&[listened.as_fd()], Duration::from_secs(1)).unwrap();
        }
    }

    #[test]
    fn a_program_is_found_in_folders_that_do_not_depend_on_where_the_reader_is() {
        assert_eq!(
            find("sh", "bin:/nowhere:/bin"),
            Some(PathBuf::from("/bin/sh"))
        );
        assert_eq!(find("passwd", "/etc"), None);
        assert_eq!(find("sh", ""), None);
    }
}
