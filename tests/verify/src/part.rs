//! The real programs that some tests drive.

/// A part of the stage on which the tests play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// JupyterLab and the notebook tools, in a virtual environment of their own.
    Python,
    /// The browser.
    Chromium,
    /// The right to mount disks, and the programs that do.
    Mounts,
    /// A Docker engine.
    Docker,
    /// A Kubernetes cluster.
    Kubernetes,
    /// The programs of a PostgreSQL server; the tests make and end their own.
    Postgres,
    /// The program of a registry of images; the tests start and end their own.
    Registry,
    /// The program of a Docker engine; the tests start, restart, fill and end their own.
    Engine,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 8] = [
        Self::Python,
        Self::Chromium,
        Self::Mounts,
        Self::Docker,
        Self::Kubernetes,
        Self::Postgres,
        Self::Registry,
        Self::Engine,
    ];

    /// Returns the word that names the part on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Chromium => "chromium",
            Self::Mounts => "mounts",
            Self::Docker => "docker",
            Self::Kubernetes => "kubernetes",
            Self::Postgres => "postgres",
            Self::Registry => "registry",
            Self::Engine => "engine",
        }
    }

    /// Returns what the part is, for the help text.
    pub fn about(self) -> &'static str {
        match self {
            Self::Python => {
                "JupyterLab, nbclient, nbformat and others, from PyPI, in a cached environment"
            }
            Self::Chromium => "Chromium, from Debian",
            Self::Mounts => "small disks in files and in memory; only root can mount them",
            Self::Docker => {
                "a Docker engine: that of DOCKER_HOST, or one from Debian for the tests alone"
            }
            Self::Kubernetes => {
                "a Kubernetes node for the tests alone, built once from Debian's sources (5 minutes)"
            }
            Self::Postgres => "PostgreSQL, from Debian, as servers of the tests' own",
            Self::Registry => "a registry of images, from Debian, of the tests' own",
            Self::Engine => {
                "Docker engines of the tests' own, to be restarted and filled, and long tests of faults and \
                 kills on Docker; only root can start them"
            }
        }
    }

    /// Returns the variable that promises the part to the tests, and tells where it is.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Python => "CODE_DEPLOY_STAGE_PYTHON",
            Self::Chromium => "CODE_DEPLOY_STAGE_CHROMIUM",
            Self::Mounts => "CODE_DEPLOY_STAGE_MOUNTS",
            Self::Docker => "CODE_DEPLOY_STAGE_DOCKER",
            Self::Kubernetes => "CODE_DEPLOY_STAGE_KUBERNETES",
            Self::Postgres => "CODE_DEPLOY_STAGE_POSTGRES",
            Self::Registry => "CODE_DEPLOY_STAGE_REGISTRY",
            Self::Engine => "CODE_DEPLOY_STAGE_ENGINE",
        }
    }

    /// Returns the modules of the tests that cannot run without the part.
    pub fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["notebooks", "jupyter", "browser", "envelope"],
            Self::Chromium => &["browser"],
            Self::Mounts => &["disk", "engines"],
            Self::Docker => &["docker", "engines", "registry"],
            Self::Kubernetes => &["kubernetes"],
            Self::Postgres => &["postgres"],
            Self::Registry => &["engines", "registry"],
            Self::Engine => &["engines", "restarts"],
        }
    }

    /// Returns the part that a word names.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }
}

/// The packages with tests that need a part.
const PACKAGES: [&str; 3] = ["code-deploy-e2e", "code-deploy-shop", "code-deploy-targets"];

/// Returns the nextest expression for the tests that need one of `parts`; none for no part. Tests of
/// a crate's inside need none.
pub fn tests_that_need(parts: &[Part]) -> Option<String> {
    let mut modules: Vec<&str> = parts
        .iter()
        .flat_map(|part| part.modules())
        .copied()
        .collect();
    modules.sort_unstable();
    modules.dedup();
    if modules.is_empty() {
        return None;
    }
    Some(format!(
        "({}) & kind(test) & test(/^({})::/)",
        PACKAGES.map(|name| format!("package({name})")).join(" | "),
        modules.join("|")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_test_needs_both_parts_and_is_named_once() {
        assert_eq!(
            tests_that_need(&[Part::Python, Part::Chromium]).as_deref(),
            Some(
                "(package(code-deploy-e2e) | package(code-deploy-shop) | \
                 package(code-deploy-targets)) & kind(test) & \
                 test(/^(browser|envelope|jupyter|notebooks)::/)"
            )
        );
    }

    #[test]
    fn the_long_tests_on_docker_go_with_the_engines_that_ci_leaves_out() {
        let left_out = tests_that_need(&[Part::Kubernetes, Part::Engine]).unwrap();
        assert!(
            left_out.ends_with("test(/^(engines|kubernetes|restarts)::/)"),
            "{left_out}"
        );
    }

    #[test]
    fn with_every_part_there_no_test_is_left_out() {
        assert_eq!(tests_that_need(&[]), None);
    }
}
