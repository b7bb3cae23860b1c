//! The databases of a deployment file, with the migrations that belong to a release.

use std::path::{Path, PathBuf};

use code_deploy_record::Release;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::Context;
use crate::spec::{DatabaseFile, DatabaseUrl, Spec};
use crate::step::StepError;

/// A database that cannot be taken back, or not without loss.
pub(super) const NO_WAY_BACK: &str = "CD0608";

/// A database with its place and its migrations.
pub(crate) struct Database<'a> {
    /// Its name in the deployment file.
    pub name: &'a str,
    /// What the deployment file says.
    pub file: &'a DatabaseFile,
    /// The SQLite file.
    pub path: PathBuf,
    /// The migrations of its folder.
    pub migrations: Migrator,
    /// The last migration that belongs to the release that is deployed.
    pub wanted: i64,
}

impl<'a> Database<'a> {
    /// Returns all databases of the deployment file.
    pub(crate) async fn all(context: &'a Context) -> Result<Vec<Self>, StepError> {
        let mut all = Vec::new();
        for (name, file) in &context.spec.file.databases {
            all.push(Self::read(context, name, file).await?);
        }
        Ok(all)
    }

    async fn read(
        context: &'a Context,
        name: &'a str,
        file: &'a DatabaseFile,
    ) -> Result<Self, StepError> {
        let Some(path) = path_of(&context.spec, file) else {
            let what = format!(
                "database {name} is given by reference: this program migrates SQLite files only"
            );
            let next = "Migrate it by its own tool and take it out of `databases`.";
            return Err(StepError::permanent("CD0604", what, next));
        };
        let migrations = match &file.migrations {
            None => Migrator::with_migrations(Vec::new()),
            Some(folder) => read_folder(name, &context.spec.project.join(folder)).await?,
        };
        let last = migrations.iter().map(|one| one.version).max().unwrap_or(0);
        let wanted = wanted(file, &context.to).unwrap_or(last).min(last);
        Ok(Self {
            name,
            file,
            path,
            migrations,
            wanted,
        })
    }

    /// Returns the migrations that lead from a version to the wanted one.
    pub(crate) fn pending(&self, version: i64) -> Vec<&Migration> {
        let forward = self.migrations.iter().filter(|one| is_forward(one));
        forward
            .filter(|one| one.version > version && one.version <= self.wanted)
            .collect()
    }

    /// Returns the migrations after a version that have no way back.
    pub(crate) fn without_way_back(&self, version: i64) -> Vec<i64> {
        let back = |wanted: i64| {
            let kind = MigrationType::ReversibleDown;
            self.migrations
                .iter()
                .any(|one| one.version == wanted && one.migration_type == kind)
        };
        let pending = self.pending(version).into_iter().map(|one| one.version);
        pending.filter(|version| !back(*version)).collect()
    }
}

fn is_forward(migration: &Migration) -> bool {
    migration.migration_type != MigrationType::ReversibleDown
}

/// Returns where a database's SQLite file is; nothing for one given by reference.
pub(crate) fn path_of(spec: &Spec, file: &DatabaseFile) -> Option<PathBuf> {
    let data = spec.data_folder();
    path_in(&std::path::absolute(&data).unwrap_or(data), file)
}

/// Returns where a database's SQLite file is when `{data}` is that folder.
pub(super) fn path_in(data: &Path, file: &DatabaseFile) -> Option<PathBuf> {
    let DatabaseUrl::Plain(url) = &file.url else {
        return None;
    };
    let path = url.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    Some(data.join(path.replace("{data}", &data.to_string_lossy())))
}

async fn read_folder(name: &str, folder: &Path) -> Result<Migrator, StepError> {
    Migrator::new(folder.to_owned()).await.map_err(|error| {
        let what = format!(
            "database {name}: the migrations in {} cannot be read: {}",
            folder.display(),
            crate::error::with_sources(&error)
        );
        StepError::permanent(
            "CD0605",
            what,
            "Name them NNNN_name.up.sql and NNNN_name.down.sql.",
        )
    })
}

/// Returns the last migration of a release: as named, otherwise that of the greatest release
/// named that is not after it.
fn wanted(file: &DatabaseFile, release: &Release) -> Option<i64> {
    if let Some(version) = file.release_migrations.get(release.as_str()) {
        return Some(*version);
    }
    let release = semver::Version::parse(release.as_str()).ok()?;
    let named = file.release_migrations.iter();
    let named = named.filter_map(|(name, version)| {
        semver::Version::parse(name)
            .ok()
            .map(|name| (name, *version))
    });
    named
        .filter(|(name, _)| *name <= release)
        .max()
        .map(|(_, version)| version)
}
