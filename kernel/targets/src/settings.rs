//! What a target needs to know of the program that uses it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use code_deploy_engine::spec::{RELEASE_VARIABLE, Spec};
use code_deploy_engine::target::{ServiceAddress, TargetError};
use code_deploy_record::{Redactor, Release};

use crate::failure::{code, failed};

/// Looks up a variable of the program's environment.
pub type Lookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What a target needs to know of the program that uses it.
pub struct Settings {
    /// The deployment file, read.
    pub spec: Arc<Spec>,
    /// The program itself, which is started again as router and supervisor, or put into an image.
    pub program: PathBuf,
    /// A folder of the user for sockets, with a short path.
    pub runtime: PathBuf,
    /// Looks up a variable of the program's environment.
    pub lookup: Lookup,
    /// Gets to know the secrets that instances are given, and those with which a cluster is signed in to.
    pub redactor: Redactor,
}

impl Settings {
    /// Returns a service's address with the routing that the deployment file wants for it.
    pub(crate) fn address_of(&self, service: &str, address: SocketAddr) -> ServiceAddress {
        let routing = self
            .spec
            .service(service)
            .map(|one| one.file.routing.clone());
        ServiceAddress {
            service: service.to_owned(),
            address,
            routing: routing.unwrap_or_default(),
        }
    }
}

impl Settings {
    /// Returns the deployment file as it is for a release: a Compose file may name it.
    pub(crate) fn spec_of(&self, release: &Release) -> Result<Arc<Spec>, TargetError> {
        let spec = &self.spec;
        if spec.release.as_deref() == Some(release.as_str()) {
            return Ok(Arc::clone(spec));
        }
        let lookup = |name: &str| match name {
            RELEASE_VARIABLE => Some(release.to_string()),
            _ => (self.lookup)(name),
        };
        let read = spec.with_variables(&lookup);
        read.map(Arc::new).map_err(|error| {
            let what =
                format!("the files cannot be read for {release}: {error}; nothing was started");
            failed(code::COMPOSE_VALUE, None, what, "Mend them and run again.")
        })
    }
}
