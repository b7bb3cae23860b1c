//! What the namespace has beside what a run makes, and what it stands on, for the record.
//!
//! Nothing of a run depends on it: what cannot be listed is said.

mod addresses;
mod certificate;
mod rows;
mod rules;
mod tables;

use std::time::Duration;

use code_deploy_engine::target::{Listing, TargetError, Topic};
use code_deploy_record::{Clock as _, SystemClock};
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, ObjectList};
use kube::{Api, ResourceExt as _};

use super::KubernetesTarget;
use super::cluster::{Connection, side_by_side};
use super::served::Served;
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
        let read = tables::read();
        let asked = tokio::time::timeout(LIMIT, Served::of(connection, &read)).await;
        let served = asked.ok().and_then(Result::ok).unwrap_or_default();
        let listings: Vec<_> = TABLES
            .iter()
            .filter(|table| !table.is_beyond(&served))
            .map(|table| self.listing(connection, &served, table))
            .collect();
        Ok(side_by_side(listings).await)
    }

    async fn listing(&self, connection: &Connection, served: &Served, table: &Table) -> Listing {
        let kinds: Vec<&[Kind]> = match table.sum {
            Some(_) => vec![table.kinds],
            None => table.kinds.iter().map(std::slice::from_ref).collect(),
        };
        let asked: Vec<_> = kinds
            .into_iter()
            .map(|kinds| found_in_time(connection, served, kinds))
            .collect();
        let mut found = Found::default();
        for of_kinds in futures::future::join_all(asked).await {
            found.rows.extend(of_kinds.rows);
            found.gaps.extend(of_kinds.gaps);
        }
        if let Some(sum) = table.sum {
            found.rows = sum(found.rows);
        }
        let summary = match table.topic {
            Topic::Shown => String::new(),
            Topic::Certificates => certificate::summary(&found.rows, SystemClock.now()),
            Topic::FirewallRules => {
                found.gaps.extend(rules::others(served.groups.as_ref()));
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

/// Returns what there is of the first of these kinds that there is, and in words what is missing of it.
async fn found_in_time(connection: &Connection, served: &Served, kinds: &[Kind]) -> Found {
    let plural = kinds.first().map_or("", |kind| kind.plural);
    let asked = tokio::time::timeout(LIMIT, found(connection, served, kinds));
    let gap = match asked.await {
        Ok(Ok(Some(found))) => return found,
        Ok(Ok(None)) => {
            format!("the cluster has no version of {plural} that this program knows")
        }
        Ok(Err(error)) if error.code == code::ACCESS => {
            format!("the account may not list {plural}")
        }
        Ok(Err(error)) => error.what,
        Err(_) => format!("{plural} were not listed within {} s", LIMIT.as_secs()),
    };
    Found {
        rows: Vec::new(),
        gaps: vec![gap],
    }
}

/// Returns what there is of the first of these kinds that the cluster has and the account may list.
async fn found(
    connection: &Connection,
    served: &Served,
    kinds: &[Kind],
) -> Result<Option<Found>, TargetError> {
    let mut refused = None;
    for kind in kinds {
        match found_of(connection, served, kind).await {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(error) if error.code == code::ACCESS => refused = refused.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    refused.map_or(Ok(None), Err)
}

async fn found_of(
    connection: &Connection,
    served: &Served,
    kind: &Kind,
) -> Result<Option<Found>, TargetError> {
    for version in served.versions(kind.read, kind.plural) {
        // Where the cluster does not say which it serves, only asking tells.
        if let Some(found) = found_as(connection, kind, version).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
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
    let gvk = GroupVersionKind::gvk(kind.read.0, version, kind.kind);
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
    fn a_table_of_an_extension_is_left_out_where_the_cluster_has_none() {
        let routes = TABLES
            .iter()
            .find(|table| table.kinds[0].plural == "httproutes");
        let routes = routes.unwrap();
        assert!(!routes.is_beyond(&Served::default()));
        let groups = |names: &[&str]| {
            let groups = names.iter().map(|name| ((*name).to_owned(), Vec::new()));
            Served {
                groups: Some(groups.collect()),
                ..Served::default()
            }
        };
        assert!(routes.is_beyond(&groups(&["apps"])));
        assert!(!routes.is_beyond(&groups(&["apps", "gateway.networking.k8s.io"])));
        let others = TABLES.iter().filter(|table| table.title != routes.title);
        for table in others {
            assert!(!table.is_beyond(&groups(&[])), "{}", table.title);
        }
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
                let told = (kind.rows)(&empty).into_iter().flatten().collect();
                let rows = match table.sum {
                    Some(sum) => sum(told),
                    None => told,
                };
                for row in rows {
                    assert_eq!(row.len(), table.columns.len(), "{}", kind.plural);
                }
            }
        }
    }
}
