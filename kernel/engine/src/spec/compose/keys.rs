//! What becomes of each key of a Compose service.

use code_deploy_record::Severity;

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is honoured, or says nothing that a deployment has to honour.
    Honoured,
    /// Some targets honour it; the local one does not.
    NotLocal(Severity, &'static str),
    /// No target honours it; it is shown.
    Nowhere(&'static str),
    /// It would change what is deployed without being seen: refused.
    Refused(&'static str),
}

use Fate::{Honoured, NotLocal, Nowhere, Refused};
use Severity::{Critical, High, Info, Low, Medium};

const HARDENING: &str =
    "a process of this machine runs as the user who deploys, without this restriction";
const NAMES: &str = "a process of this machine resolves names as the machine does";
const RIGHTS: &str = "a process of this machine cannot be given rights of a container";
const AMOUNTS: &str = "it is not enforced for a process of this machine";

/// Every key of a service that the Compose specification knows.
pub(super) const KEYS: &[(&str, Fate)] = &[
    ("annotations", Honoured),
    ("attach", Honoured),
    ("blkio_config", NotLocal(Medium, AMOUNTS)),
    (
        "build",
        NotLocal(
            Info,
            "`process.command` is run instead; `build` of deploy.yaml builds it",
        ),
    ),
    ("cap_add", NotLocal(Critical, RIGHTS)),
    ("cap_drop", NotLocal(Medium, HARDENING)),
    ("cgroup", NotLocal(Critical, RIGHTS)),
    ("cgroup_parent", NotLocal(Medium, AMOUNTS)),
    (
        "command",
        NotLocal(Info, "`process.command` is run instead"),
    ),
    (
        "configs",
        NotLocal(
            High,
            "it is not mounted; give the service its path in `process.environment`",
        ),
    ),
    ("container_name", NotLocal(Info, "there is no container")),
    ("cpu_count", NotLocal(Medium, AMOUNTS)),
    ("cpu_percent", NotLocal(Medium, AMOUNTS)),
    ("cpu_period", NotLocal(Medium, AMOUNTS)),
    ("cpu_quota", NotLocal(Medium, AMOUNTS)),
    ("cpu_rt_period", NotLocal(Medium, AMOUNTS)),
    ("cpu_rt_runtime", NotLocal(Medium, AMOUNTS)),
    ("cpu_shares", NotLocal(Medium, AMOUNTS)),
    ("cpus", NotLocal(Medium, AMOUNTS)),
    ("cpuset", NotLocal(Medium, AMOUNTS)),
    (
        "credential_spec",
        Nowhere("credential specifications of Windows are not supported"),
    ),
    ("depends_on", Honoured),
    ("deploy", Honoured),
    ("develop", Honoured),
    ("device_cgroup_rules", NotLocal(Critical, RIGHTS)),
    ("devices", NotLocal(Critical, RIGHTS)),
    ("dns", NotLocal(Medium, NAMES)),
    ("dns_opt", NotLocal(Medium, NAMES)),
    ("dns_search", NotLocal(Medium, NAMES)),
    ("domainname", NotLocal(Low, NAMES)),
    (
        "driver_opts",
        Nowhere("options of network drivers are not passed on"),
    ),
    (
        "entrypoint",
        NotLocal(Info, "`process.command` is run instead"),
    ),
    ("env_file", Honoured),
    ("environment", Honoured),
    ("expose", Honoured),
    (
        "extends",
        Refused("settings of another service or file would be left out"),
    ),
    (
        "external_links",
        Nowhere("services are reached by their own addresses"),
    ),
    ("extra_hosts", NotLocal(Medium, NAMES)),
    ("gpus", NotLocal(Critical, RIGHTS)),
    ("group_add", NotLocal(Medium, HARDENING)),
    (
        "healthcheck",
        NotLocal(
            Low,
            "its test command is not run; the `probes` of deploy.yaml are asked",
        ),
    ),
    ("hostname", NotLocal(Low, NAMES)),
    (
        "image",
        NotLocal(Info, "`process.command` is run instead of the image"),
    ),
    ("init", NotLocal(Low, "there is no container")),
    ("ipc", NotLocal(Critical, RIGHTS)),
    (
        "isolation",
        Nowhere("isolation technologies of Windows are not supported"),
    ),
    ("label_file", Nowhere("labels are read from `labels` only")),
    ("labels", Honoured),
    (
        "links",
        Nowhere("services are reached by their own addresses"),
    ),
    ("logging", NotLocal(Low, "logs go to files of the run")),
    ("mac_address", NotLocal(Medium, NAMES)),
    ("mem_limit", NotLocal(Medium, AMOUNTS)),
    ("mem_reservation", NotLocal(Low, AMOUNTS)),
    ("mem_swappiness", NotLocal(Low, AMOUNTS)),
    ("memswap_limit", NotLocal(Low, AMOUNTS)),
    (
        "models",
        Refused("the service would run without the models it asks for"),
    ),
    (
        "network_mode",
        NotLocal(
            Critical,
            "processes of this machine share its network already, \
      without the separation that the mode promises or gives up",
        ),
    ),
    (
        "networks",
        NotLocal(Low, "all services are reached at 127.0.0.1"),
    ),
    ("oom_kill_disable", NotLocal(Low, AMOUNTS)),
    ("oom_score_adj", NotLocal(Low, AMOUNTS)),
    ("pid", NotLocal(Critical, RIGHTS)),
    ("pids_limit", NotLocal(Medium, AMOUNTS)),
    (
        "platform",
        NotLocal(Info, "the program runs on this machine's platform"),
    ),
    ("ports", Honoured),
    (
        "post_start",
        Refused("the commands after the start would not be run"),
    ),
    (
        "pre_stop",
        Refused("the commands before the stop would not be run"),
    ),
    ("privileged", NotLocal(Critical, RIGHTS)),
    ("profiles", Honoured),
    (
        "provider",
        Refused("the service is not run by a provider of its own"),
    ),
    ("pull_policy", NotLocal(Info, "nothing is pulled")),
    ("read_only", NotLocal(Medium, HARDENING)),
    ("restart", Honoured),
    ("runtime", NotLocal(Critical, RIGHTS)),
    ("scale", Honoured),
    (
        "secrets",
        NotLocal(High, "it is not mounted; name it under `process.secrets`"),
    ),
    ("security_opt", NotLocal(Medium, HARDENING)),
    ("shm_size", NotLocal(Low, AMOUNTS)),
    ("stdin_open", NotLocal(Low, "the process gets no input")),
    ("stop_grace_period", Honoured),
    (
        "stop_signal",
        NotLocal(Medium, "processes are ended by SIGTERM"),
    ),
    ("storage_opt", NotLocal(Low, AMOUNTS)),
    ("sysctls", NotLocal(Medium, HARDENING)),
    ("tmpfs", NotLocal(Medium, "it is not mounted")),
    ("tty", NotLocal(Low, "the process gets no terminal")),
    ("ulimits", NotLocal(Medium, HARDENING)),
    ("use_api_socket", NotLocal(Critical, RIGHTS)),
    ("user", NotLocal(Medium, HARDENING)),
    ("userns_mode", NotLocal(Critical, RIGHTS)),
    ("uts", NotLocal(Critical, RIGHTS)),
    (
        "volumes",
        NotLocal(
            Medium,
            "it is not mounted; `{data}` in `process.environment` is a \
      folder that is kept over releases",
        ),
    ),
    (
        "volumes_from",
        Refused("the volumes of another service would not be mounted"),
    ),
    (
        "working_dir",
        NotLocal(Low, "the process starts in the project's folder"),
    ),
];

/// Keys that the specification knows and the library's types do not.
pub(super) const NOT_TYPED: &[&str] = &[
    "annotations",
    "attach",
    "blkio_config",
    "cgroup",
    "configs",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpu_shares",
    "cpus",
    "cpuset",
    "credential_spec",
    "develop",
    "device_cgroup_rules",
    "dns_search",
    "driver_opts",
    "env_file",
    "external_links",
    "gpus",
    "isolation",
    "label_file",
    "mac_address",
    "memswap_limit",
    "networks",
    "oom_kill_disable",
    "oom_score_adj",
    "pids_limit",
    "platform",
    "storage_opt",
    "use_api_socket",
    "uts",
    "devices",
    "dns",
    "tmpfs",
    "extra_hosts",
    "build",
    "volumes",
    "secrets",
    "ulimits",
    "logging",
    "pull_policy",
];

/// The keys of a whole Compose file.
pub(super) const TOP: &[&str] = &[
    "configs", "include", "models", "name", "networks", "secrets", "services", "version", "volumes",
];

/// Returns what becomes of a key; nothing when the specification does not know it.
pub(super) fn fate(key: &str) -> Option<Fate> {
    if key.starts_with("x-") {
        return Some(Honoured);
    }
    KEYS.iter()
        .find(|(known, _)| *known == key)
        .map(|(_, fate)| *fate)
}
