use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Makes the source of a crate available, and returns its folder, or why it cannot.
type Prepare = dyn Fn() -> Result<PathBuf, String> + Send + Sync;

/// A crate that cells may use without a `:dep`: it is added when a cell names it.
#[derive(Clone)]
pub struct CellCrate {
    name: String,
    prepare: Arc<Prepare>,
}

impl CellCrate {
    /// `name` is that of the crate in code; `prepare` returns the folder with its `Cargo.toml`, and is called, on a
    /// thread that may block, for each cell that names the crate.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        prepare: impl Fn() -> Result<PathBuf, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            prepare: Arc::new(prepare),
        }
    }

    /// Returns evcxr's line that adds the crate.
    pub(super) fn dependency(&self) -> Result<String, String> {
        let folder = (self.prepare)()?;
        let folder = folder
            .to_str()
            .filter(|folder| !folder.contains(['"', '\\', '\n']))
            .ok_or_else(|| format!("{} cannot be named in a Cargo.toml", folder.display()))?;
        Ok(format!(":dep {} = {{ path = \"{folder}\" }}", self.name))
    }

    /// Returns whether the code names the crate and does not add one of that name itself.
    pub(super) fn is_named(&self, code: &str) -> bool {
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let named = code.match_indices(&self.name).any(|(at, name)| {
            let before = code[..at].chars().next_back();
            let after = code[at + name.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        });
        named && !code.lines().any(|line| self.is_added(line))
    }

    fn is_added(&self, line: &str) -> bool {
        let added = line.trim_start().strip_prefix(":dep ");
        added.is_some_and(|rest| {
            let name = rest.trim_start().split(['=', ' ']).next();
            name == Some(self.name.as_str())
        })
    }
}

impl fmt::Debug for CellCrate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("CellCrate")
            .field(&self.name)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_added_where_a_cell_names_it_and_does_not_add_it_itself() {
        let known = CellCrate::new("known", || Ok(PathBuf::from("/somewhere")));
        assert!(known.is_named("let x = known::run();"));
        assert!(known.is_named("use known as k;"));
        assert!(!known.is_named("let unknown = well_known::x();"));
        assert!(!known.is_named(":dep known = { path = \"here\" }\nknown::run()"));
        assert!(known.is_named(":dep known2 = \"1\"\nknown::run()"));
        let line = known.dependency();
        assert_eq!(
            line.as_deref(),
            Ok(":dep known = { path = \"/somewhere\" }")
        );
        let odd = CellCrate::new("odd", || Ok(PathBuf::from("/a\"b")));
        assert!(odd.dependency().is_err());
    }
}
