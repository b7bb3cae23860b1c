//! The named stages of a verification, in the order in which they run.

/// One stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Brings up what the other stages need on this machine.
    Setup,
    /// Formatting.
    Fmt,
    /// Licences, banned crates, sources and, where its database can be had, advisories.
    Deny,
    /// Lints.
    Clippy,
    /// The released program and the tests, in the release profile.
    Build,
    /// The examples in the documentation.
    Doctests,
    /// All tests of all crates, against the built program.
    Tests,
}

impl Stage {
    /// Every stage, in order. The tests are last because their closing line ends the output.
    pub const ALL: [Self; 7] = [
        Self::Setup,
        Self::Fmt,
        Self::Deny,
        Self::Clippy,
        Self::Build,
        Self::Doctests,
        Self::Tests,
    ];

    /// Returns the word that names the stage on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Fmt => "fmt",
            Self::Deny => "deny",
            Self::Clippy => "clippy",
            Self::Build => "build",
            Self::Doctests => "doctests",
            Self::Tests => "tests",
        }
    }

    /// Returns what the stage checks, for the help text.
    pub fn about(self) -> &'static str {
        match self {
            Self::Setup => {
                "bring up the parts below and the tools, as far as the other stages need"
            }
            Self::Fmt => "formatting (cargo fmt --check)",
            Self::Deny => "licences, banned crates, sources, advisories (cargo-deny)",
            Self::Clippy => "lints of all targets, warnings are errors",
            Self::Build => "the program and all tests, release profile",
            Self::Doctests => "the examples in the documentation",
            Self::Tests => "all tests of all crates, against the built program (nextest)",
        }
    }

    /// Returns the stage that a word names.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// Returns the stages without which this one means nothing.
    pub fn requires(self) -> &'static [Self] {
        match self {
            Self::Setup | Self::Fmt => &[],
            Self::Deny | Self::Clippy | Self::Build | Self::Doctests => &[Self::Setup],
            Self::Tests => &[Self::Setup, Self::Build],
        }
    }
}
