//! Whose the P-256 key is that lies beside signed notebooks: who gave the notebooks gave that file, too.

use std::path::Path;

use code_deploy_record::{HIGH_S, PublicKeys, SealFolder, SignedStatement, Trust, has_high_s};

use super::notebooks::Notebooks;
use super::{Kind, Row};
use crate::face::Face;

/// Says what does not hold of the P-256 key and its signature, beside what holds of each signature.
pub(super) fn judge(
    notebooks: &Notebooks,
    signed: &SignedStatement,
    keys: &PublicKeys,
    trust: &Trust,
    face: &dyn Face,
) -> Vec<Row> {
    let mut files = signed.files(keys).into_iter();
    let is_high = files
        .any(|(name, content)| name == SignedStatement::P256_SIGNATURE && has_high_s(&content));
    let high = is_high.then(|| {
        let place = Path::new(SealFolder::NAME).join(SignedStatement::P256_SIGNATURE);
        notebooks.row(Kind::Signature, &place, None, HIGH_S)
    });
    let of_another = whose(notebooks, signed, keys, trust, face);
    high.into_iter().chain(of_another).collect()
}

/// Says what does not show whose the P-256 key is that is there with the key by which the statement is known. The signed
/// statement names both; one of a version before names none, and then nothing here shows it.
fn whose(
    notebooks: &Notebooks,
    signed: &SignedStatement,
    keys: &PublicKeys,
    trust: &Trust,
    face: &dyn Face,
) -> Option<Row> {
    let row = |name: &str, what: String| {
        let place = Path::new(SealFolder::NAME).join(name);
        Some(notebooks.row(Kind::Signature, &place, None, what))
    };
    let (name, p256) = (keys.name(), keys.p256());
    match signed.named_keys() {
        Some(named) if named == *keys => None,
        Some(named) if named.ed25519() != keys.ed25519() => {
            let what = format!(
                "it names {} as the key that seals the record, and {name} signed it",
                named.name()
            );
            row(SignedStatement::STATEMENT, what)
        }
        Some(named) => {
            let what = format!(
                "another P-256 key was put here ({}) than the statement names ({}); its signatures show nothing",
                p256.name(),
                named.p256().name()
            );
            row(SignedStatement::P256, what)
        }
        None if trust.knows(&p256) => None,
        None if trust.keys.is_empty() => {
            face.text(&format!(
                "{}: a second signature of the statement, which is the one in the bundle, is of {}; nothing here shows \
                 whose that is, as the statement does not name it",
                notebooks.folder.display(),
                p256.name()
            ));
            None
        }
        None => {
            let what = format!(
                "nothing that {name} signed says whose the P-256 key is: its signature was not taken into account. Give \
                 that key ({}) with `--key`, too, if you have it from its owner",
                p256.name()
            );
            let place = Path::new(SealFolder::NAME).join(SignedStatement::P256_SIGNATURE);
            Some(notebooks.row(Kind::NotComparable, &place, None, what))
        }
    }
}
