//! Every path of the network map, tried from two places, and what must not pass.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report};
use serde_json::{Value, json};

use crate::gate;
use crate::http::HttpClient;
use crate::phases::look::{self, LIMIT, list};
use crate::phases::paths::{self, Path};
use crate::section::{Outline, Section, Seen, Work, blocking, step as section_step};
use crate::spec::Service;
use crate::step::StepError;
use crate::{Context, Step};

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("provision", 4),
        section: "connectivity",
        title: "try every path of the map through the balancer and directly, and what must be refused",
        items: "3.4.1 3.4.4 3.4.6",
        undo: None,
        methods: (
            "a connection to each instance",
            "a request through each address",
        ),
        expected: Duration::from_secs(2),
    };
    section_step(&outline, Connectivity)
}

struct Connectivity;

/// A path, what came of it, and whether it is as it should be.
type Tried = (String, String, bool);

#[async_trait]
impl Work for Connectivity {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let context = section.context;
        let through = through(context).await?;
        let direct = direct(context).await?;
        let denied = denied(context).await?;
        let mapped = paths::try_all(context).await?;
        let rows = |tried: &[Tried]| {
            tried
                .iter()
                .map(|(path, text, _)| vec![path.clone(), text.clone()])
                .collect::<Vec<_>>()
        };
        let columns = || ["Path", "Answer"].map(Column::text).to_vec();
        let map = mapped
            .iter()
            .map(|path| vec![path.name(), path.answer.clone()])
            .collect();
        let report = Report::new()
            .with_table("Connections of the network map", columns(), map)
            .with_table("Through the balancer", columns(), rows(&through))
            .with_table("Directly at each instance", columns(), rows(&direct))
            .with_table("What must be refused", columns(), rows(&denied));
        let event = section.report("Connectivity", report).await?;
        settle_map(section, &mapped, &through, event).await?;
        settle(section, &through, &direct, &denied, event).await?;
        Ok(json!({ "through": through.len(), "direct": direct.len(), "denied": denied.len() }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let tried = direct(section.context).await?;
        let bad = bad(&tried);
        Ok(Seen::new(
            bad.is_empty(),
            format!("{} instances, not reached: {}", tried.len(), list(&bad)),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let tried = through(section.context).await?;
        let bad = bad(&tried);
        Ok(Seen::new(
            bad.is_empty(),
            format!("{} paths, not passed: {}", tried.len(), list(&bad)),
        ))
    }
}

fn bad(tried: &[Tried]) -> Vec<String> {
    tried
        .iter()
        .filter(|one| !one.2)
        .map(|one| one.0.clone())
        .collect()
}

/// Asks every service through its address. In a first deployment the balancer has nobody to ask,
/// and saying so is an answer of the balancer.
async fn through(context: &Context) -> Result<Vec<Tried>, StepError> {
    let (urls, client) = (gate::base_urls(context).await?, HttpClient::new());
    let observed = context.target.observe().await?;
    let balancing = context.target.balancing();
    let mut tried = Vec::new();
    for service in &context.spec.services {
        let Some(url) = urls.get(&service.name) else {
            tried.push((
                format!("client -> {}", service.name),
                "no address".to_owned(),
                false,
            ));
            continue;
        };
        let (text, well) = if look::is_unserved(&observed, balancing, &service.name) {
            let well = context.from.is_none();
            ("it leads to nobody yet".to_owned(), well)
        } else {
            asked(context, &client, service, url).await
        };
        let callers = context
            .spec
            .services
            .iter()
            .filter(|one| one.needs.contains(&service.name));
        let mut names: Vec<_> = callers.map(|one| one.name.clone()).collect();
        names.push("client".to_owned());
        tried.push((format!("{} -> {}", list(&names), service.name), text, well));
    }
    Ok(tried)
}

/// Asks a service at a URL, by its readiness probe; returns what came and whether that is well. Of one without a path for
/// it, any answer but an error of the server's shows that it is reached.
async fn asked(
    context: &Context,
    client: &HttpClient,
    service: &Service,
    url: &str,
) -> (String, bool) {
    let named = service.file.probes.readiness.as_deref();
    let path = named.unwrap_or("/");
    match client.get(&format!("{url}{path}"), LIMIT).await {
        Ok(answer) => {
            let well = match named {
                Some(_) => answer.status.is_success(),
                None => !answer.status.is_server_error(),
            };
            let text = answer.status.to_string();
            (text, well || context.from.is_none())
        }
        Err(error) => (error.to_string(), false),
    }
}

async fn direct(context: &Context) -> Result<Vec<Tried>, StepError> {
    let observed = context.target.observe().await?;
    let mut tried = Vec::new();
    for instance in observed.instances.iter().filter(|one| one.running) {
        let made = look::connects(instance.address).await;
        let well = made.is_ok();
        let text = made.map_or_else(|why| why, |()| format!("connected to {}", instance.address));
        tried.push((instance.id.clone(), text, well));
    }
    Ok(tried)
}

/// Tries every port of the application at this machine's addresses beyond loopback: nobody may
/// answer there.
async fn denied(context: &Context) -> Result<Vec<Tried>, StepError> {
    let own = blocking("reading own addresses", || {
        nix::ifaddrs::getifaddrs()
            .map(|all| {
                all.filter_map(|one| one.address?.as_sockaddr_in().map(|found| found.ip()))
                    .filter(|ip| !ip.is_loopback())
                    .collect::<Vec<_>>()
            })
            .unwrap_or_default()
    })
    .await?;
    let observed = context.target.observe().await?;
    let ports = observed.addresses.iter().map(|place| place.address.port());
    let ports: Vec<u16> = ports
        .chain(observed.instances.iter().map(|one| one.address.port()))
        .collect();
    let mut tried = Vec::new();
    for ip in own.into_iter().take(4) {
        for port in &ports {
            let address = SocketAddr::from((ip, *port));
            let made = look::connects(address).await;
            let refused = made.is_err();
            let text = made.map_or_else(
                |why| format!("refused: {why}"),
                |()| "somebody answered".to_owned(),
            );
            tried.push((address.to_string(), text, refused));
        }
    }
    Ok(tried)
}

/// A path that could not be tried says nothing: the item is met only when there is none.
async fn settle_map(
    section: &Section<'_>,
    mapped: &[Path],
    through: &[Tried],
    event: EvidenceRef,
) -> Result<(), StepError> {
    let lost: Vec<_> = paths::lost(mapped)
        .map(Path::name)
        .chain(bad(through))
        .collect();
    let left: Vec<_> = mapped
        .iter()
        .filter(|path| path.reached.is_none())
        .map(Path::name)
        .collect();
    let mut text = format!(
        "{} of {} connections of the map tried, and {} services through the balancer; not passed: {}",
        paths::tried(mapped),
        mapped.len(),
        through.len(),
        list(&lost)
    );
    if lost.is_empty() && section.context.from.is_none() {
        text.push_str("; a first deployment: no instance runs yet that could answer behind it");
        return section.open("3.4.1", text).await;
    }
    if lost.is_empty() && !left.is_empty() {
        text.push_str(&format!("; not there to be tried: {}", left.join(", ")));
        return section.open("3.4.1", text).await;
    }
    section
        .judge("3.4.1", lost.is_empty(), Basis::Observed, text, &[event])
        .await
}

async fn settle(
    section: &Section<'_>,
    through: &[Tried],
    direct: &[Tried],
    denied: &[Tried],
    event: EvidenceRef,
) -> Result<(), StepError> {
    let (evidence, seen) = ([event], Basis::Observed);
    let lost = bad(through);
    if !section.context.spec.on_this_machine() {
        section
            .open(
                "3.4.4",
                "this program does not read the target's firewall rules",
            )
            .await?;
    } else if denied.is_empty() {
        section
            .none("3.4.4", "this machine has no address beyond loopback")
            .await?;
    } else {
        let answered = bad(denied);
        let text = format!(
            "loopback passes ({} paths); {} connections from beyond loopback tried, answered: {}",
            through.len(),
            denied.len(),
            list(&answered)
        );
        section
            .judge("3.4.4", answered.is_empty(), seen, text, &evidence)
            .await?;
    }
    if direct.is_empty() {
        return section
            .none("3.4.6", "a first deployment: no instance runs yet")
            .await;
    }
    let unreached = bad(direct);
    let text = format!(
        "{} instances reached directly, past the balancer; not reached: {}",
        direct.len(),
        list(&unreached)
    );
    section
        .judge(
            "3.4.6",
            unreached.is_empty() && lost.is_empty(),
            seen,
            text,
            &evidence,
        )
        .await
}
