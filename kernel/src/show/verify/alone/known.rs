//! By which key notebooks without their record are known, and what beside them is not of that key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use code_deploy_record::{PublicKey, SealFolder, SignedStatement, Trust};

use crate::publish;
use crate::show::verify::notebooks::Notebooks;
use crate::show::verify::{Kind, Row};

/// By which key a signed statement is known.
pub(super) struct Known {
    /// The key; where there is none, the file that is not as it must be, and why.
    pub(super) key: Result<PublicKey, (&'static str, &'static str)>,
    /// Which of the list of files and its signature is not of that key. Where one is, the statement says which files
    /// were signed, and with which digests.
    not_theirs: Vec<&'static str>,
}

/// Returns whether keys are given and none of them signed what was signed over notebooks.
pub(super) fn is_of_others(signed: &SignedStatement, trust: &Trust) -> bool {
    let lister = signed.list_signer();
    let is_theirs = |key: &PublicKey| signed.is_signed_by(key) || lister.as_ref() == Some(key);
    !trust.keys.is_empty() && !trust.keys.iter().any(is_theirs)
}

fn place(name: &str) -> PathBuf {
    Path::new(SealFolder::NAME).join(name)
}

impl Known {
    pub(super) fn of(signed: &SignedStatement, trust: &Trust) -> Self {
        let reference = signed.reference(&trust.keys);
        let known = reference.map(|key| (signed.not_listed_by(&key), key));
        match known {
            Some((not_theirs, key)) if !not_theirs.is_empty() => Self {
                key: Ok(key),
                not_theirs,
            },
            _ => Self {
                key: signed.signer(),
                not_theirs: Vec::new(),
            },
        }
    }

    /// Returns the files that were signed, with their digests.
    pub(super) fn files(&self, signed: &SignedStatement) -> BTreeMap<PathBuf, String> {
        if self.not_theirs.is_empty() {
            return publish::listed(signed);
        }
        let named = signed.named_files().into_iter();
        named
            .map(|(path, digest)| (PathBuf::from(path), digest))
            .collect()
    }

    /// Says what of the list of files is not of the key that signed the statement.
    pub(super) fn not_theirs(&self, notebooks: &Notebooks, signed: &SignedStatement) -> Vec<Row> {
        let Ok(key) = &self.key else {
            return Vec::new();
        };
        let name = key.name();
        let rows = self.not_theirs.iter().map(|file| {
            let place = place(file);
            if let Err(error) = notebooks.read(&place) {
                return notebooks.unread(&place, &error);
            }
            let what = match signed.list_signer() {
                _ if *file == SignedStatement::SUMS => {
                    format!("changed: it does not list what the statement of {name} names")
                }
                Some(other) if other != *key => {
                    format!("signed by {}, and the statement by {name}", other.name())
                }
                _ => format!("it is not a signature of {name}, whose the statement is"),
            };
            notebooks.row(Kind::Signature, &place, None, what)
        });
        rows.collect()
    }

    /// Returns whether a file of what was signed is judged by [`Known::not_theirs`].
    pub(super) fn has_judged(&self, file: &str) -> bool {
        let list = [SignedStatement::SUMS, SignedStatement::SUMS_SIGNATURE];
        !self.not_theirs.is_empty() && list.contains(&file)
    }

    /// Says what a file shows that does not follow from what was signed, where it goes with a list of another key.
    pub(super) fn unlike(&self, path: &Path) -> Option<(Kind, String)> {
        let key = self.key.as_ref().ok()?;
        let is_with_list = !self.not_theirs.is_empty();
        (is_with_list && path == place(SignedStatement::ALLOWED_SIGNERS)).then(|| {
            let what = format!(
                "it is not the line of {}, whose the statement is",
                key.name()
            );
            (Kind::Signature, what)
        })
    }

    /// Says that the Ed25519 key is not given of which the P-256 half is, where nothing else shows that.
    pub(super) fn half_given(&self, notebooks: &Notebooks, key: &PublicKey) -> Option<Row> {
        self.not_theirs.is_empty().then(|| {
            let what = format!(
                "signed by {}, which is not given: a P-256 key that signed the statement is, and did not sign this \
                 list; give the Ed25519 key of its owner, too, as you have it from them",
                key.name()
            );
            let place = place(SignedStatement::SUMS_SIGNATURE);
            notebooks.row(Kind::Signature, &place, None, what)
        })
    }

    /// Says whose what was signed over notebooks is, where it is of no given key: nothing is then held against it, as
    /// anybody could have signed anything.
    pub(super) fn of_others(&self, notebooks: &Notebooks) -> Vec<Row> {
        let (file, what) = match &self.key {
            Ok(key) => {
                let file = match self.not_theirs.is_empty() {
                    true => SignedStatement::SUMS_SIGNATURE,
                    false => SignedStatement::STATEMENT,
                };
                let name = key.name();
                (
                    file,
                    format!("signed by {name}, which is none of the given keys"),
                )
            }
            Err((file, what)) => (
                *file,
                format!("{what}; nothing here is signed by a given key"),
            ),
        };
        let meant = notebooks.only.as_deref();
        let meant = meant.unwrap_or(Path::new("the notebooks"));
        let unread = "not checked: what was signed over it is of none of the given keys";
        vec![
            notebooks.row(Kind::Signature, &place(file), None, what),
            notebooks.row(Kind::Unread, meant, None, unread),
        ]
    }
}
