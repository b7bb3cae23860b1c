//! The texts that are handed over, filled with what really runs.

use std::collections::BTreeMap;

use code_deploy_record::{RunOutcome, RunStarted, RunState, Steering, said};

use crate::duration::lasted;
use crate::phases::fill;
use crate::phases::look::{counted, instances};
use crate::phases::observe::{Alert, Threshold, alerts_with_rules};
use crate::section::Section;
use crate::spec::{Contact, Service, Spec};
use crate::step::StepError;
use crate::target::Observed;

const SERVICE: &str = include_str!("../../../../../templates/runbooks/service.md");
const ALERT: &str = include_str!("../../../../../templates/runbooks/alert.md");
const TROUBLESHOOTING: &str = include_str!("../../../../../templates/runbooks/troubleshooting.md");
const RECOVERY: &str = include_str!("../../../../../templates/runbooks/recovery.md");
const MONITORING: &str = include_str!("../../../../../templates/runbooks/monitoring.md");
const MAINTENANCE: &str = include_str!("../../../../../templates/runbooks/maintenance.md");

/// What the texts are filled with.
pub(super) struct Books<'a> {
    section: &'a Section<'a>,
    observed: Observed,
    logs: BTreeMap<String, Vec<String>>,
}

fn or_none(parts: &[String], none: &str) -> String {
    if parts.is_empty() {
        none.to_owned()
    } else {
        parts.join(", ")
    }
}

/// Returns the contacts that are called, in order.
pub(super) fn escalation(spec: &Spec) -> String {
    let steps = spec.file.escalation.iter().map(|step| {
        let contact = spec
            .file
            .contacts
            .iter()
            .find(|contact| contact.name == step.contact);
        let reach = contact.map_or("", |contact| contact.reach.as_str());
        let when = match step.after.get().as_secs() / 60 {
            0 => "at once".to_owned(),
            minutes => format!("after {minutes} min"),
        };
        format!("{when} {} ({reach})", step.contact)
    });
    or_none(
        &steps.collect::<Vec<_>>(),
        "the deployment file names nobody to call",
    )
}

fn rehearsal(state: &RunState) -> String {
    state.rehearsed.map_or_else(
        || "It was not rehearsed in this run.".to_owned(),
        |(us, failed, answered)| {
            let took = lasted(us);
            format!(
                "In the rehearsal of this run traffic was led back in {took}; {failed} of {} requests in the \
                 seconds around it failed.",
                failed + answered
            )
        },
    )
}

/// Says what `rollback` says while the run is under way, and once it has ended.
fn expected_back(started: Option<&RunStarted>) -> String {
    let during = said::expected_back_during();
    let Some(RunStarted {
        run,
        to,
        from,
        reverts,
        ..
    }) = started
    else {
        return during;
    };
    let back = from.as_ref().filter(|_| reverts.is_none());
    let after = said::expected_back_after(run, to, back);
    format!("{during} {after}")
}

