use std::path::{Path, PathBuf};

use code_deploy_benches::Error;
use code_deploy_wire::{Interrupts, Spec};

use crate::cells::Language;

/// A kernel that is measured.
#[derive(Debug)]
pub struct Peer {
    pub spec: Spec,
    pub language: Language,
}

/// The name of the program's own kernel.
pub const OURS: &str = "code-deploy";
/// The name of the kernel to which figures are compared.
pub const REFERENCE: &str = "ipykernel";
/// The name of the kernel to which Rust cells are compared.
pub const RUST_REFERENCE: &str = "evcxr_jupyter";

impl Peer {
    /// Returns the program's kernel and its peers as far as they are there.
    pub fn all(
        kernel: &Path,
        echo: Option<&Path>,
        python: Option<&Path>,
        more: &[String],
    ) -> Result<Vec<Self>, Error> {
        let message = Interrupts::Message;
        let kernel = kernel.canonicalize().map_err(|error| Error::Peer {
            given: kernel.display().to_string(),
            reason: format!("{error}; build it with `cargo build --release`, or use --kernel"),
        })?;
        let words = ["kernel", "launch"];
        let mut peers = vec![Self {
            spec: Spec::program(OURS, &kernel, &words, message),
            language: Language::Deploy,
        }];
        if let Some(echo) = echo {
            let spec = Spec::program("its echo example", echo, &[], message);
            peers.push(Self {
                spec,
                language: Language::Echo,
            });
        }
        if let Some(python) = python {
            let words = ["-m", "ipykernel_launcher", "-f"];
            let spec = Spec::program(REFERENCE, python, &words, Interrupts::Signal);
            peers.push(Self {
                spec,
                language: Language::Python,
            });
        }
        if let Some(evcxr) = on_path(RUST_REFERENCE) {
            let words = ["--control_file"];
            let spec = Spec::program(RUST_REFERENCE, &evcxr, &words, message);
            peers.push(Self {
                spec,
                language: Language::Rust,
            });
        }
        for given in more {
            peers.push(Self::given(given)?);
        }
        Ok(peers)
    }

    fn given(given: &str) -> Result<Self, Error> {
        let refused = |reason: String| Error::Peer {
            given: given.to_owned(),
            reason,
        };
        let (name, path) = given
            .split_once('=')
            .ok_or_else(|| refused("it is not NAME=KERNEL.JSON".to_owned()))?;
        let spec = Spec::read(name, Path::new(path)).map_err(|error| refused(error.to_string()))?;
        let language = if name.starts_with("evcxr") {
            Language::Rust
        } else {
            Language::Python
        };
        Ok(Self { spec, language })
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(program));
    files.find(|file| file.is_file())
}
