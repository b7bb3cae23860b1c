//! Steps with their checks, and gates with what each looked at.

use code_deploy_record::{
    Check, Column, Direction, Outcome, PhaseNumber, Report, StepName, StepState, StepStatus,
    Vantage,
};

use crate::facts::{At, Facts};
use crate::format::{clock, counted, duration};
use crate::passed;
use crate::view::{columns, row};

/// Returns the word for where a step stands.
pub(super) fn status_word(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Intended => "intended",
        StepStatus::Applied => "applied, not verified",
        StepStatus::Done => "done",
        StepStatus::Failed => "failed",
        StepStatus::Undoing => "being undone",
        StepStatus::Undone => "undone",
        StepStatus::UndoFailed => "undo failed",
    }
}

fn check_text(checks: &[Check], vantage: Vantage) -> String {
    let of = checks.iter().filter(|check| check.vantage == vantage);
    let texts: Vec<String> = of
        .map(|check| {
            let word = if check.passed { "passed" } else { "failed" };
            format!("{word}: {} ({})", check.method, check.detail)
        })
        .collect();
    texts.join("; ")
}

fn step_row(facts: &Facts, name: &StepName, state: &StepState) -> Vec<String> {
    let title = facts
        .state
        .planned(name)
        .map(|planned| planned.title.as_str());
    // What is under way again has ended before, and has no time yet.
    let ended = state.duration_us.map(|took| {
        let passed = facts.passed_last(name, state.direction);
        passed.map_or_else(|| duration(took), |passed| passed::in_words(&passed))
    });
    let took = ended.unwrap_or_default();
    let mut status = status_word(state.status).to_owned();
    if state.attempt > 1 {
        status.push_str(&format!(" (attempt {})", state.attempt));
    }
    if state.direction == Direction::Undo {
        let forward = facts
            .steps
            .iter()
            .rev()
            .find(|end| end.what.step == *name && end.what.direction == Direction::Apply);
        if let Some(end) = forward {
            let word = outcome_word(end.what.outcome);
            let took = passed::in_words(&facts.passed_by(end));
            status.push_str(&format!("; forward it was {word} after {took}"));
        }
    }
    vec![
        name.to_string(),
        title.unwrap_or_default().to_owned(),
        status,
        took,
        check_text(&state.checks, Vantage::Inside),
        check_text(&state.checks, Vantage::Outside),
    ]
}

/// Returns the table of the steps that `wanted` accepts, in order of their beginning; nothing
/// when there is none.
pub(crate) fn steps_table(
    facts: &Facts,
    caption: &str,
    wanted: impl Fn(&StepName) -> bool,
) -> Option<Report> {
    let mut steps: Vec<_> = facts
        .state
        .steps
        .iter()
        .filter(|(name, _)| wanted(name))
        .collect();
    steps.sort_by_key(|(name, state)| (state.started, (*name).clone()));
    if steps.is_empty() {
        return None;
    }
    let rows = steps
        .iter()
        .map(|(name, state)| step_row(facts, name, state));
    let mut titles = columns(["Step", "What", "State", "", "Inside", "Outside"]);
    if let Some(took) = titles.get_mut(3) {
        *took = Column::number("Took");
    }
    Some(Report::new().with_table(caption, titles, rows.collect()))
}

pub(super) fn steps(facts: &Facts, phase: Option<PhaseNumber>) -> Report {
    let verbs = phase.map(crate::cell::verbs_of);
    let wanted = |name: &StepName| {
        let verb = name.as_str().split('.').next().unwrap_or_default();
        verbs.as_ref().is_none_or(|verbs| verbs.contains(&verb))
    };
    steps_table(facts, "Steps", wanted)
        .unwrap_or_else(|| Report::new().with_text("No step was begun."))
}

/// Which checks of a gate stand below its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checks {
    /// Each that it made.
    All,
    /// Those that do not hold.
    Broken,
}

/// Returns how near to its limit a check came, in percent; nothing where no figure tells.
pub(crate) fn of_limit(used: Option<f64>) -> String {
    used.map_or_else(String::new, |used| format!("{:.0} %", used * 100.0))
}

/// Returns the table of some gates' answers with what each looked at. Beside an answer stands which of its checks came
/// nearest to its limit.
pub(crate) fn gates_table<'a>(
    caption: &str,
    gates: impl Iterator<Item = &'a At<code_deploy_record::GateEvaluated>>,
    shown: Checks,
) -> Option<Report> {
    let mut rows = Vec::new();
    for gate in gates {
        let answer = &gate.what;
        let word = answer.word();
        let time = clock(gate.time);
        let seq = gate.seq.to_string();
        let name = answer.gate.word();
        let used = answer.checks.iter().filter_map(|check| check.used);
        let nearest = used.max_by(f64::total_cmp);
        rows.push(row([
            &time,
            name,
            &answer.subject,
            word,
            &answer.reason,
            "",
            "",
            &of_limit(nearest),
            &seq,
        ]));
        let checks = answer.checks.iter();
        let checks = checks.filter(|check| shown == Checks::All || !check.passed);
        for check in checks.take(40) {
            let mark = match (check.passed, check.unshown) {
                (false, _) => "does not hold".to_owned(),
                (true, Some(unshown)) => format!("holds, {unshown}"),
                (true, None) => "holds".to_owned(),
            };
            let what = format!("- {}", check.name);
            rows.push(row([
                "",
                "",
                &what,
                &mark,
                "",
                &check.measured,
                &check.limit,
                &of_limit(check.used),
                "",
            ]));
        }
    }
    if rows.is_empty() {
        return None;
    }
    let mut titles = columns([
        "Time (UTC)",
        "Gate",
        "Of",
        "Answer",
        "Reason",
        "Measured",
        "Limit",
    ]);
    titles.extend(["Of limit", "Event"].map(Column::number));
    Some(Report::new().with_table(caption, titles, rows))
}

