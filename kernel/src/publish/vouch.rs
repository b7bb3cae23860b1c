//! Whether what a run wrote can be vouched for: only what was signed while it was written is signed once more in the
//! end.

use code_deploy_record::{RunFolder, checkpoints, verify_folder};

use crate::failure::{Exit, Failure};

/// Refuses to sign what a record gives that is damaged: its checkpoints, samples and evidence have to be here and hold,
/// as what follows from them may otherwise be another thing than the run wrote. A checkpoint that a killed process left
/// out at the very end of a journal that goes on is no damage.
///
/// # Errors
/// `CD0318`, with what is damaged; when the record cannot be read.
pub(super) fn refuse_damaged(run: &RunFolder) -> Result<(), Failure> {
    let first = damage(run)?;
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
        "nothing that this record gives is signed, as it is damaged: {}: {trouble}{more}",
        run.path().join(place).display()
    );
    let run = run.started()?.run;
    let next = format!(
        "`code-deploy verify {run}` names each place. Put back what is named from a copy of the folder, and give the \
         command again; where the process was killed before it signed the last checkpoint, the next run of the \
         environment signs it. Without a signature: `code-deploy notebooks --run {run} --unsigned`, \
         `code-deploy record export --run {run} --unsigned`."
    );
    let state = "Nothing was signed or written; the record is as it was.";
    let code = crate::codes::NOT_VOUCHED_FOR;
    Err(Failure::new(Exit::Refused, code, what, state, next))
}

/// Returns what of a record does not hold, by place, each with why.
fn damage(run: &RunFolder) -> Result<Vec<(String, String)>, Failure> {
    let kept = checkpoints(run)?.into_iter();
    let unsigned = kept.filter_map(|one| {
        let trouble = one.trouble()?;
        Some((one.file, trouble))
    });
    let report = verify_folder(run)?;
    let of_files = report.damage();
    let of_files = of_files.map(|one| (one.place.clone(), one.what.clone()));
    Ok(unsigned.chain(of_files).collect())
}
