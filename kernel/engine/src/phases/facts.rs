//! Facts of the inventory from which it follows that an item cannot apply.

use code_deploy_record::{Item, Role};

use crate::plan::Inputs;
use crate::spec::DatabaseUrl;

/// Returns the fact from which it follows that an item cannot apply, if there is one. Asked only
/// of items that no step settled: what a step looked at is never explained away.
#[must_use]
pub fn item_facts(item: &Item, inputs: &Inputs) -> Option<String> {
    let id = item.id.as_str();
    of_databases(id, inputs)
        .or_else(|| of_local(id, inputs))
        .or_else(|| of_containers(id, inputs))
        .or_else(|| of_strategy(id, inputs))
}

fn of_databases(id: &str, inputs: &Inputs) -> Option<String> {
    let spec = &inputs.spec;
    let databases = &spec.file.databases;
    let services = spec
        .services
        .iter()
        .filter(|one| one.role == Role::Database)
        .count();
    let in_inventory = databases.len() + services;
    let about_data = ["4.1.", "4.2.", "4.3."]
        .iter()
        .any(|group| id.starts_with(group));
    if in_inventory == 0 && (about_data || matches!(id, "3.2.1" | "3.2.4" | "3.2.5" | "1.4.2")) {
        return Some("no database in the inventory".to_owned());
    }
    let files = databases
        .values()
        .all(|one| matches!(one.url, DatabaseUrl::Plain(_)));
    (id == "3.2.5" && files && services == 0).then(|| {
        "every database of the inventory is a SQLite file, which has no replica".to_owned()
    })
}

fn of_local(id: &str, inputs: &Inputs) -> Option<String> {
    let spec = &inputs.spec;
    if spec.target != "local" {
        return None;
    }
    let loopback =
        "every address of a local target is loopback: no request of another machine arrives";
    let fact = match id {
        "5.4.1" => {
            "the local target runs services as processes: the inventory holds no running container"
                .to_owned()
        }
        "2.2.1" | "2.2.2" | "2.2.3" | "2.2.4" | "2.2.5" | "2.2.6" | "2.2.7" => {
            "the local target runs services as processes: no image is built for it".to_owned()
        }
        "2.3.2" => {
            "a local target starts artifacts where they are: the deployment file names no package"
                .to_owned()
        }
        "2.3.3" => {
            "the artifacts of the deployment file are programs: it names no assets to bundle"
                .to_owned()
        }
        "3.1.3" => "a local target has no orchestrator: each process has a supervisor of its own"
            .to_owned(),
        "3.1.5" => "the inventory gives each service a fixed number of instances, on one machine"
            .to_owned(),
        "3.2.3" => "no object storage in the inventory".to_owned(),
        "3.3.4" => "no CDN in the inventory, and every address is loopback".to_owned(),
        "5.4.5" if limits(inputs) == 0 => "no service of the Compose file has a limit".to_owned(),
        "7.2.1" | "7.2.2" | "7.2.3" | "7.2.5" => loopback.to_owned(),
        "7.3.3" if secrets(inputs) == 0 => {
            "no secret in the inventory whose key could be rotated".to_owned()
        }
        "9.3.5" => {
            "every address of a local target is loopback and the inventory holds no certificate"
                .to_owned()
        }
        _ => return None,
    };
    Some(fact)
}

fn of_containers(id: &str, inputs: &Inputs) -> Option<String> {
    let spec = &inputs.spec;
    if !spec.in_containers() {
        return None;
    }
    let builds = spec.compose.services.values().any(|one| one.build);
    let loopback =
        "every service is published at loopback: no request of another machine arrives".to_owned();
    let fact = match id {
        "2.2.1" | "2.2.6" if !builds => {
            "every service of the Compose file names its image and builds none".to_owned()
        }
        "3.1.3" => "one engine without a cluster: it starts containers again by their own policy"
            .to_owned(),
        "2.3.2" => {
            "services are packaged as images: the deployment file names no other package".to_owned()
        }
        "2.3.3" => "the deployment file names no assets to bundle".to_owned(),
        "3.1.5" => "the inventory gives each service a fixed number of instances, on one machine"
            .to_owned(),
        "3.2.3" => "no object storage in the inventory".to_owned(),
        "3.3.4" => "no CDN in the inventory, and every address is loopback".to_owned(),
        "5.4.5" if limits(inputs) == 0 => "no service of the Compose file has a limit".to_owned(),
        "7.2.1" | "7.2.2" | "7.2.3" | "7.2.5" => loopback,
        "7.3.3" if secrets(inputs) == 0 => {
            "no secret in the inventory whose key could be rotated".to_owned()
        }
        "9.3.5" => "every address is loopback and the inventory holds no certificate".to_owned(),
        _ => return None,
    };
    Some(fact)
}

fn limits(inputs: &Inputs) -> usize {
    let services = inputs.spec.services.iter();
    services
        .filter(|one| one.memory_limit.is_some() || one.processor_limit.is_some())
        .count()
}

fn secrets(inputs: &Inputs) -> usize {
    let spec = &inputs.spec;
    let composed = spec.compose.services.values();
    let composed: usize = composed
        .map(|one| one.secrets.len() + one.secret_variables.len())
        .sum();
    let processes = spec
        .services
        .iter()
        .filter_map(|one| one.file.process.as_ref());
    composed
        + processes
            .map(|process| process.secrets.len())
            .sum::<usize>()
}

fn of_strategy(id: &str, inputs: &Inputs) -> Option<String> {
    let traffic = matches!(
        id,
        "5.2.1" | "5.2.2" | "5.2.3" | "5.2.5" | "5.3.1" | "5.3.2" | "5.3.4"
    );
    (inputs.initial && traffic)
        .then(|| "a first deployment: no release runs whose traffic could be shared".to_owned())
}
