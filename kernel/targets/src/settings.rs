//! What a target needs to know of the program that uses it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use code_deploy_engine::spec::Spec;
use code_deploy_engine::target::ServiceAddress;
use code_deploy_record::Redactor;

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
    /// Gets to know the secrets that instances are given.
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
