//! What the namespace has beside what a run makes, and what it stands on, for the record.
//!
//! Nothing of a run depends on it: what cannot be listed is said.

mod certificate;
mod rows;
mod rules;
mod tables;

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_engine::target::{Listing, TargetError, Topic};
use code_deploy_record::{Clock as _, SystemClock};
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, ObjectList};
use kube::{Api, ResourceExt as _};

use super::KubernetesTarget;
use super::cluster::{Connection, side_by_side};
use crate::failure::code;
pub use tables::Scope;
#[cfg(test)]
pub use tables::granted;
use tables::{Kind, TABLES, Table};

/// How many objects one answer holds.
const PAGE: u32 = 50;

/// How many objects of a kind are looked at.
const MOST: usize = 500;

/// How many objects that cannot be read are named.
const NAMED: usize = 5;

/// How long listing one kind may take: two rounds of them end within the time that the engine gives a look.
const LIMIT: Duration = Duration::from_secs(15);

/// The versions of each group that the cluster serves; nothing when it does not say.
type Groups = Option<BTreeMap<String, Vec<String>>>;

/// What was found of a table.
#[derive(Debug, Default)]
struct Found {
    rows: Vec<Vec<String>>,
    gaps: Vec<String>,
}

impl KubernetesTarget {
    /// Lists what the namespace has and the nodes that it stands on.
    ///
    /// # Errors
    /// Only when the cluster is not reached at all.
    pub(super) async fn listed(&self) -> Result<Vec<Listing>, TargetError> {
        let connection = self.cluster.connect().await?;
        let asked = tokio::time::timeout(LIMIT, groups_of(connection)).await;
        let groups = asked.ok().and_then(Result::ok);
        let listings: Vec<_> = TABLES
            .iter()
            .filter(|table| !table.is_beyond(groups.as_ref()))
            .map(|table| self.listing(connection, &groups, table))
            .collect();
        Ok(side_by_side(listings).await)
    }

    async fn listing(&self, connection: &Connection, groups: &Groups, table: &Table) -> Listing {
        let kinds: Vec<_> = table
            .kinds
            .iter()
            .map(|kind| found_in_time(connection, groups, kind))
            .collect();
        let mut found = Found::default();
        for of_kind in futures::future::join_all(kinds).await {
            found.rows.extend(of_kind.rows);
            found.gaps.extend(of_kind.gaps);
        }
        let summary = match table.topic {
            Topic::Shown => String::new(),
            Topic::Certificates => certificate::summary(&found.rows, SystemClock.now()),
            Topic::FirewallRules => {
                found.gaps.extend(rules::others(groups.as_ref()));
                rules::summary(found.rows.len(), &connection.namespace)
            }
        };
        let clean = |text: &String| self.settings.redactor.clean(text);
        let rows = found.rows.iter();
        Listing {
            topic: table.topic,
            title: table.title.to_owned(),
            columns: table.columns.iter().map(ToString::to_string).collect(),
            rows: rows.map(|row| row.iter().map(clean).collect()).collect(),
            summary: clean(&summary),
            gap: (!found.gaps.is_empty()).then(|| clean(&found.gaps.join("; "))),
        }
    }
}

async fn groups_of(connection: &Connection) -> Result<BTreeMap<String, Vec<String>>, TargetError> {
    let client = connection.client();
    let ask = || client.list_api_groups();
    let listed = connection.ask("ask which APIs there are", None, ask);
    let groups = listed.await?.groups.into_iter().map(|group| {
        let versions = group.versions.into_iter().map(|one| one.version);
        (group.name, versions.collect())
    });
    Ok(groups.collect())
}

/// Returns what there is of a kind, and in words what is missing of it.
async fn found_in_time(connection: &Connection, groups: &Groups, kind: &Kind) -> Found {
    let asked = tokio::time::timeout(LIMIT, found(connection, groups, kind));
    let gap = match asked.await {
        Ok(Ok(found)) => return found,
        Ok(Err(error)) if error.code == code::ACCESS => {
            format!("the account may not list {}", kind.plural)
        }
        Ok(Err(error)) => error.what,
        Err(_) => format!(
            "{} were not listed within {} s",
            kind.plural,
            LIMIT.as_secs()
        ),
    };
    Found {
        rows: Vec::new(),
        gaps: vec![gap],
    }
}

async fn found(
    connection: &Connection,
    groups: &Groups,
    kind: &Kind,
) -> Result<Found, TargetError> {
    for version in kind.versions_in(groups.as_ref()) {
        // A group may have a version that this kind is not of.
        if let Some(found) = found_as(connection, kind, version).await? {
            return Ok(found);
        }
    }
    let gap = format!(
        "the cluster has no version of {} that this program knows",
        kind.plural
    );
    Ok(Found {
        rows: Vec::new(),
        gaps: vec![gap],
    })
}

