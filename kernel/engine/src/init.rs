//! A first deployment file for a project that has a Compose file.

mod text;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::inventory::openapi_documents;
use crate::spec::{ComposeFacts, FILE_NAME, Spec, SpecError};

/// The names that Compose looks for, in its order.
const COMPOSE_NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

/// Where migrations usually are.
const MIGRATIONS: [&str; 4] = ["migrations", "db/migrations", "database/migrations", "sql"];

/// Returns a commented deployment file for a folder, from its Compose file and what else is
/// there. It loads as it is. `vars` gives the variables of the process, for the Compose file's
/// `${NAME}`. Nothing is written.
///
/// # Errors
/// The folder has a deployment file already, has no Compose file, or one that is not right.
pub fn init(folder: &Path, vars: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let path = folder.join(FILE_NAME);
    if path.exists() {
        return Err(Error::Spec(exists(&path)));
    }
    let Some(compose) = COMPOSE_NAMES
        .iter()
        .find(|name| folder.join(name).is_file())
    else {
        return Err(Error::Spec(SpecError::of_file(
            crate::spec::code::UNREADABLE,
            folder,
            format!(
                "there is no Compose file here ({})",
                COMPOSE_NAMES.join(", ")
            ),
            "Write one with the services, or change to the folder that has it.",
        )));
    };
    let facts = ComposeFacts::read(&folder.join(compose), vars)?;
    let files = openapi_documents(folder)?;
    let found = text::Found {
        application: application(&facts, folder),
        owner: vars("USER").or_else(|| vars("LOGNAME")),
        compose,
        facts: &facts,
        documents: files,
        migrations: migrations(folder),
    };
    let text = text::write(&found);
    // What is given out must hold: a mistake here would be the user's first sight of the program.
    Spec::load_text(&path, text.clone(), "dev", "local", vars)?;
    Ok(text)
}

/// Writes a deployment file into a folder that has none.
///
/// # Errors
/// The folder has one already, or cannot be written to.
pub fn write(folder: &Path, text: &str) -> Result<PathBuf> {
    let path = folder.join(FILE_NAME);
    let failed = |error: &std::io::Error| {
        Error::refused(
            "CD0131",
            format!("{} cannot be written: {error}", path.display()),
            "Check the folder's permissions and free space.",
        )
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
    file.write_all(text.as_bytes())
        // The file belongs to the project, to be read by whoever works on it.
        .and_then(|()| {
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(0o644))
        })
        .and_then(|()| file.as_file().sync_all())
        .map_err(|error| failed(&error))?;
    if let Err(error) = file.persist_noclobber(&path) {
        let there = error.error.kind() == std::io::ErrorKind::AlreadyExists;
        return Err(if there {
            Error::Spec(exists(&path))
        } else {
            failed(&error.error)
        });
    }
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| failed(&error))?;
    Ok(path)
}

fn exists(path: &Path) -> Box<SpecError> {
    SpecError::of_file(
        crate::spec::code::EXISTS,
        path,
        "there is a deployment file already, and it is not overwritten",
        "Edit it, or move it away first.",
    )
}

/// Returns the Compose file's name of the project, or the folder's, as an application is named.
fn application(facts: &ComposeFacts, folder: &Path) -> String {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = facts.name.clone().unwrap_or_else(|| {
        full.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    });
    let name: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let name: String = name
        .trim_start_matches(|c: char| !c.is_ascii_lowercase())
        .trim_end_matches('-')
        .chars()
        .take(40)
        .collect();
    if name.is_empty() {
        "app".to_owned()
    } else {
        name
    }
}

/// Returns the folder of migrations, if there is one in a usual place.
fn migrations(folder: &Path) -> Option<&'static str> {
    MIGRATIONS.into_iter().find(|name| {
        let entries = fs::read_dir(folder.join(name));
        entries.is_ok_and(|entries| {
            entries
                .flatten()
                .take(1000)
                .any(|entry| entry.path().extension().is_some_and(|end| end == "sql"))
        })
    })
}

#[cfg(test)]
mod tests;
