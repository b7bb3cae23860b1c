//! What is refused before a run begins, because only a person can settle it.

use std::collections::BTreeMap;

use code_deploy_engine::target::{Heading, TargetError, Wanted};
use code_deploy_record::{InvalidId, Release};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::ListParams;
use kube::core::ApiResource;

use super::KubernetesTarget;
use super::brought::Brought;
use super::changes::Answer;
use super::cluster::{Connection, try_side_by_side};
use super::hidden::Kind;
use super::manifest::Manifest;
use super::names::selecting;
use super::objects::Tried;
use super::quota::{self, Adding};
use super::{overlay, route};
use crate::failure::{code, failed};

/// Stands in what is tried out where a run names itself: nothing of it stays.
const NO_RUN: &str = "before-the-run";

/// What an object is.
#[derive(Debug, Clone, Copy)]
enum What {
    Deployment,
    Service,
    Route,
    Hidden(Kind),
}

impl What {
    /// Returns how it is asked for; nothing for routes, of which the cluster says in which version it has them.
    fn resource(self) -> Option<ApiResource> {
        match self {
            Self::Deployment => Some(ApiResource::erase::<Deployment>(&())),
            Self::Service => Some(ApiResource::erase::<Service>(&())),
            Self::Hidden(Kind::Secret) => Some(ApiResource::erase::<Secret>(&())),
            Self::Hidden(Kind::Config) => Some(ApiResource::erase::<ConfigMap>(&())),
            Self::Route => None,
        }
    }
}

/// What came of having the cluster go through all that a run states.
pub(super) struct TriedAll {
    stated: Vec<Stated>,
    /// What it makes of the objects that it takes.
    pub answers: Vec<Answer>,
    /// Why it does not take the others.
    pub refused: Vec<TargetError>,
}

/// An object that a run states.
struct Stated {
    service: String,
    what: What,
    manifest: Manifest,
}

impl KubernetesTarget {
    /// Refuses names that others have, and all that the cluster would refuse of what a run states.
    ///
    /// Each object is applied as a dry run, as it would be applied in earnest: the cluster takes it through its
    /// schema, its admission policies and its quotas of objects, each by itself. It judges pods only later. What its
    /// quotas and limit ranges leave for all pods and all objects together is counted here (`quota.rs`).
    ///
    /// # Errors
    /// All that is refused, as one: `CD0539`, also for budgets, `CD0536` for quotas, `CD0533` for fields of others and
    /// for autoscalers, `CD0526` for names; what the cluster says.
    pub(super) async fn admits(
        &self,
        release: &Release,
        replicas: &BTreeMap<String, u32>,
        heading: Heading,
    ) -> Result<(), TargetError> {
        let connection = self.cluster.connect().await?;
        let mut tried = self.try_all(connection, release, replicas).await?;
        let by_place = self.refused_by_place(connection, &tried.stated, heading);
        tried.refused.extend(by_place.await?);
        match as_one(tried.refused) {
            Some(error) => Err(error),
            None => {
                self.answers.keep(release, replicas, tried.answers);
                Ok(())
            }
        }
    }

    /// Has the cluster go through all that a run states, without keeping anything.
    ///
    /// # Errors
    /// What cannot be stated; what the cluster says.
    pub(super) async fn try_all(
        &self,
        connection: &Connection,
        release: &Release,
        replicas: &BTreeMap<String, u32>,
    ) -> Result<TriedAll, TargetError> {
        let made: Vec<_> = replicas
            .iter()
            .map(|(service, count)| self.stated_for(connection, service, release, *count))
            .collect();
        let stated = try_side_by_side(made).await?;
        let stated: Vec<Stated> = stated.into_iter().flatten().collect();
        let (mut answers, mut refused) = self.try_brought(connection, &stated).await?;
        let tried: Vec<_> = stated
            .iter()
            .map(|one| judged(self.tried_out(connection, one)))
            .collect();
        for tried in try_side_by_side(tried).await? {
            match tried {
                Ok(answer) => answers.push(answer),
                Err(error) => refused.push(error),
            }
        }
        Ok(TriedAll {
            stated,
            answers,
            refused,
        })
    }

