//! Whether budgets let the waves of a rolling update take the pods away that they replace, judged before a run.

use code_deploy_engine::Spec;
use code_deploy_engine::release::{instances_at, moves};
use code_deploy_engine::spec::{Strategy, StrategyKind, UserManifest};
use code_deploy_engine::target::TargetError;
use code_deploy_record::{Finding, Severity};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::{Budget, KIND, labels_of_pods, there};
use crate::failure::{code, failed};
use crate::kubernetes::KubernetesTarget;
use crate::kubernetes::cluster::Connection;
use crate::kubernetes::manifest::Manifest;
use crate::kubernetes::names::{self, Labels};
use crate::kubernetes::stop::asked_for;
use crate::kubernetes::store::labelled;

/// What a person can do about a budget that lets no pod go.
const OTHER_BUDGET: &str = "Have the budget let one go, run more `replicas`, or write another `strategy.kind`: canary and \
     blue-green take a release away as a whole.";

/// The pods of a service while waves replace them.
#[derive(Debug, Clone, Default)]
struct Replaced {
    service: String,
    /// How many are wanted.
    replicas: u32,
    /// How many there are of the new release, and their labels.
    new: (u32, Labels),
    /// The same of each release that is there.
    old: Vec<(u32, Labels)>,
}

/// The pods that a budget is of, of one service.
#[derive(Debug, Clone)]
struct Selected<'a> {
    service: &'a str,
    replicas: u32,
    selects_new: bool,
    new: u32,
    old: u32,
}

/// Pods of others that a budget is of.
#[derive(Debug, Clone, Copy, Default)]
struct Others {
    pods: u32,
    ready: u32,
}

/// A wave in which a budget lets no pod go.
#[derive(Debug, PartialEq, Eq)]
struct Blocked {
    service: String,
    /// The share that the wave brings the new release to, in percent.
    percent: u16,
    /// How many pods the budget is of by then.
    pods: u32,
    /// How many of them have to stay ready.
    stay: u32,
}

impl Blocked {
    fn text(&self, budget: &Budget) -> String {
        format!(
            "the PodDisruptionBudget {} ({}) lets no pod of the release before go in the wave of {} %: it is of {} pods \
             by then, of which {} have to stay ready",
            budget.name, budget.keeps, self.percent, self.pods, self.stay
        )
    }
}

impl Replaced {
    fn of(&self, budget: &Budget) -> Selected<'_> {
        let selects_new = budget.selects(&self.new.1);
        let old = self.old.iter().filter(|(_, labels)| budget.selects(labels));
        Selected {
            service: &self.service,
            replicas: self.replicas,
            selects_new,
            new: if selects_new { self.new.0 } else { 0 },
            old: old.map(|(count, _)| count).sum(),
        }
    }

    /// Returns the budgets of a release that two of them are of and waves take pods away from, if there is one.
    fn governed_twice<'a>(&self, budgets: &'a [Budget]) -> Option<Vec<&'a Budget>> {
        let (_, left) = instances_at(self.replicas, 100);
        let mut shrunk = self.old.iter().filter(|(count, _)| *count > left);
        shrunk.find_map(|(_, labels)| {
            let own = budgets.iter().filter(|budget| budget.selects(labels));
            let own: Vec<&Budget> = own.collect();
            (own.len() > 1).then_some(own)
        })
    }
}

