//! Folders, stores and the balancer's addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, EvidenceRef, Report, Role, Verdict};
use serde_json::{Value, json};

use crate::phases::look::{self, bytes, list};
use crate::phases::migrate::path_of;
use crate::section::{Outline, Section, Seen, Work, step as section_step};
use crate::step::StepError;
use crate::target::{Observed, ServiceAddress};
use crate::{Context, Step};

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("provision", 4),
        section: "resources",
        title: "make private folders and give every service its address",
        items: "3.1.1 3.1.2 3.1.4 3.1.6 3.2.1 3.2.2 3.2.4 3.2.6",
        undo: Some("take the addresses back if nothing is served any more"),
        methods: (
            "the addresses as the target lists them, the permissions of the folders",
            "a connection to every address",
        ),
        expected: Duration::from_secs(3),
    };
    section_step(&outline, Resources)
}

struct Resources;

fn folders(context: &Context) -> [PathBuf; 2] {
    [
        context.spec.data_folder(),
        context.run.path().join("backups"),
    ]
}

#[async_trait]
impl Work for Resources {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let context = section.context;
        for folder in folders(context) {
            make_private(&folder)?;
        }
        for (name, text) in context.target.opening_manifests().await? {
            context
                .keep(&name, "application/yaml", text.into_bytes())
                .await?;
        }
        let observed = context.target.observe().await?;
        let opened = context.target.open(&wanted(context, &observed)).await?;
        let capacity = context.target.capacity().await?;
        let rows = opened.iter().map(|place| {
            let replicas = context
                .spec
                .service(&place.service)
                .map_or(0, |service| service.replicas);
            vec![
                place.service.clone(),
                place.address.to_string(),
                replicas.to_string(),
            ]
        });
        let columns = vec![
            Column::text("Service"),
            Column::text("Address"),
            Column::number("Instances wanted"),
        ];
        let mut report = Report::new().with_table("Addresses of services", columns, rows.collect());
        let rows = folders(context).into_iter().map(|folder| {
            vec![
                folder.display().to_string(),
                mode(&folder).map_or_else(|| "not there".to_owned(), |mode| format!("{mode:o}")),
            ]
        });
        report = report.with_table(
            "Folders",
            vec![Column::text("Folder"), Column::text("Mode")],
            rows.collect(),
        );
        let text = format!(
            "{}: {}, {} processors, {} memory.",
            capacity.host,
            capacity.system,
            capacity.processors,
            bytes(capacity.memory)
        );
        let event = section
            .report("Resource provisioning", report.with_text(text.clone()))
            .await?;
        settle(section, &opened, text, event).await?;
        Ok(json!({ "addresses": opened.iter().map(|place| place.address).collect::<Vec<_>>() }))
    }

    async fn inside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let context = section.context;
        let observed = context.target.observe().await?;
        let addresses = look::addresses(&observed);
        let missing: Vec<_> = context
            .spec
            .services
            .iter()
            .filter(|one| !addresses.contains_key(one.name.as_str()))
            .map(|one| &one.name)
            .collect();
        let open: Vec<_> = folders(context)
            .into_iter()
            .filter(|folder| mode(folder) != Some(0o700))
            .map(|folder| folder.display().to_string())
            .collect();
        let detail = format!(
            "{} addresses; services without: {}; folders that are not private: {}",
            addresses.len(),
            list(missing.iter()),
            list(&open)
        );
        Ok(Seen::new(missing.is_empty() && open.is_empty(), detail))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let observed = section.context.target.observe().await?;
        let reached = look::reach_all(section.context, &observed).await;
        let all = reached.well() >= section.context.spec.services.len();
        Ok(Seen::new(reached.failed.is_none() && all, reached.text()))
    }

    async fn undo(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let running = serving(section.context).await?;
        if running == 0 {
            section.context.target.close().await?;
        }
        Ok(json!({ "still_served": running }))
    }

    async fn inside_undone(&self, section: &Section<'_>) -> Result<Seen, StepError> {
        let running = serving(section.context).await?;
        let observed = section.context.target.observe().await?;
        let passed = running > 0 || observed.instances.is_empty();
        Ok(Seen::new(
            passed,
            format!("{running} instances go on being served"),
        ))
    }

    async fn outside_undone(&self, section: &Section<'_>) -> Result<Seen, StepError> {
        if serving(section.context).await? == 0 {
            let result = section.result();
            let opened = result.get("addresses").cloned().unwrap_or_default();
            let opened: Vec<SocketAddr> = serde_json::from_value(opened).unwrap_or_default();
            for address in &opened {
                if look::connects(*address).await.is_ok() {
                    return Ok(Seen::new(false, format!("{address} still answers")));
                }
            }
            let detail = format!("{} addresses do not answer any more", opened.len());
            return Ok(Seen::new(true, detail));
        }
        let observed = section.context.target.observe().await?;
        let reached = look::reach_all(section.context, &observed).await;
        Ok(Seen::new(reached.failed.is_none(), reached.text()))
    }
}

async fn serving(context: &Context) -> Result<usize, StepError> {
    let observed = context.target.observe().await?;
    Ok(observed.instances.iter().filter(|one| one.running).count())
}

/// Returns the addresses as they are, and for services without one what the deployment file asks.
fn wanted(context: &Context, observed: &Observed) -> Vec<ServiceAddress> {
    let there = look::addresses(observed);
    let wanted = context.spec.services.iter().map(|service| {
        let routing = service.file.routing.clone();
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), routing.port);
        let address = there.get(service.name.as_str()).copied().unwrap_or(any);
        ServiceAddress {
            service: service.name.clone(),
            address,
            routing,
        }
    });
    wanted.collect()
}

