//! What the programs of a node read: users, keys, settings.

use super::NODE;
use super::network::Range;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::program::Program;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The folder in which the API server puts its certificate.
pub(super) const API_CERTIFICATES: &str = "api";
/// The users that the API server knows.
pub(super) const TOKENS: &str = "tokens.csv";
/// The key of the service accounts.
pub(super) const SERVICE_ACCOUNTS: &str = "service-accounts.pem";
/// By what the kubelet knows the API server.
pub(super) const KUBELET_CERTIFICATE: &str = "kubelet-client.pem";
/// The key of [`KUBELET_CERTIFICATE`].
pub(super) const KUBELET_KEY: &str = "kubelet-client.key";
/// The kubelet's settings.
pub(super) const KUBELET: &str = "kubelet.json";
/// What the tests are given.
pub(super) const KUBECONFIG: &str = "kubeconfig";

/// Folders that have to be there, readable by their owner alone.
const FOLDERS: [&str; 5] = ["run", "log", "logs", "settings", "plugins"];

/// A user of the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    /// May do everything.
    Admin,
    /// May do nothing until a role is bound to it.
    Deployer,
    /// The controller manager.
    Controllers,
    /// The scheduler.
    Scheduler,
    /// The proxy.
    Proxy,
    /// The kubelet.
    Node,
}

impl User {
    const ALL: [Self; 6] = [
        Self::Admin,
        Self::Deployer,
        Self::Controllers,
        Self::Scheduler,
        Self::Proxy,
        Self::Node,
    ];

    /// Returns the name by which roles are bound to it.
    fn name(self) -> String {
        match self {
            Self::Admin => "admin".into(),
            Self::Deployer => "deployer".into(),
            Self::Controllers => "system:kube-controller-manager".into(),
            Self::Scheduler => "system:kube-scheduler".into(),
            Self::Proxy => "system:kube-proxy".into(),
            Self::Node => format!("system:node:{NODE}"),
        }
    }

    fn group(self) -> Option<&'static str> {
        match self {
            Self::Admin => Some("system:masters"),
            Self::Node => Some("system:nodes"),
            _ => None,
        }
    }

    /// Returns the name of the file that tells it how to reach the API server.
    pub(super) fn kubeconfig(self) -> String {
        format!("{}.kubeconfig", self.name().replace(':', "-"))
    }
}

/// The users with their secrets.
#[derive(Clone)]
pub(super) struct Users(Vec<(User, String)>);

impl Users {
    /// Gives each user a secret.
    fn new() -> std::io::Result<Self> {
        let mut source = std::fs::File::open("/dev/urandom")?;
        let secrets = User::ALL.into_iter().map(|user| {
            let mut bytes = [0; 24];
            source.read_exact(&mut bytes)?;
            Ok((user, hex::encode(bytes)))
        });
        secrets.collect::<std::io::Result<_>>().map(Self)
    }

    /// Returns the users as the API server reads them.
    fn table(&self) -> String {
        let rows = self.0.iter().map(|(user, secret)| {
            let name = user.name();
            let group = user.group().map(|group| format!(",\"{group}\""));
            format!("{secret},{name},{name}{}\n", group.unwrap_or_default())
        });
        rows.collect()
    }

