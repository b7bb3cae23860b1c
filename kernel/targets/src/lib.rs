//! The places that the engine deploys to. Each implements
//! [`Target`](code_deploy_engine::Target); the engine knows none of them by name.

mod capacity;
mod disk;
pub mod docker;
mod failure;
mod keys;
pub mod kubernetes;
pub mod local;
mod lock;
mod notices;
mod settings;
mod silence;
mod stable;
mod steering;
mod stopping;
mod token;
mod upgrading;

pub use docker::DockerTarget;
pub use failure::CODES;
pub use kubernetes::KubernetesTarget;
pub use local::LocalTarget;
pub use settings::{Lookup, Settings};
