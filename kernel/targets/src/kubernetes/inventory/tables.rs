//! The tables of the inventory: of which objects each is made.

use code_deploy_engine::target::Topic;
use kube::core::DynamicObject;

use super::{addresses, certificate, rows, rules};
use crate::kubernetes::served::{Read, Served};
use crate::kubernetes::{leading, route};

/// The rows of an object; nothing where it cannot be read.
type Rows = Option<Vec<Vec<String>>>;

/// Makes rows of those that objects gave.
type Sum = fn(Vec<Vec<String>>) -> Vec<Vec<String>>;

/// A table.
pub struct Table {
    pub title: &'static str,
    pub topic: Topic,
    /// What makes rows of what the objects tell, where several tell of one thing. Then only the first of the kinds is
    /// listed that the cluster has and the account may list.
    pub sum: Option<Sum>,
    pub columns: &'static [&'static str],
    pub kinds: &'static [Kind],
}

/// A kind of objects.
pub struct Kind {
    /// The group of its API, with the versions that are read.
    pub read: Read,
    pub kind: &'static str,
    pub plural: &'static str,
    pub scope: Scope,
    /// Which of them, by their fields.
    pub fields: Option<&'static str>,
    pub rows: fn(&DynamicObject) -> Rows,
}

/// Whether objects are those of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Namespace,
}

impl Table {
    /// Returns whether it lists what extends a cluster, and this one has no such extension.
    pub fn is_beyond(&self, served: &Served) -> bool {
        let groups = served.groups.as_ref();
        let missing = |group: &str| groups.is_some_and(|groups| !groups.contains_key(group));
        let mut groups = self.kinds.iter().map(|kind| kind.read.0);
        groups.all(|group| group == route::GROUP && missing(group))
    }
}

impl Kind {
    const fn of(
        read: Read,
        (kind, plural): (&'static str, &'static str),
        rows: fn(&DynamicObject) -> Rows,
    ) -> Self {
        Self {
            read,
            kind,
            plural,
            scope: Scope::Namespace,
            fields: None,
            rows,
        }
    }
}

const CORE: Read = ("", &["v1"]);
const APPS: Read = ("apps", &["v1"]);
const BATCH: Read = ("batch", &["v1", "v1beta1"]);
const NETWORKING: Read = ("networking.k8s.io", &["v1"]);
const GATEWAY: Read = route::READ;
const AUTOSCALING: Read = ("autoscaling", &["v2", "v2beta2", "v1"]);
const POLICY: Read = ("policy", &["v1", "v1beta1"]);
const STORAGE: Read = ("storage.k8s.io", &["v1"]);

