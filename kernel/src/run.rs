//! Commands that work on a run: a whole deployment, one verb, steering.

mod sections;

use std::path::{Path, PathBuf};

use code_deploy_engine::code::{DEPLOYED_ALREADY, HELD_ELSEWHERE, LOCKED};
use code_deploy_engine::foresight;
use code_deploy_engine::runner::{Ended, Purpose};
use code_deploy_engine::steer::{self, Asking, SteerError, Told};
use code_deploy_record::{
    PhaseNumber, RunFolder, RunId, RunOutcome, RunState, SealKey, Steering, StepName, said,
};
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};
use crate::joined;
use crate::publish;
use crate::seal_key::seal_key;
use crate::session::{Session, Wish, exit_of, no_beginning};
use crate::show::{self, status::standing};
use crate::summary;
use crate::way_back::{self, Changes};
pub use sections::{show_ended, show_sections};

/// How long an instance may take to end by itself when everything is stopped.
pub const STOP_GRACE: std::time::Duration = std::time::Duration::from_secs(15);

/// Carries out a whole run and writes its notebooks, however it ends.
///
/// # Errors
/// What kept the run from succeeding; its record and notebooks are written all the same.
pub async fn whole(
    session: &Session,
    wish: &Wish,
    out: Option<&Path>,
    interrupt: &CancellationToken,
) -> Result<(Exit, RunId), Failure> {
    if wish.reverts.is_none() && session.open_run()?.is_none() {
        let foreseen = session.foresee(wish).await;
        let (_, foreseen) = foreseen.map_err(|refusal| with_changes(session, wish, refusal))?;
        foresight::refuse(&foreseen, &session.spec.environment)?;
    }
    let work = async |runner: &mut code_deploy_engine::Runner| runner.run_all().await;
    let worked = session.with_runner(Purpose::Deploy, wish, interrupt, work);
    let worked = worked.await;
    let (ended, run) = worked.map_err(|refusal| with_changes(session, wish, refusal))?;
    let folder = close_up(session, &run, out).await?;
    exit_of(ended, &folder).map(|exit| (exit, run))
}

/// Adds to the refusal of a release that is deployed already which files are not as they were when it was deployed:
/// what changed in them is not deployed. Any other refusal stays as it is.
#[must_use]
pub fn with_changes(session: &Session, wish: &Wish, mut refusal: Failure) -> Failure {
    if refusal.problem.code == DEPLOYED_ALREADY
        && let Ok(Some(changed)) = changed_since(session, wish)
    {
        refusal.problem.next = format!("{changed} {}", refusal.problem.next);
    }
    refusal
}

/// Says among which files something is not as it was when the last run deployed the release that is wanted; nothing
/// where they are the same but for `release:`, or no run tells.
fn changed_since(session: &Session, wish: &Wish) -> Result<Option<String>, Failure> {
    let Some((_, state)) = ended_run(session, wish)? else {
        return Ok(None);
    };
    let started = state.started.ok_or_else(no_beginning)?;
    let runs = session.runs_here()?;
    if way_back::changes(&session.spec, &runs, &started)? != Changes::Other {
        return Ok(None);
    }
    let project = &session.spec.project;
    let named = |path: &PathBuf| {
        let path = path.strip_prefix(project).unwrap_or(path);
        path.display().to_string()
    };
    let mut files: Vec<String> = session.spec.files.iter().map(named).collect();
    files.dedup();
    Ok(Some(format!(
        "Not all files are as they were when run {} deployed {}, and what changed is not deployed; those compared are {}.",
        started.run,
        started.to,
        files.join(", ")
    )))
}

/// Writes the notebooks of a run and shows its summary. Returns its record.
async fn close_up(
    session: &Session,
    run: &RunId,
    out: Option<&Path>,
) -> Result<RunFolder, Failure> {
    let folder = session.project.runs().run(run)?;
    let out = out.map_or_else(|| session.project.notebooks_of(run), Path::to_owned);
    let written = write_notebooks(session, &folder, &out).await?;
    summary::show(session, &folder, &folder.state()?, &out, written).await;
    Ok(folder)
}