/// Returns what there is of a kind by that version of its API, if there is that.
async fn found_as(
    connection: &Connection,
    kind: &Kind,
    version: &str,
) -> Result<Option<Found>, TargetError> {
    let (mut found, mut unread, mut seen) = (Found::default(), Vec::new(), 0);
    let mut token = None;
    loop {
        let page = page(connection, kind, version, token.as_deref());
        let Some(page) = page.await? else {
            return Ok(None);
        };
        seen += page.items.len();
        for object in &page.items {
            match (kind.rows)(object) {
                Some(rows) => found.rows.extend(rows),
                None => unread.push(object.name_any()),
            }
        }
        token = page.metadata.continue_.filter(|token| !token.is_empty());
        if token.is_none() || seen >= MOST {
            break;
        }
    }
    if token.is_some() {
        let gap = format!("only the first {seen} {} are listed", kind.plural);
        found.gaps.push(gap);
    }
    found.gaps.extend(unreadable(kind, &unread));
    Ok(Some(found))
}

fn unreadable(kind: &Kind, names: &[String]) -> Option<String> {
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>();
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (plural, shown) = (kind.plural, shown.join(", "));
    (!names.is_empty()).then(|| format!("{plural} that could not be read: {shown}{more}"))
}

async fn page(
    connection: &Connection,
    kind: &Kind,
    version: &str,
    token: Option<&str>,
) -> Result<Option<ObjectList<DynamicObject>>, TargetError> {
    let gvk = GroupVersionKind::gvk(kind.group, version, kind.kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural);
    let (client, namespace) = (connection.client(), &connection.namespace);
    let all: Api<DynamicObject> = match kind.scope {
        Scope::Cluster => Api::all_with(client, &resource),
        Scope::Namespace => Api::namespaced_with(client, namespace, &resource),
    };
    let mut params = ListParams::default().limit(PAGE);
    params.continue_token = token.map(str::to_owned);
    params.field_selector = kind.fields.map(str::to_owned);
    let list = || async {
        match all.list(&params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            listed => listed.map(Some),
        }
    };
    let action = format!("list {}", kind.plural);
    connection.ask(&action, None, list).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn kind(plural: &str) -> &'static Kind {
        let mut kinds = TABLES.iter().flat_map(|table| table.kinds);
        kinds.find(|kind| kind.plural == plural).unwrap()
    }

    #[test]
    fn of_the_versions_that_a_cluster_has_the_newest_is_asked_first() {
        let groups = [
            ("policy", vec!["v1beta1"]),
            ("autoscaling", vec!["v1", "v2beta2", "v2beta1"]),
        ];
        let groups = groups.map(|(group, versions)| {
            let versions = versions.into_iter().map(str::to_owned);
            (group.to_owned(), versions.collect())
        });
        let groups = BTreeMap::from(groups);
        let asked = |plural| -> Vec<&str> { kind(plural).versions_in(Some(&groups)).collect() };
        assert_eq!(asked("poddisruptionbudgets"), ["v1beta1"]);
        assert_eq!(asked("horizontalpodautoscalers"), ["v2beta2", "v1"]);
        assert!(asked("ingresses").is_empty());
        // The core has no group that is listed.
        assert_eq!(asked("services"), ["v1"]);
        let unknown: Vec<&str> = kind("poddisruptionbudgets").versions_in(None).collect();
        assert_eq!(unknown, ["v1", "v1beta1"]);
    }

    #[test]
    fn what_cannot_be_read_is_named_up_to_a_number() {
        let names = |count: usize| -> Vec<String> { (0..count).map(|n| format!("s{n}")).collect() };
        let secrets = kind("secrets");
        assert_eq!(unreadable(secrets, &names(0)), None);
        assert_eq!(
            unreadable(secrets, &names(7)).unwrap(),
            "secrets that could not be read: s0, s1, s2, s3, s4 and 2 more"
        );
    }

    #[test]
    fn every_row_of_a_table_has_its_columns() {
        let empty: DynamicObject = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "one" }, "status": { "hard": { "pods": "1" } },
        }))
        .unwrap();
        for table in TABLES {
            for kind in table.kinds {
                for row in (kind.rows)(&empty).into_iter().flatten() {
                    assert_eq!(row.len(), table.columns.len(), "{}", kind.plural);
                }
            }
        }
    }
}
