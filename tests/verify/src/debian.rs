//! Packages of the system, on Debian and what descends from it.

use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::program::Program;
use std::path::{Path, PathBuf};

/// How often something that needs the network is tried.
pub const TRIES: u32 = 3;

/// Returns where a program is, as the search path has it.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Installs packages.
///
/// # Errors
/// [`Error::Machine`] where there is no apt-get or no right to use it, with what a person can
/// type; otherwise what apt-get says, after three tries.
pub async fn install(packages: &[&str], interrupt: &Interrupt) -> Result<(), Error> {
    let by_hand = |missing: String| Error::Machine {
        missing,
        remedy: format!(
            "Install by hand what these Debian packages bring: {}",
            packages.join(" ")
        ),
    };
    let Some(apt) = find("apt-get") else {
        return Err(by_hand(
            "this is no Debian machine: there is no apt-get.".into(),
        ));
    };
    let root = nix::unistd::Uid::effective().is_root();
    let sudo = find("sudo");
    if !root && sudo.is_none() {
        return Err(by_hand(
            "packages are missing, and only root can install them.".into(),
        ));
    }
    let program = |words: &[&str]| {
        let apt = apt.to_string_lossy().into_owned();
        let (name, before) = match (root, &sudo) {
            (false, Some(sudo)) => (
                sudo.clone(),
                vec!["-n", "DEBIAN_FRONTEND=noninteractive", &apt],
            ),
            _ => (PathBuf::from(&apt), Vec::new()),
        };
        Program::new(name, 20)
            .args(before)
            .args([
                "-q",
                "-o",
                "Acquire::Retries=3",
                "-o",
                "DPkg::Lock::Timeout=300",
            ])
            .args(words)
            .env("DEBIAN_FRONTEND", "noninteractive")
    };
    // What is there already may be in use, and stays as it is.
    let mut words = vec!["install", "-y", "--no-install-recommends", "--no-upgrade"];
    words.extend(packages);
    let mut attempt = 1;
    loop {
        let tried = async {
            program(&["update"]).show(interrupt).await?;
            program(&words).show(interrupt).await
        };
        match tried.await {
            Err(error @ Error::Command { .. }) if attempt < TRIES => {
                crate::report::note(&format!("{error}; trying again ({attempt} of {TRIES})"));
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// Installs what is missing of a C compiler, Python with its environments, a browser, a Docker engine, what a
/// Kubernetes node needs, PostgreSQL, a registry of images, `openssl` and `ssh-keygen`, as needed. Whether it is there
/// then, [`check`] says of each.
///
/// # Errors
/// As [`install`].
pub async fn ensure(needs: &[Need], interrupt: &Interrupt) -> Result<(), Error> {
    let mut packages = Vec::new();
    for need in needs {
        if !need.is_met(interrupt).await {
            packages.extend(need.packages());
        }
    }
    if packages.is_empty() {
        return Ok(());
    }
    install(&packages, interrupt).await
}

/// Checks that what Debian brings is there.
///
/// # Errors
/// [`Error::Machine`] where a program is missing, with the packages that bring it.
pub async fn check(need: Need, interrupt: &Interrupt) -> Result<(), Error> {
    if need.is_met(interrupt).await {
        return Ok(());
    }
    Err(Error::Machine {
        missing: format!("{} is missing.", need.about()),
        remedy: format!(
            "Install what these Debian packages bring: {}",
            need.packages().join(" ")
        ),
    })
}

/// Returns where Debian puts the program that makes the folder of a PostgreSQL server: each version
/// has a place of its own, which is not on the search path. The newest counts.
pub fn initdb() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/initdb").is_file())
        .max_by_key(|path| number(path));
    newest.map(|path| path.join("bin/initdb"))
}

/// Something that Debian brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A C compiler, for the crates that bring C code with them.
    CCompiler,
    /// Python, able to make virtual environments.
    Python,
    /// The browser.
    Chromium,
    /// What makes, checks and mounts small disks.
    Disks,
    /// The programs of other people that check what was signed.
    Signatures,
    /// The Docker engine with its client, and what it sets the firewall with.
    Docker,
    /// What a Kubernetes node calls, and an engine of its own.
    Kubernetes,
    /// The programs of a PostgreSQL server.
    Postgres,
    /// The registry of images.
    Registry,
    /// A Docker engine's program, and what gives it a network of its own.
    Engine,
}

/// The registry of images, as Debian calls it.
pub const REGISTRY: &str = "docker-registry";

/// The Docker engine, as Debian calls it.
pub const ENGINE: &str = "dockerd";

/// Where Debian puts the browser.
pub const CHROMIUM: &str = "/usr/bin/chromium";

impl Need {
    fn about(self) -> &'static str {
        match self {
            Self::CCompiler => "a C compiler",
            Self::Python => "Python with `venv`",
            Self::Chromium => "the browser",
            Self::Disks => "what makes, checks and mounts disks",
            Self::Signatures => "`openssl` or `ssh-keygen`",
            Self::Docker => "the Docker engine or its client",
            Self::Kubernetes => "what a Kubernetes node calls",
            Self::Postgres => "PostgreSQL's `initdb`",
            Self::Registry => "the registry of images",
            Self::Engine => "the program of a Docker engine",
        }
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::CCompiler => &["gcc", "libc6-dev"],
            Self::Python => &["python3", "python3-venv"],
            Self::Chromium => &["chromium"],
            Self::Disks => &["e2fsprogs", "mount"],
            Self::Signatures => &["openssh-client", "openssl"],
            Self::Docker => &["docker.io", "iptables"],
            Self::Kubernetes => &["docker.io", "iptables", "iproute2", "conntrack", "socat"],
            Self::Postgres => &["postgresql"],
            Self::Registry => &["docker-registry"],
            Self::Engine => &["docker.io", "iptables", "iproute2"],
        }
    }

    async fn is_met(self, interrupt: &Interrupt) -> bool {
        match self {
            Self::CCompiler => find("cc").is_some(),
            Self::Python => {
                let probe = Program::new("python3", 1).args(["-c", "import venv, ensurepip"]);
                probe.read(interrupt).await.is_ok()
            }
            Self::Chromium => Path::new(CHROMIUM).is_file(),
            Self::Disks => ["mkfs.ext4", "e2fsck", "mount"]
                .iter()
                .all(|program| find(program).is_some()),
            Self::Signatures => ["ssh-keygen", "openssl"]
                .into_iter()
                .all(|name| find(name).is_some()),
            Self::Kubernetes => ["dockerd", "docker", "iptables", "ip", "conntrack", "socat"]
                .iter()
                .all(|program| find(program).is_some()),
            Self::Postgres => initdb().is_some(),
            Self::Registry => find(REGISTRY).is_some(),
            Self::Engine => [ENGINE, "docker", "iptables", "ip"]
                .iter()
                .all(|program| find(program).is_some()),
            Self::Docker => {
                // An engine that the user has is only asked.
                let own: &[&str] = match std::env::var_os("DOCKER_HOST") {
                    Some(_) => &[],
                    None => &["dockerd", "iptables"],
                };
                own.iter()
                    .chain(&["docker"])
                    .all(|name| find(name).is_some())
            }
        }
    }
}
