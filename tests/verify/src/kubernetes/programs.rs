//! The programs of Kubernetes, built once from Debian's source package.

use super::openapi;
use crate::cache::{Cache, digest};
use crate::debian::TRIES;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::program::Program;
use std::path::{Path, PathBuf};

/// The version of Kubernetes that Debian has.
const VERSION: &str = "1.20.2";
/// The release of Debian that has it, and the Go with which it can be built.
const RELEASE: &str = "bookworm";
/// Where Debian is, for a machine that does not say where it has it from.
const ARCHIVE: &str = "http://deb.debian.org/debian";
/// What Debian signs its archive with.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Go, unpacked.
const GO: &str = "usr/lib/go-1.19";
/// What is downloaded beside the source package. Nothing of it is installed.
const PACKAGES: [&str; 4] = [
    "etcd-server",
    "golang-1.19-go",
    "golang-1.19-src",
    "golang-github-modern-go-reflect2-dev",
];
/// Where a package of Go's is, in Debian's place for such and in the sources of Kubernetes. The one that these bring
/// has the API server of a later Go panic when it reads or writes some objects as JSON.
const REFLECT: [&str; 2] = [
    "usr/share/gocode/src/github.com/modern-go/reflect2",
    "vendor/github.com/modern-go/reflect2",
];
/// What is built, from the folder `cmd` of the sources.
const PROGRAMS: [&str; 6] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
];
/// The packages in which a program looks up its own version.
const VERSIONED: [&str; 2] = [
    "k8s.io/kubernetes/vendor/k8s.io/client-go/pkg/version",
    "k8s.io/kubernetes/vendor/k8s.io/component-base/version",
];
/// The process of a pod that holds its namespaces: it only waits.
const PAUSE_SOURCE: &str = "build/pause/linux/pause.c";
/// Raised whenever the same ingredients are to be made into something else.
const RECIPE: &str = "1";

/// Makes sure that the programs are there, and returns their folder. Building them takes minutes.
///
/// # Errors
/// What `apt-get`, Go or the C compiler say; [`Error::File`] if the cache cannot be written.
pub(super) async fn ensure(cache: &Cache, interrupt: &Interrupt) -> Result<PathBuf, Error> {
    let ingredients = [RECIPE, RELEASE, VERSION, std::env::consts::ARCH, &flags()];
    let done = cache.path(format!("kubernetes-{VERSION}-{}", digest(&ingredients)));
    // Moved here when all of it was there.
    if done.is_dir() {
        return Ok(done);
    }
    crate::report::note("building Kubernetes once; this takes minutes and 3 GB of disk meanwhile");
    let build = Build {
        folder: cache.path("build-kubernetes"),
        interrupt,
    };
    remove(&build.folder)?;
    let built = build.run().await?;
    std::fs::rename(&built, &done).map_err(failed("move to the cache", &built))?;
    remove(&build.folder)?;
    Ok(done)
}

/// Returns what tells programs their version.
fn flags() -> String {
    let (major, minor) = (
        VERSION.split('.').next().unwrap_or_default(),
        VERSION.split('.').nth(1).unwrap_or_default(),
    );
    let told = VERSIONED.map(|package| {
        format!(
            " -X {package}.gitVersion=v{VERSION} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        )
    });
    format!("-s -w{}", told.concat())
}

struct Build<'a> {
    folder: PathBuf,
    interrupt: &'a Interrupt,
}