    /// Returns how users reach the API server; the first is the one that is meant where nobody is named.
    fn kubeconfig(&self, users: &[User], server: &str, authority: &Path) -> Value {
        let ours = self.0.iter().filter(|(user, _)| users.contains(user));
        let contexts = ours.clone().map(|(user, _)| {
            json!({"name": user.name(), "context": {"cluster": "stage", "user": user.name()}})
        });
        let secrets =
            ours.map(|(user, secret)| json!({"name": user.name(), "user": {"token": secret}}));
        json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{"name": "stage", "cluster": {"server": server, "certificate-authority": authority}}],
            "contexts": contexts.collect::<Vec<_>>(),
            "users": secrets.collect::<Vec<_>>(),
            "current-context": users.first().map(|user| user.name()),
        })
    }

    /// Writes for every user how to reach the API server, and for the tests what they may be.
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be written.
    pub(super) fn write_kubeconfigs(&self, folder: &Path, server: &str) -> Result<PathBuf, Error> {
        let authority = folder.join(API_CERTIFICATES).join("apiserver.crt");
        let write = |name: &str, users: &[User]| {
            let content = self.kubeconfig(users, server, &authority);
            write_secret(&folder.join(name), &content.to_string())
        };
        for user in User::ALL {
            write(&user.kubeconfig(), &[user])?;
        }
        write(KUBECONFIG, &[User::Admin, User::Deployer])?;
        Ok(folder.join(KUBECONFIG))
    }
}

/// Makes the node's folder with everything that is read before the API server answers.
///
/// # Errors
/// [`Error::File`] when something cannot be made; what `openssl` says.
pub(super) async fn lay_out(
    folder: &Path,
    range: Range,
    interrupt: &Interrupt,
) -> Result<Users, Error> {
    for name in FOLDERS {
        let path = folder.join(name);
        let mut builder = std::fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&path);
        made.map_err(failed("make", &path))?;
    }
    let users = Users::new().map_err(failed("read", Path::new("/dev/urandom")))?;
    write_secret(&folder.join(TOKENS), &users.table())?;
    write_secret(&folder.join("engine.json"), "{}")?;
    write_secret(&folder.join(KUBELET), &kubelet(folder, range).to_string())?;
    write_secret(&folder.join("names"), "")?;
    copy_program(folder)?;
    keys(folder, interrupt).await?;
    Ok(users)
}

/// Puts this program where the node starts it from: by its name there it knows that it is the runtime. A link would
/// lead nowhere once the program was built anew.
fn copy_program(folder: &Path) -> Result<(), Error> {
    let copy = folder.join(super::runtime::NAME);
    let copied = std::fs::copy("/proc/self/exe", &copy);
    copied
        .map(drop)
        .map_err(failed("copy this program to", &copy))
}

async fn keys(folder: &Path, interrupt: &Interrupt) -> Result<(), Error> {
    let openssl = || Program::new("openssl", 1).folder(folder);
    let service_accounts = openssl().args(["genrsa", "-out", SERVICE_ACCOUNTS, "2048"]);
    service_accounts.read(interrupt).await?;
    let client = openssl().args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "30",
        "-subj",
        "/O=system:masters/CN=stage-api-server",
        "-keyout",
        KUBELET_KEY,
        "-out",
        KUBELET_CERTIFICATE,
    ]);
    client.read(interrupt).await.map(drop)
}

fn kubelet(folder: &Path, range: Range) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": false},
            "x509": {"clientCAFile": folder.join(KUBELET_CERTIFICATE)},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "resolvConf": folder.join("names"),
        "clusterDNS": [range.names()],
        "clusterDomain": "cluster.local",
        // How full the machine's disk is has nothing to do with the tests: no image goes, and no pod.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
        "nodeStatusUpdateFrequency": "30s",
        // Its socket would lie in a folder of the machine.
        "featureGates": {"DevicePlugins": false},
    })
}

fn write_secret(path: &Path, text: &str) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    let opened = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(failed("write", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn tests_are_given_an_administrator_and_one_without_rights_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let users = Users::new().unwrap();
        let path = users
            .write_kubeconfigs(folder.path(), "https://198.18.0.2:6443")
            .unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(read["current-context"], "admin");
        let names = read["users"].as_array().unwrap().iter();
        let names: Vec<&str> = names.filter_map(|user| user["name"].as_str()).collect();
        assert_eq!(names, ["admin", "deployer"]);
        let table = users.table();
        assert!(
            table.contains(",admin,admin,\"system:masters\"\n"),
            "{table}"
        );
        assert!(table.contains(",deployer,deployer\n"), "{table}");
    }
}
