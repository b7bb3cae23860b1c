//! The section of security: what a stranger may try at the addresses, tried.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report, Severity, Verdict};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::VERB;
use crate::section::{Kept, Outline, Section, Seen, Work};
use crate::step::StepError;

pub(super) const OUTLINE: Outline = Outline {
    verb: VERB,
    section: "security",
    title: "Try at every address what must be refused",
    items: "9.3.1 9.3.2 9.3.3 9.3.4 9.3.5 9.3.6",
    undo: None,
    methods: ("kept answers judged again", "all probes sent once more"),
    expected: Duration::from_secs(5),
};

const ANSWERS: &str = "answers to security probes";

/// How long one probe may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How much of an answer is read.
const MOST: u64 = 64 * 1024;

/// Larger than the headers that a server should take.
const OVERSIZED: usize = 1024 * 1024;

/// What an answer must not give away.
const LEAKS: [&str; 7] = [
    "panicked at",
    "stack backtrace",
    "Traceback (",
    "src/",
    concat!("/ho", "me/"),
    "/usr/",
    "root:x:",
];

/// A probe and its answer.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Probe {
    service: String,
    name: String,
    /// The status; nothing when the connection was closed without an answer.
    status: Option<u16>,
    leak: Option<String>,
    /// The statuses that are as they should be.
    allowed: (u16, u16),
    closing_is_fine: bool,
}

impl Probe {
    fn passed(&self) -> bool {
        let refused = self.status.map_or(self.closing_is_fine, |status| {
            (self.allowed.0..=self.allowed.1).contains(&status)
        });
        refused && self.leak.is_none()
    }

    fn seen(&self) -> String {
        let status = self
            .status
            .map_or_else(|| "closed".to_owned(), |status| status.to_string());
        self.leak.as_ref().map_or_else(
            || status.clone(),
            |leak| format!("{status}, gives away `{leak}`"),
        )
    }
}

type Try = (&'static str, String, String, (u16, u16), bool);

/// What is tried: name, request line, more headers, statuses, whether closing is fine. `known` is
/// a path that answers, so that a refusal is one of the request and not of the path.
fn tries(known: &str) -> Vec<Try> {
    let plain = String::new;
    vec![
        (
            "TRACE",
            "TRACE / HTTP/1.1".into(),
            plain(),
            (400, 501),
            true,
        ),
        (
            "CONNECT",
            "CONNECT example.invalid:443 HTTP/1.1".into(),
            plain(),
            (400, 599),
            true,
        ),
        (
            "path traversal",
            "GET /../../../../etc/passwd HTTP/1.1".into(),
            plain(),
            (400, 499),
            true,
        ),
        (
            "encoded path traversal",
            "GET /..%2f..%2f..%2fetc/passwd HTTP/1.1".into(),
            plain(),
            (400, 499),
            true,
        ),
        (
            "error page",
            "GET /%00nowhere?id='%22%3Cscript%3E HTTP/1.1".into(),
            plain(),
            (400, 499),
            true,
        ),
        (
            "foreign host",
            "GET /nowhere HTTP/1.1".into(),
            "host: elsewhere.invalid\r\n".into(),
            (400, 499),
            true,
        ),
        (
            "oversized header",
            format!("GET {known} HTTP/1.1"),
            format!("x-long: {}\r\n", "a".repeat(OVERSIZED)),
            (400, 499),
            true,
        ),
        (
            "two lengths",
            format!("GET {known} HTTP/1.1"),
            "content-length: 0\r\ncontent-length: 5\r\n".into(),
            (400, 499),
            true,
        ),
        ("no HTTP", "nonsense".into(), plain(), (400, 499), true),
    ]
}

/// Sends bytes and reads the answer; nothing when the connection was closed without one.
async fn send(address: SocketAddr, text: &str) -> std::io::Result<Option<(u16, String)>> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        // A server may stop reading what is too large: what it answered still counts.
        let sent = stream.write_all(text.as_bytes()).await;
        let mut answer = Vec::new();
        let read = (&mut stream).take(MOST).read_to_end(&mut answer).await;
        if answer.is_empty() && (sent.is_err() || read.is_err()) {
            return Ok(None);
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Ok(status.map(|status| (status, answer)))
    };
    let late = || std::io::Error::other(format!("no end of the answer within {LIMIT:?}"));
    tokio::time::timeout(LIMIT, exchange)
        .await
        .unwrap_or_else(|_| Err(late()))
}