fn make_private(folder: &Path) -> Result<(), StepError> {
    let failed = |error: std::io::Error| {
        let what = format!("{}: {error}", folder.display());
        StepError::permanent("CD0702", what, "Look at the path and its permissions.")
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(failed)
}

fn mode(path: &Path) -> Option<u32> {
    std::fs::metadata(path)
        .ok()
        .map(|found| found.permissions().mode() & 0o777)
}

async fn settle(
    section: &Section<'_>,
    opened: &[ServiceAddress],
    machine: String,
    event: EvidenceRef,
) -> Result<(), StepError> {
    let (evidence, spec) = ([event], &section.context.spec);
    section
        .judge("3.1.1", true, Basis::Observed, machine, &evidence)
        .await?;
    if spec.in_containers() {
        let text = format!(
            "{} routers run as containers in the networks of their services; instances are \
             configured by {} when they are started",
            opened.len(),
            spec.compose.path.file_name().unwrap_or_default().display()
        );
        section
            .judge("3.1.2", true, Basis::Performed, text, &evidence)
            .await?;
    } else if spec.target != "local" {
        let text = "instances run as containers of the platform; they are configured when they are \
                    started, and nothing else there is set up by this run";
        section.open("3.1.2", text).await?;
    } else {
        let fact = "services run as processes: the inventory holds no running container";
        section.none("3.1.2", fact).await?;
    }
    let text = format!(
        "project {} of {}: {} addresses, private folders for data and backups",
        spec.application,
        spec.environment,
        opened.len()
    );
    section
        .judge("3.1.4", true, Basis::Performed, text, &evidence)
        .await?;
    let single: Vec<_> = spec
        .services
        .iter()
        .filter(|one| one.replicas < 2)
        .map(|one| one.name.clone())
        .collect();
    let mut text = format!("services with a single instance: {}", list(&single));
    if !spec.file.databases.is_empty() {
        text.push_str("; what a database rests on is judged by 3.2.6");
    }
    section
        .judge("3.1.6", single.is_empty(), Basis::Observed, text, &evidence)
        .await?;
    let servers = spec.services.iter();
    let servers: Vec<_> = servers
        .filter(|one| one.role == Role::Database)
        .map(|one| one.name.clone())
        .collect();
    if spec.file.databases.is_empty() && servers.is_empty() {
        let fact = "no database in the inventory";
        section.none("3.2.1", fact).await?;
        section.none("3.2.4", fact).await?;
    } else if spec.file.databases.is_empty() {
        let text = format!(
            "not among the databases that a run migrates: {}",
            list(&servers)
        );
        for item in ["3.2.1", "3.2.4"] {
            section
                .settle(item, Verdict::Open, &text, &evidence)
                .await?;
        }
    } else {
        let databases = spec.file.databases.iter();
        let files: Vec<_> = databases
            .map(|(name, one)| (name.as_str(), path_of(spec, one)))
            .collect();
        let (ready, text) = database_files(&files);
        section
            .judge("3.2.1", ready, Basis::Observed, text, &evidence)
            .await?;
        let text = "a private folder for backups; the migration takes one before it begins, and verifies it";
        section
            .judge("3.2.4", true, Basis::Performed, text, &evidence)
            .await?;
    }
    if spec.on_this_machine() {
        let text = format!(
            "one machine and its disk carry everything, which is what a {} target is; whether that \
             is enough for this environment is for a person to say (`waivers`)",
            section.context.target.name()
        );
        section.open("3.2.6", text).await?;
    }
    let text = format!("{} has mode 700", spec.data_folder().display());
    section
        .judge(
            "3.2.2",
            mode(&spec.data_folder()) == Some(0o700),
            Basis::Performed,
            text,
            &evidence,
        )
        .await
}

/// Returns whether every database has a file, or a folder in which the migration makes one, with their names.
fn database_files(files: &[(&str, Option<PathBuf>)]) -> (bool, String) {
    let named = |wanted: &dyn Fn(&Path) -> bool| {
        let found = files
            .iter()
            .filter(|(_, path)| path.as_deref().is_some_and(wanted));
        list(found.map(|(name, _)| *name))
    };
    let has_folder = |path: &Path| path.parent().is_some_and(Path::is_dir);
    let without = files
        .iter()
        .filter(|(_, path)| !path.as_deref().is_some_and(has_folder));
    let without: Vec<&str> = without.map(|(name, _)| *name).collect();
    let text = format!(
        "there before this run's migration: {}; made by it in phase 5: {}; without a folder for its file: {}",
        named(&|path| path.exists()),
        named(&|path| !path.exists() && has_folder(path)),
        list(&without)
    );
    (without.is_empty(), text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn databases_are_named_by_what_is_there_and_what_the_migration_makes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| Some(folder.path().join(name));
        std::fs::write(folder.path().join("orders.db"), "").unwrap();
        let (ready, text) =
            database_files(&[("orders", path("orders.db")), ("stock", path("stock.db"))]);
        assert!(ready);
        assert_eq!(
            text,
            "there before this run's migration: orders; made by it in phase 5: stock; without a folder for its file: none"
        );
        let (ready, text) = database_files(&[("orders", path("none/orders.db")), ("far", None)]);
        assert!(!ready);
        assert!(
            text.ends_with("without a folder for its file: orders, far"),
            "{text}"
        );
    }
}
