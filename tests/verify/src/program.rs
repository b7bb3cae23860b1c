//! Running other programs: their output streams through, a signal or a limit stops them with
//! everything that they started.

use crate::error::Error;
use crate::interrupt::Interrupt;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(20);
/// How long output may still come after the program has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(5);
/// Variables that Cargo sets for this program and that mean nothing to what it starts.
const OWN_VARIABLES: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];

/// A program with its arguments and the limit on its time.
#[derive(Debug)]
pub struct Program {
    command: Command,
    text: String,
    limit: Duration,
}

impl Program {
    /// Returns a program that may run for `minutes`.
    pub fn new(name: impl AsRef<OsStr>, minutes: u64) -> Self {
        let mut command = Command::new(name.as_ref());
        command
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .process_group(0);
        for (key, _) in std::env::vars_os() {
            let own = |key: &str| OWN_VARIABLES.iter().any(|start| key.starts_with(start));
            if key.to_str().is_some_and(own) {
                command.env_remove(key);
            }
        }
        let text = name.as_ref().to_string_lossy().into_owned();
        Self {
            command,
            text,
            limit: Duration::from_secs(minutes * 60),
        }
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        for word in words {
            self.text.push(' ');
            self.text.push_str(&word.as_ref().to_string_lossy());
            self.command.arg(word);
        }
        self
    }

    /// Sets a variable.
    pub fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.command.env(key, value.into());
        self
    }

    /// Makes sure that a variable is not set.
    pub fn without_variable(mut self, key: &str) -> Self {
        self.command.env_remove(key);
        self
    }

    /// Sets the folder in which it runs.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Returns the command line as a person would type it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Runs the program with its output shown as it comes.
    ///
    /// # Errors
    /// If it does not start, fails, runs too long, or a signal comes.
    pub async fn show(mut self, interrupt: &Interrupt) -> Result<(), Error> {
        crate::report::note(&self.text);
        let child = self.start()?;
        let status = self
            .finish(child, std::future::pending(), interrupt)
            .await?;
        self.judge(status, "")
    }

    /// Runs the program with its output shown as it comes, and each line handed to `see`.
    ///
    /// # Errors
    /// As [`Program::show`].
    pub async fn watch(
        mut self,
        interrupt: &Interrupt,
        mut see: impl FnMut(&str),
    ) -> Result<(), Error> {
        crate::report::note(&self.text);
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.start()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let show = |line: &[u8]| {
            let line = String::from_utf8_lossy(line);
            crate::report::print(&line);
            see(line.trim_end());
        };
        let status = self.finish(child, merge(out, err, show), interrupt).await?;
        self.judge(status, "")
    }

    /// Runs the program unseen and returns what it wrote on its standard output.
    ///
    /// # Errors
    /// As [`Program::show`]; the error holds what it wrote on its standard error.
    pub async fn read(mut self, interrupt: &Interrupt) -> Result<String, Error> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.start()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (mut output, mut complaint) = (Vec::new(), Vec::new());
        let gather = async {
            tokio::join!(
                each_line(out, |line| output.extend_from_slice(line)),
                each_line(err, |line| complaint.extend_from_slice(line)),
            );
        };
        let status = self.finish(child, gather, interrupt).await?;
        self.judge(status, &String::from_utf8_lossy(&complaint))?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    fn start(&mut self) -> Result<Child, Error> {
        let program = self
            .command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        self.command
            .spawn()
            .map_err(|source| Error::Start { program, source })
    }

    async fn finish(
        &self,
        mut child: Child,
        output: impl Future<Output = ()>,
        interrupt: &Interrupt,
    ) -> Result<ExitStatus, Error> {
        let mut group = Group::of(&child);
        let mut output = std::pin::pin!(output);
        let mut output_ended = false;
        let mut limit = std::pin::pin!(tokio::time::sleep(self.limit));
        let stopped = loop {
            // Cancel safety: every future is kept across turns or, like `wait`, can be asked anew.
            tokio::select! {
                status = child.wait() => {
                    if !output_ended {
                        let _ = tokio::time::timeout(LAST_OUTPUT, output).await;
                    }
                    group.release();
                    return status.map_err(|source| Error::Start { program: self.text.clone(), source });
                }
                () = &mut output, if !output_ended => output_ended = true,
                signal = interrupt.wait() => break Error::Interrupted { signal },
                () = &mut limit => break Error::Limit { command: self.text.clone(), limit: self.limit },
            }
        };
        group.signal(Signal::SIGTERM);
        // Output is still shown: it tells what the program did in its last seconds.
        let _ = tokio::time::timeout(GRACE, async {
            tokio::select! {
                _ = child.wait() => {}
                () = async { output.await; std::future::pending().await }, if !output_ended => {}
            }
        })
        .await;
        Err(stopped)
    }

    fn judge(&self, status: ExitStatus, complaint: &str) -> Result<(), Error> {
        if status.success() {
            return Ok(());
        }
        let mut outcome = match status.code() {
            Some(code) => format!("ended with status {code}"),
            None => format!("was ended by a signal ({status})"),
        };
        if !complaint.trim().is_empty() {
            outcome.push_str(":\n");
            outcome.push_str(complaint.trim_end());
        }
        Err(Error::Command {
            command: self.text.clone(),
            outcome,
        })
    }
}

