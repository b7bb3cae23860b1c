//! What can go wrong at a target, each kind with a code that stays the same.

use code_deploy_engine::target::TargetError;

/// The codes, by name.
pub(crate) mod code {
    /// The deployment file names no such service.
    pub const NO_SUCH_SERVICE: &str = "CD0510";
    /// A file or folder of the environment cannot be read or written.
    pub const FILES: &str = "CD0511";
    /// A service has no program, or it is not where the deployment file says.
    pub const PROGRAM: &str = "CD0512";
    /// A secret cannot be found.
    pub const SECRET: &str = "CD0513";
    /// An instance ended, or did not become ready in time.
    pub const NOT_STARTED: &str = "CD0514";
    /// A port of this machine is taken by another program, or two services are to have it.
    pub const PORT_TAKEN: &str = "CD0515";
    /// A process did not end, or the system refused to end it.
    pub const NOT_STOPPED: &str = "CD0516";
    /// Another process changes the same thing for too long.
    pub const BUSY: &str = "CD0517";
    /// The router does not start.
    pub const ROUTER_START: &str = "CD0518";
    /// The router refused, or did not answer.
    pub const ROUTER: &str = "CD0519";
    /// This machine cannot be measured.
    pub const CAPACITY: &str = "CD0520";
    /// Two services and releases would give an instance the same name.
    pub const NAME_TAKEN: &str = "CD0521";
    /// A task of this program ended before its work was done.
    pub const INTERRUPTED: &str = "CD0522";
    /// The Docker engine does not answer, or refuses.
    pub const ENGINE: &str = "CD0523";
    /// The Docker engine that is meant is too old, runs on another machine, or is not to be found.
    pub const ENGINE_UNFIT: &str = "CD0524";
    /// An image is missing and cannot be had.
    pub const IMAGE: &str = "CD0525";
    /// A name is taken by something that this program did not make.
    pub const FOREIGN: &str = "CD0526";
    /// The Compose file has a value that no container can be given.
    pub const COMPOSE_VALUE: &str = "CD0527";
    /// The program cannot be put into an image.
    pub const PROGRAM_IMAGE: &str = "CD0528";
    /// An image could not be built.
    pub const IMAGE_BUILD: &str = "CD0529";
    /// The cluster does not answer, refuses, or is too old.
    pub const CLUSTER: &str = "CD0530";
    /// Nothing says how the cluster is reached, or its namespace is not there.
    pub const CLUSTER_FILE: &str = "CD0531";
    /// The account may not do what a run needs.
    pub const ACCESS: &str = "CD0532";
    /// Somebody else manages a field that would be changed.
    pub const CONFLICT: &str = "CD0533";
    /// Addresses of the cluster are not reached from this machine.
    pub const NOT_ROUTED: &str = "CD0534";
    /// Traffic is not served as it was set.
    pub const NOT_SERVED: &str = "CD0535";
    /// The namespace's quota does not allow it.
    pub const QUOTA: &str = "CD0536";
    /// Traffic cannot be split so on this target.
    pub const NO_SPLIT: &str = "CD0537";
    /// Another machine works on what is to be stopped.
    pub const HELD: &str = "CD0538";
    /// The cluster would refuse what a run applies.
    pub const NOT_ADMITTED: &str = "CD0539";
    /// The cluster has not the Gateway that the deployment file names, or has a route of one that it
    /// no longer names.
    pub const GATEWAY: &str = "CD0540";
    /// No controller of a Gateway serves a route as it was stated.
    pub const NOT_ACCEPTED: &str = "CD0541";
    /// The account of the kubeconfig file has no credentials: its plugin gives none.
    pub const SIGN_IN: &str = "CD0542";
}

