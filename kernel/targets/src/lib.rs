//! The places that the engine deploys to. Each implements
//! [`Target`](code_deploy_engine::Target); the engine knows none of them by name.

pub mod local;

pub use local::LocalTarget;
