//! Values that must not be seen.

mod forms;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

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
    known: Arc<RwLock<Vec<Known>>>,
}

/// A secret in one of the forms in which it is met.
struct Known {
    name: String,
    form: Secret,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor(…)")
    }
}

impl Redactor {
    /// Adds a secret under its name, in all forms in which it may be met: as it is, inside JSON, inside
    /// a URL, in base64, and, where it has several lines, line by line.
    pub fn know(&self, name: impl Into<String>, secret: Secret) {
        let name = name.into();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for form in forms_of(secret.expose()) {
            if !known.iter().any(|one| *one.form.expose() == form) {
                let (name, form) = (name.clone(), Secret::new(form));
                known.push(Known { name, form });
            }
        }
        // A form that holds another is replaced as a whole.
        known.sort_by_key(|one| std::cmp::Reverse(one.form.expose().len()));
    }

    /// Returns the name of a secret whose value stands in `text`, if there is one.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|one| text.contains(one.form.expose()));
        found.map(|one| one.name.clone())
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
        let mut text = text.to_owned();
        for one in known.iter() {
            if text.contains(one.form.expose()) {
                text = text.replace(one.form.expose(), &format!("[secret {}]", one.name));
            }
        }
        text
    }
}

/// A line of a secret of several lines that is shorter says nothing of it.
const SHORTEST_LINE: usize = 16;

/// Returns the forms in which a secret is met; none of one that is too short to be looked for.
fn forms_of(value: &str) -> Vec<String> {
    let url_safe = URL_SAFE_NO_PAD.encode(value);
    let mut forms = vec![
        value.to_owned(),
        as_json(value),
        utf8_percent_encode(value, NON_ALPHANUMERIC).to_string(),
        utf8_percent_encode(value, UNRESERVED).to_string(),
        STANDARD_NO_PAD.encode(value),
        url_safe,
    ];
    let lines = value.lines().map(str::trim);
    let lines = lines.filter(|line| line.len() >= SHORTEST_LINE && !line.starts_with("-----"));
    forms.extend(lines.map(str::to_owned));
    forms.retain(|form| value.len() >= SHORTEST && form.len() >= SHORTEST);
    forms
}

/// What a URL need not encode (RFC 3986, 2.3, is what stays).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

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
        let others = [
            "postgres://app:pa%22ss%0Aword@db/x".to_owned(),
            format!("token {}", STANDARD_NO_PAD.encode("pa\"ss\nword")),
        ];
        for text in others {
            assert_eq!(redactor.find(&text).as_deref(), Some("db"), "{text}");
            assert!(redactor.find(&redactor.clean(&text)).is_none());
        }
        let line = "MIIEvQIBADANBgkqhkiG9w0BAQEF";
        let block = format!("-----BEGIN PRIVATE KEY-----\n{line}\n-----END PRIVATE KEY-----\n");
        redactor.know("key", Secret::new(block));
        assert_eq!(
            redactor.clean(&format!("line: {line}")),
            "line: [secret key]"
        );
        assert!(redactor.find("-----BEGIN PRIVATE KEY-----").is_none());
        assert_eq!(
            format!("{:?}", Secret::new("hunter22".to_owned())),
            "Secret(…)"
        );
    }
}
