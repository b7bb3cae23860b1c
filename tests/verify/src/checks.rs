//! What each stage runs.

use crate::args::Selection;
use crate::closing::{Closing, tests_run};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::part::{Part, tests_that_need};
use crate::program::Program;
use crate::report::Report;
use crate::setup::Setup;
use crate::tree::Tree;
use std::io::IsTerminal;
use std::path::Path;

/// Everything that the stages share.
#[derive(Debug)]
pub struct Checks<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// What was asked for.
    pub selection: &'a Selection,
    /// What was brought up.
    pub setup: &'a Setup,
    /// The wish to stop.
    pub interrupt: &'a Interrupt,
}

impl Checks<'_> {
    /// Checks the formatting.
    ///
    /// # Errors
    /// If a file is not formatted.
    pub async fn fmt(&self) -> Result<(), Error> {
        self.cargo(5, &["fmt", "--all", "--check"])
            .show(self.interrupt)
            .await
    }

    /// Runs the lints on every target.
    ///
    /// # Errors
    /// If there is a warning.
    pub async fn clippy(&self) -> Result<(), Error> {
        // In the profile of the build, with which it shares what is compiled for the compiler itself.
        let words = [
            "clippy",
            "--release",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ];
        self.cargo(40, &words).show(self.interrupt).await
    }

    /// Checks the dependencies. Advisories are a remark where their database cannot be had.
    ///
    /// # Errors
    /// If a dependency is not allowed, or has an advisory against it.
    pub async fn deny(&self, report: &mut Report) -> Result<(), Error> {
        let deny = brought_up(self.setup.deny.as_deref(), "cargo-deny")?;
        self.deny_program(
            deny,
            &[
                "check",
                "--hide-inclusion-graph",
                "bans",
                "licenses",
                "sources",
            ],
        )
        .show(self.interrupt)
        .await?;
        let fetched = match self
            .deny_program(deny, &["fetch", "db"])
            .read(self.interrupt)
            .await
        {
            Ok(_) => true,
            Err(error @ Error::Interrupted { .. }) => return Err(error),
            Err(_) => false,
        };
        if !fetched && !advisories_are_present() {
            report.remark(
                "advisories were NOT checked: the database of security advisories could not be \
                 fetched, and there is no copy on this machine",
            );
            return Ok(());
        }
        if !fetched {
            report.remark("advisories were checked against an old copy of the database");
        }
        self.deny_program(deny, &["check", "--disable-fetch", "advisories"])
            .show(self.interrupt)
            .await
    }

    /// Builds the program and the tests in one go, so that what they share is compiled once.
    ///
    /// # Errors
    /// If something does not compile.
    pub async fn build(&self) -> Result<(), Error> {
        let words = [
            "build",
            "--release",
            "--locked",
            "--workspace",
            "--bins",
            "--tests",
        ];
        self.cargo(60, &words).show(self.interrupt).await
    }

    /// Runs the examples in the documentation, if there are any.
    ///
    /// # Errors
    /// If one fails.
    pub async fn doctests(&self) -> Result<(), Error> {
        let files = self.tree.files_with_doctests()?;
        if files.is_empty() {
            crate::report::note("no documentation in the tree holds an example");
            return Ok(());
        }
        let words = ["test", "--doc", "--workspace", "--release", "--locked"];
        self.cargo(30, &words).show(self.interrupt).await
    }

    /// Runs the tests and keeps the runner's closing line.
    ///
    /// # Errors
    /// If a test fails, or none was run.
    pub async fn tests(&self, closing: &mut Closing, report: &mut Report) -> Result<(), Error> {
        let nextest = brought_up(self.setup.nextest.as_deref(), "cargo-nextest")?;
        let mut words = vec!["run".to_owned(), "--no-tests=fail".to_owned()];
        if let Some(tests) = tests_that_need(&self.left_out()) {
            words.extend(["-E".to_owned(), format!("not ({tests})")]);
            self.name_left_out(nextest, &tests, report).await?;
        }
        words.extend(self.selection.runner_words.iter().cloned());
        let (over, until) = Interrupt::channel();
        let tests = async {
            let run = self.nextest(nextest, 60, &words);
            let tested = run.watch(self.interrupt, |line| closing.see(line)).await;
            over.send("the end of the tests");
            tested
        };
        let (tested, lent) = tokio::join!(tests, self.setup.lend(&until));
        tested.and(lent)?;
        match closing.line().and_then(tests_run) {
            Some(1..) => Ok(()),
            _ => Err(Error::Answer {
                command: "cargo nextest run".into(),
                problem: "it passed, but its closing line counts no test".into(),
            }),
        }
    }

    async fn name_left_out(
        &self,
        nextest: &Path,
        tests: &str,
        report: &mut Report,
    ) -> Result<(), Error> {
        let words = ["list", "--message-format", "oneline", "-E", tests].map(str::to_owned);
        let list = self
            .nextest(nextest, 60, &words)
            .read(self.interrupt)
            .await?;
        let parts: Vec<&str> = self.left_out().iter().map(|part| part.name()).collect();
        let count = list.lines().count();
        let text = format!(
            "without {}: {count} tests did not run:\n{list}",
            parts.join(", ")
        );
        report.remark(text);
        Ok(())
    }

    /// Returns the parts without which the tests run: those that were left out, and those that could not be had.
    fn left_out(&self) -> Vec<Part> {
        let lacking = self.setup.lacking.iter().map(|(part, _)| *part);
        let mut parts = self.selection.without.clone();
        parts.extend(lacking);
        parts
    }

    fn nextest(&self, nextest: &Path, minutes: u64, words: &[String]) -> Program {
        let [first, rest @ ..] = words else {
            return Program::new(nextest, minutes);
        };
        let mut program = Program::new(nextest, minutes)
            .args(["nextest", first, "--workspace", "--release", "--locked"])
            .args(rest)
            .folder(&self.tree.root)
            .env("CODE_DEPLOY_BIN", self.tree.program());
        if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
            program = program.env("CARGO_TERM_COLOR", "always");
        }
        for (variable, value) in self.setup.variables() {
            program = match value {
                Some(value) => program.env(variable, value),
                None => program.without_variable(variable),
            };
        }
        program
    }

    fn deny_program(&self, deny: &Path, words: &[&str]) -> Program {
        Program::new(deny, 5)
            .args(["--all-features"])
            .args(words)
            .folder(&self.tree.root)
    }

    fn cargo(&self, minutes: u64, words: &[&str]) -> Program {
        Program::new("cargo", minutes)
            .args(words)
            .folder(&self.tree.root)
    }
}

fn brought_up<'a>(program: Option<&'a Path>, name: &str) -> Result<&'a Path, Error> {
    program.ok_or_else(|| Error::Machine {
        missing: format!("{name} was not brought up."),
        remedy: "Run `cargo verify --only setup` and read what it says.".into(),
    })
}

/// Tells whether an earlier run or another program has left a copy of the advisories.
fn advisories_are_present() -> bool {
    let home = std::env::var_os("CARGO_HOME")
        .map(std::path::PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let Some(copies) = home.map(|home| home.join("advisory-dbs")) else {
        return false;
    };
    let Ok(mut entries) = std::fs::read_dir(copies) else {
        return false;
    };
    entries.any(|entry| entry.is_ok_and(|entry| entry.path().join("crates").is_dir()))
}
