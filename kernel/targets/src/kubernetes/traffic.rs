//! Whom the Services lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use code_deploy_engine::target::{Shares, TargetError};
use code_deploy_record::Release;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::KubernetesTarget;
use super::cluster::Connection;
use super::manifest::{self, Leads};
use super::names;
use super::store::{Known, count, shares};
use super::told::Told;
use crate::failure::{code, failed, transient};
use crate::lock::ChangeLock;

/// How long the endpoints of a Service may take to follow its selector.
const FOLLOWED: Duration = Duration::from_secs(60);

impl KubernetesTarget {
    /// Leads the Services to the releases that have shares, and returns when their endpoints are
    /// those pods. Nodes follow a while later (`settling.rs`). What cannot be done is refused before any
    /// is changed.
    ///
    /// A whole share is a matter of the Service's selector. A split is one of the number of pods: as
    /// many of each release are marked as give the shares, and the Service selects what is marked. Where
    /// users come through a Gateway, the shares are those of its route (`weights.rs`), and the Service follows
    /// as far as pods can give them.
    pub(super) async fn lead(&self, shares: &BTreeMap<String, Shares>) -> Result<(), TargetError> {
        let _change = ChangeLock::of(&self.root, "traffic", "traffic.lock").await?;
        let pods = self.pods().await?;
        let mut wanted = Vec::new();
        for (service, shares) in shares {
            let aim = match self.is_weighted(service) {
                true => Aim::beside_a_route(service, shares, &pods)?,
                false => Aim::of(service, shares, &pods)?,
            };
            wanted.push((service.as_str(), aim));
        }
        let split = shares.values().any(|shares| shares.len() > 1);
        // Whoever asks a Service is led back also where no controller follows.
        let late = match self.route_splits(shares).await {
            Err(error) if split => return Err(error),
            led => led,
        };
        self.carry_out(&wanted, &pods).await?;
        late?;
        self.route_wholes(shares).await?;
        for (service, shares) in shares {
            let shares = shares
                .iter()
                .map(|(release, percent)| format!("{release} {percent} %"));
            let note = format!("traffic goes to {}", shares.collect::<Vec<_>>().join(", "));
            self.tell(service, Told::Led, note).await;
        }
        Ok(())
    }

    async fn carry_out(&self, wanted: &[(&str, Aim)], pods: &[Known]) -> Result<(), TargetError> {
        let connection = self.cluster.connect().await?;
        for (service, _) in wanted {
            connection
                .ours::<Service>(&self.names, service, service)
                .await?;
        }
        // Noted also where this is cut off: whom it leads to is not known then.
        let note = |service: &str, aim: &Aim| {
            let is_marked = pods.iter().any(|pod| pod.service == service && pod.marked);
            let is_over = is_marked && !matches!(aim, Aim::Split(_));
            self.moves.now(service, is_over);
        };
        for (service, aim) in wanted {
            if let Aim::Split(counts) = aim {
                mark(connection, service, &chosen(service, counts, pods), pods).await?;
            }
            let declared = self.service(service)?;
            let manifest = manifest::stable(&self.names, declared, &aim.leads());
            let manifest = manifest.map_err(|what| self.cannot(service, &what))?;
            note(service, aim);
            connection.apply::<Service>(service, &manifest).await?;
            note(service, aim);
        }
        let waits: Vec<_> = wanted
            .iter()
            .map(|(service, aim)| self.followed(service, aim))
            .collect();
        let followed = futures::future::try_join_all(waits).await;
        for (service, aim) in wanted {
            note(service, aim);
        }
        followed.map(drop)
    }

    /// Leads the Service to no more than so many pods of a release, with the shares that it has,
    /// and returns the pods that it leads to where it led to some of the release: to no others any more, which nodes
    /// follow a while later. Shares that so many pods cannot give are refused before anything is changed.
    pub(super) async fn lead_to_fewer(
        &self,
        service: &str,
        release: &Release,
        replicas: u32,
    ) -> Result<Serving, TargetError> {
        let _change = ChangeLock::of(&self.root, "traffic", "traffic.lock").await?;
        let pods = self.pods().await?;
        let mut led = self.led(&[service.to_owned()]).await?;
        let mut led = led.remove(service).unwrap_or_default();
        led.retain(|name| pods.iter().any(|pod| pod.name == *name));
        let counts = count(&led, &pods);
        let mut serving = Serving::default();
        if counts.contains_key(release) {
            let aim = Aim::fewer(service, &counts, (release, replicas), &pods)?;
            if let Aim::Split(counts) = &aim {
                serving = Serving::of(service, counts.clone(), &pods);
            }
            if serving.pods != led {
                self.carry_out(&[(service, aim)], &pods).await?;
            }
        }
        Ok(serving)
    }

