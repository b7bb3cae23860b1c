//! `cargo verify`: brings up what the tests need and checks the whole tree, as CI does.

mod args;
mod cache;
mod checks;
mod closing;
mod debian;
mod docker;
mod error;
mod interrupt;
mod kubernetes;
mod part;
mod program;
mod python;
mod report;
mod setup;
mod stage;
mod tools;
mod tree;

use args::{Request, Selection};
use checks::Checks;
use closing::Closing;
use error::Error;
use interrupt::Interrupt;
use report::{Outcome, Report};
use setup::Setup;
use stage::Stage;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tree::Tree;

fn main() -> ExitCode {
    match kubernetes::role(std::env::args_os()) {
        Some(ended) => ended,
        None => verification(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn verification() -> ExitCode {
    let selection = match args::parse(std::env::args().skip(1)) {
        Ok(Request::Verify(selection)) => selection,
        Ok(Request::Help) => {
            report::print(&args::help());
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&error),
    };
    let (sender, interrupt) = Interrupt::channel();
    // Cancel safety: a second signal drops the verification, which kills what it runs.
    let result = tokio::select! {
        result = verify(&selection, &interrupt) => result,
        Err(error) = interrupt::forward(&sender) => Err(error),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

/// Runs the selected stages and tells whether all is well.
async fn verify(selection: &Selection, interrupt: &Interrupt) -> Result<bool, Error> {
    let folder = std::env::current_dir().map_err(|source| Error::File {
        action: "find",
        path: ".".into(),
        source,
    })?;
    let tree = Tree::around(&folder, interrupt).await?;
    let mut setup = Setup::default();
    let verified = stages(selection, &tree, &mut setup, interrupt).await;
    let stayed = if selection.stay && matches!(verified, Ok(true)) {
        report::print(&setup.told_by_hand());
        setup.lend(interrupt).await
    } else {
        Ok(())
    };
    let gone = stayed.and(setup.tear_down().await);
    let good = verified?;
    gone.map(|()| good)
}

async fn stages(
    selection: &Selection,
    tree: &Tree,
    setup: &mut Setup,
    interrupt: &Interrupt,
) -> Result<bool, Error> {
    let mut report = Report::default();
    let mut closing = Closing::default();
    for stage in selection.stages() {
        let missing = stage
            .requires()
            .iter()
            .find(|required| !report.has_passed(**required));
        if let Some(missing) = missing {
            let why = format!("it needs {}, which did not pass", missing.name());
            report.add(stage, Outcome::NotRun(why), Duration::ZERO);
            continue;
        }
        report::heading(stage);
        let start = Instant::now();
        let result = if stage == Stage::Setup {
            setup::bring_up(selection, setup, interrupt).await
        } else {
            let checks = Checks {
                tree,
                selection,
                setup,
                interrupt,
            };
            run(stage, &checks, &mut closing, &mut report).await
        };
        if stage == Stage::Setup {
            for (part, why) in &setup.lacking {
                let name = part.name();
                let text = format!(
                    "{name} could not be had: {why}\n(`--without {name}` leaves its tests out)"
                );
                report.leave_unfinished(text);
            }
        }
        let outcome = match result {
            Ok(()) => Outcome::Passed,
            Err(error @ Error::Interrupted { .. }) => return Err(error),
            Err(error) => Outcome::Failed(error.chain()),
        };
        report.add(stage, outcome, start.elapsed());
    }
    report::print(&report.summary());
    if let Some(line) = closing.line() {
        report::print(&format!("{line}\n"));
    }
    Ok(report.is_good())
}

async fn run(
    stage: Stage,
    checks: &Checks<'_>,
    closing: &mut Closing,
    report: &mut Report,
) -> Result<(), Error> {
    match stage {
        Stage::Setup => Ok(()),
        Stage::Fmt => checks.fmt().await,
        Stage::Deny => checks.deny(report).await,
        Stage::Clippy => checks.clippy().await,
        Stage::Build => checks.build().await,
        Stage::Doctests => checks.doctests().await,
        Stage::Tests => checks.tests(closing, report).await,
    }
}

fn fail(error: &Error) -> ExitCode {
    report::print(&format!("error: {}\n", error.chain()));
    ExitCode::from(error.exit_status())
}
