//! Telling Jupyter about a kernel: the kernelspec, a folder with `kernel.json` and logos.
//!
//! Spec: <https://jupyter-client.readthedocs.io/en/latest/kernels.html#kernel-specs>.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::PROTOCOL_VERSION;
use crate::error::Error;

/// The logo of this kernel, 32 pixels wide, PNG.
pub const LOGO_32: &[u8] = include_bytes!("../logo/logo-32x32.png");
/// The logo of this kernel, 64 pixels wide, PNG.
pub const LOGO_64: &[u8] = include_bytes!("../logo/logo-64x64.png");
/// The logo of this kernel, SVG.
pub const LOGO_SVG: &[u8] = include_bytes!("../logo/logo-svg.svg");

/// Python answers at once or not at all.
const PYTHON_LIMIT: Duration = Duration::from_secs(20);

/// What the kernelspec says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelspecConfig {
    /// The folder and the word in `--kernel NAME`: letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// What a page shows.
    pub display_name: String,
    /// The command; `{connection_file}` stands for the file.
    pub argv: Vec<String>,
    /// The language of cells.
    pub language: String,
}

/// Where a kernelspec goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallTo {
    /// For this user.
    User,
    /// Below `PREFIX/share/jupyter`.
    Prefix(PathBuf),
    /// Into the Python environment in use: an active virtual or Conda environment, else where `python3` lives.
    SysPrefix,
}

/// The environment variables that decide where Jupyter looks; collected by the program with
/// `std::env::vars_os().collect()`.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<T: IntoIterator<Item = (OsString, OsString)>>(variables: T) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl Environment {
    /// Returns what a variable says, empty or not.
    fn text(&self, name: &str) -> Option<String> {
        let value = self.0.get(OsStr::new(name))?;
        Some(value.to_string_lossy().into_owned())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self
            .0
            .get(OsStr::new(name))
            .filter(|value| !value.is_empty())?;
        Some(PathBuf::from(value))
    }
}

/// A kernelspec that is installed.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What a page shows.
    pub display_name: String,
    /// Its command.
    pub argv: Vec<String>,
    /// What else `kernel.json` says of it.
    pub metadata: Value,
}

#[derive(Serialize, Deserialize)]
struct KernelJson {
    argv: Vec<String>,
    display_name: String,
    language: String,
    #[serde(default)]
    interrupt_mode: String,
    #[serde(default)]
    kernel_protocol_version: String,
    #[serde(default)]
    metadata: Value,
}

/// Installs or replaces a kernelspec and returns its folder. The old one stays until the new one is whole.
///
/// # Errors
/// Where the name is not valid, the place cannot be told or written; what was there is unchanged then.
pub async fn install(
    config: &KernelspecConfig,
    to: &InstallTo,
    environment: &Environment,
) -> Result<PathBuf, Error> {
    check_name(&config.name)?;
    let kernels = data_folder(to, environment).await?.join("kernels");
    std::fs::create_dir_all(&kernels).map_err(failed("create the folder", kernels.clone()))?;
    let folder = kernels.join(&config.name);
    let staged = staging(&kernels, &config.name)?;
    let written = write_folder(&staged, config);
    if let Err(error) = written.and_then(|()| swap(&staged, &folder)) {
        // The staged folder is ours alone; where it cannot be removed it is only litter.
        let _ = std::fs::remove_dir_all(&staged);
        return Err(error);
    }
    sync(&kernels)?;
    Ok(folder)
}

/// Removes a kernelspec and returns the folder that was removed.
///
/// # Errors
/// Where none of that name is installed there, or it cannot be removed.
pub async fn uninstall(
    name: &str,
    from: &InstallTo,
    environment: &Environment,
) -> Result<PathBuf, Error> {
    check_name(name)?;
    let kernels = data_folder(from, environment).await?.join("kernels");
    let folder = kernels.join(name);
    if !folder.join("kernel.json").is_file() {
        return Err(Error::KernelspecMissing {
            name: name.to_owned(),
            path: kernels,
        });
    }
    std::fs::remove_dir_all(&folder).map_err(failed("remove", folder.clone()))?;
    Ok(folder)
}

