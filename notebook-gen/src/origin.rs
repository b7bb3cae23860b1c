//! What a notebook says of where it comes from: its run, the program that made it, and the earlier
//! runs that it was compared with.

use serde_json::Value;

/// Under which key of a notebook's metadata the digest of the sources stands.
pub(crate) const SOURCE: &str = "source";

/// Where a notebook comes from, as its own metadata says. Whoever edits a notebook can edit this,
/// so it explains why bytes differ and proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The run; nothing in a notebook that was not executed.
    pub run: Option<String>,
    /// The version of the program; nothing where the notebook does not name it.
    pub version: Option<String>,
    /// The digest of the program's texts.
    pub texts: Option<String>,
    /// The digest of the sources of what makes notebooks; nothing in those of versions that did not say it.
    pub source: Option<String>,
    /// The earlier runs, each with the digest of its journal's last line.
    pub compared_with: Vec<(String, String)>,
}

impl Origin {
    /// Reads the metadata of a notebook; nothing when it is no notebook of this program.
    #[must_use]
    pub fn of(notebook: &[u8]) -> Option<Self> {
        let notebook: Value = serde_json::from_slice(notebook).ok()?;
        let own = notebook.get("metadata")?.get("code-deploy")?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let made_by = own.get("made_by");
        let compared = own.get("compared_with").and_then(Value::as_array);
        let compared = compared.into_iter().flatten().map(|run| {
            let head = text(run.get("journal_head")).unwrap_or_default();
            (text(run.get("run")).unwrap_or_default(), head)
        });
        Some(Self {
            run: text(own.get("run")),
            version: text(made_by.and_then(|made_by| made_by.get("version"))),
            texts: text(made_by.and_then(|made_by| made_by.get("templates"))),
            source: text(made_by.and_then(|made_by| made_by.get(SOURCE))),
            compared_with: compared.collect(),
        })
    }

    /// Says why a notebook of the same run may differ in bytes from the one that this program makes
    /// now, though nobody changed it; nothing when both come from the same.
    #[must_use]
    pub fn unlike(&self, expected: &Self) -> Option<String> {
        if self.version != expected.version {
            return Some(format!(
                "made by {}; this is {}; bytes cannot be compared",
                self.named_version(),
                expected.named_version()
            ));
        }
        if self.texts != expected.texts {
            return Some(format!(
                "made by another build of {}, with other texts; bytes cannot be compared",
                self.named_version()
            ));
        }
        if self.compared_with != expected.compared_with {
            return Some(format!(
                "made beside other earlier runs ({}; here {}); bytes cannot be compared",
                runs(&self.compared_with),
                runs(&expected.compared_with)
            ));
        }
        None
    }

    /// Returns whether another build of the same version made it, with the same texts and beside the same runs. What it
    /// made may be the same or not, and whoever edits a notebook can say so: this excuses no difference by itself.
    #[must_use]
    pub fn is_of_another_build(&self, expected: &Self) -> bool {
        self.unlike(expected).is_none() && self.source != expected.source
    }

    /// Returns the version of the program in words.
    #[must_use]
    pub fn named_version(&self) -> String {
        let version = self.version.as_ref();
        let unnamed = || "a version that is not named".to_owned();
        version.map_or_else(unnamed, |version| format!("version {version}"))
    }
}

/// Takes out of a notebook what says which build of the program made it.
pub fn take_source(notebook: &mut Value) {
    let made_by = notebook.pointer_mut("/metadata/code-deploy/made_by");
    if let Some(made_by) = made_by.and_then(Value::as_object_mut) {
        made_by.remove(SOURCE);
    }
}

fn runs(compared: &[(String, String)]) -> String {
    if compared.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<&str> = compared.iter().map(|(run, _)| run.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn origin(own: &Value) -> Origin {
        let notebook = json!({ "metadata": { "code-deploy": own } });
        Origin::of(notebook.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn another_version_is_named_on_both_sides() {
        let old = origin(&json!({ "run": "a", "made_by": { "version": "0.0.9" } }));
        let new = origin(&json!({ "run": "a", "made_by": { "version": "0.1.0" } }));
        let why = old.unlike(&new).unwrap();
        assert_eq!(
            why,
            "made by version 0.0.9; this is version 0.1.0; bytes cannot be compared"
        );
        let bare = origin(&json!({ "run": "a" }));
        let why = bare.unlike(&new).unwrap();
        assert!(why.starts_with("made by a version that is not named; this is version 0.1.0"));
        assert_eq!(new.unlike(&new), None);
    }

    #[test]
    fn other_texts_and_other_runs_are_told_from_a_change() {
        let made_by = |texts: &str| json!({ "version": "0.1.0", "templates": texts });
        let here = origin(&json!({ "made_by": made_by("aa") }));
        let there = origin(&json!({ "made_by": made_by("bb") }));
        assert!(
            there
                .unlike(&here)
                .unwrap()
                .contains("another build of version 0.1.0")
        );
        let compared = json!([{ "run": "before", "journal_head": "cc" }]);
        let beside = origin(&json!({ "made_by": made_by("aa"), "compared_with": compared }));
        assert!(
            beside
                .unlike(&here)
                .unwrap()
                .contains("(before; here none)")
        );
    }

    #[test]
    fn another_build_is_told_by_its_sources_where_all_else_is_the_same() {
        let made = |version: &str, source: &str| {
            origin(&json!({ "made_by": { "version": version, "source": source } }))
        };
        let here = made("0.1.0", "aa");
        assert!(!here.is_of_another_build(&made("0.1.0", "aa")));
        assert!(made("0.1.0", "bb").is_of_another_build(&here));
        assert!(!made("0.0.9", "bb").is_of_another_build(&here));
        let before = origin(&json!({ "made_by": { "version": "0.1.0" } }));
        assert!(before.is_of_another_build(&here));
        assert_eq!(before.unlike(&here), None);
        let mut notebook =
            json!({ "metadata": { "code-deploy": { "made_by": { "source": "aa" } } } });
        take_source(&mut notebook);
        assert_eq!(notebook["metadata"]["code-deploy"]["made_by"], json!({}));
    }

    #[test]
    fn what_is_no_notebook_of_this_program_has_no_origin() {
        assert_eq!(Origin::of(b"{}"), None);
        assert_eq!(Origin::of(b"no json"), None);
    }
}