async fn probe_all(section: &Section<'_>) -> Result<(Vec<Probe>, Vec<String>), StepError> {
    let observed = section.observe().await?;
    let project = section.context.spec.project.display().to_string();
    let (mut probes, mut unanswered) = (Vec::new(), Vec::new());
    for own in &observed.addresses {
        section.context.safe_point()?;
        let service = section.context.spec.service(&own.service);
        let probes_of = service.map(|service| &service.file.probes);
        let known = probes_of.and_then(|own| own.liveness.as_deref().or(own.readiness.as_deref()));
        let known = known.unwrap_or("/");
        for (name, line, headers, allowed, closing_is_fine) in tries(known) {
            let host = if headers.starts_with("host:") {
                String::new()
            } else {
                format!("host: {}\r\n", own.address)
            };
            let text = format!("{line}\r\n{host}connection: close\r\n{headers}\r\n");
            let (status, leak) = match send(own.address, &text).await {
                Ok(Some((status, answer))) => {
                    let mut leaks = LEAKS.into_iter().chain([project.as_str()]);
                    (
                        Some(status),
                        leaks.find(|leak| answer.contains(leak)).map(str::to_owned),
                    )
                }
                Ok(None) => (None, None),
                Err(error) => {
                    unanswered.push(format!("{}: {name}: {error}", own.service));
                    continue;
                }
            };
            let (service, name) = (own.service.clone(), name.to_owned());
            probes.push(Probe {
                service,
                name,
                status,
                leak,
                allowed,
                closing_is_fine,
            });
        }
    }
    Ok((probes, unanswered))
}

/// Returns the address of this machine that other machines would use, if it has one. Nothing is
/// sent: the system only looks up the way.
fn outer_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Returns how many loopback listeners were tried from the outer address, and which answered.
async fn from_outside(section: &Section<'_>) -> Result<(usize, Vec<String>), StepError> {
    let observed = section.observe().await?;
    let services = observed.addresses.iter().map(|one| one.address);
    let instances = observed
        .instances
        .iter()
        .filter(|one| one.running)
        .map(|one| one.address);
    let all: Vec<_> = services
        .chain(instances)
        .filter(|one| one.ip().is_loopback())
        .collect();
    let Some(outer) = outer_address() else {
        return Ok((0, Vec::new()));
    };
    let mut open = Vec::new();
    for address in &all {
        let from = SocketAddr::new(outer, address.port());
        let tried = tokio::time::timeout(LIMIT, TcpStream::connect(from)).await;
        if matches!(tried, Ok(Ok(_))) {
            open.push(from.to_string());
        }
    }
    Ok((all.len(), open))
}

pub(super) struct Security;

#[async_trait]
impl Work for Security {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let mut kept = Kept::default();
        let (probes, unanswered) = probe_all(section).await?;
        let (tried, open) = from_outside(section).await?;
        let text = format!("{:#}\n", json!(probes));
        let file = section
            .keep(&mut kept, ANSWERS, "application/json", text)
            .await?;
        let rows = probes.iter().map(|probe| {
            let result = if probe.passed() {
                "refused"
            } else {
                "not refused"
            }
            .to_owned();
            vec![
                probe.service.clone(),
                probe.name.clone(),
                probe.seen(),
                result,
            ]
        });
        let columns = ["service", "probe", "answer", "result"]
            .map(Column::text)
            .to_vec();
        let mut report = Report::new().with_table("Probes", columns, rows.collect());
        if !unanswered.is_empty() {
            report = report.with_text(format!("Without an answer: {}.", unanswered.join("; ")));
        }
        report = report.with_text(format!(
            "{tried} listeners on loopback were tried from this machine's outer address; {} answered.",
            open.len()
        ));
        let event = section.report("Security of what runs", report).await?;
        for probe in probes.iter().filter(|probe| !probe.passed()) {
            let message = format!("{} is not refused: {}", probe.name, probe.seen());
            let cure = "Refuse such a request with a status from 400 to 499 and no inner detail.";
            section
                .find(
                    "security/probe",
                    Severity::High,
                    &probe.service,
                    (message, cure),
                )
                .await?;
        }
        settle(
            section,
            &probes,
            &unanswered,
            (tried, &open),
            &[file, event],
        )
        .await?;
        let passed = probes.iter().filter(|probe| probe.passed()).count();
        Ok(kept.into_result(json!({ "passed": passed })))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let Some(digest) = Kept::of(result).digest(ANSWERS) else {
            return Ok(Seen::new(false, "no answers were kept"));
        };
        let text = section.read(digest).await?;
        let probes: Vec<Probe> = serde_json::from_slice(&text).unwrap_or_default();
        let passed = probes.iter().filter(|probe| probe.passed()).count() as u64;
        let wanted = result.get("passed").and_then(Value::as_u64);
        let detail = format!("{passed} of {} kept answers are refusals", probes.len());
        Ok(Seen::new(Some(passed) == wanted && passed > 0, detail))
    }

    async fn outside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let (probes, _) = probe_all(section).await?;
        let passed = probes.iter().filter(|probe| probe.passed()).count() as u64;
        let wanted = result.get("passed").and_then(Value::as_u64);
        let detail = format!(
            "{passed} of {} probes are refused when sent once more",
            probes.len()
        );
        Ok(Seen::new(Some(passed) == wanted, detail))
    }
}