/// The codes of the targets, each with what it means.
pub const CODES: &[(&str, &str)] = &[
    (
        code::NO_SUCH_SERVICE,
        "the deployment file names no such service",
    ),
    (
        code::FILES,
        "a file or folder of the environment cannot be read or written",
    ),
    (
        code::PROGRAM,
        "a service has no program, or it is not where the deployment file says",
    ),
    (code::SECRET, "a secret cannot be found"),
    (
        code::NOT_STARTED,
        "an instance ended, or did not become ready in time",
    ),
    (
        code::PORT_TAKEN,
        "a port of this machine is taken by another program, or two services are to have it",
    ),
    (
        code::NOT_STOPPED,
        "a process did not end, or the system refused to end it",
    ),
    (
        code::BUSY,
        "another process changes the same service for too long",
    ),
    (code::ROUTER_START, "the router does not start"),
    (code::ROUTER, "the router refused, or did not answer"),
    (code::CAPACITY, "this machine cannot be measured"),
    (
        code::NAME_TAKEN,
        "two services and releases would give an instance the same name",
    ),
    (
        code::INTERRUPTED,
        "a task of the program ended before its work was done",
    ),
    (
        code::ENGINE,
        "the Docker engine does not answer, or refuses",
    ),
    (
        code::ENGINE_UNFIT,
        "the Docker engine that is meant is too old, runs on another machine, or is not to be found",
    ),
    (code::IMAGE, "an image is missing and cannot be had"),
    (
        code::FOREIGN,
        "a name is taken by something that the program did not make",
    ),
    (
        code::COMPOSE_VALUE,
        "the Compose file has a value that no container can be given",
    ),
    (
        code::PROGRAM_IMAGE,
        "the program cannot be put into an image",
    ),
    (code::IMAGE_BUILD, "an image could not be built"),
    (
        code::CLUSTER,
        "the cluster does not answer, refuses, or is too old",
    ),
    (
        code::CLUSTER_FILE,
        "nothing says how the cluster is reached, or its namespace is not there",
    ),
    (code::ACCESS, "the account may not do what a run needs"),
    (
        code::CONFLICT,
        "somebody else manages a field that would be changed",
    ),
    (
        code::NOT_ROUTED,
        "addresses of the cluster are not reached from this machine",
    ),
    (code::NOT_SERVED, "traffic is not served as it was set"),
    (code::QUOTA, "the namespace's quota does not allow it"),
    (code::NO_SPLIT, "traffic cannot be split so on this target"),
    (
        code::HELD,
        "a run of another machine works on what is to be stopped",
    ),
    (
        code::NOT_ADMITTED,
        "the cluster would refuse what a run applies",
    ),
    (
        code::GATEWAY,
        "the cluster has not the Gateway that the deployment file names, or a route that it no longer names",
    ),
    (
        code::NOT_ACCEPTED,
        "no controller of a Gateway serves a route as it was stated",
    ),
    (
        code::SIGN_IN,
        "the credential plugin of the kubeconfig file gives no credentials",
    ),
];

/// Returns a failure that trying again does not mend.
pub(crate) fn failed(
    code: &'static str,
    service: Option<&str>,
    what: impl Into<String>,
    next: impl Into<String>,
) -> TargetError {
    TargetError {
        code,
        service: service.map(str::to_owned),
        what: what.into(),
        next: next.into(),
        transient: false,
    }
}

/// Returns a failure that may not come again.
pub(crate) fn transient(
    code: &'static str,
    service: Option<&str>,
    what: impl Into<String>,
    next: impl Into<String>,
) -> TargetError {
    TargetError {
        transient: true,
        ..failed(code, service, what, next)
    }
}

/// Returns a function that tells what could not be done to a file or folder.
pub(crate) fn files(
    service: Option<&str>,
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> TargetError {
    let (service, path) = (service.map(str::to_owned), path.to_owned());
    move |error| {
        failed(
            code::FILES,
            service.as_deref(),
            format!("cannot {action} {}: {error}", path.display()),
            "Make it readable and writable for this user, with room on its disk, and run again.",
        )
    }
}

/// Returns a function that tells that a process could not be watched or ended.
pub(crate) fn not_stopped(
    service: Option<&str>,
    whose: &str,
) -> impl FnOnce(std::io::Error) -> TargetError + use<> {
    let (service, whose) = (service.map(str::to_owned), whose.to_owned());
    move |error| {
        failed(
            code::NOT_STOPPED,
            service.as_deref(),
            format!("cannot end the process of {whose}: {error}; it may run still"),
            "Look whether it runs still, and stop again.",
        )
    }
}
