//! The sources of this crate, for whoever says by which build something was made: what is told of a record follows from
//! them. They are read when the program is compiled.

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!($name))),*]
    };
}

/// The files of this crate, in the order of their names, with what stands in them.
pub const SOURCES: &[(&str, &str)] = sources![
    "catalog.rs",
    "clock.rs",
    "consent.rs",
    "contacts.rs",
    "cut_off.rs",
    "disk.rs",
    "disk/opened.rs",
    "due.rs",
    "envelope.rs",
    "error.rs",
    "event.rs",
    "event/line.rs",
    "event/parts.rs",
    "event/tests.rs",
    "evidence.rs",
    "export.rs",
    "extension.rs",
    "folder.rs",
    "ids.rs",
    "journal.rs",
    "key.rs",
    "lib.rs",
    "lock.rs",
    "measured.rs",
    "note.rs",
    "plain.rs",
    "report.rs",
    "said.rs",
    "samples.rs",
    "samples/latency.rs",
    "samples/packed.rs",
    "samples/reader.rs",
    "samples/writer.rs",
    "seal.rs",
    "secret.rs",
    "secret/forms.rs",
    "sources.rs",
    "sshsig.rs",
    "standstill.rs",
    "standstill/tests.rs",
    "state.rs",
    "tree.rs",
    "verdict.rs",
    "verify.rs",
    "verify/beside.rs",
    "verify/consents.rs",
    "verify/folders.rs",
    "verify/order.rs",
    "verify/seal.rs",
    "verify/seal/files.rs",
    "verify/seal/keys.rs",
    "verify/seal/second.rs",
    "way_down.rs",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::{Path, PathBuf};

    use super::*;

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut found = Vec::new();
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                found.extend(files(&path));
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
        found
    }

    #[test]
    fn every_source_of_this_crate_is_listed_under_its_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut there: Vec<String> = files(&folder)
            .iter()
            .map(|path| path.strip_prefix(&folder).unwrap().display().to_string())
            .collect();
        there.sort();
        let named: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
        assert_eq!(named, there, "name the files in `sources!`");
        for (name, text) in SOURCES {
            let written = std::fs::read_to_string(folder.join(name)).unwrap();
            assert!(*text == written, "{name}");
        }
    }
}
