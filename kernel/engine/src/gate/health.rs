//! The health gate: liveness, readiness and startup of each instance, several passes in a row.

use std::collections::BTreeMap;

use code_deploy_record::{Gate, GateCheck, Probe, Release};
use futures::future::join_all;
use tokio::time::Instant;

use super::probe::{
    Answers, Probed, answered_by, instances_of, note_health, probe_instance, probes_of,
};
use crate::spec::Service;
use crate::step::StepError;
use crate::surroundings::Client;
use crate::target::Instance;
use crate::{Context, Progress, gate};

/// Waits until as many instances of a service's release as are wanted passed all their probes
/// several times in a row, and journals the answer.
///
/// # Errors
/// `CD0450` when that is not so by the deadline of the health policy; that somebody asked the run
/// to stop; that the target cannot be observed or the journal written.
pub async fn pass(
    context: &Context,
    service: &Service,
    release: &Release,
    replicas: u32,
    steerable: bool,
) -> Result<(), StepError> {
    let policy = &context.spec.strategy.health;
    let (since, began) = (context.clock.now(), Instant::now());
    let subject = format!("{} {release}", service.name);
    let client = context.surroundings.outside.client();
    let mut seen = Seen::default();
    loop {
        if steerable {
            context.safe_point()?;
        }
        let instances = instances_of(context, service, release).await?;
        seen.round(context, client.as_ref(), service, &instances)
            .await?;
        let healthy = seen.healthy(&instances, policy.passes);
        let elapsed = began.elapsed();
        let done = healthy >= replicas as usize;
        if done || elapsed >= policy.deadline.get() {
            let answer = seen.answer(service, &instances, policy.passes, replicas);
            return gate::answer(context, Gate::Health, "CD0450", &subject, since, answer).await;
        }
        context.progress(Progress {
            what: format!("{subject}: {healthy} of {replicas} instances healthy"),
            elapsed,
            limit: Some(policy.deadline.get()),
            share: None,
        });
        tokio::time::sleep(policy.interval.get()).await;
    }
}

#[derive(Default)]
struct Seen {
    passes: BTreeMap<String, u32>,
    last: BTreeMap<String, Vec<Probed>>,
}

impl Seen {
    async fn round(
        &mut self,
        context: &Context,
        client: &dyn Client,
        service: &Service,
        instances: &[Instance],
    ) -> Result<(), StepError> {
        let timeout = context.spec.strategy.health.timeout.get();
        let asked = instances
            .iter()
            .map(|one| probe_instance(client, service, one, timeout));
        let answers = join_all(asked).await;
        for (instance, probed) in instances.iter().zip(answers) {
            let passed = instance.running && probed.iter().all(|probed| probed.passed);
            let passes = self.passes.entry(instance.id.clone()).or_default();
            *passes = if passed { *passes + 1 } else { 0 };
            for one in &probed {
                note_health(context, instance, one).await?;
            }
            self.last.insert(instance.id.clone(), probed);
        }
        Ok(())
    }

    fn healthy(&self, instances: &[Instance], passes: u32) -> usize {
        let enough = |one: &&Instance| self.passes.get(&one.id).is_some_and(|n| *n >= passes);
        instances.iter().filter(enough).count()
    }

    fn answer(
        &self,
        service: &Service,
        instances: &[Instance],
        passes: u32,
        replicas: u32,
    ) -> gate::Answer {
        let healthy = self.healthy(instances, passes);
        let limit = format!("{passes} passes in a row");
        let mut checks = vec![GateCheck {
            name: "instances healthy".to_owned(),
            measured: healthy.to_string(),
            limit: replicas.to_string(),
            passed: healthy >= replicas as usize,
            used: None,
            unshown: None,
        }];
        for instance in instances {
            let passed = self.passes.get(&instance.id).copied().unwrap_or(0);
            checks.push(GateCheck {
                name: instance.id.clone(),
                measured: format!("{passed} passes in a row{}", self.failing(instance)),
                limit: limit.clone(),
                passed: passed >= passes || healthy >= replicas as usize,
                used: None,
                unshown: None,
            });
        }
        let asked = asked(service, instances);
        let failing: String = instances.iter().map(|one| self.failing(one)).collect();
        let reason = format!(
            "{healthy} of {replicas} instances passed {asked} {passes} times in a row{failing}"
        );
        gate::Answer { checks, reason }
    }

    fn failing(&self, instance: &Instance) -> String {
        let last = self.last.get(&instance.id).into_iter().flatten();
        let mut told: Vec<&str> = Vec::new();
        // One health check may stand for all probes, and has one thing to say.
        for probed in last.filter(|probed| !probed.passed) {
            if !told.contains(&probed.detail.as_str()) {
                told.push(&probed.detail);
            }
        }
        let told = told.into_iter();
        told.map(|detail| format!("; {}: {detail}", instance.id))
            .collect()
    }
}

/// Says which probes were asked, and which of them the target's own health check stands for.
fn asked(service: &Service, instances: &[Instance]) -> String {
    let word = |probe: Probe| format!("{probe:?}").to_lowercase();
    let named = probes_of(&service.file.probes).into_iter();
    let mut asked: Vec<String> = named.map(|(probe, _)| word(probe)).collect();
    let all = instances.iter();
    let all = all.flat_map(|one| answered_by(&service.file.probes, one));
    let mut checked: Vec<String> = Vec::new();
    for (probe, _) in all.filter(|(_, by)| matches!(by, Answers::Check(_))) {
        if !checked.contains(&word(probe)) {
            checked.push(word(probe));
        }
    }
    if !checked.is_empty() {
        asked.push(format!(
            "the health check that the target runs ({})",
            checked.join(", ")
        ));
    }
    if asked.is_empty() {
        return "the process table".to_owned();
    }
    asked.join(", ")
}