/// What stands in the way of a kernelspec that lies where Jupyter looks.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Unused {
    /// Jupyter uses another one of the same name, which it finds first.
    Hidden {
        /// The one that is not used.
        spec: Installed,
        /// The folder of the one that is.
        by: PathBuf,
    },
    /// Jupyter skips it without a word: its `kernel.json` cannot be read.
    Unreadable {
        /// Its folder.
        folder: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Lists the kernelspecs Jupyter would find with this environment, the first of a name only, sorted by name.
/// Folders that hold no readable `kernel.json` are skipped, as Jupyter does.
#[must_use]
pub fn list(environment: &Environment) -> Vec<Installed> {
    look(environment).0
}

/// Lists the kernelspecs that lie where Jupyter looks with this environment, and that it does not use.
#[must_use]
pub fn unused(environment: &Environment) -> Vec<Unused> {
    look(environment).1
}

fn look(environment: &Environment) -> (Vec<Installed>, Vec<Unused>) {
    let mut found: BTreeMap<String, Installed> = BTreeMap::new();
    let mut unused = Vec::new();
    for folder in search_path(environment) {
        let folder = folder.join("kernels");
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => continue,
            Err(error) => {
                let reason = format!("its kernels cannot be listed: {error}");
                unused.push(Unused::Unreadable { folder, reason });
                continue;
            }
        };
        for entry in entries.flatten() {
            let spec = match read(&entry.path()) {
                Ok(Some(spec)) => spec,
                Ok(None) => continue,
                Err(reason) => {
                    let folder = entry.path();
                    unused.push(Unused::Unreadable { folder, reason });
                    continue;
                }
            };
            match found.get(&spec.name) {
                // The same folder may be named twice.
                Some(first) if first.folder == spec.folder => {}
                Some(first) => {
                    let by = first.folder.clone();
                    unused.push(Unused::Hidden { spec, by });
                }
                None => {
                    found.insert(spec.name.clone(), spec);
                }
            }
        }
    }
    (found.into_values().collect(), unused)
}

/// Returns the folders in which Jupyter looks for `kernels`, first match first.
#[must_use]
pub fn search_path(environment: &Environment) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = environment
        .path("JUPYTER_PATH")
        .map(|path| std::env::split_paths(path.as_os_str()).collect())
        .unwrap_or_default();
    let user = user_folder(environment);
    let prefix = active_prefix(environment).map(|prefix| prefix.join("share/jupyter"));
    match prefers_prefix(environment) {
        true => folders.extend([prefix, user].into_iter().flatten()),
        false => folders.extend([user, prefix].into_iter().flatten()),
    }
    folders.extend(["/usr/local/share/jupyter", "/usr/share/jupyter"].map(PathBuf::from));
    folders
}

/// Returns the kernelspec in a folder; nothing where there is none.
fn read(folder: &Path) -> Result<Option<Installed>, String> {
    let name = folder.file_name().and_then(|name| name.to_str());
    let Some(name) = name.filter(|name| !name.starts_with('.')) else {
        return Ok(None);
    };
    let text = match std::fs::read(folder.join("kernel.json")) {
        Ok(text) => text,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(format!("kernel.json: {error}")),
    };
    let spec: KernelJson =
        serde_json::from_slice(&text).map_err(|error| format!("kernel.json: {error}"))?;
    Ok(Some(Installed {
        name: name.to_owned(),
        folder: folder.to_path_buf(),
        display_name: spec.display_name,
        argv: spec.argv,
        metadata: spec.metadata,
    }))
}

fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotADirectory | NotFound)
}

fn check_name(name: &str) -> Result<(), Error> {
    let valid = !name.is_empty()
        && !name.starts_with('.')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if valid {
        Ok(())
    } else {
        Err(Error::KernelspecName {
            name: name.to_owned(),
        })
    }
}

async fn data_folder(to: &InstallTo, environment: &Environment) -> Result<PathBuf, Error> {
    match to {
        InstallTo::User => user_folder(environment).ok_or_else(|| Error::NoDataFolder {
            reason: "neither JUPYTER_DATA_DIR, XDG_DATA_HOME nor HOME is set".into(),
        }),
        InstallTo::Prefix(prefix) => Ok(prefix.join("share/jupyter")),
        InstallTo::SysPrefix => {
            let prefix = match active_prefix(environment) {
                Some(prefix) => prefix,
                None => python_prefix().await?,
            };
            Ok(prefix.join("share/jupyter"))
        }
    }
}

fn user_folder(environment: &Environment) -> Option<PathBuf> {
    if let Some(folder) = environment.path("JUPYTER_DATA_DIR") {
        return Some(folder);
    }
    if cfg!(target_os = "macos") {
        return environment
            .path("HOME")
            .map(|home| home.join("Library/Jupyter"));
    }
    let data = environment.path("XDG_DATA_HOME");
    let data = data.or_else(|| {
        environment
            .path("HOME")
            .map(|home| home.join(".local/share"))
    });
    data.map(|data| data.join("jupyter"))
}

