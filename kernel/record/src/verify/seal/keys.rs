//! Whose the keys are that the journal names, and what is said where their signature is not there.

use super::Seals;
use crate::note::Checkpoint;
use crate::verify::{FindingKind, Trust, VerifyReport};
use crate::{PublicKeys, RunFolder};

impl Seals {
    /// Says which keys of the journal are none of those that may seal.
    pub(super) fn judge_keys(&self, trust: &Trust, report: &mut VerifyReport) {
        // A witness seals nothing: they may have signed an approval.
        let is_given = !trust.keys.is_empty();
        if self.keys.is_empty() && is_given && report.broken.is_none() {
            let what = "no key seals this record, so that the given keys show nothing";
            report.found(FindingKind::Signature, RunFolder::JOURNAL, what);
        }
        for (index, (event, _, key)) in self.keys.iter().enumerate() {
            if let Some(what) = not_to_seal(key, index > 0, trust) {
                report.found(FindingKind::Signature, RunFolder::place_of(*event), what);
            }
        }
    }
}

/// Says why a key that the journal names is none that may seal; nothing where it may, or nobody said who may.
fn not_to_seal(key: &PublicKeys, is_another: bool, trust: &Trust) -> Option<String> {
    let name = key.name();
    // Only this half signs checkpoints: anybody can name the other one of somebody else beside it.
    let own = key.ed25519();
    if trust.knows(&own) {
        return None;
    }
    if trust.knows_witness(&own) {
        return Some(format!(
            "key {name}, which seals from here on, is given as that of a witness (`--witness`), and a witness seals \
             nothing: whoever holds it may have written what stands behind this event"
        ));
    }
    if trust.keys.is_empty() {
        return is_another.then(|| {
            format!(
                "another key seals from here on: {name}; where that is right, give the public keys of both with \
                 `--key`"
            )
        });
    }
    Some(match trust.knows(&key.p256()) {
        true => format!(
            "key {name}, which seals from here on, is not given: a P-256 key that is named with it is, and signs no \
             checkpoint; give the Ed25519 key of its owner, too, as you have it from them"
        ),
        false => format!("key {name}, which seals from here on, is none of those given"),
    })
}

/// Says why a checkpoint does not count: it is not signed by the key that has to sign it, which the journal names in
/// that event.
pub(super) fn not_signed(checkpoint: &Checkpoint, own: Option<(u64, &PublicKeys)>) -> String {
    let by: Vec<&str> = checkpoint.signers().collect();
    let said = by.join(", ");
    let Some((event, key)) = own else {
        return format!("said to be signed by {said}, but the journal names no key before it");
    };
    let name = key.name();
    if by.contains(&name.as_str()) {
        return format!(
            "the signature of {name} does not hold over its text: its name, size or root was changed"
        );
    }
    format!("said to be signed by {said}, but event {event} of the journal names {name}")
}