/// Writes the notebooks of a run; returns how many. Over a record that is damaged nothing is signed, and that is said:
/// how the run ended is another matter.
///
/// # Errors
/// When the record cannot be read or the folder cannot be written.
pub async fn write_notebooks(
    session: &Session,
    folder: &RunFolder,
    out: &Path,
) -> Result<usize, Failure> {
    let (project, folder, out) = (session.project.clone(), folder.clone(), out.to_owned());
    let key = seal_key(&session.machine, &session.spec, &session.redactor)?;
    // Drawing charts keeps a processor busy, which is not for the runtime's threads.
    let written = tokio::task::spawn_blocking(move || {
        let write = |key: Option<&SealKey>| publish::write(Some(&project), &folder, key, &out);
        match write(key.as_deref()) {
            Err(damaged) if damaged.problem.code == crate::codes::NOT_VOUCHED_FOR => {
                write(None).map(|count| (count, Some(damaged)))
            }
            written => written.map(|count| (count, None)),
        }
    });
    let written = written.await.map_err(|error| {
        Failure::refused(
            crate::codes::NOTEBOOKS,
            format!("writing the notebooks was cut off: {error}"),
            "`code-deploy notebooks` writes them from the record.",
        )
    })?;
    let (count, damaged) = written?;
    if let Some(damaged) = damaged {
        session.face.text(&format!(
            "The notebooks are not signed. {}: {}. {}",
            damaged.problem.code, damaged.problem.what, damaged.problem.next
        ));
    }
    Ok(count)
}

/// Opens or joins a run, and shows where it stands. A run of the same release that has ended well
/// is joined as it is: there is nothing more to do in it.
///
/// # Errors
/// When it cannot be opened.
pub async fn open(
    session: &Session,
    wish: &Wish,
    interrupt: &CancellationToken,
) -> Result<Exit, Failure> {
    if let Some((folder, state)) = ended_run(session, wish)? {
        show_standing(session, &folder).await?;
        session.face.text(&shows_only(&state));
        return Ok(Exit::Done);
    }
    let work = async |_: &mut code_deploy_engine::Runner| Ok(());
    let ((), run) = session
        .with_runner(Purpose::Deploy, wish, interrupt, work)
        .await?;
    let folder = session.project.runs().run(&run)?;
    show_standing(session, &folder).await?;
    Ok(Exit::Done)
}

/// Shows where a run stands, and what runs now.
async fn show_standing(session: &Session, folder: &RunFolder) -> Result<(), Failure> {
    let (state, standstills) = folder.course()?;
    let live = show::live::look(session, &state).await;
    show::status::show(&state, &standstills, Some(&live), &*session.face);
    Ok(())
}

/// Says that cells show a run that has ended, and what else there is to do.
fn shows_only(state: &RunState) -> String {
    let started = state.started.as_ref();
    let to = started.map_or_else(String::new, |started| format!(" {}", started.to));
    let text = format!(
        "This run has deployed release{to}, which is what is wanted here: the cells below show what it gave, and \
         deploy nothing. Another release is named by `--to`"
    );
    match started.and_then(|started| started.from.as_ref()) {
        Some(from) => format!("{text}; `%rollback` goes back to {from}."),
        None => format!("{text}."),
    }
}

/// Returns the last run of this environment and target when it has ended well with the release
/// that is wanted.
fn ended_run(session: &Session, wish: &Wish) -> Result<Option<(RunFolder, RunState)>, Failure> {
    let wanted = wish
        .to
        .as_ref()
        .map(ToString::to_string)
        .or_else(|| session.spec.release.clone());
    let last = session.runs_here()?.pop().filter(|(_, state)| {
        let well = matches!(state.finished, Some((RunOutcome::Succeeded, ..)));
        let to = state.started.as_ref().map(|started| started.to.to_string());
        well && to == wanted
    });
    Ok(last)
}

/// Returns whether a run is open, or the last one has ended with the release that is wanted.
///
/// # Errors
/// When the folder of the runs cannot be read.
pub fn is_there(session: &Session, wish: &Wish) -> Result<bool, Failure> {
    Ok(session.open_run()?.is_some() || ended_run(session, wish)?.is_some())
}

