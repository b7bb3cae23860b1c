//! What a run that goes back from a finished one does, and what it cannot: said before it begins.

use code_deploy_engine::spec::Spec;
use code_deploy_record::{Release, RunFolder, RunOutcome, RunStarted, RunState, said};

use crate::failure::Failure;
use crate::session::Session;

/// Says what going back from a finished run to the release before it does to services, traffic,
/// configuration and databases.
///
/// # Errors
/// When the folder of the runs cannot be read or the target cannot be looked at.
pub async fn in_words(
    session: &Session,
    started: &RunStarted,
    from: &Release,
) -> Result<Vec<String>, Failure> {
    let (run, to) = (&started.run, &started.to);
    let observed = session.target.observe().await?;
    let runs = observed.instances.iter().any(|one| one.running);
    let mut lines = vec![said::goes_back_from(run, to, from, runs)];
    let runs = session.runs_here()?;
    lines.push(configuration(&session.spec, &runs, started, from)?);
    lines.push(databases(&session.spec, from, to));
    Ok(lines)
}

/// A release is deployed with what stands in the deployment file now.
fn configuration(
    spec: &Spec,
    runs: &[(RunFolder, RunState)],
    started: &RunStarted,
    from: &Release,
) -> Result<String, Failure> {
    let mut before = runs.iter().rev().filter_map(|(_, state)| {
        let succeeded = matches!(state.finished, Some((RunOutcome::Succeeded, ..)));
        let run = state.started.as_ref().filter(|_| succeeded)?;
        (run.run < started.run && run.to == *from).then_some(run)
    });
    let Some(before) = before.next() else {
        return Ok(format!(
            "Configuration: {from} gets what stands in the deployment file now. It was not compared: no run here tells \
             with what {from} was deployed before."
        ));
    };
    let run = &before.run;
    let same = format!(
        "Configuration: as {from} was deployed by run {run}; the deployment file and the files that it names are the same"
    );
    Ok(match changes(spec, runs, before)? {
        Changes::None => format!("{same}."),
        Changes::Release => format!("{same} but for `release:`."),
        Changes::Other => format!(
            "Configuration is NOT taken back: not only in `release:`, the deployment file or a file that it names is \
             not as it was when run {run} deployed {from}; {from} gets what stands there now."
        ),
    })
}

/// What of the deployment file and the files that it names is not as it was when a run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Nothing.
    None,
    /// Only which release the deployment file names.
    Release,
    /// Something else.
    Other,
}

/// Compares the files of now with those of a run.
///
/// # Errors
/// When a file cannot be read any more.
pub fn changes(
    spec: &Spec,
    runs: &[(RunFolder, RunState)],
    then: &RunStarted,
) -> Result<Changes, Failure> {
    let then = &then.deployment_file;
    if *then == spec.digest {
        return Ok(Changes::None);
    }
    // Which release the file named then is known of no run: it may have been given by `--to`.
    let started = runs.iter().filter_map(|(_, state)| state.started.as_ref());
    let releases: Vec<&str> = started.map(|run| run.to.as_str()).collect();
    Ok(match spec.differs_by_release_only(then, &releases)? {
        true => Changes::Release,
        false => Changes::Other,
    })
}

/// Data that the newer release wrote is kept, so no database goes back.
fn databases(spec: &Spec, from: &Release, to: &Release) -> String {
    let ahead = spec.file.databases.iter().filter_map(|(name, database)| {
        let version = |release: &Release| database.release_migrations.get(release.as_str());
        let (old, new) = (version(from)?, version(to)?);
        let text = format!("{name} stays at migration {new}, and {from} was made for {old}");
        (new > old).then_some(text)
    });
    let ahead: Vec<_> = ahead.collect();
    if ahead.is_empty() {
        return format!("Databases: none has a migration that {from} does not know.");
    }
    format!(
        "Databases are NOT taken back, so that nothing is lost that {to} wrote: {}.",
        ahead.join("; ")
    )
}