impl Build<'_> {
    async fn run(&self) -> Result<PathBuf, Error> {
        for name in [
            "packages",
            "unpacked",
            "out",
            "lists/partial",
            "apt",
            "go-tmp",
        ] {
            let path = self.folder.join(name);
            std::fs::create_dir_all(&path).map_err(failed("make", &path))?;
        }
        self.download().await?;
        self.unpack().await?;
        self.mend_reflection().await?;
        self.generate().await?;
        self.compile().await?;
        let etcd = self.folder.join("unpacked/usr/bin/etcd");
        let out = self.folder.join("out");
        std::fs::rename(&etcd, out.join("etcd")).map_err(failed("move", &etcd))?;
        Ok(out)
    }

    /// Downloads the packages through lists of their own: what the machine installs from stays as it is.
    async fn download(&self) -> Result<(), Error> {
        let archive = self.archive().await?;
        let sources = self.folder.join("apt/sources.list");
        let lines = ["deb", "deb-src"]
            .map(|kind| format!("{kind} [signed-by={KEYS}] {archive} {RELEASE} main\n"));
        std::fs::write(&sources, lines.concat()).map_err(failed("write", &sources))?;
        let source = ["source", "--download-only", "kubernetes"].map(str::to_owned);
        let packages = std::iter::once("download").chain(PACKAGES);
        let packages: Vec<String> = packages.map(str::to_owned).collect();
        let mut attempt = 1;
        loop {
            let tried = async {
                self.apt(&["update".to_owned()])
                    .show(self.interrupt)
                    .await?;
                self.apt(&source).show(self.interrupt).await?;
                self.apt(&packages).show(self.interrupt).await
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

    /// Returns the archive from which the machine has the release already, where it has it.
    async fn archive(&self) -> Result<String, Error> {
        let words = ["indextargets", "--format", "$(RELEASE) $(REPO_URI)"];
        let asked = Program::new("apt-get", 1)
            .args(words)
            .args(["Created-By: Packages", "Component: main"]);
        let listed = asked.read(self.interrupt).await?;
        Ok(archive_in(&listed).unwrap_or(ARCHIVE).to_owned())
    }

    fn apt(&self, words: &[String]) -> Program {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let options = [
            format!("Dir::Etc::sourcelist={}", at("apt/sources.list")),
            "Dir::Etc::sourceparts=/nonexistent".into(),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::Cache={}", at("apt")),
            "Acquire::Languages=none".into(),
            "Acquire::Retries=3".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            // The folder may be where nobody else may look.
            "APT::Sandbox::User=root".into(),
        ];
        let options = options
            .into_iter()
            .flat_map(|option| ["-o".to_owned(), option]);
        Program::new("apt-get", 20)
            .args(["-q"])
            .args(options)
            .args(words)
            .folder(&self.folder.join("packages"))
    }

    async fn unpack(&self) -> Result<(), Error> {
        let packages = self.folder.join("packages");
        let names: Vec<PathBuf> = std::fs::read_dir(&packages)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(failed("read", &packages))?;
        let ends = |path: &Path, end: &str| path.to_string_lossy().ends_with(end);
        for package in names.iter().filter(|path| ends(path, ".deb")) {
            let unpack = Program::new("dpkg-deb", 5).args(["--extract"]);
            let unpack = unpack.args([package, &self.folder.join("unpacked")]);
            unpack.read(self.interrupt).await?;
        }
        let sources = names
            .iter()
            .find(|path| ends(path, &format!("{VERSION}.orig.tar.gz")))
            .ok_or_else(|| Error::Machine {
                missing: format!("Debian's {RELEASE} has no Kubernetes {VERSION} any more."),
                remedy: "Leave it out: --without kubernetes".into(),
            })?;
        let tree = self.tree();
        std::fs::create_dir_all(&tree).map_err(failed("make", &tree))?;
        let unpack = Program::new("tar", 5)
            .args(["--extract", "--gzip", "--strip-components=1", "--file"])
            .args([sources])
            .folder(&tree);
        unpack.read(self.interrupt).await.map(drop)
    }

    async fn mend_reflection(&self) -> Result<(), Error> {
        let [new, old] = REFLECT;
        let (new, old) = (
            self.folder.join("unpacked").join(new),
            self.tree().join(old),
        );
        remove(&old)?;
        std::fs::rename(&new, &old).map_err(failed("move", &new))
    }

    /// Makes the descriptions of the API's objects, which the source package does not hold.
    async fn generate(&self) -> Result<(), Error> {
        let generator = self.folder.join("openapi-gen");
        let build = self.go(20).args(["build", "-o"]).args([&generator]);
        let build = build.args(["./vendor/k8s.io/kube-openapi/cmd/openapi-gen"]);
        build.show(self.interrupt).await?;
        let packages = openapi::packages(&self.tree())
            .map_err(failed("look for packages in", &self.tree()))?;
        crate::report::note(&format!(
            "openapi-gen: descriptions of {} packages",
            packages.len()
        ));
        let generate = self.in_tree(Program::new(&generator, 10)).args([
            "--logtostderr",
            "--input-dirs",
            &packages.join(","),
            "--output-package",
            "k8s.io/kubernetes/pkg/generated/openapi",
            "--output-file-base",
            "zz_generated.openapi",
            "--go-header-file",
            "vendor/k8s.io/code-generator/hack/boilerplate.go.txt",
            "--report-filename",
            "/dev/null",
        ]);
        generate.read(self.interrupt).await.map(drop)
    }

    async fn compile(&self) -> Result<(), Error> {
        let out = self.folder.join("out");
        let build = self.go(60).args(["build", "-ldflags", &flags(), "-o"]);
        let build = build.args([&out]);
        let build = build.args(PROGRAMS.map(|name| format!("./cmd/{name}")));
        build.show(self.interrupt).await?;
        let compiler = Program::new("cc", 5).args(["-Os", "-static", PAUSE_SOURCE, "-o"]);
        let compiler = compiler.args([out.join("pause")]).folder(&self.tree());
        compiler.show(self.interrupt).await
    }

    fn go(&self, minutes: u64) -> Program {
        let go = self.folder.join("unpacked").join(GO).join("bin/go");
        self.in_tree(Program::new(go, minutes))
    }

    fn in_tree(&self, program: Program) -> Program {
        let at = |name: &str| self.folder.join(name);
        program
            .folder(&self.tree())
            .env("GOROOT", at("unpacked").join(GO))
            .env("GOPATH", at("go"))
            .env("GOCACHE", at("go-cache"))
            .env("GOTMPDIR", at("go-tmp"))
            .env("GO111MODULE", "off")
            .env("GOFLAGS", "")
            .env("CGO_ENABLED", "0")
    }

    fn tree(&self) -> PathBuf {
        self.folder.join("go/src/k8s.io/kubernetes")
    }
}

/// Returns the archive of the release in a listing of releases and archives.
fn archive_in(listed: &str) -> Option<&str> {
    let mut lines = listed.lines().filter_map(|line| line.split_once(' '));
    lines
        .find(|(release, _)| *release == RELEASE)
        .map(|(_, archive)| archive.trim_end_matches('/'))
}

fn remove(folder: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", folder)(error))
        }
        _ => Ok(()),
    }
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

    #[test]
    fn a_machine_of_that_release_downloads_from_where_it_has_it() {
        let listed =
            "bookworm-updates http://a.example/debian/\nbookworm http://b.example/debian/\n";
        assert_eq!(archive_in(listed), Some("http://b.example/debian"));
        assert_eq!(archive_in("trixie http://a.example/debian/\n"), None);
    }

    #[test]
    fn programs_are_told_their_version_where_they_look_it_up() {
        let flags = flags();
        assert!(flags.contains(
            "-X k8s.io/kubernetes/vendor/k8s.io/component-base/version.gitVersion=v1.20.2"
        ));
        assert!(flags.contains("client-go/pkg/version.gitMinor=20"));
    }
}
