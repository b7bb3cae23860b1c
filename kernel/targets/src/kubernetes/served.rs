//! Which APIs the cluster serves, as it says itself
//! (<https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api>): no object is asked for by a version
//! that it does not have.

use std::collections::{BTreeMap, BTreeSet};

use code_deploy_engine::target::TargetError;

use super::cluster::{Connection, try_side_by_side};

/// A group of APIs with those of its versions that this program reads, the newest first.
pub type Read = (&'static str, &'static [&'static str]);

/// The versions of each group that a cluster serves.
pub type Groups = BTreeMap<String, Vec<String>>;

/// What a cluster serves, as far as it says.
#[derive(Debug, Default)]
pub struct Served {
    /// Nothing where it does not say.
    pub groups: Option<Groups>,
    /// What there is of each version of a group (`batch/v1`) that was asked about.
    pub resources: BTreeMap<String, BTreeSet<String>>,
}

impl Served {
    /// Asks which groups there are, and what there is of these versions of them. What the account may not ask is
    /// not known.
    ///
    /// # Errors
    /// What the cluster says.
    pub async fn of(connection: &Connection, read: &[Read]) -> Result<Self, TargetError> {
        let Some(groups) = groups(connection).await? else {
            return Ok(Self::default());
        };
        let mut served = Self {
            groups: Some(groups),
            ..Self::default()
        };
        let known = &served;
        let all = read.iter().flat_map(move |(group, versions)| {
            let there = versions.iter();
            let there = there.filter(move |version| known.has(group, version));
            there.map(move |version| path(group, version))
        });
        let all: BTreeSet<String> = all.collect();
        let asked: Vec<_> = all
            .into_iter()
            .map(|path| async {
                let found = resources(connection, &path).await?;
                Ok::<_, TargetError>((path, found))
            })
            .collect();
        for (path, found) in try_side_by_side(asked).await? {
            served.resources.extend(found.map(|found| (path, found)));
        }
        Ok(served)
    }

    /// Returns the versions by which a resource is to be asked for, the newest first: those in which the cluster
    /// serves it, or all that are read where it does not say.
    pub fn versions(&self, (group, versions): Read, resource: &str) -> Vec<&'static str> {
        let is_there = |version: &str| {
            let known = self.resources.get(&path(group, version));
            self.has(group, version) && known.is_none_or(|known| known.contains(resource))
        };
        let versions = versions.iter().copied();
        versions.filter(|version| is_there(version)).collect()
    }

    /// Returns whether there may be that version of a group. The core has no group, and is always there.
    fn has(&self, group: &str, version: &str) -> bool {
        let Some(groups) = self.groups.as_ref().filter(|_| !group.is_empty()) else {
            return true;
        };
        let served = groups.get(group);
        served.is_some_and(|served| served.iter().any(|one| one == version))
    }
}

/// Returns the newest version in which the cluster serves a resource to this account.
///
/// # Errors
/// What the cluster says.
pub async fn newest(
    connection: &Connection,
    (group, versions): Read,
    resource: &str,
) -> Result<Option<&'static str>, TargetError> {
    for version in versions {
        let found = resources(connection, &path(group, version)).await?;
        if found.is_some_and(|found| found.contains(resource)) {
            return Ok(Some(*version));
        }
    }
    Ok(None)
}

/// Returns where a version of a group is found. The core has no version that is asked about.
fn path(group: &str, version: &str) -> String {
    format!("{group}/{version}")
}

async fn groups(connection: &Connection) -> Result<Option<Groups>, TargetError> {
    let client = connection.client();
    let ask = || async { where_told(client.list_api_groups().await) };
    let listed = connection
        .ask("ask which APIs there are", None, ask)
        .await?;
    Ok(listed.map(|listed| {
        let groups = listed.groups.into_iter().map(|group| {
            let versions = group.versions.into_iter().map(|one| one.version);
            (group.name, versions.collect())
        });
        groups.collect()
    }))
}

/// Returns what there is of a version of a group; nothing where it is not there, or not for this account.
async fn resources(
    connection: &Connection,
    path: &str,
) -> Result<Option<BTreeSet<String>>, TargetError> {
    let client = connection.client();
    let ask = || async { where_told(client.list_api_group_resources(path).await) };
    let action = format!("ask what there is of {path}");
    let listed = connection.ask(&action, None, ask).await?;
    Ok(listed.map(|listed| {
        let resources = listed.resources.into_iter();
        resources.map(|one| one.name).collect()
    }))
}

/// What is not there, and what may not be asked, is not told.
fn where_told<T>(answer: kube::Result<T>) -> kube::Result<Option<T>> {
    match answer {
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(None),
        answer => answer.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORE: Read = ("", &["v1"]);
    const BEYOND: Read = ("gateway.networking.k8s.io", &["v1"]);
    const BATCH: Read = ("batch", &["v1", "v1beta1"]);
    const POLICY: Read = ("policy", &["v1", "v1beta1"]);

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    /// Returns what version 1.20 says of some groups.
    fn served() -> Served {
        let groups = [
            ("batch", words(&["v1", "v1beta1"])),
            ("policy", words(&["v1beta1"])),
        ];
        let resources = [
            ("batch/v1", words(&["jobs"])),
            ("batch/v1beta1", words(&["cronjobs"])),
        ];
        let named = |(name, all): (&str, Vec<String>)| (name.to_owned(), all);
        let resources = resources.map(named).into_iter();
        Served {
            groups: Some(groups.map(named).into()),
            resources: resources
                .map(|(path, all)| (path, all.into_iter().collect()))
                .collect(),
        }
    }

    #[test]
    fn a_resource_is_asked_for_by_versions_that_have_it() {
        let served = served();
        assert_eq!(served.versions(BATCH, "jobs"), ["v1"]);
        assert_eq!(served.versions(BATCH, "cronjobs"), ["v1beta1"]);
        // What there is of it was not said.
        assert_eq!(served.versions(POLICY, "poddisruptionbudgets"), ["v1beta1"]);
        assert!(served.versions(BEYOND, "httproutes").is_empty());
        // The core has no group that is listed.
        assert_eq!(served.versions(CORE, "services"), ["v1"]);
    }

    #[test]
    fn of_a_cluster_that_does_not_say_all_versions_are_tried() {
        let unknown = Served::default();
        assert_eq!(unknown.versions(BATCH, "cronjobs"), ["v1", "v1beta1"]);
    }
}
