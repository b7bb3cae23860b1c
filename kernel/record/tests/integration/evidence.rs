use code_deploy_record::{Digest, Error};

use crate::Place;

#[test]
fn content_is_kept_once_under_its_digest() {
    let place = Place::new();
    let store = place.run.evidence();
    let digest = store.keep(b"a scan report").unwrap();
    assert_eq!(store.keep(b"a scan report").unwrap(), digest);
    assert_eq!(store.read(&digest).unwrap(), b"a scan report");
    let file = place.folder.path().join("report");
    std::fs::write(&file, b"a scan report").unwrap();
    assert_eq!(store.keep_file(&file).unwrap(), (digest, 13));
}

#[test]
fn changed_content_is_noticed() {
    let place = Place::new();
    let store = place.run.evidence();
    let digest = store.keep(b"a scan report").unwrap();
    std::fs::write(store.path_of(&digest), b"another report").unwrap();
    let Err(Error::EvidenceChanged { expected, found }) = store.check(&digest) else {
        panic!("not noticed")
    };
    assert_eq!((expected, found), (digest, Digest::of(b"another report")));
}

#[test]
fn content_behind_a_link_is_not_taken_for_what_was_kept() {
    let place = Place::new();
    let store = place.run.evidence();
    let path = store.path_of(&Digest::of(b"a scan report"));
    let elsewhere = place.folder.path().join("report");
    std::fs::write(&elsewhere, b"a scan report").unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    let digest = store.keep(b"a scan report").unwrap();
    assert!(!path.is_symlink());
    store.check(&digest).unwrap();
}
