//! Who may do what, what is open, where secrets are, what is written down.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Finding, Report, Severity};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::inventory::ConfigurationKind;
use crate::phases::look::{self, list};
use crate::phases::policy;
use crate::section::{Outline, Section, Seen, Work, blocking, step as section_step};
use crate::step::StepError;
use crate::target::Observed;
use crate::{Context, Step};

/// Connections of the scan that are under way at a time: loopback answers each at once.
const AT_ONCE: usize = 256;

/// How long one connection of the scan may take.
const SCAN_LIMIT: Duration = Duration::from_millis(500);

/// How long it may answer when it is tried once more.
const SILENT_LIMIT: Duration = Duration::from_secs(2);

/// Silent ports that are tried once more at most: where all are, somebody drops what is sent.
const SILENT_MOST: usize = 1024;

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("provision", 4),
        section: "hardening",
        title: "look at users, open ports, secrets and the record's own chain",
        items: "3.3.6 7.1.5 7.1.6 7.2.6 7.3.4 7.3.5 7.3.6",
        undo: None,
        methods: (
            "the listening addresses of the application's processes",
            "the record's chain and a search for known secrets",
        ),
        expected: Duration::from_secs(5),
    };
    section_step(&outline, Hardening)
}

struct Hardening;

/// What was seen.
struct Looked {
    users: BTreeSet<String>,
    unmapped: Vec<SocketAddr>,
    scanned: usize,
    open: Vec<u16>,
    /// Addresses of the map that the scan did not find open.
    unseen: Vec<SocketAddr>,
    plain: Vec<(String, String)>,
    source_secrets: usize,
    files: usize,
    secrets: usize,
    references: usize,
    events: u64,
    broken: Vec<String>,
    leaked: Option<String>,
}