/// Carries out one verb, whole or by section, and shows what its sections have to say.
///
/// # Errors
/// What did not go well.
pub async fn verb(
    session: &Session,
    wish: &Wish,
    verb: &str,
    section: Option<&str>,
    interrupt: &CancellationToken,
) -> Result<Exit, Failure> {
    if let Some((folder, _)) = ended_run(session, wish)? {
        return show_ended(&folder, verb, section, &*session.face);
    }
    if let Some(text) = session.absent_section(wish, verb, section).await? {
        session.face.text(&text);
        return Ok(Exit::Done);
    }
    refuse_without_run(session, verb)?;
    let work = async |runner: &mut code_deploy_engine::Runner| {
        let ended = runner.run_verb(verb, section).await?;
        let all_done = PhaseNumber::all().all(|phase| runner.state().phase_done(phase));
        match ended {
            Ended::Done(done) if all_done && runner.state().finished.is_none() => {
                match runner.finish().await? {
                    Ended::Done(_) => Ok(Ended::Done(done)),
                    ended => Ok(ended),
                }
            }
            ended => Ok(ended),
        }
    };
    let (ended, run) = session
        .with_runner(Purpose::Deploy, wish, interrupt, work)
        .await?;
    let folder = session.project.runs().run(&run)?;
    show_sections(session, &folder, verb, section)?;
    if let Ended::Done(done) = &ended
        && done.done.is_empty()
        && !done.already.is_empty()
    {
        let what = section.map_or(verb.to_owned(), |section| format!("{verb} {section}"));
        session
            .face
            .text(&format!("{what} was done before and stays done."));
    }
    if folder.state()?.finished.is_some() {
        close_up(session, &run, None).await?;
    }
    exit_of(ended, &folder)
}

/// Refuses a verb of a later phase where no run is open: a run that could do nothing would begin.
fn refuse_without_run(session: &Session, verb: &str) -> Result<(), Failure> {
    let phase = code_deploy_engine::runner::phase_of(verb)?;
    if PhaseNumber::all().next() == Some(phase) || session.open_run()?.is_some() {
        return Ok(());
    }
    let what = format!("{verb} cannot run yet: no run is open in which phase 01 (plan) is done");
    let next = "Carry out `code-deploy inventory`, then `code-deploy plan`.";
    let code = code_deploy_engine::code::PHASE_NOT_DONE;
    Err(Failure::refused(code, what, next))
}

/// Asks a run for something: through its socket when it is alive, otherwise by taking it over.
///
/// # Errors
/// When there is no such run, or it cannot do that now.
pub async fn steer(
    session: &Session,
    folder: &RunFolder,
    verb: Steering,
    reason: &str,
    interrupt: &CancellationToken,
) -> Result<Exit, Failure> {
    let asking = match verb {
        Steering::Pause => Asking::Pause,
        Steering::Resume => Asking::Resume,
        Steering::Rollback => Asking::Rollback,
        Steering::Approve => Asking::Approve {
            go: true,
            signed: None,
        },
    };
    if let Some(told) = ask(folder, asking, &session.machine.user, reason).await? {
        session.face.text(&told);
        if session.follows && verb != Steering::Pause {
            let followed = joined::follow(session, folder, interrupt).await;
            // Whoever asked it to go back has what was asked for.
            let ended = folder.state()?.finished.map(|(outcome, ..)| outcome);
            let is_back = matches!(ended, Some(RunOutcome::RolledBack | RunOutcome::Refused));
            return match verb {
                Steering::Rollback if is_back => Ok(Exit::Done),
                _ => followed,
            };
        }
        return Ok(Exit::Done);
    }
    let state = folder.state()?;
    match (verb, state.has_ended()) {
        (Steering::Rollback, true) => go_back_from(session, &state, interrupt).await,
        (_, true) => {
            let run = state
                .started
                .as_ref()
                .map(|started| started.run.to_string());
            let run = run.unwrap_or_default();
            let (stands, word) = (standing(&state), word(verb));
            let what = format!("run {run} is ended ({stands}); there is nothing to {word}");
            Err(Failure::refused(
                code_deploy_engine::code::NOTHING_TO_STEER,
                what,
                "`code-deploy runs` lists the runs.",
            ))
        }
        (Steering::Rollback, false) => take_back(session, reason, interrupt).await,
        (Steering::Resume, false) => {
            let wish = Wish::default();
            let work = async |runner: &mut code_deploy_engine::Runner| runner.run_all().await;
            let opened = session
                .with_runner(Purpose::Resume, &wish, interrupt, work)
                .await?;
            let folder = close_up(session, &opened.1, None).await?;
            exit_of(opened.0, &folder)
        }
        (Steering::Pause | Steering::Approve, false) => {
            let what = format!(
                "no process is working on the run, so there is nothing to {}",
                word(verb)
            );
            let next = "`code-deploy resume` goes on, `code-deploy rollback` goes back.";
            Err(Failure::refused(crate::codes::NOBODY_WORKS, what, next))
        }
    }
}

