//! Names of runs, steps, items, releases and content.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A name that does not have the form it must have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {what}: {expected}")]
pub struct InvalidId {
    /// The kind of name.
    pub what: &'static str,
    /// What was given.
    pub value: String,
    /// What a valid one looks like.
    pub expected: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(value: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(value) {
                    Ok(Self(value.to_owned()))
                } else {
                    let value = value.chars().take(80).collect();
                    Err(InvalidId { what: $what, value, expected: $expected })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(value: String) -> Result<Self, InvalidId> {
                value.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

fn is_slug(value: &str, extra: &[char]) -> bool {
    !value.is_empty()
        && value.len() <= 120
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || extra.contains(&c))
}

name!(
    /// The name of one run, for example `20261123T064500123Z-dev-local-7f3a`. It is also the name of
    /// the run's folder, and sorts by the time the run started.
    RunId,
    "run name",
    "letters, digits, `-` and `_`, at most 120",
    |v| is_slug(v, &['-', '_'])
);

name!(
    /// The name of one step of a plan, for example `release.start-green.catalog`: the verb it
    /// belongs to, what it does, and the service it does it for.
    StepName,
    "step name",
    "letters, digits, `.`, `-` and `_`, at most 120",
    |v| is_slug(v, &['-', '_', '.'])
);

name!(
    /// The version of the application that is deployed, for example `1.1.0`.
    Release,
    "release",
    "letters, digits, `.`, `-`, `_` and `+`, at most 120",
    |v| is_slug(v, &['-', '_', '.', '+'])
);

name!(
    /// The number of a catalogue item, for example `5.4.6`.
    ItemId,
    "item number",
    "three numbers with dots between them, such as 5.4.6",
    |v| v.split('.').count() == 3 && v.split('.').all(|n| n.parse::<u8>().is_ok())
);

impl ItemId {
    /// Returns the three numbers, which order the items as a reader expects (`2.10.1` after
    /// `2.9.1`).
    #[must_use]
    pub fn numbers(&self) -> (u8, u8, u8) {
        let mut parts = self.0.split('.').map(|n| n.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        (next(), next(), next())
    }
}

/// The SHA-256 of some content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest that stands before the first line of a journal.
    pub const ZERO: Self = Self([0; 32]);

    /// Wraps the 32 bytes of a digest.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the digest of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// Returns the digest of everything that `reader` gives, read in pieces.
    ///
    /// # Errors
    /// Any error of the reader.
    pub fn of_reader(reader: &mut impl std::io::Read) -> std::io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut buffer = [0; 64 * 1024];
        loop {
            let read = reader.read(&mut buffer)?;
            let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
                return Ok(Self(hasher.finalize().into()));
            };
            hasher.update(part);
        }
    }

    /// Returns the digest in base64, as signed notes and proofs of transparency logs have it.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Returns the first twelve hexadecimal digits, enough to recognise a digest by eye.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl FromStr for Digest {
    type Err = InvalidId;

    fn from_str(value: &str) -> Result<Self, InvalidId> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(value, &mut bytes).map_err(|_| InvalidId {
            what: "digest",
            value: value.chars().take(80).collect(),
            expected: "64 hexadecimal digits (SHA-256)",
        })?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidId;

    fn try_from(value: String) -> Result<Self, InvalidId> {
        value.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}
