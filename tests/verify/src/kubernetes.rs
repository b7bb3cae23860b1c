//! A Kubernetes cluster: one node for the tests alone, or a cluster of the user's that was named.

mod components;
mod files;
mod inside;
mod lending;
mod network;
mod node;
mod openapi;
mod programs;
mod remains;
mod runtime;

use crate::cache::Cache;
use crate::debian::find;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::program::Program;
use node::Node;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The name of the node.
const NODE: &str = "stage";
/// The image of a process that only waits; the node has it.
const PAUSE: &str = "code-deploy-stage/pause:1";
/// Folders of the machine that the node does not see.
const HIDDEN: [&str; 3] = ["/run", "/var/run", "/var/log"];

/// The variables that tell the tests more than where the cluster is.
pub const VARIABLES: [&str; 4] = [
    "CODE_DEPLOY_STAGE_KUBERNETES_LENDER",
    "CODE_DEPLOY_STAGE_KUBERNETES_DOCKER",
    "CODE_DEPLOY_STAGE_KUBERNETES_KUBECTL",
    "CODE_DEPLOY_STAGE_KUBERNETES_NODE",
];

/// A cluster that the tests may use.
#[derive(Debug)]
pub struct Cluster {
    /// The folder of a node of ours; in it stands how to reach the cluster.
    folder: PathBuf,
    /// Its client.
    kubectl: PathBuf,
    /// The Docker engine from which it takes images, as `DOCKER_HOST` names it.
    engine: String,
    kind: Kind,
    _hold: File,
}

#[derive(Debug)]
enum Kind {
    /// A node of ours, made from the programs in this folder whenever a test asks for it.
    Own(PathBuf),
    /// A cluster of the user's.
    Named,
}

/// Becomes a process of the node, where this program was started as one.
pub fn role(words: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let words: Vec<OsString> = words.into_iter().collect();
    if words.get(1).is_some_and(|word| word == inside::WORD) {
        return Some(inside::main(words.get(2..).unwrap_or_default()));
    }
    let called = Path::new(words.first()?).file_name()?;
    (called == runtime::NAME).then(|| runtime::main(words.get(1..).unwrap_or_default()))
}

/// Brings a node up, or looks for the cluster of a context that was named.
///
/// # Errors
/// [`Error::Machine`] when neither can be had, with what a person can do.
pub async fn ensure(
    cache: &Cache,
    context: Option<&str>,
    interrupt: &Interrupt,
) -> Result<Cluster, Error> {
    let folder = cache.path("kubernetes");
    if context.is_none() {
        can_be_brought_up(&folder)?;
    }
    let hold = hold(&cache.path("kubernetes.lock"))?;
    // Whoever left something here is gone: the lock was free.
    network::unlink().await;
    remains::remove(&folder).await?;
    let Some(context) = context else {
        return own(cache, folder, hold, interrupt).await;
    };
    named(folder, context, hold, interrupt).await
}

async fn own(
    cache: &Cache,
    folder: PathBuf,
    hold: File,
    interrupt: &Interrupt,
) -> Result<Cluster, Error> {
    if std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()) {
        crate::report::note(
            "KUBECONFIG is left alone; --kubernetes-context NAME has the tests use that cluster",
        );
    }
    let programs = programs::ensure(cache, interrupt).await?;
    // Better known now than when the first test asks.
    crate::report::note("trying a Kubernetes node");
    let mut node = Node::bring_up(folder.clone(), programs.clone(), interrupt).await?;
    node.tear_down().await?;
    Ok(Cluster {
        engine: node::engine(&folder),
        folder,
        kubectl: programs.join("kubectl"),
        kind: Kind::Own(programs),
        _hold: hold,
    })
}