/// Asks a living run; returns what it answers, or nothing when no process carries it out.
///
/// # Errors
/// When it does not answer, or refuses.
pub async fn ask(
    folder: &RunFolder,
    asking: Asking,
    by: &str,
    reason: &str,
) -> Result<Option<String>, Failure> {
    match steer::ask(folder, asking, by, reason).await {
        Ok(Told { ok: true, text }) => Ok(Some(text)),
        Ok(Told { text, .. }) => Err(Failure::refused(
            "CD0426",
            text,
            "`code-deploy status` shows where the run stands.",
        )),
        Err(SteerError::NotRunning) => Ok(None),
        Err(error) => {
            let what = code_deploy_engine::error::with_sources(&error);
            let next = "Try again; when the process hangs, end it: the record stays whole.";
            Err(Failure::refused("CD0427", what, next))
        }
    }
}

/// What a person does about a run that needs one.
#[derive(Debug, Clone)]
pub enum Settling {
    /// Goes on taking it back.
    Retry,
    /// Goes on without a step that was dealt with by hand.
    Skip(StepName),
    /// Ends it as it stands.
    Abandon,
}

/// Settles a run that needs a person.
///
/// # Errors
/// When it does not need one, or cannot be settled so.
pub async fn settle(
    session: &Session,
    folder: &RunFolder,
    settling: Settling,
    reason: &str,
    interrupt: &CancellationToken,
) -> Result<Exit, Failure> {
    let state = folder.state()?;
    let outcome = state.finished.as_ref().map(|(outcome, ..)| *outcome);
    if outcome != Some(RunOutcome::NeedsPerson) {
        let what = format!("the run does not need a person: {}", standing(&state));
        let next = match outcome {
            None => "`code-deploy resume` goes on, `code-deploy rollback` goes back.",
            Some(_) => {
                "There is nothing to settle. `code-deploy rollback` goes back from a run that succeeded; \
                 otherwise deploy again."
            }
        };
        return Err(Failure::refused("CD0429", what, next));
    }
    let by = session.machine.user.clone();
    let work = async |runner: &mut code_deploy_engine::Runner| match &settling {
        Settling::Retry => runner.rollback(&by, reason).await,
        Settling::Skip(step) => {
            runner.skip(step, &by, reason).await?;
            runner.rollback(&by, reason).await
        }
        Settling::Abandon => runner.abandon(&by, reason).await,
    };
    let wish = Wish::default();
    let (ended, run) = session
        .with_runner(Purpose::GoBack, &wish, interrupt, work)
        .await?;
    let folder = close_up(session, &run, None).await?;
    match ended {
        Ended::RolledBack(_) | Ended::Refused(_) => Ok(Exit::Done),
        Ended::Abandoned(text) => {
            session.face.text(&text);
            Ok(Exit::Done)
        }
        ended => exit_of(ended, &folder),
    }
}

async fn take_back(
    session: &Session,
    reason: &str,
    interrupt: &CancellationToken,
) -> Result<Exit, Failure> {
    let by = session.machine.user.clone();
    let work = async |runner: &mut code_deploy_engine::Runner| runner.rollback(&by, reason).await;
    let wish = Wish::default();
    let (ended, run) = session
        .with_runner(Purpose::GoBack, &wish, interrupt, work)
        .await?;
    let folder = close_up(session, &run, None).await?;
    match ended {
        // Going back is what was asked for, also where nothing had been changed yet.
        Ended::RolledBack(_) | Ended::Refused(_) => Ok(Exit::Done),
        ended => exit_of(ended, &folder),
    }
}