/// The group of a program and everything that it started; killed if it is dropped unreleased.
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> Self {
        let leader = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        Self { leader }
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // The group may have ended by itself, which is what the signal is for.
            let _ = killpg(leader, signal);
        }
    }

    fn release(&mut self) {
        self.leader = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

async fn merge(
    first: Option<impl AsyncRead + Unpin>,
    second: Option<impl AsyncRead + Unpin>,
    see: impl FnMut(&[u8]),
) {
    let see = std::cell::RefCell::new(see);
    tokio::join!(
        each_line(first, |line| (see.borrow_mut())(line)),
        each_line(second, |line| (see.borrow_mut())(line)),
    );
}

async fn each_line(source: Option<impl AsyncRead + Unpin>, mut see: impl FnMut(&[u8])) {
    let Some(source) = source else { return };
    let mut reader = BufReader::new(source);
    let mut line = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
        see(&line);
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(code: &str) -> Program {
        Program::new("python3", 1).args(["-c", code])
    }

    #[tokio::test]
    async fn what_a_program_says_is_read_and_its_failure_carries_its_complaint() {
        let interrupt = Interrupt::never();
        assert_eq!(
            python("print('yes')").read(&interrupt).await.unwrap(),
            "yes\n"
        );
        let error = python("import sys; sys.exit('no')")
            .read(&interrupt)
            .await
            .unwrap_err();
        assert!(
            error.to_string().ends_with("ended with status 1:\nno"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn lines_of_both_streams_are_seen() {
        let mut lines = Vec::new();
        let code = "import sys; print('out'); print('err', file=sys.stderr)";
        python(code)
            .watch(&Interrupt::never(), |line| lines.push(line.to_owned()))
            .await
            .unwrap();
        lines.sort();
        assert_eq!(lines, ["err", "out"]);
    }

    #[tokio::test]
    async fn an_interrupt_stops_the_program_and_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let code = "import subprocess, sys\n\
                    child = subprocess.Popen(['sleep', '600'])\n\
                    print(child.pid, flush=True)\n\
                    child.wait()";
        let (sender, interrupt) = Interrupt::channel();
        let mut grandchild = String::new();
        let error = python(code)
            .folder(folder.path())
            .watch(&interrupt, |line| {
                grandchild = line.to_owned();
                sender.send("SIGINT");
            })
            .await
            .unwrap_err();
        assert_eq!(error.exit_status(), 130);
        let gone = async {
            let stat = format!("/proc/{grandchild}/stat");
            while std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z ")) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let limit = std::time::Duration::from_secs(20);
        tokio::time::timeout(limit, gone)
            .await
            .expect("what it started goes on");
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_is_named() {
        let error = Program::new("no-such-program", 1)
            .read(&Interrupt::never())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("`no-such-program`"), "{error}");
    }
}