/// Writes down how to reach the cluster of a context, so that no other context can be meant.
async fn named(
    folder: PathBuf,
    context: &str,
    hold: File,
    interrupt: &Interrupt,
) -> Result<Cluster, Error> {
    let kubectl = find("kubectl").ok_or_else(|| Error::Machine {
        missing: "there is no kubectl, which has to tell how to reach the cluster.".into(),
        remedy: "Install it, or leave --kubernetes-context out: then a node is brought up.".into(),
    })?;
    let engine = std::env::var("DOCKER_HOST")
        .ok()
        .filter(|it| !it.is_empty());
    let engine = engine.ok_or_else(|| Error::Machine {
        missing: "DOCKER_HOST does not say from which engine the cluster's nodes take images."
            .into(),
        remedy: "Set it, or leave --kubernetes-context out: then a node is brought up.".into(),
    })?;
    let view = Program::new(&kubectl, 1)
        .args(["config", "view", "--minify", "--flatten", "--raw"])
        .args(["--context", context])
        .read(interrupt)
        .await?;
    let kubeconfig = folder.join(files::KUBECONFIG);
    let failed = |source| Error::File {
        action: "write",
        path: kubeconfig.clone(),
        source,
    };
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let mut options = OpenOptions::new();
    let opened = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&kubeconfig);
    let written = opened.and_then(|mut file| file.write_all(view.as_bytes()));
    written.map_err(failed)?;
    let asked = Program::new(&kubectl, 1)
        .args(["--kubeconfig"])
        .args([&kubeconfig])
        .args(["--context", context, "get", "--raw", "/version"]);
    if let Err(error) = asked.read(interrupt).await {
        return Err(Error::Machine {
            missing: format!("the cluster of the context `{context}` does not answer: {error}"),
            remedy: "Start it, or leave --kubernetes-context out: then a node is brought up."
                .into(),
        });
    }
    Ok(Cluster {
        folder,
        kubectl,
        engine,
        kind: Kind::Named,
        _hold: hold,
    })
}

/// Tells whether this machine can have a node, before anything is built for it.
fn can_be_brought_up(folder: &Path) -> Result<(), Error> {
    let missing = if !nix::unistd::Uid::effective().is_root() {
        "only root can bring a Kubernetes node up.".into()
    } else if find("dpkg-deb").is_none() {
        "a Kubernetes node is built from Debian's packages, and this is no Debian machine.".into()
    } else if let Some(hidden) = HIDDEN.iter().find(|hidden| folder.starts_with(hidden)) {
        format!(
            "{} is in {hidden}, which a Kubernetes node does not see: set CODE_DEPLOY_CACHE.",
            folder.display()
        )
    } else {
        return Ok(());
    };
    Err(Error::Machine {
        missing,
        remedy: "Name a cluster that the tests may use (--kubernetes-context NAME), or leave it \
                 out: --without kubernetes"
            .into(),
    })
}

/// Takes the node's place for this verification, until its process ends.
fn hold(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::File {
        action: "lock",
        path: path.to_owned(),
        source,
    };
    let lock = File::create(path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Machine {
            missing: "another verification has a Kubernetes node on this machine.".into(),
            remedy: "Wait until it has ended, or leave it out: --without kubernetes".into(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Returns where a program of the node writes what it has to say.
fn log_of(folder: &Path, name: &str) -> PathBuf {
    folder.join("logs").join(name)
}

impl Cluster {
    /// Returns how to reach it, as `KUBECONFIG` names it; the file is there while the cluster is lent.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join(files::KUBECONFIG)
    }

    /// Returns what the tests are told beside that, by [`VARIABLES`]. The folder of the node, which is empty where the
    /// cluster is not ours, tells its processes from others.
    pub fn told(&self) -> [OsString; 4] {
        let node = match self.kind {
            Kind::Own(_) => self.folder.clone().into_os_string(),
            Kind::Named => OsString::new(),
        };
        [
            self.socket().into_os_string(),
            (&self.engine).into(),
            (&self.kubectl).into(),
            node,
        ]
    }

    /// Removes what is left of it, also after an interruption.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub async fn tear_down(&self) -> Result<(), Error> {
        remains::remove(&self.folder).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_knows_by_its_name_and_first_word_what_it_is() {
        let none = |words: &[&str]| role(words.iter().map(OsString::from)).is_none();
        assert!(none(&["code-deploy-verify"]));
        assert!(none(&["/x/code-deploy-verify", "--only", "setup"]));
        assert!(none(&[]));
        assert!(!none(&["code-deploy-verify", inside::WORD]));
    }

    #[test]
    fn a_node_has_one_verification_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = hold(&path).unwrap();
        let error = hold(&path).unwrap_err().to_string();
        assert!(error.contains("another verification"), "{error}");
        drop(first);
        hold(&path).unwrap();
    }

    #[test]
    fn a_cache_that_the_node_would_not_see_is_refused() {
        if nix::unistd::Uid::effective().is_root() && find("dpkg-deb").is_some() {
            let error = can_be_brought_up(Path::new("/var/log/x")).unwrap_err();
            assert!(error.to_string().contains("CODE_DEPLOY_CACHE"), "{error}");
            can_be_brought_up(Path::new("/var/lib/x")).unwrap();
        }
    }
}
