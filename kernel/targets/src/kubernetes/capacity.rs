//! What the cluster has, as its nodes say, less what pods are promised.

use code_deploy_engine::target::{Capacity, TargetError};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Api;
use kube::api::ListParams;

use super::KubernetesTarget;
use super::quota::AskedPod;
use crate::failure::{code, failed};

impl KubernetesTarget {
    /// Measures the cluster's processors and memory; disk is that of this machine, where records
    /// and data of runs are kept.
    pub(super) async fn measured(&self) -> Result<Capacity, TargetError> {
        let connection = self.cluster.connect().await?;
        let (nodes, pods): (Api<Node>, Api<Pod>) =
            (Api::all(connection.client()), Api::all(connection.client()));
        let params = ListParams::default();
        let list = || nodes.list(&params);
        let action = "list nodes, to measure the cluster";
        let nodes = connection.ask(action, None, list).await?;
        let list = || pods.list(&params);
        let action = "list the pods of all namespaces";
        let pods = connection.ask(action, None, list).await?;
        let data = self.settings.spec.data_folder();
        let here = crate::capacity::measure(&data).await.map_err(|error| {
            let what = format!("cannot measure this machine: {error}");
            let next = "Make /proc and the project's disk readable for this user.";
            failed(code::CAPACITY, None, what, next)
        })?;
        let usable = nodes.items.iter().filter(|node| takes_pods(node));
        let (mut processors, mut memory) = (0.0, 0.0);
        for node in usable {
            processors += allocatable(node, "cpu");
            memory += allocatable(node, "memory");
        }
        let live = || pods.items.iter().filter(|pod| !has_ended(pod));
        let promised: f64 = live().map(|pod| requested(pod, "cpu")).sum();
        let held: f64 = live().map(|pod| requested(pod, "memory")).sum();
        Ok(Capacity {
            host: connection.server.clone(),
            system: format!(
                "Kubernetes {}, namespace {}",
                connection.version, connection.namespace
            ),
            processors: processors.floor() as u32,
            processors_free: if processors > 0.0 {
                ((processors - promised) / processors).clamp(0.0, 1.0)
            } else {
                0.0
            },
            memory: memory as u64,
            memory_free: (memory - held).max(0.0) as u64,
            ..here
        })
    }
}

fn takes_pods(node: &Node) -> bool {
    let closed = node.spec.as_ref().and_then(|spec| spec.unschedulable);
    let conditions = node
        .status
        .iter()
        .flat_map(|one| one.conditions.iter().flatten());
    let ready = conditions
        .into_iter()
        .any(|one| one.type_ == "Ready" && one.status == "True");
    ready && closed != Some(true)
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn allocatable(node: &Node, what: &str) -> f64 {
    let amounts = node
        .status
        .as_ref()
        .and_then(|status| status.allocatable.as_ref());
    amounts
        .and_then(|amounts| amounts.get(what))
        .map_or(0.0, amount)
}

/// Returns what a pod is promised: also for sidecars, and beside its containers.
fn requested(pod: &Pod, what: &str) -> f64 {
    let asked = pod.spec.as_ref().map(|spec| AskedPod::of(spec, &[]));
    let requests = asked.map(|asked| asked.whole.requests);
    let amount = requests.and_then(|requests| requests.get(what).copied());
    amount.unwrap_or(0.0)
}

/// Returns an amount as a number: `250m` is 0.25, `64Mi` is 67108864. What is no amount is none.
pub fn amount(quantity: &Quantity) -> f64 {
    const UNITS: [(&str, f64); 14] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1.125_899_906_842_624e15),
        ("Ei", 1.152_921_504_606_847e18),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
    ];
    let text = quantity.0.trim();
    let unit = UNITS
        .iter()
        .find_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size)));
    let (number, size) = unit.unwrap_or((text, 1.0));
    number.parse::<f64>().map_or(0.0, |number| number * size)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_sidecar_is_promised_its_part_beside_the_others() {
        let cpu = |cpu: &str| json!({ "requests": { "cpu": cpu } });
        let pod = json!({ "spec": {
            "containers": [{ "name": "api", "resources": cpu("250m") }],
            "initContainers": [
                { "name": "proxy", "restartPolicy": "Always", "resources": cpu("500m") },
                { "name": "first", "resources": cpu("100m") },
            ],
        } });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert!((requested(&pod, "cpu") - 0.75).abs() < 1e-9);
        assert!(requested(&pod, "memory").abs() < 1e-9);
        assert!(requested(&Pod::default(), "cpu").abs() < 1e-9);
    }

    #[test]
    fn amounts_are_read_as_the_cluster_writes_them() {
        let read = |text: &str| amount(&Quantity(text.to_owned()));
        for (text, expected) in [
            ("2", 2.0),
            ("250m", 0.25),
            ("64Mi", 67_108_864.0),
            ("129e6", 129e6),
            ("1.5Gi", 1_610_612_736.0),
            ("12345678k", 12_345_678_000.0),
        ] {
            assert!(
                (read(text) - expected).abs() < 1e-6,
                "{text}: {}",
                read(text)
            );
        }
    }
}
