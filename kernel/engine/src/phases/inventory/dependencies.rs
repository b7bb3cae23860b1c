//! What the application depends on, as its lock files say: a software bill of materials.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Basis, Column, Digest, EvidenceRef, Report};
use serde_json::{Value, json};

use crate::Step;
use crate::inventory::{Dependencies, Ecosystem, Inventory};
use crate::phases::look;
use crate::section::{Outline, Section, Seen, Work, blocking, step as section_step};
use crate::step::StepError;

/// Returns the step.
pub(super) fn step() -> Option<Arc<dyn Step>> {
    let outline = Outline {
        verb: ("inventory", 1),
        section: "dependencies",
        title: "read the lock files and write the bill of materials",
        items: "1.1.5",
        undo: None,
        methods: (
            "the bill of materials read back by digest",
            "the digests of the lock files taken again",
        ),
        expected: Duration::from_secs(1),
    };
    section_step(&outline, Bill)
}

struct Bill;

#[async_trait]
impl Work for Bill {
    async fn apply(&self, section: &Section<'_>) -> Result<Value, StepError> {
        let (inventory, _) = look::inventory(section.context).await?;
        let bill = bill(&inventory, section.context.to.as_str());
        let text = serde_json::to_vec_pretty(&bill).map_err(code_deploy_record::Error::from)?;
        let digest = section
            .context
            .keep("bill of materials (CycloneDX)", "application/json", text)
            .await?;
        let event = section.report("Dependencies", report(&inventory)).await?;
        let packages: usize = inventory.dependencies.iter().map(|one| one.count).sum();
        let unpinned: usize = inventory.dependencies.iter().map(|one| one.unpinned).sum();
        let files = inventory.dependencies.len();
        if files == 0 {
            section.open("1.1.5", look::NO_LOCK_FILE).await?;
        } else {
            let text = format!(
                "{packages} packages in {files} lock files, {unpinned} without an exact version"
            );
            let evidence = [event, EvidenceRef::File(digest)];
            section
                .judge("1.1.5", unpinned == 0, Basis::Observed, text, &evidence)
                .await?;
        }
        Ok(json!({ "bill": digest, "packages": packages }))
    }

    async fn inside(&self, section: &Section<'_>, result: &Value) -> Result<Seen, StepError> {
        let digest: Digest = serde_json::from_value(result["bill"].clone()).unwrap_or(Digest::ZERO);
        let store = section.context.run.evidence();
        let text = blocking("reading evidence", move || store.read(&digest)).await??;
        let bill: Value = serde_json::from_slice(&text).map_err(code_deploy_record::Error::from)?;
        let listed = bill["components"].as_array().map_or(0, Vec::len);
        Ok(Seen::new(
            listed > 0 || result["packages"] == 0,
            format!("{listed} packages listed"),
        ))
    }

    async fn outside(&self, section: &Section<'_>, _: &Value) -> Result<Seen, StepError> {
        let (inventory, _) = look::inventory(section.context).await?;
        for one in &inventory.dependencies {
            let path = section.context.spec.project.join(&one.file);
            let content = tokio::fs::read(&path).await.unwrap_or_default();
            if Digest::of(&content) != one.digest {
                return Ok(Seen::new(
                    false,
                    format!("{} has another digest", path.display()),
                ));
            }
        }
        Ok(Seen::new(
            true,
            format!(
                "{} lock files have their digest",
                inventory.dependencies.len()
            ),
        ))
    }
}

fn report(inventory: &Inventory) -> Report {
    let columns = vec![
        Column::text("Lock file"),
        Column::text("Ecosystem"),
        Column::number("Packages"),
        Column::number("Without exact version"),
        Column::text("SHA-256"),
    ];
    let row = |one: &Dependencies| {
        vec![
            one.file.display().to_string(),
            word(one.ecosystem).to_owned(),
            one.count.to_string(),
            one.unpinned.to_string(),
            one.digest.to_string(),
        ]
    };
    let rows = inventory.dependencies.iter().map(row).collect();
    Report::new().with_table("Dependencies by lock file", columns, rows)
}

fn word(ecosystem: Ecosystem) -> &'static str {
    match ecosystem {
        Ecosystem::Cargo => "cargo",
        Ecosystem::Npm => "npm",
        Ecosystem::PyPi => "pypi",
        Ecosystem::Go => "golang",
    }
}

/// Returns a bill of materials in the form of CycloneDX 1.5.
fn bill(inventory: &Inventory, release: &str) -> Value {
    let packages = inventory.dependencies.iter().flat_map(|file| {
        file.packages.iter().map(move |package| {
            let (kind, name) = (word(file.ecosystem), &package.name);
            let version = package.version.clone().unwrap_or_default();
            json!({
                "type": "library",
                "name": name,
                "version": version,
                "purl": format!("pkg:{kind}/{name}@{version}"),
            })
        })
    });
    let component =
        json!({ "type": "application", "name": inventory.application, "version": release });
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component },
        "components": packages.collect::<Vec<_>>(),
    })
}