#[async_trait]
impl Work for Hardening {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let looked = look_at(section.context).await?;
        let row = |what: &str, value: String| vec![what.to_owned(), value];
        let rows = vec![
            row("User of the processes", list(&looked.users)),
            row("Listening and not in the map", list(&looked.unmapped)),
            row("Ports of loopback scanned", looked.scanned.to_string()),
            row(
                "Open, of any program of this machine",
                looked.open.len().to_string(),
            ),
            row(
                "Configuration values that look like secrets",
                looked.plain.len().to_string(),
            ),
            row(
                "Source files searched for secrets",
                looked.files.to_string(),
            ),
            row(
                "Secrets found in the source",
                looked.source_secrets.to_string(),
            ),
            row(
                "Secrets by reference",
                format!("{} of {}", looked.references, looked.secrets),
            ),
            row(
                "Events of the record whose chain holds",
                looked.events.to_string(),
            ),
            row("Known secrets in the record", list(&looked.leaked)),
        ];
        let columns = ["What", "Seen"].map(Column::text).to_vec();
        let event = section
            .report(
                "Security hardening",
                Report::new().with_table("Hardening", columns, rows),
            )
            .await?;
        settle(section, &looked, event).await?;
        Ok(json!({ "scanned": looked.scanned }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let observed = section.context.target.observe().await?;
        let unmapped = unmapped(&observed);
        let detail = format!(
            "{} addresses listen, not in the map: {}",
            observed.listening.len(),
            list(&unmapped)
        );
        Ok(Seen::new(unmapped.is_empty(), detail))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let (events, broken, leaked) = look::record(section.context).await?;
        let detail = format!(
            "{events} events, broken: {}, secrets: {}",
            list(&broken),
            list(&leaked)
        );
        Ok(Seen::new(broken.is_empty() && leaked.is_none(), detail))
    }
}

async fn look_at(context: &Context) -> Result<Looked, StepError> {
    let (inventory, observed) = look::inventory(context).await?;
    let pids: Vec<u32> = observed
        .instances
        .iter()
        .filter_map(|one| one.pid)
        .collect();
    let users = blocking("reading users", move || {
        pids.iter().filter_map(|pid| user(*pid)).collect()
    })
    .await?;
    let (scanned, open) = if context.spec.on_this_machine() {
        scan().await
    } else {
        (0, Vec::new())
    };
    let source = policy::check(context).await?;
    let secrets: Vec<_> = inventory
        .configuration
        .iter()
        .filter(|one| one.kind == ConfigurationKind::Secret)
        .collect();
    let by_reference = |origin: &str| {
        origin.starts_with("env:")
            || origin.starts_with("file:")
            || origin.ends_with(".yaml")
            || origin.ends_with(".yml")
    };
    let (events, broken, leaked) = look::record(context).await?;
    Ok(Looked {
        users,
        unmapped: unmapped(&observed),
        scanned,
        unseen: unseen(&observed, &open),
        open,
        plain: policy::configured_secrets(&context.spec),
        source_secrets: source
            .breaches()
            .filter(|(rule, _)| rule.name == "security/hard-coded-secret")
            .count(),
        files: source.tree.files.len(),
        references: secrets
            .iter()
            .filter(|one| by_reference(&one.origin))
            .count(),
        secrets: secrets.len(),
        events,
        broken,
        leaked,
    })
}

/// Returns the user of a process as the kernel knows it: `1000`, or `0 (root)`.
fn user(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let effective = line.split_ascii_whitespace().nth(1)?;
    Some(if effective == "0" {
        "0 (root)".to_owned()
    } else {
        effective.to_owned()
    })
}

/// Returns what listens although neither an instance nor an address of a service is there.
fn unmapped(observed: &Observed) -> Vec<SocketAddr> {
    let mapped: BTreeSet<SocketAddr> = observed
        .addresses
        .iter()
        .map(|place| place.address)
        .chain(observed.instances.iter().map(|one| one.address))
        .collect();
    observed
        .listening
        .iter()
        .filter(|address| !mapped.contains(address))
        .copied()
        .collect()
}

/// Returns the addresses on loopback that serve by the target's word and were not found open: a
/// scan that misses one says nothing about what else is open.
fn unseen(observed: &Observed, open: &[u16]) -> Vec<SocketAddr> {
    let mapped = observed.addresses.iter().map(|place| place.address);
    mapped
        .filter(|address| address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST))
        .filter(|address| !open.contains(&address.port()))
        .collect()
}

/// Connects to every port of loopback; returns how many were tried and which answered. A port that was silent is
/// tried once more: a busy machine answers late.
async fn scan() -> (usize, Vec<u16>) {
    let ports: Vec<u16> = (1..=u16::MAX).collect();
    let tried = ports.len();
    let (mut open, mut silent) = knock(ports, SCAN_LIMIT).await;
    silent.truncate(SILENT_MOST);
    open.extend(knock(silent, SILENT_LIMIT).await.0);
    (tried, open)
}

/// Connects to ports of loopback; returns those that answered and those that were silent. Others refused.
async fn knock(ports: Vec<u16>, limit: Duration) -> (Vec<u16>, Vec<u16>) {
    let mut answers = futures::stream::iter(ports)
        .map(|port| async move {
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
            let connected = tokio::net::TcpStream::connect(address);
            (port, tokio::time::timeout(limit, connected).await)
        })
        .buffer_unordered(AT_ONCE);
    let (mut open, mut silent) = (Vec::new(), Vec::new());
    while let Some((port, answer)) = answers.next().await {
        match answer {
            Ok(Ok(_)) => open.push(port),
            Ok(Err(_)) => {}
            Err(_) => silent.push(port),
        }
    }
    (open, silent)
}

/// Returns what makes an exception as the end of a clause; nothing where there is none.
fn but(exceptions: &[SocketAddr]) -> String {
    match exceptions {
        [] => String::new(),
        some => format!(", except {}", list(some)),
    }
}