/// Goes back from a finished run: a run of its own, to the release before.
async fn go_back_from(
    session: &Session,
    state: &RunState,
    interrupt: &CancellationToken,
) -> Result<Exit, Failure> {
    let Some(started) = &state.started else {
        return Err(no_beginning());
    };
    let Some(from) = &started.from else {
        let what = "nothing ran before that run, so there is nothing to go back to";
        return Err(Failure::refused(
            code_deploy_engine::code::NOTHING_TO_GO_BACK,
            what,
            "`code-deploy ENVIRONMENT TARGET --stop` stops what it deployed.",
        ));
    };
    let next = "Deploy the release that is wanted: `code-deploy ENVIRONMENT TARGET --to RELEASE`.";
    if !matches!(state.finished, Some((RunOutcome::Succeeded, ..))) {
        let what = format!("run {} is ended and had gone back itself", started.run);
        return Err(Failure::refused(
            code_deploy_engine::code::NOTHING_TO_GO_BACK,
            what,
            next,
        ));
    }
    if let Some(reverted) = &started.reverts {
        let (run, to) = (&started.run, &started.to);
        let what = format!("run {run} was itself the way back from run {reverted}, to {to}");
        return Err(Failure::refused(
            code_deploy_engine::code::NOTHING_TO_GO_BACK,
            what,
            next,
        ));
    }
    for line in way_back::in_words(session, started, from).await? {
        session.face.text(&line);
    }
    let reverts = Some(started.run.clone());
    let wish = Wish {
        to: Some(from.clone()),
        reverts,
        ..Wish::default()
    };
    let (exit, _) = whole(session, &wish, None, interrupt).await?;
    Ok(exit)
}

fn word(verb: Steering) -> &'static str {
    match verb {
        Steering::Pause => "pause",
        Steering::Resume => "resume",
        Steering::Rollback => "rollback",
        Steering::Approve => "approve",
    }
}

/// Stops everything that was deployed to an environment and target. A run that is not ended is
/// taken back first, so that its record says how it ended; where that cannot be done, everything is
/// stopped all the same.
///
/// # Errors
/// With nothing stopped: another process carries the run out, or the run was interrupted. With
/// everything stopped: the run could not be taken back. When something could not be stopped.
pub async fn stop(session: &Session, interrupt: &CancellationToken) -> Result<Exit, Failure> {
    let taken_back = take_back_open_run(session, interrupt).await;
    let taken_back = taken_back.map_err(|mut failure| {
        if failure.problem.code == LOCKED {
            failure.problem.next = "`code-deploy rollback` takes it back, also when it is paused; \
                                    then stop again."
                .to_owned();
        }
        failure
    });
    match &taken_back {
        Err(failure)
            if matches!(failure.problem.code.as_str(), LOCKED | HELD_ELSEWHERE)
                || failure.exit == Exit::Interrupted =>
        {
            return taken_back;
        }
        Err(failure) => {
            let what = &failure.problem.what;
            session.face.text(&format!(
                "The run cannot be taken back, and its record stays without an end: {what}. \
                 Everything is stopped all the same."
            ));
            end_client_of_last_run(session).await?;
        }
        Ok(_) => {}
    }
    let stopped = session.target.remove_all(STOP_GRACE).await?;
    if stopped.is_empty() {
        session.face.text("Nothing is running.");
    } else {
        show::live::note_stop(session)?;
    }
    for stopped in stopped {
        let count = stopped.ended + stopped.forced;
        let (service, release) = (&stopped.service, &stopped.release);
        let line = said::stopped(service, release, count, stopped.forced);
        session.face.text(&line);
    }
    for left in session.target.left_on_purpose().await? {
        session.face.text(&left);
    }
    taken_back
}

async fn end_client_of_last_run(session: &Session) -> Result<(), Failure> {
    let Some((folder, _)) = session.runs_here()?.pop() else {
        return Ok(());
    };
    match code_deploy_engine::release::client::end_outside_client(&folder).await {
        Ok(true) => session.face.text("Stopped the outside client."),
        Ok(false) => {}
        Err(error) => {
            return Err(Failure::of(error.problem, Exit::Refused));
        }
    }
    Ok(())
}

/// Takes the last run back when it is not ended and no process carries it out.
///
/// # Errors
/// When another process carries it out, or it could not be taken back.
pub async fn take_back_open_run(
    session: &Session,
    interrupt: &CancellationToken,
) -> Result<Exit, Failure> {
    let Some((folder, state)) = session.open_run()? else {
        return Ok(Exit::Done);
    };
    session.face.text(&format!(
        "{} is not ended ({}), and has to be taken back before anything is stopped.",
        folder.path().display(),
        standing(&state)
    ));
    take_back(session, "everything is to be stopped", interrupt).await
}

/// Returns the folder for ready notebooks.
pub fn ready_folder(session: &Session, out: Option<&Path>) -> PathBuf {
    out.map_or_else(|| session.machine.folder.clone(), Path::to_owned)
}
