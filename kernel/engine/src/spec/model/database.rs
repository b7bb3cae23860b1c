//! Databases.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::service::SecretRef;

/// A database as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct DatabaseFile {
    /// Where it is: `sqlite:PATH` (relative to the data folder of the environment) or a
    /// reference to a secret that holds the URL.
    pub url: DatabaseUrl,
    /// The services that use it.
    #[serde(default)]
    pub used_by: Vec<String>,
    /// The folder of migrations (`NNNN_name.up.sql`, `.down.sql`), relative to this file.
    #[serde(default)]
    pub migrations: Option<PathBuf>,
    /// The last migration of each release: those after it belong to later releases.
    #[serde(default)]
    pub release_migrations: BTreeMap<String, i64>,
    /// Queries with the results they must give after the migration.
    #[serde(default)]
    pub checks: Vec<DatabaseCheck>,
}

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum DatabaseUrl {
    /// A reference to a secret: `from: env:DATABASE_URL`.
    Reference {
        /// The reference.
        from: SecretRef,
    },
    /// `sqlite:PATH`, without any secret in it; `{data}` stands for the environment's data folder.
    Plain(#[schemars(extend("pattern" = "^sqlite:.+$"))] String),
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DatabaseUrlVisitor)
    }
}

/// Reads both forms itself, so that an error names what is wrong and never the value.
struct DatabaseUrlVisitor;

impl<'de> serde::de::Visitor<'de> for DatabaseUrlVisitor {
    type Value = DatabaseUrl;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("`sqlite:PATH` or `from: env:NAME`")
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<DatabaseUrl, E> {
        if value.starts_with("sqlite:") && value.len() > "sqlite:".len() {
            return Ok(DatabaseUrl::Plain(value.to_owned()));
        }
        Err(E::custom(
            "a secret is a reference, never a value: write `url: sqlite:PATH` for a file, or \
             `url: {from: env:NAME}` for a server, which this version does not migrate",
        ))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<DatabaseUrl, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Reference {
            from: SecretRef,
        }
        let reference = Reference::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        Ok(DatabaseUrl::Reference {
            from: reference.from,
        })
    }
}

/// A query with the result it must give.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseCheck {
    /// What it shows.
    pub name: String,
    /// The query; it gives one row with one column.
    pub query: String,
    /// The value it must give, as text.
    pub expect: String,
}