impl<'a> Books<'a> {
    /// Finds out what runs where.
    pub(super) async fn gather(section: &'a Section<'a>) -> Result<Books<'a>, StepError> {
        let (context, observed) = (section.context, section.observe().await?);
        let mut logs = BTreeMap::new();
        for service in &context.spec.services {
            let files = context.target.logs(&service.name, &context.to).await?;
            let paths = files.into_iter().map(|log| log.path.display().to_string());
            logs.insert(service.name.clone(), paths.collect());
        }
        Ok(Books {
            section,
            observed,
            logs,
        })
    }

    fn general(&self) -> Vec<(&'static str, String)> {
        let (context, spec) = (self.section.context, &self.section.context.spec);
        let windows = spec
            .file
            .maintenance
            .iter()
            .map(|own| format!("{} ({})", own.when, own.purpose));
        let alerts = alerts_with_rules(context).into_iter();
        let alerts: Vec<_> = alerts.map(|alert| alert.name).collect();
        let logs: Vec<_> = self.logs.values().flatten().cloned().collect();
        let days = spec.file.monitoring.log_retention.get().as_secs() / 86_400;
        let before = context.from.as_ref().map_or("none", |from| from.as_str());
        let state = context.state();
        let by_hand = state.started.as_ref().map_or_else(String::new, |started| {
            format!("{} as {}", started.host, started.user)
        });
        vec![
            ("by_hand", by_hand),
            ("application", spec.application.clone()),
            ("environment", spec.environment.clone()),
            ("target", spec.target.clone()),
            ("file", spec.path.display().to_string()),
            ("release", context.to.to_string()),
            ("before", before.to_owned()),
            ("rehearsal", rehearsal(&state)),
            ("expected_back", expected_back(state.started.as_ref())),
            ("stands", RunOutcome::Succeeded.words().to_owned()),
            ("paused", said::steered(Steering::Pause).to_owned()),
            ("goes_on", said::steered(Steering::Resume).to_owned()),
            ("resumed", said::resumed_begins()),
            ("escalation", escalation(spec)),
            (
                "windows",
                or_none(
                    &windows.collect::<Vec<_>>(),
                    "the deployment file names none",
                ),
            ),
            ("alerts", or_none(&alerts, "none")),
            ("log_files", or_none(&logs, "no log")),
            ("retention", days.to_string()),
        ]
    }

    fn filled(&self, template: &str, own: &[(&'static str, String)]) -> String {
        // A value that has lines of its own would be a heading, a list or a row of the document.
        let one_line = |value: String| value.lines().collect::<Vec<_>>().join(" ");
        let all = own.iter().cloned().chain(self.general());
        let all: Vec<_> = all.map(|(name, value)| (name, one_line(value))).collect();
        let values: Vec<_> = all
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        fill(template, &values)
    }

    fn of_service(&self, service: &Service) -> Vec<(&'static str, String)> {
        let (context, spec) = (self.section.context, &self.section.context.spec);
        let own = instances(&self.observed, context).filter(|one| one.service == service.name);
        let running: Vec<_> = own
            .map(|one| format!("{} at {}", one.id, one.address))
            .collect();
        let number = u32::try_from(running.len()).unwrap_or(u32::MAX);
        let stopped = said::stopped(&service.name, &context.to, number, 0);
        let base = self.observed.address_url(&service.name);
        let at = |path: &Option<String>| match (&base, path) {
            (Some(base), Some(path)) => format!("{base}{path}"),
            _ => "none declared".to_owned(),
        };
        let callers = spec
            .services
            .iter()
            .filter(|other| other.needs.contains(&service.name));
        let callers: Vec<_> = callers.map(|other| other.name.clone()).collect();
        let logs = self.logs.get(&service.name).cloned().unwrap_or_default();
        let databases = spec.file.databases.iter();
        let databases = databases.filter(|(_, one)| one.used_by.contains(&service.name));
        let databases: Vec<_> = databases.map(|(name, _)| name.clone()).collect();
        vec![
            ("service", service.name.clone()),
            ("role", format!("{:?}", service.role).to_lowercase()),
            (
                "owner",
                service
                    .owner
                    .clone()
                    .unwrap_or_else(|| self.owner(&service.name)),
            ),
            ("contact", self.contact(&service.name)),
            ("instances", or_none(&running, "none runs")),
            ("stopped", stopped),
            ("needs", or_none(&service.needs, "nothing")),
            ("databases", or_none(&databases, "none")),
            ("needed_by", or_none(&callers, "no other service")),
            ("logs", or_none(&logs, "no log")),
            ("metrics", at(&service.file.metrics)),
            ("is_well", self.is_well(service, base.as_deref())),
            ("drain", format!("{:?}", service.file.routing.drain.get())),
            ("address", base.clone().unwrap_or_else(|| "none".to_owned())),
        ]
    }

    /// Says by what it is seen whether a service is well.
    fn is_well(&self, service: &Service, base: Option<&str>) -> String {
        let probes = &service.file.probes;
        let asked = [
            ("Readiness", &probes.readiness),
            ("Liveness", &probes.liveness),
        ];
        let spec = &self.section.context.spec;
        let own = instances(&self.observed, self.section.context);
        let is_checked = own
            .filter(|one| one.service == service.name)
            .any(|one| one.health.is_some());
        let told = asked.map(|(word, path)| match (base, path) {
            (Some(base), Some(path)) => format!("{word}: `curl -i {base}{path}` answers 200."),
            (_, None) if is_checked => {
                let check = spec.health_check_in_words(&service.name);
                format!("{word}: by {check}.")
            }
            _ => format!("{word}: none declared."),
        });
        told.join(" ")
    }

    fn owner(&self, service: &str) -> String {
        let contacts = self.section.context.spec.file.contacts.iter();
        let mut own = contacts.filter(|one| one.services.iter().any(|name| name == service));
        own.next()
            .map_or_else(|| "nobody is named".to_owned(), |one| one.name.clone())
    }

    /// Returns who is called for a service, with how: those who name it, and without any those who answer
    /// for all.
    fn contact(&self, service: &str) -> String {
        let contacts = &self.section.context.spec.file.contacts;
        let named = |one: &&Contact| one.services.iter().any(|name| name == service);
        let own: Vec<_> = contacts.iter().filter(named).collect();
        let any = contacts.iter().filter(|one| one.services.is_empty());
        let called = if own.is_empty() { any.collect() } else { own };
        let called: Vec<_> = called
            .into_iter()
            .map(|one| format!("{} ({})", one.name, one.reach))
            .collect();
        or_none(&called, "nobody is named")
    }

    /// Returns the runbook of a service.
    pub(super) fn service(&self, service: &Service) -> String {
        self.filled(SERVICE, &self.of_service(service))
    }

    /// Returns the runbook of an alert, if its service is known.
    pub(super) fn alert(&self, alert: &Alert) -> Option<String> {
        let look = match alert.threshold {
            Threshold::Down => {
                let file = self.section.context.spec.path.display();
                format!(
                    "See which instance is gone and how often it was restarted: `code-deploy status --file {file}`."
                )
            }
            Threshold::Burn(_) => {
                "Find the failing route: search the log for `\"status\":5` and group by `route`."
                    .to_owned()
            }
            Threshold::Slow(..) => {
                "Find the slow part: take the `trace_id` of a line with a high `duration_us` and search all logs for it."
                    .to_owned()
            }
        };
        let mut values = self.of_service(self.section.context.spec.service(&alert.service)?);
        values.push(("alert", alert.name.clone()));
        values.push(("meaning", alert.meaning.clone()));
        values.push(("look", look));
        Some(self.filled(ALERT, &values))
    }

    pub(super) fn troubleshooting(&self) -> String {
        self.filled(TROUBLESHOOTING, &[])
    }

    pub(super) fn recovery(&self) -> String {
        self.filled(RECOVERY, &[])
    }

    pub(super) fn monitoring(&self) -> String {
        self.filled(MONITORING, &[])
    }

    pub(super) fn maintenance(&self) -> String {
        self.filled(MAINTENANCE, &[])
    }

    /// Returns how each service is configured: names of variables and references of secrets only.
    pub(super) fn configuration(&self) -> String {
        let spec = &self.section.context.spec;
        let mut text = format!(
            "# Configuration: {} in {}\n",
            spec.application, spec.environment
        );
        for service in &spec.services {
            let process = service.file.process.as_ref();
            let own = process
                .into_iter()
                .flat_map(|process| process.environment.keys());
            let names: std::collections::BTreeSet<_> =
                service.environment.keys().chain(own).cloned().collect();
            let names: Vec<_> = names.into_iter().collect();
            let secrets = process.into_iter().flat_map(|process| &process.secrets);
            let secrets: Vec<_> = secrets
                .map(|(name, from)| format!("{name} from {}", String::from(from.clone())))
                .collect();
            text.push_str(&format!(
                "\n## {}\n- {}, {}\n- variables: {}\n- secrets: {}\n- requests: {:?} at most, {}\n",
                service.name,
                counted(service.replicas, "instance"),
                self.started_as(service),
                or_none(&names, "none"),
                or_none(&secrets, "none"),
                service.file.routing.timeout.get(),
                counted(service.file.routing.retries, "retry"),
            ));
        }
        text
    }

    /// Says what an instance is made from, as the deployment file has it.
    fn started_as(&self, service: &Service) -> String {
        let process = service.file.process.as_ref();
        match process.filter(|_| self.section.context.spec.target == "local") {
            Some(process) => {
                let program = process.command.first().map_or("none", String::as_str);
                let arguments = process.command.len().saturating_sub(1);
                format!(
                    "each a process of this machine with a port of its own: `{program}` with {}",
                    counted(arguments, "argument")
                )
            }
            None => format!(
                "image {}, port {}",
                service.image.as_deref().unwrap_or("none"),
                service.port
            ),
        }
    }

    /// Returns who calls and stores what, as a Mermaid diagram.
    pub(super) fn diagram(&self) -> String {
        let spec = &self.section.context.spec;
        let id = |name: &str| name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let mut text = "flowchart LR\n".to_owned();
        for service in &spec.services {
            text.push_str(&format!("  {}[{}]\n", id(&service.name), service.name));
            for need in &service.needs {
                text.push_str(&format!("  {} --> {}\n", id(&service.name), id(need)));
            }
        }
        for (name, database) in &spec.file.databases {
            text.push_str(&format!("  db_{}[(database {name})]\n", id(name)));
            for user in &database.used_by {
                text.push_str(&format!("  {} --> db_{}\n", id(user), id(name)));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::NOTHING_TO_GO_BACK;

    #[test]
    fn what_is_expected_of_going_back_is_what_the_command_says() {
        let started: RunStarted = serde_json::from_value(serde_json::json!({
            "run": "run-1", "application": "shop", "environment": "dev", "target": "local",
            "strategy": "canary", "initial": false, "from": "1.0.0", "to": "1.1.0",
            "program": "0.1.0", "host": "vm", "user": "anna",
            "deployment_file": code_deploy_record::Digest::ZERO,
        }))
        .unwrap();
        let text = expected_back(Some(&started));
        assert!(
            text.contains("it deploys 1.0.0 over 1.1.0 and moves all traffic at once"),
            "{text}"
        );
        assert!(text.contains("`run rolled back:`"), "{text}");
        let first = RunStarted {
            from: None,
            ..started
        };
        let text = expected_back(Some(&first));
        let refused = format!("is refused ({NOTHING_TO_GO_BACK}), and nothing is changed.");
        assert!(text.ends_with(&refused), "{text}");
    }
}
