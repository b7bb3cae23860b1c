//! What a run that goes back from a finished one does, and what it cannot: said before it begins.

use code_deploy_engine::spec::Spec;
use code_deploy_record::{Release, RunOutcome, RunStarted, RunState};

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
    let how = if observed.instances.iter().any(|one| one.running) {
        format!("it deploys {from} over {to} and moves all traffic at once")
    } else {
        format!("nothing of {to} runs any more, so it deploys {from} where nothing runs")
    };
    let mut lines = vec![format!(
        "Run {run} has ended, so going back is a run of its own: {how}."
    )];
    let runs = session.runs_here()?;
    lines.push(configuration(&session.spec, &runs, started, from)?);
    lines.push(databases(&session.spec, from, to));
    Ok(lines)
}

/// A release is deployed with what stands in the deployment file now.
fn configuration(
    spec: &Spec,
    runs: &[(code_deploy_record::RunFolder, RunState)],
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
    let (run, then) = (&before.run, &before.deployment_file);
    let same = format!(
        "Configuration: as {from} was deployed by run {run}; the deployment file and the files that it names are the same"
    );
    if *then == spec.digest {
        return Ok(format!("{same}."));
    }
    // Which release the file named then is known of no run: it may have been given by `--to`.
    let started = runs.iter().filter_map(|(_, state)| state.started.as_ref());
    let releases: Vec<&str> = started.map(|run| run.to.as_str()).collect();
    if spec.differs_by_release_only(then, &releases)? {
        return Ok(format!("{same} but for `release:`."));
    }
    Ok(format!(
        "Configuration is NOT taken back: not only in `release:`, the deployment file or a file that it names is not as \
         it was when run {run} deployed {from}; {from} gets what stands there now."
    ))
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
