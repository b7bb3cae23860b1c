//! Who signed a checkpoint beside the key that seals the record.

use super::{SealReport, Seals, Witness, place_of_second};
use crate::note::{Checkpoint, SignatureLine};
use crate::verify::{FindingKind, Trust, VerifyReport};
use crate::{PublicKey, Result, RunFolder, SshSignature, WITNESSED};

impl Seals {
    /// Says what each line of the signatures of a note shows that the key of the record signed. Lines of keys that
    /// nobody knows are no damage, and show nothing.
    pub(super) fn judge_lines(
        &self,
        place: &str,
        note: &Checkpoint,
        trust: &Trust,
        report: &mut VerifyReport,
    ) {
        let named = self.keys.iter().map(|(_, _, key)| key.ed25519());
        let known: Vec<PublicKey> = named.chain(trust.all().cloned()).collect();
        for line in note.lines(&known) {
            match line {
                // A witness counts by the last checkpoint alone: an earlier one says nothing of what came after it.
                SignatureLine::Holds(key) if trust.knows(&key) => {
                    report.seal.note_signed_by(&key);
                }
                SignatureLine::Holds(_) => {}
                SignatureLine::Broken(key) => {
                    let what = format!(
                        "a line of its signatures says that it is of {}, and does not hold",
                        key.name()
                    );
                    report.found(FindingKind::Signature, place, what);
                }
                SignatureLine::Unknown(name) => {
                    report.seal.unverified.push((place.to_owned(), name));
                }
            }
        }
    }

    /// Finds who signed the last checkpoint a second time: in a line of its own, or in a file beside it.
    pub(super) fn find_witnesses(
        &self,
        run: &RunFolder,
        place: &str,
        checkpoint: &Checkpoint,
        trust: &Trust,
        report: &mut VerifyReport,
    ) -> Result<()> {
        for key in trust.all().filter(|key| !self.is_own(key)) {
            if checkpoint.is_signed_by(key) {
                report.seal.note_signed_by(key);
                report.seal.note_witness(key.clone(), trust);
            }
        }
        let place = place_of_second(place);
        let path = run.path().join(&place);
        let Some(text) = self.files.read(run, &path, report)? else {
            return Ok(());
        };
        let read = SshSignature::parse(&text).and_then(|one| Ok((one.key()?, one)));
        match read {
            Ok((key, _)) if self.is_own(&key) => {
                let what = "the second signature is of the key that seals the record itself";
                report.found(FindingKind::Signature, place, what);
            }
            Ok((key, one)) if one.verifies(WITNESSED, checkpoint.to_string().as_bytes()) => {
                if trust.all().any(|known| *known == key) {
                    report.seal.note_signed_by(&key);
                }
                report.seal.note_witness(key, trust);
            }
            Ok(_) => {
                let what = "the second signature is not one over this checkpoint";
                report.found(FindingKind::Signature, place, what);
            }
            Err(error) => report.found(FindingKind::Signature, place, error.to_string()),
        }
        Ok(())
    }

    /// Returns whether a key is a half of one that the journal names.
    fn is_own(&self, key: &PublicKey) -> bool {
        self.keys
            .iter()
            .any(|(_, _, named)| named.ed25519() == *key || named.p256() == *key)
    }
}

impl SealReport {
    fn note_witness(&mut self, key: PublicKey, trust: &Trust) {
        if self.witnesses.iter().any(|one| one.key == key) {
            return;
        }
        let (known, seals) = (trust.knows_witness(&key), trust.knows(&key));
        self.witnesses.push(Witness { key, known, seals });
    }
}
