//! The signed statement in the hands of `securesystemslib`, which TUF and in-toto verify with.

use std::process::Command;

use code_deploy_record::{SealKey, SignedStatement};

use crate::stage::Part;

const VERIFY: &str = r#"
import json, pathlib, sys
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

folder = pathlib.Path(sys.argv[1])
document = json.loads((folder / "statement.dsse.json").read_text())
bundle = json.loads((folder / "statement.sigstore.json").read_text())
keys = []
for signature, name in zip(document["signatures"], ["ed25519", "p256"]):
    key = load_pem_public_key((folder / f"{name}.pem").read_bytes())
    keys.append(SSlibKey.from_crypto(key, keyid=signature["keyid"]))

envelope = Envelope.from_dict(document)
assert len(envelope.verify(keys, 2)) == 2, "both keys"
only = Envelope.from_dict(bundle["dsseEnvelope"])
assert len(only.verify(keys[1:], 1)) == 1, "the bundle"
assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
statement = json.loads(envelope.payload)
assert statement["_type"] == "https://in-toto.io/Statement/v1"
assert envelope.payload == (folder / "statement.json").read_bytes()

envelope.payload = envelope.payload.replace(b"shop", b"shoq")
try:
    envelope.verify(keys, 1)
except VerificationError:
    print("refused")
"#;

#[test]
fn securesystemslib_takes_the_envelope_and_refuses_another_payload() {
    let key = SealKey::from_seed(&[5; 32]).unwrap();
    let statement = serde_json::json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "journal.jsonl", "digest": { "sha256": "0".repeat(64) } }],
        "predicateType": "urn:code-deploy:change-record:v1",
        "predicate": { "application": "shop" },
    });
    let signed = SignedStatement::sign(statement.to_string().into_bytes(), String::new(), &key);
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in signed.unwrap().files(&key.public()) {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let done = Command::new(Part::Python.path())
        .args(["-c", VERIFY])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said == "refused\n", "{done:?}");
}
