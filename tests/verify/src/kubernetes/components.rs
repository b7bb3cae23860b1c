//! The programs of a node, with their arguments.

use super::files::{
    API_CERTIFICATES, KUBELET, KUBELET_CERTIFICATE, KUBELET_KEY, SERVICE_ACCOUNTS, TOKENS, User,
};
use super::inside::Start;
use super::network::Range;
use super::{NODE, PAUSE};
use std::path::Path;

/// Where the node's Docker engine listens, as the node sees it.
const ENGINE: &str = "unix:///run/docker.sock";
/// Where etcd listens, within the node.
const ETCD: &str = "http://127.0.0.1:2379";
/// The port of the API server.
pub(super) const API_PORT: u16 = 6443;
/// The control group in which the engine puts containers.
pub(super) const CONTROL_GROUP: &str = "code-deploy-stage";

/// A node's programs as they are started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Components<'a> {
    /// The node's folder.
    pub(super) folder: &'a Path,
    /// The folder with the programs of Kubernetes.
    pub(super) programs: &'a Path,
    /// The node's addresses.
    pub(super) range: Range,
}

impl Components<'_> {
    /// Returns what needs nobody.
    pub(super) fn first(self) -> Vec<Start> {
        vec![self.etcd(), self.engine(), self.api_server()]
    }

    /// Returns what needs the API server.
    pub(super) fn second(self) -> Vec<Start> {
        vec![self.controllers(), self.scheduler(), self.proxy()]
    }

    fn etcd(self) -> Start {
        let flags = [
            ("data-dir", self.at("etcd")),
            ("listen-client-urls", ETCD.into()),
            ("advertise-client-urls", ETCD.into()),
            ("listen-peer-urls", "http://127.0.0.1:2380".into()),
            // Nothing of it outlives the verification, so nothing of it has to reach the disk.
            ("unsafe-no-fsync", "true".into()),
        ];
        self.start("etcd", &flags)
    }

    fn engine(self) -> Start {
        let flags = [
            ("config-file", self.at("engine.json")),
            ("data-root", self.at("docker")),
            ("host", ENGINE.into()),
            ("bip", self.range.bridge()),
            // What Services need the proxy sets; nothing goes beyond the link to the machine.
            ("iptables", "false".into()),
            ("ip-masq", "false".into()),
            ("cgroup-parent", format!("/{CONTROL_GROUP}")),
            ("exec-opt", "native.cgroupdriver=cgroupfs".into()),
            (
                "add-runtime",
                format!("stage={}", self.at(super::runtime::NAME)),
            ),
            ("default-runtime", "stage".into()),
            ("log-level", "warn".into()),
        ];
        let mut start = self.start("dockerd", &flags);
        start.program = "dockerd".into();
        start
    }

    fn api_server(self) -> Start {
        let flags = [
            ("etcd-servers", ETCD.into()),
            ("bind-address", "0.0.0.0".into()),
            ("secure-port", API_PORT.to_string()),
            ("advertise-address", self.range.node().to_string()),
            ("cert-dir", self.at(API_CERTIFICATES)),
            ("token-auth-file", self.at(TOKENS)),
            ("authorization-mode", "Node,RBAC".into()),
            ("enable-admission-plugins", "NodeRestriction".into()),
            ("allow-privileged", "true".into()),
            (
                "service-account-issuer",
                "https://kubernetes.default.svc".into(),
            ),
            ("service-account-key-file", self.at(SERVICE_ACCOUNTS)),
            (
                "service-account-signing-key-file",
                self.at(SERVICE_ACCOUNTS),
            ),
            ("service-cluster-ip-range", self.range.services()),
            // Nobody here knows the node by its name.
            ("kubelet-preferred-address-types", "InternalIP".into()),
            ("kubelet-client-certificate", self.at(KUBELET_CERTIFICATE)),
            ("kubelet-client-key", self.at(KUBELET_KEY)),
            ("profiling", "false".into()),
        ];
        self.start("kube-apiserver", &flags)
    }

    fn controllers(self) -> Start {
        let flags = [
            ("kubeconfig", self.kubeconfig(User::Controllers)),
            ("use-service-account-credentials", "true".into()),
            (
                "service-account-private-key-file",
                self.at(SERVICE_ACCOUNTS),
            ),
            (
                "root-ca-file",
                self.at(&format!("{API_CERTIFICATES}/apiserver.crt")),
            ),
            ("leader-elect", "false".into()),
            ("bind-address", "127.0.0.1".into()),
            ("cert-dir", self.at("controllers")),
            ("port", "0".into()),
            ("profiling", "false".into()),
        ];
        self.start("kube-controller-manager", &flags)
    }

    fn scheduler(self) -> Start {
        let flags = [
            ("kubeconfig", self.kubeconfig(User::Scheduler)),
            ("leader-elect", "false".into()),
            ("bind-address", "127.0.0.1".into()),
            ("cert-dir", self.at("scheduler")),
            ("port", "0".into()),
            ("profiling", "false".into()),
        ];
        self.start("kube-scheduler", &flags)
    }

    fn proxy(self) -> Start {
        let flags = [
            ("kubeconfig", self.kubeconfig(User::Proxy)),
            ("hostname-override", NODE.into()),
            ("proxy-mode", "iptables".into()),
            ("cluster-cidr", self.range.pods()),
            // A pod reaches one beside it through a Service also where bridges do not ask the firewall.
            ("masquerade-all", "true".into()),
            // These settings belong to the machine.
            ("conntrack-max-per-core", "0".into()),
            ("conntrack-tcp-timeout-established", "0".into()),
            ("conntrack-tcp-timeout-close-wait", "0".into()),
            ("oom-score-adj", "0".into()),
            ("healthz-bind-address", "127.0.0.1:10256".into()),
            ("metrics-bind-address", "127.0.0.1:10249".into()),
        ];
        self.start("kube-proxy", &flags)
    }

    /// Returns what needs the engine with the image of [`PAUSE`].
    pub(super) fn kubelet(self) -> Start {
        let flags = [
            ("kubeconfig", self.kubeconfig(User::Node)),
            ("config", self.at(KUBELET)),
            ("hostname-override", NODE.into()),
            ("node-ip", self.range.node().to_string()),
            ("root-dir", self.at("kubelet")),
            ("cert-dir", self.at("kubelet-certificates")),
            ("volume-plugin-dir", self.at("plugins")),
            (
                "experimental-dockershim-root-directory",
                self.at("dockershim"),
            ),
            ("container-runtime", "docker".into()),
            ("network-plugin", String::new()),
            ("pod-infra-container-image", PAUSE.into()),
            // Figures of containers are read by nobody here.
            ("housekeeping-interval", "60s".into()),
        ];
        self.start("kubelet", &flags)
    }

    fn start(self, name: &str, flags: &[(&str, String)]) -> Start {
        let args = flags
            .iter()
            .map(|(flag, value)| format!("--{flag}={value}"));
        Start {
            name: name.to_owned(),
            program: self.programs.join(name),
            args: args.collect(),
        }
    }

    fn at(self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn kubeconfig(self, user: User) -> String {
        self.at(&user.kubeconfig())
    }
}
