//! Which half of a key a record is known by.

use code_deploy_record::{Checkpoint, FindingKind, PublicKey, has_high_s};
use p256::ecdsa::Signature;

use crate::Place;
use crate::seal::{checked, checkpoints, cut_and_sealed_again, found, key, rewritten, sealed_with};

/// Names the P-256 half of another key beside the Ed25519 half that the journal names, and signs the checkpoints anew.
fn name_beside(place: &Place, own: u8, other: u8) {
    let half = |seed| {
        let written = serde_json::to_value(key(seed).public()).unwrap();
        written["p256"].as_str().unwrap().to_owned()
    };
    let forged = rewritten(&place.journal(), &half(own), &half(other));
    place.write_journal(forged.as_bytes());
    let mut events = place.run.events().unwrap();
    while events.next_event().unwrap().is_some() {
        let tree = events.tree();
        for path in checkpoints(&place.run) {
            let text = std::fs::read_to_string(&path).unwrap();
            let before: Checkpoint = text.parse().unwrap();
            if before.head.size == tree.size && before.is_signed_by(&key(own).public().ed25519()) {
                let anew = Checkpoint::sign(&before.origin, tree, &key(own));
                std::fs::write(&path, anew.to_string()).unwrap();
            }
        }
    }
}

fn signatures(place: &Place, keys: &[PublicKey]) -> Vec<(String, String)> {
    let found = found(place, keys).into_iter();
    let found = found.filter(|(kind, ..)| *kind == FindingKind::Signature);
    found.map(|(_, at, what)| (at, what)).collect()
}

#[test]
fn a_key_is_known_by_the_half_that_signs_checkpoints_alone() {
    let (first, p256) = (key(1).public().ed25519(), key(1).public().p256());
    let place = sealed_with(9);
    name_beside(&place, 9, 1);
    assert_eq!(found(&place, &[]), []);
    for keys in [vec![p256.clone()], vec![first.clone(), p256.clone()]] {
        let signatures = signatures(&place, &keys);
        assert_eq!(signatures.len(), 1, "{signatures:?}");
        assert_eq!(signatures[0].0, "journal.jsonl, event 1");
        assert!(
            signatures[0].1.contains("give the Ed25519 key"),
            "{signatures:?}"
        );
        assert_eq!(checked(&place, &keys).seal.signed_by, []);
    }
    // A key that is named later, too.
    let place = cut_and_sealed_again();
    name_beside(&place, 2, 1);
    let later = signatures(&place, &[first.clone(), p256.clone()]);
    assert_eq!(later.len(), 1, "{later:?}");
    assert_eq!(later[0].0, "journal.jsonl, event 6");
    // What is honest: the Ed25519 half alone, or both; the other one alone shows nothing of the journal.
    let place = sealed_with(1);
    for keys in [vec![first.clone()], vec![p256.clone(), first.clone()]] {
        let report = checked(&place, &keys);
        assert_eq!(report.findings, []);
        assert_eq!(report.seal.signed_by, std::slice::from_ref(&first));
    }
    assert_eq!(signatures(&place, &[p256]).len(), 1);
}

#[test]
fn a_p256_signature_has_one_form_alone() {
    let (secret, public) = (key(1), key(1).public().p256());
    for number in 0..32 {
        let content = format!("statement {number}");
        let signed = secret.sign_p256(content.as_bytes());
        assert!(!has_high_s(&signed), "{content}");
        assert!(public.verifies(content.as_bytes(), &signed), "{content}");
        let low = Signature::from_der(&signed).unwrap();
        let high = Signature::from_scalars(low.r(), -low.s()).unwrap();
        let high = high.to_der().as_bytes().to_vec();
        assert!(has_high_s(&high), "{content}");
        assert!(!public.verifies(content.as_bytes(), &high), "{content}");
    }
    assert!(!has_high_s(b"no signature"));
}