pub(super) fn gates(facts: &Facts) -> Report {
    let count = |word: &str| {
        let own = facts.gates.iter().filter(|gate| gate.what.word() == word);
        own.count()
    };
    let answers = u64::try_from(facts.gates.len()).unwrap_or(u64::MAX);
    let mut caption = format!(
        "{} of gates: {} passed, {} did not pass",
        counted(answers, "answer"),
        count("passed"),
        count("did not pass")
    );
    let not_compared = count("not compared");
    if not_compared > 0 {
        caption.push_str(&format!(", {not_compared} had nothing to compare with"));
    }
    match gates_table(&caption, facts.gates.iter(), Checks::Broken) {
        None => Report::new().with_text("No gate was asked in this run."),
        Some(report) => report.with_text(
            "Below an answer stand the checks that do not hold. All checks of a gate with their figures stand \
             with the step that asked it, in the notebook of its phase. \"Of limit\" is how near to its limit a check \
             came: 100 % is the limit. Beside an answer stands that of its nearest check.",
        ),
    }
}

/// What a section of a phase had to say, with its steps and gates.
pub(super) fn section(facts: &Facts, phase: PhaseNumber, name: &str) -> Report {
    let mut report = Report::new();
    let reported = facts.sections.iter();
    for section in reported.filter(|one| one.phase == Some(phase) && one.what.name == name) {
        report
            .blocks
            .extend(section.what.report.blocks.iter().cloned());
        if let Some(text) = super::went_back_after(facts, phase, name, section.seq) {
            report = report.with_text(text);
        }
    }
    let verbs = crate::cell::verbs_of(phase);
    let prefixes: Vec<String> = verbs.iter().map(|verb| format!("{verb}.{name}")).collect();
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    let steps = steps_table(facts, "Steps", |step| belongs(step, &prefixes));
    report
        .blocks
        .extend(steps.into_iter().flat_map(|steps| steps.blocks));
    let gates = facts.gates.iter().filter(|gate| {
        gate.step
            .as_ref()
            .is_some_and(|step| belongs(step, &prefixes))
    });
    let gates = gates_table("Gates", gates, Checks::All);
    report
        .blocks
        .extend(gates.into_iter().flat_map(|gates| gates.blocks));
    if !report.blocks.is_empty() {
        return report;
    }
    let why = match (&facts.state.finished, facts.state.phases.get(&phase)) {
        (_, Some(state)) if state.finished.is_some() => "the phase ended without it".to_owned(),
        (_, Some(_)) => "the phase is under way".to_owned(),
        (Some(_), None) => format!("the run ended ({}) before", super::verdict_word(facts)),
        (None, None) => "the run has not come to this phase".to_owned(),
    };
    Report::new().with_text(format!(
        "Section {name} of phase {phase} has nothing to show: {why}."
    ))
}

/// Returns whether a step of this name belongs to one of the prefixes: a verb, or verb and
/// section.
pub(super) fn belongs(name: &StepName, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| {
        let rest = name.as_str().strip_prefix(prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Returns the word for how a step ended.
pub(super) fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Stopped => "stopped",
    }
}

/// Returns the direction's word.
pub(super) fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Apply => "forward",
        Direction::Undo => "back",
    }
}

#[cfg(test)]
mod tests {
    use code_deploy_synthetic::{self as synthetic, Story};

    use super::*;

    #[test]
    fn a_section_on_traffic_says_with_which_share_the_run_went_back() {
        let project = tempfile::tempdir().unwrap();
        let run = synthetic::run(project.path(), "run-1", Story::RolledBack);
        let mut facts = Facts::read(&run).unwrap();
        let release = PhaseNumber::new(6).unwrap();
        let mut said = facts.sections.first().unwrap().clone();
        said.phase = Some(release);
        said.what.name = "traffic".to_owned();
        said.what.report = Report::new().with_text("Release 1.1.0 was given 5 %.");
        facts.sections.push(said);
        let told = |facts: &Facts| crate::report_to_text(&section(facts, release, "traffic"));
        let text = told(&facts);
        assert!(
            text.contains("When the run went back at 14:00:38 UTC"),
            "{text}"
        );
        assert!(text.contains("1.1.0 had 25 % of traffic (event "), "{text}");
        facts.rollbacks.clear();
        assert!(!told(&facts).contains("went back"));
    }
}
