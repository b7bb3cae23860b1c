//! What the sections of a verb have said, as the record has it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use code_deploy_engine::plan::{section_of, verb_of};
use code_deploy_notebook_gen::{Facts, went_back_with};
use code_deploy_record::{EventBody, Report, RunFolder, RunState};

use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::session::{Session, no_such_section};
use crate::show::live::utc;
use crate::show::status::standing;

/// Shows what the sections of a verb have to say, as the record has it.
///
/// # Errors
/// When the record cannot be read.
pub fn show_sections(
    session: &Session,
    folder: &RunFolder,
    verb: &str,
    section: Option<&str>,
) -> Result<(), Failure> {
    let state = folder.state()?;
    let sections = sections_of(folder, &state, verb, section)?;
    if !sections.is_empty() && state.rollback.is_some() {
        let facts = match verb {
            "release" => Facts::read(folder).ok(),
            _ => None,
        };
        let with = facts.and_then(|facts| went_back_with(&facts));
        let with = with.map_or_else(String::new, |with| format!(" {with}"));
        let text = format!("The run went back.{with} This is what was found before that{OF_THEN}");
        session.face.text(&text);
        show_as_of_then(&sections, &*session.face);
        return Ok(());
    }
    for said in sections {
        session.face.report(&said.title, &said.report);
    }
    Ok(())
}

/// Shows what a verb, or one section of it, gave in a run that has ended.
///
/// # Errors
/// When no run has such a section, or the record cannot be read.
pub fn show_ended(
    folder: &RunFolder,
    verb: &str,
    section: Option<&str>,
    face: &dyn Face,
) -> Result<Exit, Failure> {
    let state = folder.state()?;
    let sections = sections_of(folder, &state, verb, section)?;
    let planned = state.plan.iter().flat_map(|plan| &plan.steps);
    let of_verb = planned.filter(|step| verb_of(&step.step) == verb);
    let mut known: Vec<String> = of_verb
        .map(|step| section_of(&step.step).to_owned())
        .collect();
    known.extend(code_deploy_notebook_gen::sections(verb));
    if let Some(unknown) = section.filter(|section| !known.iter().any(|one| one == section)) {
        let mut seen = BTreeSet::new();
        known.retain(|one| seen.insert(one.clone()));
        return Err(no_such_section(verb, unknown, &known));
    }
    let named = section.map_or_else(|| verb.to_owned(), |section| format!("{verb} {section}"));
    let gave = match sections.is_empty() {
        true => format!("It gave nothing of {named}."),
        false => format!("This is what {named} gave{OF_THEN}"),
    };
    let standing = standing(&state);
    face.text(&format!("The run has ended ({standing}). {gave}"));
    show_as_of_then(&sections, face);
    Ok(Exit::Done)
}

/// Who reads later what was said while the run was under way must not take it for what is.
const OF_THEN: &str = "; what it says of the present was so at the time beside each title:";

fn show_as_of_then(sections: &[Said], face: &dyn Face) {
    for said in sections {
        let title = format!("{}, {}", said.title, utc(said.time));
        face.report(&title, &said.report);
    }
}

/// What a section has said.
struct Said {
    title: String,
    time: DateTime<Utc>,
    report: Report,
}

/// Returns the last report of each section that the steps of a verb made, in order.
fn sections_of(
    folder: &RunFolder,
    state: &RunState,
    verb: &str,
    section: Option<&str>,
) -> Result<Vec<Said>, Failure> {
    let prefix = format!("{verb}.");
    let planned = state.plan.iter().flat_map(|plan| &plan.steps);
    let mut wanted: Vec<String> = planned
        .filter_map(|step| step.step.as_str().strip_prefix(&prefix))
        .map(|rest| rest.split('.').next().unwrap_or(rest).to_owned())
        .filter(|name| section.is_none_or(|section| section == name))
        .collect();
    wanted.dedup();
    let phase = code_deploy_engine::runner::phase_of(verb)?;
    let mut found: Vec<(usize, Said)> = Vec::new();
    for event in folder.events()? {
        let event = event?;
        let EventBody::SectionReported {
            phase: of,
            section,
            title,
            report,
        } = event.body
        else {
            continue;
        };
        let Some(place) = wanted.iter().position(|name| *name == section) else {
            continue;
        };
        if of == phase {
            found.retain(|(at, known)| *at != place || known.title != title);
            let time = event.time;
            let said = Said {
                title,
                time,
                report,
            };
            found.push((place, said));
        }
    }
    found.sort_by_key(|(place, ..)| *place);
    Ok(found.into_iter().map(|(_, said)| said).collect())
}