    /// Leads the Service to other ready pods in place of those of `serving` that are gone or not ready, and returns the
    /// pods that it leads to then. Nothing where all are well, where no other is ready, or where the Service was led
    /// elsewhere meanwhile.
    pub(super) async fn lead_past_ill(
        &self,
        service: &str,
        serving: &Serving,
        (release, replicas): (&Release, u32),
    ) -> Result<Option<Serving>, TargetError> {
        let _change = ChangeLock::of(&self.root, "traffic", "traffic.lock").await?;
        let connection = self.cluster.connect().await?;
        let pods = self.pods().await?;
        let Some(others) = serving.past_ill(service, (release, replicas), &pods) else {
            return Ok(None);
        };
        let found = connection.ours::<Service>(&self.names, service, service);
        match found.await?.as_ref().map(Leads::of) {
            Some(Leads::Split) => {
                let aim = Aim::Split(others.counts.clone());
                self.carry_out(&[(service, aim)], &pods).await?;
            }
            // It leads to whichever pod of the release is ready.
            Some(Leads::Release(whole)) if whole == *release => {}
            _ => return Ok(None),
        }
        Ok(Some(others))
    }

    /// Leads the Service to all pods of a release again, where it led to some of them and to no
    /// other release.
    pub(super) async fn lead_to_all(
        &self,
        service: &str,
        release: &Release,
    ) -> Result<(), TargetError> {
        let services = self.services(super::names::Part::Service).await?;
        let is_split = |one: &&Service| one.name_any() == service && Leads::of(one) == Leads::Split;
        if services.iter().find(is_split).is_none() {
            return Ok(());
        }
        let served = self.served(&services, &self.pods().await?).await?;
        let whole = Shares::from([(release.clone(), 100)]);
        if served.get(service) == Some(&whole) {
            self.lead(&BTreeMap::from([(service.to_owned(), whole)]))
                .await?;
        }
        Ok(())
    }

    /// Waits until a Service leads to the pods that it is to lead to and to no others.
    async fn followed(&self, service: &str, aim: &Aim) -> Result<(), TargetError> {
        let pods = self.pods().await?;
        let wanted = |led: &BTreeSet<String>| aim.holds(service, &count(led, &pods), &pods);
        let Some(last) = self.until_led(service, FOLLOWED, wanted).await? else {
            return Ok(());
        };
        let what = format!(
            "its Service does not lead to {} within {} s: it leads to {}",
            aim.text(),
            FOLLOWED.as_secs(),
            text(&count(&last, &pods))
        );
        let (connection, leading) = (self.cluster.connect().await?, self.leading().await?);
        let next = format!(
            "Look at it: `kubectl -n {} {}`.",
            connection.namespace,
            leading.shown(service)
        );
        Err(transient(code::NOT_SERVED, Some(service), what, next))
    }
}

/// The pods that a Service leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Serving {
    /// Their names.
    pub(super) pods: BTreeSet<String>,
    /// How many they are of each release.
    counts: BTreeMap<Release, u32>,
}

impl Serving {
    fn of(service: &str, counts: BTreeMap<Release, u32>, pods: &[Known]) -> Self {
        let chosen = chosen(service, &counts, pods);
        Self {
            pods: chosen,
            counts,
        }
    }

    /// Returns who is to serve in place of those that are gone or not ready, with the same shares; nothing where all are
    /// well or nobody can take a place.
    fn past_ill(
        &self,
        service: &str,
        (release, replicas): (&Release, u32),
        pods: &[Known],
    ) -> Option<Self> {
        let is_well = |name: &String| {
            let mut well = pods.iter().filter(|pod| pod.ready && !pod.ending);
            well.any(|pod| pod.name == *name)
        };
        if self.pods.iter().all(is_well) || ready_of(service, release, pods) == 0 {
            return None;
        }
        let aim = Aim::fewer(service, &self.counts, (release, replicas), pods);
        let Ok(Aim::Split(counts)) = aim else {
            return None;
        };
        let others = Self::of(service, counts, pods);
        (!others.pods.is_subset(&self.pods)).then_some(others)
    }
}

