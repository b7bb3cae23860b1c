//! The P-256 key beside notebooks whose record is not here.

use code_deploy_record::PublicKeys;

use super::forged::flat;
use super::roles::with_keys;
use super::*;

/// Puts another P-256 key, its signature and all that follows from it beside the stage's notebooks.
fn swapped(stage: &Stage, other: &SealKey) {
    let seal = stage.pages().join("seal");
    let signed = publish::read_signed(&seal).unwrap().unwrap();
    let (statement, sums) = (signed.statement().to_vec(), signed.sums().to_owned());
    let theirs = SignedStatement::sign(statement, sums, other).unwrap();
    for (name, content) in theirs.files(&other.public()) {
        if name == SignedStatement::P256_SIGNATURE {
            std::fs::write(seal.join(name), content).unwrap();
        }
    }
    let mixed = publish::read_signed(&seal).unwrap().unwrap();
    let keys = PublicKeys::of(&stage.public(), &other.public().p256()).unwrap();
    for (path, content) in publish::beside(&keys, &mixed) {
        std::fs::write(stage.pages().join(path), content).unwrap();
    }
}

#[test]
fn a_p256_key_that_the_signed_statement_does_not_name_is_a_finding() {
    let stage = Stage::new(1);
    let pages = [stage.pages()];
    let own = stage.public();
    for keys in [vec![], vec![own.clone()]] {
        assert_eq!(with_keys(&stage, &pages, &keys, &[]).0, 0);
    }
    let forger = SealKey::from_seed(&[9; 32]).unwrap();
    swapped(&stage, &forger);
    let p256 = forger.public().p256();
    for keys in [vec![], vec![own.clone()], vec![own, p256.clone()]] {
        let (code, said) = with_keys(&stage, &pages, &keys, &[]);
        assert_eq!(code, 11, "{said}");
        assert!(said.contains("seal/p256.pem"), "{said}");
        let words = format!("another P-256 key was put here ({})", p256.name());
        assert!(flat(&said).contains(&words), "{said}");
    }
}

/// Signs the stage's notebooks anew, with a statement that names no keys, as those of versions before.
fn without_names(stage: &Stage) {
    let signed = publish::read_signed(&stage.pages().join("seal"));
    let signed = signed.unwrap().unwrap();
    assert_eq!(signed.named_keys(), Some(stage.key.public()));
    let mut statement: serde_json::Value = serde_json::from_slice(signed.statement()).unwrap();
    let predicate = statement["predicate"].as_object_mut().unwrap();
    predicate.remove("key").unwrap();
    let statement = statement.to_string().into_bytes();
    let anew = SignedStatement::sign(statement, signed.sums().to_owned(), &stage.key).unwrap();
    assert_eq!(anew.named_keys(), None);
    for (path, content) in publish::beside(&stage.key.public(), &anew) {
        std::fs::write(stage.pages().join(path), content).unwrap();
    }
}

#[test]
fn where_the_statement_names_no_keys_it_is_said_that_the_p256_key_may_be_anybodys() {
    let stage = Stage::new(1);
    without_names(&stage);
    let pages = [stage.pages()];
    let (own, p256) = (stage.public(), stage.key.public().p256());
    let (code, said) = with_keys(&stage, &pages, &[], &[]);
    let words = "nothing here shows whose that is, as the statement does not name it";
    assert!(code == 0 && said.contains(words), "{said}");
    assert!(said.contains(&p256.name()), "{said}");
    let (code, said) = with_keys(&stage, &pages, std::slice::from_ref(&own), &[]);
    assert!(
        code == 14 && said.contains("seal/statement.p256.sig"),
        "{said}"
    );
    let words = "says whose the P-256 key is: its signature was not taken into account";
    assert!(flat(&said).contains(words), "{said}");
    assert_eq!(with_keys(&stage, &pages, &[own.clone(), p256], &[]).0, 0);
    // The forger's own is not taken for one that was given.
    let forger = SealKey::from_seed(&[9; 32]).unwrap();
    swapped(&stage, &forger);
    assert_eq!(with_keys(&stage, &pages, &[own], &[]).0, 14);
}

/// The order of the group of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Returns the other signature that holds over the same: that of which `s` is the order less that of this one. Nobody
/// needs the key for it.
fn other_form(signature: &[u8]) -> Vec<u8> {
    // A sequence of two numbers, each behind a byte of its type and one of its length.
    let behind_r = 4 + usize::from(signature[3]);
    let (r, s) = (&signature[2..behind_r], &signature[behind_r + 2..]);
    let mut wide = [0_u8; 32];
    let s = if s[0] == 0 { &s[1..] } else { s };
    wide[32 - s.len()..].copy_from_slice(s);
    let (mut other, mut borrowed) = ([0_u8; 32], 0_i16);
    for at in (0..32).rev() {
        let difference = i16::from(ORDER[at]) - i16::from(wide[at]) - borrowed;
        borrowed = i16::from(difference < 0);
        other[at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    let mut s: Vec<u8> = other.into_iter().skip_while(|byte| *byte == 0).collect();
    if s[0] >= 0x80 {
        s.insert(0, 0);
    }
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let s = [[2, length(&s)].as_slice(), s.as_slice()].concat();
    let both = [r, s.as_slice()].concat();
    [[0x30, length(&both)].as_slice(), both.as_slice()].concat()
}

/// Puts the other form of the P-256 signature, and all that follows from it, in place of it.
fn bend(stage: &Stage, seal: &Path) {
    let path = seal.join(SignedStatement::P256_SIGNATURE);
    let signature = std::fs::read(&path).unwrap();
    let bent = other_form(&signature);
    assert_eq!(other_form(&bent), signature);
    std::fs::write(path, bent).unwrap();
    let signed = publish::read_signed(seal).unwrap().unwrap();
    for (name, content) in signed.files(&stage.key.public()) {
        std::fs::write(seal.join(name), content).unwrap();
    }
}

#[test]
fn the_other_form_of_a_p256_signature_is_a_finding() {
    let stage = Stage::new(1);
    for seal in [
        stage.record.seal().path().to_owned(),
        stage.pages().join("seal"),
    ] {
        bend(&stage, &seal);
    }
    let both = stage.both();
    for paths in [&both[..1], &both[1..], &both[..]] {
        let (code, said) = with_keys(&stage, paths, &[stage.public()], &[]);
        assert_eq!(code, 11, "{said}");
        assert!(said.contains("seal/statement.p256.sig"), "{said}");
        assert!(said.contains("its s is the high one of two"), "{said}");
    }
}
