//! Where in the deployment file something would have to stand.

use crate::Result;
use crate::spec::{Document, Spec};

/// Finds lines of the deployment file.
pub(super) struct Places {
    document: Document,
    name: String,
}

impl Places {
    /// Reads the deployment file of a spec.
    ///
    /// # Errors
    /// When it can no longer be read.
    pub(super) fn read(spec: &Spec) -> Result<Self> {
        let document = Document::read(&spec.path, "deployment file")?;
        let name = spec.path.file_name().map_or_else(
            || spec.path.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        Ok(Self { document, name })
    }

    /// Returns the place of a key, or of the nearest above it that is there: `deploy.yaml:12`.
    pub(super) fn of(&self, keys: &[&str]) -> String {
        let top = keys.first().and_then(|key| self.document.node(&[key]));
        if top.is_none() {
            return self.name.clone();
        }
        let found = self.document.error_at_key("", keys, "", "");
        match found.line {
            Some(line) => format!("{}:{line}", self.name),
            None => self.name.clone(),
        }
    }

    /// Returns the names of services, each with its place in the file.
    pub(super) fn services(&self, names: &[&str]) -> String {
        let told = names.iter().map(|name| {
            let known = self.document.node(&["services", name]).is_some();
            let place = if known {
                self.of(&["services", name])
            } else {
                format!("under `services` of {}", self.name)
            };
            format!("{name} ({place})")
        });
        told.collect::<Vec<_>>().join(", ")
    }
}
