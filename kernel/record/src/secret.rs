//! Values that must not be seen.

mod forms;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// A secret value. It does not print, and cannot be serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// Returns the value. Each use is a place to look at in a review.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Secrets shorter than this are not looked for in texts: they would be found everywhere.
const SHORTEST: usize = 6;

/// The known secret values, and a last look for them in what is about to leave the program.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Arc<RwLock<Vec<(String, Secret)>>>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor(…)")
    }
}

impl Redactor {
    /// Adds a secret under its name.
    pub fn know(&self, name: impl Into<String>, secret: Secret) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if secret.expose().len() >= SHORTEST {
            known.push((name.into(), secret));
        }
    }

    /// Returns the name of a secret whose value stands in `text`, if there is one.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known
            .iter()
            .find(|(_, secret)| holds(text, secret.expose()));
        found.map(|(name, _)| name.clone())
    }

    /// Returns `text` with every known secret value replaced by its name, and what is secret by its
    /// form (keys, tokens, passwords in URLs) by what it is.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        let text = self.clean_known(text);
        forms::clean(&text).unwrap_or(text)
    }

    /// Returns a line of JSON without what is secret by its form; nothing where there is none.
    pub(crate) fn clean_line(line: &str) -> Option<String> {
        forms::clean(line)
    }

    fn clean_known(&self, text: &str) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().fold(text.to_owned(), |text, (name, secret)| {
            let hidden = format!("[secret {name}]");
            let text = text.replace(secret.expose(), &hidden);
            text.replace(&as_json(secret.expose()), &hidden)
        })
    }
}

fn holds(text: &str, value: &str) -> bool {
    text.contains(value) || text.contains(&as_json(value))
}

/// A value with quotes or line ends looks different inside a line of JSON.
fn as_json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_and_cleaned_also_inside_json() {
        let redactor = Redactor::default();
        redactor.know("db", Secret::new("pa\"ss\nword".to_owned()));
        let text = serde_json::json!({ "url": "x pa\"ss\nword y" }).to_string();
        assert_eq!(redactor.find(&text).as_deref(), Some("db"));
        assert!(redactor.find(&redactor.clean(&text)).is_none());
        assert_eq!(
            format!("{:?}", Secret::new("hunter22".to_owned())),
            "Secret(…)"
        );
    }
}
