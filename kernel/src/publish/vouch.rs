//! Whether what a run wrote can be vouched for: only what was signed while it was written is signed once more in the
//! end.

use std::sync::Arc;

use code_deploy_record::{
    Redactor, RunFolder, SealKey, SystemClock, checkpoints, plain, said_signed, verify_folder,
};

use crate::failure::{Exit, Failure};
use crate::project::Project;

/// Refuses to sign what a record gives that is damaged: its checkpoints, samples and evidence have to be here and hold,
/// as what follows from them may otherwise be another thing than the run wrote. A checkpoint that a killed process left
/// out at the very end is no damage: over the end of a record it is signed first, where nothing says that it was before.
/// Nor is one that is not here and that a later one covers.
///
/// # Errors
/// `CD0318`, with what is damaged; when the record cannot be read.
pub(super) fn refuse_damaged(
    project: Option<&Project>,
    run: &RunFolder,
    key: &SealKey,
) -> Result<(), Failure> {
    let mut first = damage(run)?;
    if first.len() == 1 && sign_cut_off(project, run, key)? {
        first = damage(run)?;
    }
    if first.is_empty() {
        return Ok(());
    }
    // A run that goes on may have signed between the look at its folder and that at its journal.
    let again = damage(run)?;
    let lasting: Vec<_> = again.iter().filter(|one| first.contains(one)).collect();
    let Some((place, trouble)) = lasting.first() else {
        return Ok(());
    };
    let more = match lasting.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let what = format!(
        "nothing was signed, because the record is damaged: {}: {}{more}",
        plain(&run.path().join(place).display().to_string()),
        plain(trouble)
    );
    let run = run.started()?.run;
    let next = format!(
        "`code-deploy verify {run}` names each place. Put back what is named from a copy of the folder, and give the \
         command again. Without a signature: `code-deploy notebooks --run {run} --unsigned --out FOLDER`, \
         `code-deploy record export --run {run} --unsigned`."
    );
    let state = "Nothing was signed or written; the record is as it was.";
    let code = crate::codes::NOT_VOUCHED_FOR;
    Err(Failure::new(Exit::Refused, code, what, state, next))
}

/// Signs the end of a record whose process was killed before it did, as the next run of the environment would. Does
/// nothing where something says that the end was signed before: other lines may stand there now. Returns whether it tried.
fn sign_cut_off(
    project: Option<&Project>,
    run: &RunFolder,
    key: &SealKey,
) -> Result<bool, Failure> {
    // A run that goes on has a process that signs.
    if !run.state()?.sealed {
        return Ok(false);
    }
    let id = run.started()?.run;
    let notebooks = project.map(|project| project.notebooks_of(&id));
    if said_signed(run, notebooks.as_deref())?.is_some() {
        return Ok(false);
    }
    let (mut writer, ..) = run.open_journal(Arc::new(SystemClock), Redactor::default())?;
    writer.sign_with(Some(&Arc::new(key.clone())))?;
    Ok(true)
}

/// Returns what of a record does not hold, by place, each with why.
fn damage(run: &RunFolder) -> Result<Vec<(String, String)>, Failure> {
    let kept = checkpoints(run)?.into_iter();
    let unsigned = kept.filter_map(|one| {
        let trouble = one.trouble().filter(|_| !one.is_covered)?;
        Some((one.file, trouble))
    });
    let report = verify_folder(run)?;
    let of_files = report.damage();
    let of_files = of_files.map(|one| (one.place.clone(), one.what.clone()));
    Ok(unsigned.chain(of_files).collect())
}
