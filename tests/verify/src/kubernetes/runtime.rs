//! The OCI runtime of the node: runc, without what it may not do on every machine.
//!
//! A container may ask the kernel to be spared when memory runs out (a negative `oomScoreAdj`), and the kubelet asks
//! for that in every pod. Without `CAP_SYS_RESOURCE` runc then ends with "can't get final child's PID from pipe: EOF".

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The name by which this program is called as a runtime.
pub(super) const NAME: &str = "code-deploy-stage-runtime";
/// What does the work.
const RUNC: &str = "runc";
/// The description of a container in its bundle.
const CONFIG: &str = "config.json";

/// Becomes runc, after the description of a new container was made acceptable.
pub(super) fn main(words: &[OsString]) -> ExitCode {
    if let Some(bundle) = bundle_of_new(words)
        && let Err(error) = soften(&bundle.join(CONFIG))
    {
        crate::report::complain(&format!(
            "{NAME}: cannot change {}/{CONFIG}: {error}",
            bundle.display()
        ));
        return ExitCode::FAILURE;
    }
    let error = Command::new(RUNC).args(words).exec();
    crate::report::complain(&format!("{NAME}: cannot become {RUNC}: {error}"));
    ExitCode::FAILURE
}

/// Returns the folder of the container that these words make; none where they make none.
fn bundle_of_new(words: &[OsString]) -> Option<PathBuf> {
    let makes = |word: &OsString| word == "create" || word == "run";
    let at = words.iter().position(makes)?;
    let mut words = words.iter().skip(at + 1);
    while let Some(word) = words.next() {
        if word == "--bundle" || word == "-b" {
            return words.next().map(PathBuf::from);
        }
        let inline = word
            .to_str()
            .and_then(|word| word.strip_prefix("--bundle="));
        if let Some(bundle) = inline {
            return Some(PathBuf::from(bundle));
        }
    }
    Some(PathBuf::from(OsStr::new(".")))
}

/// Takes a wish to be spared out of a container's description.
fn soften(config: &Path) -> std::io::Result<()> {
    let mut description: serde_json::Value = serde_json::from_slice(&std::fs::read(config)?)?;
    let wish = description.pointer_mut("/process/oomScoreAdj");
    if let Some(wish) = wish.filter(|wish| wish.as_i64().is_some_and(|score| score < 0)) {
        *wish = 0.into();
        std::fs::write(config, serde_json::to_vec(&description)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(line: &str) -> Option<PathBuf> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        bundle_of_new(&words)
    }

    #[test]
    fn only_words_that_make_a_container_name_a_bundle() {
        let create = "--root /run/x --log-format json create --bundle /b/1 --pid-file /p id";
        assert_eq!(bundle(create), Some("/b/1".into()));
        assert_eq!(bundle("run --bundle=/b/2 id"), Some("/b/2".into()));
        assert_eq!(bundle("create id"), Some(".".into()));
        assert_eq!(bundle("--root /run/x delete id"), None);
    }

    #[test]
    fn a_wish_to_be_spared_becomes_none_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join(CONFIG);
        let read = || -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap()
        };
        for (before, after) in [(-998, 0), (1000, 1000)] {
            let text = format!(r#"{{"process":{{"args":["/pause"],"oomScoreAdj":{before}}}}}"#);
            std::fs::write(&config, text).unwrap();
            soften(&config).unwrap();
            assert_eq!(read()["process"]["oomScoreAdj"], after);
            assert_eq!(read()["process"]["args"][0], "/pause");
        }
        std::fs::write(&config, r#"{"process":{}}"#).unwrap();
        soften(&config).unwrap();
        assert_eq!(read()["process"], serde_json::json!({}));
    }
}
