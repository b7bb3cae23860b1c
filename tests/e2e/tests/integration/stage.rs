//! Where the parts of the stage are, as `cargo verify` tells in the environment.

use std::env::VarError;
use std::path::PathBuf;

/// A real program that tests drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The built program under test.
    CodeDeploy,
    /// The interpreter of the environment with JupyterLab and the notebook tools.
    Python,
    /// The browser.
    Chromium,
    /// The program that mounts disks.
    Mounts,
    /// The program of a registry of images.
    Registry,
    /// The program of a Docker engine, which root may start.
    Engine,
}

impl Part {
    const ALL: [Self; 6] = [
        Self::CodeDeploy,
        Self::Python,
        Self::Chromium,
        Self::Mounts,
        Self::Registry,
        Self::Engine,
    ];

    fn variable(self) -> &'static str {
        match self {
            Self::CodeDeploy => "CODE_DEPLOY_BIN",
            Self::Python => "CODE_DEPLOY_STAGE_PYTHON",
            Self::Chromium => "CODE_DEPLOY_STAGE_CHROMIUM",
            Self::Mounts => "CODE_DEPLOY_STAGE_MOUNTS",
            Self::Registry => "CODE_DEPLOY_STAGE_REGISTRY",
            Self::Engine => "CODE_DEPLOY_STAGE_ENGINE",
        }
    }

    /// Returns where the part is.
    ///
    /// # Panics
    /// If the part was not promised or is not there: a test that needs it has failed then.
    #[track_caller]
    pub fn path(self) -> PathBuf {
        self.promised(std::env::var(self.variable()))
            .unwrap_or_else(|missing| panic!("{missing}"))
    }

    fn is_promised(self) -> bool {
        std::env::var_os(self.variable()).is_some()
    }

    fn promised(self, value: Result<String, VarError>) -> Result<PathBuf, String> {
        let variable = self.variable();
        let path = value.map(PathBuf::from).map_err(|error| {
            format!("{self:?} is needed here, and {variable} does not say where it is ({error}): run `cargo verify --only tests`")
        })?;
        if path.is_file() {
            Ok(path)
        } else {
            Err(format!(
                "{variable} promises {self:?} at {}, and it is not there",
                path.display()
            ))
        }
    }
}

/// Returns where the stage's Docker engine is, as `DOCKER_HOST` names it.
///
/// # Panics
/// If there is none: a test that needs it has failed then.
#[track_caller]
pub fn docker() -> String {
    let variable = "CODE_DEPLOY_STAGE_DOCKER";
    std::env::var(variable).unwrap_or_else(|error| {
        panic!(
            "a Docker engine is needed here, and {variable} does not say where it is ({error}): \
             run `cargo verify --only tests`"
        )
    })
}

#[test]
fn every_part_that_was_promised_answers() {
    for part in Part::ALL.into_iter().filter(|part| part.is_promised()) {
        let path = part.path();
        let answer = std::process::Command::new(&path)
            .arg("--version")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&answer.stdout).into_owned()
            + &String::from_utf8_lossy(&answer.stderr);
        assert!(
            answer.status.success(),
            "{} --version: {said}",
            path.display()
        );
        assert!(
            said.chars().any(|c| c.is_ascii_digit()),
            "{} named no version",
            path.display()
        );
    }
}

#[test]
fn a_part_that_is_missing_is_named_with_the_way_to_get_it() {
    let unset = Part::Python
        .promised(Err(VarError::NotPresent))
        .unwrap_err();
    assert!(unset.contains("CODE_DEPLOY_STAGE_PYTHON"), "{unset}");
    assert!(unset.contains("cargo verify --only tests"), "{unset}");
    let gone = Part::Chromium
        .promised(Ok("/nonexistent/chromium".into()))
        .unwrap_err();
    assert!(
        gone.contains("promises Chromium at /nonexistent/chromium"),
        "{gone}"
    );
}