    /// Returns what of the namespace stands in the way of a run: quotas, limit ranges, autoscalers, budgets of
    /// disruptions. An autoscaler keeps nobody from going back: it is noted then. Going back takes no pod away by name.
    async fn refused_by_place(
        &self,
        connection: &Connection,
        stated: &[Stated],
        heading: Heading,
    ) -> Result<Vec<TargetError>, TargetError> {
        let deployments = stated
            .iter()
            .filter(|one| matches!(one.what, What::Deployment));
        let deployments: Vec<(&str, &Manifest)> = deployments
            .map(|one| (one.service.as_str(), &one.manifest))
            .collect();
        let running = self.running_deployments(connection).await?;
        let adding = Adding {
            deployments: deployments.clone(),
            objects: self.all_stated(stated).await?,
        };
        let refused = self.refused_by_quotas(connection, &adding, &running, heading);
        let mut refused = refused.await?;
        let scaled = self.refused_scalers(connection, &deployments, &running);
        let scaled = scaled.await?;
        match heading {
            Heading::Forward => {
                let kept = self.refused_by_budgets(connection, &deployments, &running);
                refused.extend(kept.await?);
                refused.extend(scaled);
            }
            Heading::Back => {
                for scaler in scaled {
                    tracing::warn!(%scaler, "an autoscaler keeps nobody from going back");
                }
            }
        }
        Ok(refused)
    }

    /// Returns all objects that a run states, those of the user's own manifests, too.
    async fn all_stated<'a>(
        &'a self,
        stated: &'a [Stated],
    ) -> Result<Vec<quota::Counted<'a>>, TargetError> {
        let mut all = Vec::new();
        for one in stated {
            let resource = match one.what.resource() {
                Some(resource) => resource,
                None => {
                    let version = self.needed_routes().await?.version;
                    route::resource(version, "HTTPRoute", route::PLURAL)
                }
            };
            let manifest = &one.manifest;
            all.push(quota::Counted { resource, manifest });
        }
        let brought = self.brought().await?.iter();
        all.extend(brought.map(|one| quota::Counted {
            resource: one.resource.clone(),
            manifest: &one.manifest,
        }));
        Ok(all)
    }

    /// Returns the Deployments of all releases that are there.
    async fn running_deployments(
        &self,
        connection: &Connection,
    ) -> Result<Vec<Deployment>, TargetError> {
        let params = ListParams::default().labels(&selecting(&self.names.everything()));
        let all = connection.all::<Deployment>();
        let list = || all.list(&params);
        let listed = connection.ask("list deployments", None, list).await?;
        Ok(listed.items)
    }

    /// Has the cluster go through what the user's own manifests bring; returns what it makes of that, and why it would
    /// not take it.
    async fn try_brought(
        &self,
        connection: &Connection,
        stated: &[Stated],
    ) -> Result<(Vec<Answer>, Vec<TargetError>), TargetError> {
        let brought = self.brought().await?;
        let taken = brought.iter().filter_map(|one| taken(one, stated));
        let (mut answers, mut refused) = (Vec::new(), taken.collect::<Vec<TargetError>>());
        let tried: Vec<_> = brought
            .iter()
            .map(|one| judged(self.brought_tried_out(connection, one)))
            .collect();
        for tried in try_side_by_side(tried).await? {
            match tried {
                Ok(answer) => answers.push(answer),
                Err(error) => refused.push(error),
            }
        }
        Ok((answers, refused))
    }

    /// Returns what a run states for a service, of which nothing is changed yet.
    async fn stated_for(
        &self,
        connection: &Connection,
        service: &str,
        release: &Release,
        replicas: u32,
    ) -> Result<Vec<Stated>, TargetError> {
        let run = NO_RUN.parse();
        let wanted = Wanted {
            run: run.map_err(|error: InvalidId| self.cannot(service, &error.to_string()))?,
            service: service.to_owned(),
            release: release.clone(),
            replicas,
            start_limit: self.settings.spec.strategy.health.deadline.get(),
        };
        let stable = self.stable_of(connection, self.service(service)?).await?;
        let prepared = self.prepare(connection, &wanted).await?;
        let hidden = prepared.hidden.into_iter();
        let hidden = hidden.map(|(kind, manifest)| (What::Hidden(kind), manifest));
        let mut own = vec![
            (What::Service, stable),
            (What::Service, prepared.manifests.way),
            (What::Deployment, prepared.manifests.deployment),
        ];
        if self.route_is_wanted(service) {
            let routes = self.needed_routes().await?;
            let leads = self.leads_now(&routes, service).await?;
            let route = self.route_manifest(&routes, service, &leads)?;
            own.push((What::Route, route));
        }
        let stated = own
            .into_iter()
            .chain(hidden)
            .map(|(what, manifest)| Stated {
                service: service.to_owned(),
                what,
                manifest,
            });
        Ok(stated.collect())
    }

    /// Has the cluster go through an object.
    ///
    /// # Errors
    /// Why the cluster would not take it.
    async fn tried_out(
        &self,
        connection: &Connection,
        one: &Stated,
    ) -> Result<Answer, TargetError> {
        let (service, spec) = (one.service.as_str(), &self.settings.spec);
        let is_deployment = matches!(one.what, What::Deployment);
        let over = overlay::of(spec, service).filter(|_| is_deployment);
        let tried = Tried {
            manifest: &one.manifest,
            hides: matches!(one.what, What::Hidden(_)),
            origin: over,
        };
        let answer = match one.what.resource() {
            None => self.route_tried_out(service, tried).await,
            Some(resource) => {
                let objects = connection.described(&resource);
                let object = objects.try_out(Some(service), tried).await;
                object.map(|object| Answer::new(Some(service), resource, tried, object.as_ref()))
            }
        };
        answer.map_err(|mut error| {
            error.what = self.settings.redactor.clean(&error.what);
            error
        })
    }
}