fn active_prefix(environment: &Environment) -> Option<PathBuf> {
    environment
        .path("VIRTUAL_ENV")
        .or_else(|| environment.path("CONDA_PREFIX"))
}

/// Returns whether Jupyter looks into the active Python environment before the user's folder: as
/// `JUPYTER_PREFER_ENV_PATH` says, otherwise where there is one of the user's own that is not conda's base
/// (`prefer_environment_over_user` of `jupyter_core`).
fn prefers_prefix(environment: &Environment) -> bool {
    if let Some(said) = environment.text("JUPYTER_PREFER_ENV_PATH") {
        let no = ["no", "n", "false", "off", "0", "0.0"];
        return !no.contains(&said.to_lowercase().as_str());
    }
    let is_base = environment.path("VIRTUAL_ENV").is_none()
        && environment
            .text("CONDA_DEFAULT_ENV")
            .is_none_or(|name| name == "base");
    let prefix = active_prefix(environment).filter(|_| !is_base);
    let owner = prefix.and_then(|prefix| std::fs::metadata(prefix).ok());
    owner.is_some_and(|owner| owner.uid() == nix::unistd::geteuid().as_raw())
}

async fn python_prefix() -> Result<PathBuf, Error> {
    let no_folder = |reason: String| Error::NoDataFolder { reason };
    let output = tokio::process::Command::new("python3")
        .args(["-c", "import sys; print(sys.prefix)"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PYTHON_LIMIT, output)
        .await
        .map_err(|_| no_folder(format!("python3 did not answer within {PYTHON_LIMIT:?}")))?
        .map_err(|error| no_folder(format!("no environment is active and python3: {error}")))?;
    let prefix = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || prefix.is_empty() {
        return Err(no_folder("python3 did not say its prefix".into()));
    }
    Ok(PathBuf::from(prefix))
}

fn write_folder(folder: &Path, config: &KernelspecConfig) -> Result<(), Error> {
    let spec = KernelJson {
        argv: config.argv.clone(),
        display_name: config.display_name.clone(),
        language: config.language.clone(),
        interrupt_mode: "message".into(),
        kernel_protocol_version: PROTOCOL_VERSION.into(),
        metadata: json!({"debugger": false}),
    };
    let mut text = serde_json::to_vec_pretty(&spec)
        .map_err(|error| failed("write", folder.to_path_buf())(error.into()))?;
    text.push(b'\n');
    write(&folder.join("kernel.json"), &text)?;
    write(&folder.join("logo-32x32.png"), LOGO_32)?;
    write(&folder.join("logo-64x64.png"), LOGO_64)?;
    write(&folder.join("logo-svg.svg"), LOGO_SVG)?;
    sync(folder)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let written = || {
        let mut file = std::fs::File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    written().map_err(failed("write", path.to_path_buf()))
}

/// Puts the staged folder in place; the old one is put back where that fails.
fn swap(staged: &Path, folder: &Path) -> Result<(), Error> {
    let retired = staged.with_extension("old");
    let replaces = folder.exists();
    if replaces {
        std::fs::rename(folder, &retired).map_err(failed("replace", folder.to_path_buf()))?;
    }
    if let Err(error) = std::fs::rename(staged, folder) {
        if replaces {
            let restored = std::fs::rename(&retired, folder);
            restored.map_err(failed("put back", folder.to_path_buf()))?;
        }
        return Err(failed("install", folder.to_path_buf())(error));
    }
    if replaces {
        std::fs::remove_dir_all(&retired).map_err(failed("remove the replaced", retired))?;
    }
    Ok(())
}

fn staging(kernels: &Path, name: &str) -> Result<PathBuf, Error> {
    let staged = kernels.join(format!(".{name}-{}", std::process::id()));
    if staged.exists() {
        std::fs::remove_dir_all(&staged).map_err(failed("clear", staged.clone()))?;
    }
    std::fs::create_dir(&staged).map_err(failed("create", staged.clone()))?;
    Ok(staged)
}

fn sync(folder: &Path) -> Result<(), Error> {
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed("write", folder.to_path_buf()))
}

fn failed(action: &'static str, path: PathBuf) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Kernelspec {
        action,
        path,
        source,
    }
}