/// Returns the first wave in which a budget lets no pod go that the wave takes away, if there is one.
fn blocked(
    budget: &Budget,
    services: &[Selected<'_>],
    others: Others,
    strategy: &Strategy,
) -> Option<Blocked> {
    let mut services = services.to_vec();
    let mut own: u32 = services.iter().map(|one| one.new + one.old).sum();
    for wave in moves(strategy) {
        for one in services.iter_mut().filter(|one| one.selects_new) {
            let (new, _) = instances_at(one.replicas, wave.percent);
            own += new.saturating_sub(one.new);
            one.new = one.new.max(new);
        }
        for one in services.iter_mut().rev() {
            let (_, left) = instances_at(one.replicas, wave.percent);
            while one.old > left {
                let (pods, ready) = (own + others.pods, own + others.ready);
                let stay = budget.stay(pods);
                if ready <= stay {
                    return Some(Blocked {
                        service: one.service.to_owned(),
                        percent: wave.percent,
                        pods,
                        stay,
                    });
                }
                one.old -= 1;
                own -= 1;
            }
        }
    }
    None
}

/// Returns what is said of a budget of the user's manifests that blocks an update of all services. Whether it blocks
/// this run is known once the cluster has said what is there.
pub fn finding(
    spec: &Spec,
    manifest: &UserManifest,
    labels_of: impl Fn(&str) -> Option<Labels>,
) -> Option<Finding> {
    if spec.strategy.kind != StrategyKind::Rolling {
        return None;
    }
    let budget = Budget::brought(manifest);
    let replaced: Vec<Replaced> = spec
        .services
        .iter()
        .filter_map(|service| {
            let labels = labels_of(&service.name)?;
            Some(Replaced {
                service: service.name.clone(),
                replicas: service.replicas,
                new: (0, labels.clone()),
                old: vec![(service.replicas, labels)],
            })
        })
        .collect();
    let selected: Vec<Selected<'_>> = replaced.iter().map(|one| one.of(&budget)).collect();
    let blocked = blocked(&budget, &selected, Others::default(), &spec.strategy)?;
    Some(Finding {
        rule: "kubernetes/budget".to_owned(),
        severity: Severity::High,
        place: manifest.place_of(&["spec", budget.keeps.key()]),
        message: format!(
            "an update of `{}` stops before it begins: {}",
            blocked.service,
            blocked.text(&budget)
        ),
        cure: OTHER_BUDGET.to_owned(),
    })
}

impl KubernetesTarget {
    /// Returns why a rolling update could not take the pods away that it replaces: the budgets of the namespace, and
    /// those that the user's manifests bring or change, against all waves.
    ///
    /// # Errors
    /// What the cluster says.
    pub(in crate::kubernetes) async fn refused_by_budgets(
        &self,
        connection: &Connection,
        deployments: &[(&str, &Manifest)],
        running: &[Deployment],
    ) -> Result<Vec<TargetError>, TargetError> {
        let strategy = &self.settings.spec.strategy;
        if strategy.kind != StrategyKind::Rolling {
            return Ok(Vec::new());
        }
        let mut budgets = there(connection)
            .await?
            .map(|there| there.budgets)
            .unwrap_or_default();
        let manifests = self.settings.spec.manifests.iter();
        for manifest in manifests.filter(|one| one.kind == KIND) {
            budgets.retain(|one| one.name != manifest.name);
            budgets.push(Budget::brought(manifest));
        }
        let replaced = replaced(deployments, running);
        let mut refused: Vec<TargetError> = replaced
            .iter()
            .filter_map(|one| {
                let twice = one.governed_twice(&budgets)?;
                Some(governed_twice(&one.service, &twice))
            })
            .collect();
        for budget in &budgets {
            let selected: Vec<Selected<'_>> = replaced.iter().map(|one| one.of(budget)).collect();
            if selected.iter().all(|one| one.old == 0) {
                continue;
            }
            let others = self.others_of(connection, budget, &replaced).await?;
            if let Some(blocked) = blocked(budget, &selected, others, strategy) {
                let what = format!("{}; nothing was changed", blocked.text(budget));
                let service = Some(blocked.service.as_str());
                refused.push(failed(code::NOT_ADMITTED, service, what, OTHER_BUDGET));
            }
        }
        Ok(refused)
    }

    /// Counts the pods of a budget that no wave replaces.
    async fn others_of(
        &self,
        connection: &Connection,
        budget: &Budget,
        replaced: &[Replaced],
    ) -> Result<Others, TargetError> {
        let Some(selector) = &budget.selector else {
            return Ok(Others::default());
        };
        let params = ListParams::default().labels_from(selector);
        let all = connection.all::<Pod>();
        let list = || all.list(&params);
        let listed = connection.ask("list pods", None, list).await?;
        let is_replaced = |pod: &Pod| {
            let service = labelled(&pod.metadata, names::SERVICE);
            let known = replaced
                .iter()
                .any(|one| Some(&one.service) == service.as_ref());
            known && self.names.are_ours(pod.metadata.labels.as_ref())
        };
        let mut others = Others::default();
        let alive = listed.items.iter().filter(|pod| !is_over(pod));
        for pod in alive.filter(|pod| !is_replaced(pod)) {
            others.pods += 1;
            others.ready += u32::from(is_ready(pod));
        }
        Ok(others)
    }
}

/// Returns the services whose pods are replaced.
fn replaced(deployments: &[(&str, &Manifest)], running: &[Deployment]) -> Vec<Replaced> {
    let replaced = deployments.iter().map(|(service, manifest)| {
        let labels = manifest.value.pointer("/spec/template/metadata/labels");
        let labels = labels.cloned().unwrap_or_default();
        let labels: Labels = serde_json::from_value(labels).unwrap_or_default();
        let mut replaced = Replaced {
            service: (*service).to_owned(),
            replicas: manifest.replicas(),
            new: (0, labels),
            old: Vec::new(),
        };
        let of_service = running
            .iter()
            .filter(|one| labelled(&one.metadata, names::SERVICE).as_deref() == Some(*service));
        for one in of_service {
            if one.name_any() == manifest.name {
                replaced.new.0 = asked_for(one);
            } else {
                replaced.old.push((asked_for(one), labels_of_pods(one)));
            }
        }
        replaced
    });
    replaced.collect()
}

/// The cluster takes no pod away by name that two budgets are of.
fn governed_twice(service: &str, budgets: &[&Budget]) -> TargetError {
    let names: Vec<&str> = budgets.iter().map(|one| one.name.as_str()).collect();
    let what = format!(
        "the PodDisruptionBudgets {} are of the same pods, and the cluster takes no pod away by name that two are of, as \
         the waves of a rolling update do; nothing was changed",
        names.join(" and ")
    );
    let next = "Have one of them select other pods, or write another `strategy.kind`: canary and blue-green take a \
                release away as a whole.";
    failed(code::NOT_ADMITTED, Some(service), what, next)
}

/// Returns whether a pod goes, or has ended.
fn is_over(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"))
}

fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    conditions.any(|one| one.type_ == "Ready" && one.status == "True")
}

#[cfg(test)]
mod tests;