/// Whom a Service is to lead to.
#[derive(Debug, PartialEq, Eq)]
enum Aim {
    Nobody,
    Whole(Release),
    /// So many pods of each release.
    Split(BTreeMap<Release, u32>),
}

impl Aim {
    fn of(service: &str, shares: &Shares, pods: &[Known]) -> Result<Self, TargetError> {
        let mut some = shares.iter().filter(|(_, share)| **share > 0);
        match (some.next(), some.next(), some.next()) {
            (None, ..) => Ok(Self::Nobody),
            (Some((release, 100)), None, _) => {
                has_ready(service, release, pods)?;
                Ok(Self::Whole(release.clone()))
            }
            (Some((one, share)), Some((other, rest)), None) if share + rest == 100 => {
                let ready = |release| ready_of(service, release, pods);
                match by_pods(*share, ready(one), ready(other)) {
                    Some((of_one, of_other)) => Ok(Self::Split(BTreeMap::from([
                        (one.clone(), of_one),
                        (other.clone(), of_other),
                    ]))),
                    None => Err(no_split(service, shares, pods)),
                }
            }
            _ => Err(no_split(service, shares, pods)),
        }
    }

    /// Returns the aim of a Service whose route has those shares: the release with the most of them,
    /// where pods cannot give them.
    fn beside_a_route(service: &str, shares: &Shares, pods: &[Known]) -> Result<Self, TargetError> {
        let some = shares.iter().filter(|(_, share)| **share > 0);
        let whole = some.clone().map(|(_, share)| share).sum::<u16>() == 100;
        for (release, _) in some.clone() {
            has_ready(service, release, pods)?;
        }
        match (
            Self::of(service, shares, pods),
            some.max_by_key(|(_, share)| **share),
        ) {
            (Err(error), Some((most, _))) if whole && error.code == code::NO_SPLIT => {
                Ok(Self::Whole(most.clone()))
            }
            (aim, _) => aim,
        }
    }

    /// Returns the aim that leaves shares as they are with no more than so many pods of a release.
    fn fewer(
        service: &str,
        counts: &BTreeMap<Release, u32>,
        (release, replicas): (&Release, u32),
        pods: &[Known],
    ) -> Result<Self, TargetError> {
        let shares = shares(counts);
        let ready = ready_of(service, release, pods).min(replicas);
        let mut others = counts.keys().filter(|other| *other != release);
        let Some(other) = others.next() else {
            return Ok(Self::Split(BTreeMap::from([(release.clone(), ready)])));
        };
        let share = shares.get(release).copied().unwrap_or(0);
        let given = by_pods(share, ready, ready_of(service, other, pods));
        match (given, others.next()) {
            (Some((of_release, of_other)), None) => Ok(Self::Split(BTreeMap::from([
                (release.clone(), of_release),
                (other.clone(), of_other),
            ]))),
            _ => Err(no_split(service, &shares, pods)),
        }
    }

    fn leads(&self) -> Leads {
        match self {
            Self::Nobody => Leads::Nobody,
            Self::Whole(release) => Leads::Release(release.clone()),
            Self::Split(_) => Leads::Split,
        }
    }