/// All tables, in the order in which they are shown.
pub const TABLES: &[Table] = &[
    Table {
        title: "Nodes",
        topic: Topic::Shown,
        sum: None,
        columns: &[
            "Node",
            "Version",
            "Ready",
            "Processors for pods",
            "Memory for pods",
        ],
        kinds: &[Kind {
            scope: Scope::Cluster,
            ..Kind::of(CORE, ("Node", "nodes"), rows::node)
        }],
    },
    Table {
        title: "Workloads of the namespace",
        topic: Topic::Shown,
        sum: None,
        columns: &["Kind", "Name", "Ready", "Wanted", "Images", "Managed by"],
        kinds: &[
            Kind::of(APPS, ("Deployment", "deployments"), rows::deployment),
            Kind::of(APPS, ("StatefulSet", "statefulsets"), rows::stateful_set),
            Kind::of(APPS, ("DaemonSet", "daemonsets"), rows::daemon_set),
            Kind::of(BATCH, ("CronJob", "cronjobs"), rows::cron_job),
            Kind::of(BATCH, ("Job", "jobs"), rows::job),
        ],
    },
    Table {
        title: "Pods of the namespace",
        topic: Topic::Shown,
        sum: None,
        columns: &["Pod", "Node", "Ready", "Images as they run"],
        kinds: &[Kind::of(CORE, ("Pod", "pods"), rows::pod)],
    },
    Table {
        title: "Services of the namespace",
        topic: Topic::Shown,
        sum: None,
        columns: &["Service", "Type", "Address", "Ports", "Leads to pods with"],
        kinds: &[Kind::of(CORE, ("Service", "services"), rows::service)],
    },
    Table {
        title: "Addresses behind Services",
        topic: Topic::Shown,
        sum: Some(addresses::summed),
        columns: &["Service", "Ready addresses", "Not ready", "Ports"],
        kinds: &[
            Kind::of(
                leading::SLICES,
                ("EndpointSlice", leading::PLURAL),
                addresses::slice,
            ),
            Kind::of(CORE, ("Endpoints", "endpoints"), addresses::endpoints),
        ],
    },
    Table {
        title: "Ingresses",
        topic: Topic::Shown,
        sum: None,
        columns: &["Ingress", "Class", "Hosts", "Certificates from"],
        kinds: &[Kind::of(
            NETWORKING,
            ("Ingress", "ingresses"),
            rows::ingress,
        )],
    },
    Table {
        title: "HTTP routes of Gateways",
        topic: Topic::Shown,
        sum: None,
        columns: &["Route", "Hosts", "Gateways", "Leads to"],
        kinds: &[Kind::of(
            GATEWAY,
            ("HTTPRoute", route::PLURAL),
            rows::http_route,
        )],
    },
    Table {
        title: "Budgets of disruptions",
        topic: Topic::Shown,
        sum: None,
        columns: &["Budget", "Kept at least", "Missing at most", "May go now"],
        kinds: &[Kind::of(
            POLICY,
            ("PodDisruptionBudget", "poddisruptionbudgets"),
            rows::budget,
        )],
    },
    Table {
        title: "Autoscalers",
        topic: Topic::Shown,
        sum: None,
        columns: &["Autoscaler", "Scales", "At least", "At most", "Now"],
        kinds: &[Kind::of(
            AUTOSCALING,
            ("HorizontalPodAutoscaler", "horizontalpodautoscalers"),
            rows::autoscaler,
        )],
    },
    Table {
        title: "Quotas",
        topic: Topic::Shown,
        sum: None,
        columns: &["Quota", "Of", "Allowed", "Used"],
        kinds: &[Kind::of(
            CORE,
            ("ResourceQuota", "resourcequotas"),
            rows::quota,
        )],
    },
    Table {
        title: "Claims of volumes",
        topic: Topic::Shown,
        sum: None,
        columns: &["Claim", "Phase", "Asked for", "Class", "Volume"],
        kinds: &[Kind::of(
            CORE,
            ("PersistentVolumeClaim", "persistentvolumeclaims"),
            rows::claim,
        )],
    },
    Table {
        title: "Classes of storage",
        topic: Topic::Shown,
        sum: None,
        columns: &["Class", "Provisioner", "Default", "Released", "Bound"],
        kinds: &[Kind {
            scope: Scope::Cluster,
            ..Kind::of(
                STORAGE,
                ("StorageClass", "storageclasses"),
                rows::storage_class,
            )
        }],
    },
    Table {
        title: "Network policies",
        topic: Topic::FirewallRules,
        sum: None,
        columns: &["Policy", "Of pods", "Taken from", "Made to"],
        kinds: &[Kind::of(
            NETWORKING,
            ("NetworkPolicy", "networkpolicies"),
            rules::rows,
        )],
    },
    Table {
        title: "Certificates of the namespace",
        topic: Topic::Certificates,
        sum: None,
        columns: &["Secret", "Subject", "Issuer", "Expires"],
        kinds: &[Kind {
            fields: Some("type=kubernetes.io/tls"),
            ..Kind::of(CORE, ("Secret", "secrets"), certificate::rows)
        }],
    },
];

/// Returns the groups of all kinds that are listed, with the versions that are read; not the core, which has none.
pub fn read() -> Vec<Read> {
    let kinds = TABLES.iter().flat_map(|table| table.kinds);
    let read = kinds.map(|kind| kind.read);
    read.filter(|(group, _)| !group.is_empty()).collect()
}

/// Returns what the account may be granted for the tables, in the namespace or beyond: groups and resources.
#[cfg(test)]
pub fn granted(scope: Scope) -> Vec<(&'static str, &'static str)> {
    let kinds = TABLES.iter().flat_map(|table| table.kinds);
    kinds
        .filter(|kind| kind.scope == scope)
        .map(|kind| (kind.read.0, kind.plural))
        .collect()
}