async fn settle(
    section: &Section<'_>,
    looked: &Looked,
    event: EvidenceRef,
) -> Result<(), StepError> {
    let (evidence, seen) = ([event], Basis::Observed);
    let clean = looked.plain.is_empty() && looked.source_secrets == 0 && looked.leaked.is_none();
    let text = format!(
        "every listening address is in the map{}; folders are private; {} configuration values look like secrets",
        but(&looked.unmapped),
        looked.plain.len()
    );
    section
        .judge(
            "3.3.6",
            looked.unmapped.is_empty() && looked.plain.is_empty(),
            seen,
            text,
            &evidence,
        )
        .await?;
    if looked.secrets == 0 {
        section
            .none("7.1.5", "no API key or other secret in the inventory")
            .await?;
    } else {
        let text = format!(
            "{} of {} secrets are references",
            looked.references, looked.secrets
        );
        section
            .judge(
                "7.1.5",
                looked.references == looked.secrets,
                seen,
                text,
                &evidence,
            )
            .await?;
    }
    settle_users(section, looked, event).await?;
    if section.context.spec.on_this_machine() {
        let text = format!(
            "by the kernel's table everything that listens is in the map{}; a scan of {} ports of this machine found {} open, of all programs, and every address of the map among them{}",
            but(&looked.unmapped),
            looked.scanned,
            looked.open.len(),
            but(&looked.unseen)
        );
        section
            .judge(
                "7.2.6",
                looked.unmapped.is_empty() && looked.unseen.is_empty() && looked.scanned > 0,
                seen,
                text,
                &evidence,
            )
            .await?;
    } else {
        section
            .open("7.2.6", "this program does not scan the target's machines")
            .await?;
    }
    let text = format!(
        "{} secrets, {} by reference; {} values look like secrets",
        looked.secrets,
        looked.references,
        looked.plain.len()
    );
    section
        .judge(
            "7.3.4",
            looked.references == looked.secrets && looked.plain.is_empty(),
            seen,
            text,
            &evidence,
        )
        .await?;
    let text = format!(
        "the deployment's own log: {} events of this run are chained by digest; broken: {}; what \
         services log of their users is not looked at",
        looked.events,
        list(&looked.broken)
    );
    section
        .judge(
            "7.3.5",
            looked.broken.is_empty() && looked.events > 0,
            Basis::Performed,
            text,
            &evidence,
        )
        .await?;
    let text = format!(
        "{} source files, the configuration and {} events searched; found: {} in the source, {} in the configuration, in the record: {}",
        looked.files,
        looked.events,
        looked.source_secrets,
        looked.plain.len(),
        list(&looked.leaked)
    );
    section.judge("7.3.6", clean, seen, text, &evidence).await
}

async fn settle_users(
    section: &Section<'_>,
    looked: &Looked,
    event: EvidenceRef,
) -> Result<(), StepError> {
    if looked.users.is_empty() {
        return section
            .open(
                "7.1.6",
                "no process of the application runs yet whose user could be seen",
            )
            .await;
    }
    if !looked.users.contains("0 (root)") {
        let text = format!(
            "processes run as user {}, who is not root; folders have mode 700",
            list(&looked.users)
        );
        return section
            .judge("7.1.6", true, Basis::Observed, text, &[event])
            .await;
    }
    let (message, cure, reason) = if section.context.spec.in_containers() {
        (
            "services run as root in their containers",
            "Write `user:` in the Compose file, or have the image name a user.",
            "services run as root in their containers: neither image nor Compose file names a user",
        )
    } else {
        (
            "services run as root, because the deployment does",
            "Run the deployment as a user of its own.",
            "services run as root, because the deployment does; a local target gives them no \
             other user",
        )
    };
    let finding = Finding {
        rule: "hardening/root".to_owned(),
        severity: Severity::Medium,
        place: format!("{} target", section.context.target.name()),
        message: message.to_owned(),
        cure: cure.to_owned(),
    };
    section.context.find(finding).await?;
    section.open("7.1.6", reason).await
}