    fn holds(&self, service: &str, counts: &BTreeMap<Release, u32>, pods: &[Known]) -> bool {
        match self {
            Self::Nobody => counts.is_empty(),
            Self::Split(wanted) => counts == wanted,
            Self::Whole(release) => {
                let count = counts.get(release).copied().unwrap_or(0);
                counts.len() == 1 && count > 0 && count >= ready_of(service, release, pods)
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Nobody => "nobody".to_owned(),
            Self::Whole(release) => format!("release {release}"),
            Self::Split(counts) => text(counts),
        }
    }
}

/// Returns how many of so many ready pods of two releases give the first one that share in
/// percent, rounded as shares are; of several such pairs the one with the most pods. Nothing where
/// no number of pods gives it.
pub fn by_pods(share: u16, one: u32, other: u32) -> Option<(u32, u32)> {
    let pairs = (1..=one).flat_map(|a| (1..=other).map(move |b| (a, b)));
    let gives = |&(a, b): &(u32, u32)| {
        let part = |count: u32| u64::from(count) * 100 / (u64::from(a) + u64::from(b));
        let of_one = if a > b { 100 - part(b) } else { part(a) };
        of_one == u64::from(share)
    };
    pairs.filter(gives).max_by_key(|(a, b)| a + b)
}

/// Returns the pods that get traffic: those that have it already first.
fn chosen(service: &str, counts: &BTreeMap<Release, u32>, pods: &[Known]) -> BTreeSet<String> {
    let of_each = counts.iter().flat_map(|(release, count)| {
        let mut ready: Vec<&Known> = pods
            .iter()
            .filter(|pod| is_ready_of(service, release, pod))
            .collect();
        ready.sort_by_key(|pod| (!pod.marked, pod.name.clone()));
        ready.into_iter().take(*count as usize)
    });
    of_each.map(|pod| pod.name.clone()).collect()
}

/// Returns the pods of a release to keep: those that get traffic, whatever one probe says of them, because the Service
/// leads to no others; then those that are ready, and of these first those that have run the longest.
pub(super) fn kept(
    service: &str,
    (release, replicas): (&Release, u32),
    serving: &BTreeSet<String>,
    pods: &[Known],
) -> BTreeSet<String> {
    let own = pods.iter().filter(|pod| pod.service == service);
    let own = own.filter(|pod| pod.release == *release && !pod.ending);
    let mut own: Vec<&Known> = own.collect();
    own.sort_by_key(|pod| (!serving.contains(&pod.name), !pod.ready, pod.started));
    let own = own.into_iter().take(replicas as usize);
    own.map(|pod| pod.name.clone()).collect()
}

/// Marks these pods of a service and no others. Pods come in before others go, so that there is
/// always somebody to answer. One that is gone meanwhile has no mark to take off.
pub(super) async fn mark(
    connection: &Connection,
    service: &str,
    chosen: &BTreeSet<String>,
    pods: &[Known],
) -> Result<(), TargetError> {
    let own = || pods.iter().filter(|pod| pod.service == service);
    let come = own().filter(|pod| !pod.marked && chosen.contains(&pod.name));
    let go = own().filter(|pod| pod.marked && !chosen.contains(&pod.name));
    let labelled = |value: Value| json!({ "metadata": { "labels": { names::SPLIT: value } } });
    let (marked, unmarked) = (labelled(json!(names::MARKED)), labelled(Value::Null));
    for pod in come {
        connection
            .change::<Pod>(service, &pod.name, &marked)
            .await?;
    }
    for pod in go {
        let name = &pod.name;
        connection
            .change_if_there::<Pod>(service, name, &unmarked)
            .await?;
    }
    Ok(())
}

fn no_split(service: &str, shares: &Shares, pods: &[Known]) -> TargetError {
    let shares: Vec<String> = shares
        .iter()
        .map(|(release, share)| {
            let ready = ready_of(service, release, pods);
            format!("{share} % for {release} with {ready} ready pods")
        })
        .collect();
    let what = format!(
        "a cluster splits traffic by the number of pods, which cannot give {}; nothing was changed",
        shares.join(", ")
    );
    let next = "Look whether all pods are ready. `code-deploy plan` names the shares that the \
                replicas can give.";
    failed(code::NO_SPLIT, Some(service), what, next)
}

fn is_ready_of(service: &str, release: &Release, pod: &Known) -> bool {
    pod.service == service && pod.release == *release && pod.ready && !pod.ending
}

fn ready_of(service: &str, release: &Release, pods: &[Known]) -> u32 {
    let own = pods.iter().filter(|pod| is_ready_of(service, release, pod));
    u32::try_from(own.count()).unwrap_or(u32::MAX)
}

fn has_ready(service: &str, release: &Release, pods: &[Known]) -> Result<(), TargetError> {
    if ready_of(service, release, pods) > 0 {
        return Ok(());
    }
    let what = format!("release {release} has no pod that is ready; traffic was not changed");
    let next = "Look at its pods (`kubectl describe pod`), and run again.";
    Err(transient(code::NOT_SERVED, Some(service), what, next))
}

fn text(counts: &BTreeMap<Release, u32>) -> String {
    let parts = counts
        .iter()
        .map(|(release, count)| format!("{count} of {release}"));
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() {
        "nobody".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn pod(name: &str, ready: bool) -> Known {
        Known {
            name: name.to_owned(),
            service: "api".to_owned(),
            release: "1.0.0".parse().unwrap(),
            address: None,
            started: chrono::DateTime::UNIX_EPOCH,
            running: true,
            ready,
            ending: false,
            restarts: 0,
            pause: Duration::ZERO,
            marked: ["a", "b"].contains(&name),
            end: None,
            disrupted: None,
            health: None,
        }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn who_is_led_to_is_kept_whatever_one_probe_says() {
        let release: Release = "1.0.0".parse().unwrap();
        let staying = |pods: &[Known]| kept("api", (&release, 2), &names(&["a", "b"]), pods);
        let well = [pod("c", true), pod("b", true), pod("a", true)];
        assert_eq!(staying(&well), names(&["a", "b"]));
        let ill = [pod("c", true), pod("a", false), pod("b", true)];
        assert_eq!(staying(&ill), names(&["a", "b"]));
        let gone = [pod("d", false), pod("c", true), pod("b", true)];
        assert_eq!(staying(&gone), names(&["b", "c"]));
    }

    #[test]
    fn a_ready_pod_takes_the_place_of_one_that_serves_no_more() {
        let release: Release = "1.0.0".parse().unwrap();
        let all = [pod("a", true), pod("b", true), pod("c", true)];
        let serving = |count: u32| {
            let counts = BTreeMap::from([(release.clone(), count)]);
            Serving::of("api", counts, &all)
        };
        let past = |count: u32, pods: &[Known]| {
            let past = serving(count).past_ill("api", (&release, count), pods);
            past.map(|others| others.pods)
        };
        assert_eq!(serving(2).pods, names(&["a", "b"]));
        assert_eq!(past(2, &all), None);
        let gone = [pod("b", true), pod("c", true)];
        assert_eq!(past(2, &gone), Some(names(&["b", "c"])));
        let ill = [pod("a", false), pod("c", true)];
        assert_eq!(past(1, &ill), Some(names(&["c"])));
        let nobody = [pod("a", false), pod("c", false)];
        assert_eq!(past(1, &nobody), None);
        let fewer = [pod("b", true), pod("c", false)];
        assert_eq!(past(2, &fewer), None);
    }

    #[test]
    fn shares_that_the_others_cannot_give_are_left_as_they_are() {
        let (release, other): (Release, Release) =
            ("1.0.0".parse().unwrap(), "1.1.0".parse().unwrap());
        let mut new = pod("n", true);
        new.release = other.clone();
        let counts = BTreeMap::from([(release.clone(), 1), (other, 1)]);
        let all = [pod("a", true), pod("c", true), new.clone()];
        let serving = Serving::of("api", counts, &all);
        assert_eq!(serving.pods, names(&["a", "n"]));
        let past = |pods: &[Known]| serving.past_ill("api", (&release, 1), pods);
        let others = past(&[pod("c", true), new.clone()]).unwrap();
        assert_eq!(others.pods, names(&["c", "n"]));
        new.ready = false;
        assert_eq!(past(&[pod("c", true), new]), None);
    }

    #[test]
    fn what_is_given_is_what_is_read_back() {
        let (one, other): (Release, Release) = ("1.1.0".parse().unwrap(), "1.0.0".parse().unwrap());
        for share in 1..100 {
            if let Some((a, b)) = by_pods(share, 7, 12) {
                let counts = BTreeMap::from([(one.clone(), a), (other.clone(), b)]);
                let read = super::super::store::shares(&counts);
                assert_eq!(read[&one], share, "{counts:?}");
            }
        }
    }

    #[test]
    fn a_share_is_given_by_as_many_pods_as_can_give_it() {
        assert_eq!(by_pods(33, 2, 2), Some((1, 2)));
        assert_eq!(by_pods(50, 2, 2), Some((2, 2)));
        assert_eq!(by_pods(67, 2, 2), Some((2, 1)));
        assert_eq!(by_pods(5, 2, 2), None);
        assert_eq!(by_pods(5, 19, 19), Some((1, 19)));
        assert_eq!(by_pods(25, 10, 10), Some((3, 9)));
        assert_eq!(by_pods(37, 5, 5), Some((3, 5)));
        assert_eq!(by_pods(50, 0, 2), None);
    }
}