async fn settle(
    section: &Section<'_>,
    probes: &[Probe],
    unanswered: &[String],
    (tried, open): (usize, &[String]),
    evidence: &[EvidenceRef],
) -> Result<(), StepError> {
    let passed = probes.iter().filter(|probe| probe.passed()).count();
    let all = probes.len() + unanswered.len();
    let reason = format!("{passed} of {all} probes were refused without giving anything away");
    let holds = passed == all && all > 0;
    section
        .judge(
            "9.3.1",
            holds,
            Basis::Performed,
            format!("{reason}; these are automated probes, and no person attacked the services"),
            evidence,
        )
        .await?;
    section
        .open(
            "9.3.2",
            "no list of known vulnerabilities is at hand during a run",
        )
        .await?;
    section
        .open("9.3.3", "the deployment file names no rules to comply with")
        .await?;
    let reason = match tried {
        0 => reason,
        _ => format!(
            "{reason}; {} of {tried} listeners on loopback answer at this machine's outer address",
            open.len()
        ),
    };
    section
        .judge(
            "9.3.4",
            holds && open.is_empty(),
            Basis::Performed,
            reason,
            evidence,
        )
        .await?;
    let observed = section.observe().await?;
    let outer = observed
        .addresses
        .iter()
        .filter(|one| !one.address.ip().is_loopback())
        .count();
    let all = observed.addresses.len();
    let (verdict, addresses) = match outer {
        0 => (Verdict::Open, format!("all {all} addresses are loopback")),
        outer => (
            Verdict::Failed,
            format!("{outer} of {all} addresses are not loopback"),
        ),
    };
    let reason = format!("services answer in plain HTTP; {addresses}");
    section.settle("9.3.5", verdict, reason, evidence).await?;
    section
        .open("9.3.6", "no second security tool is at hand during a run")
        .await
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::disallowed_methods,
        missing_docs
    )]
    use super::*;

    fn probe(status: Option<u16>, leak: Option<&str>) -> bool {
        let (service, name) = ("web".to_owned(), "TRACE".to_owned());
        let leak = leak.map(str::to_owned);
        Probe {
            service,
            name,
            status,
            leak,
            allowed: (400, 499),
            closing_is_fine: true,
        }
        .passed()
    }

    #[test]
    fn only_a_refusal_that_gives_nothing_away_passes() {
        assert!(probe(Some(405), None) && probe(None, None));
        assert!(!probe(Some(200), None) && !probe(Some(500), None));
        assert!(!probe(Some(404), Some("src/")));
    }

    #[tokio::test]
    async fn a_server_that_answers_is_told_from_one_that_hangs_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut first, _) = listener.accept().await.unwrap();
            first
                .write_all(b"HTTP/1.1 405 No\r\n\r\nsrc/main.rs")
                .await
                .unwrap();
            first.shutdown().await.unwrap();
            drop(listener.accept().await.unwrap());
        });
        let (status, answer) = send(address, "TRACE / HTTP/1.1\r\n\r\n")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(status, 405);
        assert!(answer.contains("src/"));
        assert!(send(address, "").await.unwrap().is_none());
    }
}