/// Returns what the cluster says of an object that it was asked about. That it could not be asked says nothing of any:
/// nobody waits for the others then.
async fn judged(
    tried: impl Future<Output = Result<Answer, TargetError>>,
) -> Result<Result<Answer, TargetError>, TargetError> {
    match tried.await {
        Err(error) if error.transient => Err(error),
        judged => Ok(judged),
    }
}

/// Returns why an object of the user's manifests would be one of a release, if it would.
fn taken(one: &Brought, stated: &[Stated]) -> Option<TargetError> {
    let kind = &one.manifest.value["kind"];
    let same = |other: &&Stated| {
        other.manifest.name == one.manifest.name && other.manifest.value["kind"] == *kind
    };
    let other = stated.iter().find(same)?;
    let what = format!(
        "{}: a run makes the {} of that name for {}; nothing was changed",
        one.origin.place(),
        one.origin.title(),
        other.service
    );
    let next = "Give the object in the manifest another name.";
    Some(failed(code::NAME_TAKEN, None, what, next))
}

/// Returns several refusals as one, so that all is mended at once. When some could not be asked for, that is what
/// there is to say: it says nothing of the manifests.
pub(super) fn as_one(mut refused: Vec<TargetError>) -> Option<TargetError> {
    if let Some(unasked) = refused.iter().position(|error| error.transient) {
        return Some(refused.swap_remove(unasked));
    }
    let mut others = refused.into_iter();
    let mut first = others.next()?;
    for other in others {
        first.what.push_str(&format!("\n{other}"));
        if !first.next.contains(&other.next) {
            first.next.push_str(&format!(" {}", other.next));
        }
    }
    Some(first)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::failure::transient;

    #[test]
    fn all_that_is_refused_is_told_at_once() {
        let refused = |service, what, next| failed(code::NOT_ADMITTED, Some(service), what, next);
        let one = as_one(vec![
            refused("api", "the first", "Mend it."),
            refused("web", "the second", "Mend it."),
            refused("web", "the third", "Ask."),
        ])
        .unwrap();
        assert_eq!(
            one.to_string(),
            "api: the first\nweb: the second\nweb: the third"
        );
        assert_eq!(one.next, "Mend it. Ask.");
        assert!(as_one(Vec::new()).is_none());
    }

    #[test]
    fn a_cluster_that_could_not_be_asked_has_refused_nothing() {
        let one = as_one(vec![
            failed(code::NOT_ADMITTED, Some("api"), "the first", ""),
            transient(code::CLUSTER, Some("web"), "no answer", ""),
        ]);
        assert_eq!(one.unwrap().code, code::CLUSTER);
    }
}
