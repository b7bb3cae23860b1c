//! The signed statement over what a run gave: a DSSE envelope with an in-toto statement, in the forms
//! that verifiers of other people take.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{PublicKey, PublicKeys, Result, RunFolder, SealKey, SshSignature, TreeHead};

/// The media type of in-toto statements, as DSSE names it.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The media type of a Sigstore bundle.
const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The namespace of the signature over the list of notebooks: `ssh-keygen -Y verify -n`.
pub const LISTED: &str = "code-deploy-notebooks";

/// With what the name of a subject begins that is an artifact of the release, and no file beside the notebooks.
const ARTIFACT: &str = "artifact:";

/// The files of a signed statement.
mod file {
    pub const STATEMENT: &str = "statement.json";
    pub const DSSE: &str = "statement.dsse.json";
    pub const SIGSTORE: &str = "statement.sigstore.json";
    pub const ED25519_SIGNATURE: &str = "statement.ed25519.sig";
    pub const P256_SIGNATURE: &str = "statement.p256.sig";
    pub const ED25519: &str = "ed25519.pem";
    pub const P256: &str = "p256.pem";
    pub const ALLOWED_SIGNERS: &str = "allowed_signers";
    pub const SUMS: &str = "SHA256SUMS";
    pub const SUMS_SIGNATURE: &str = "SHA256SUMS.sig";
}

/// A statement with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedStatement {
    statement: Vec<u8>,
    ed25519: Vec<u8>,
    p256: Vec<u8>,
    sums: String,
    sums_signature: String,
}

/// Returns what DSSE signs: its pre-authentication encoding.
fn pre_authentication_encoding(payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {PAYLOAD_TYPE} {} ",
        PAYLOAD_TYPE.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

impl SignedStatement {
    /// The names of its files, in their order.
    pub const FILES: [&'static str; 10] = [
        file::SUMS,
        file::SUMS_SIGNATURE,
        file::ALLOWED_SIGNERS,
        file::ED25519,
        file::P256,
        file::DSSE,
        file::ED25519_SIGNATURE,
        file::STATEMENT,
        file::P256_SIGNATURE,
        file::SIGSTORE,
    ];

    /// The name of the statement itself.
    pub const STATEMENT: &'static str = file::STATEMENT;

    /// The name of the public key that checks its P-256 signature.
    pub const P256: &'static str = file::P256;

    /// The name of its P-256 signature.
    pub const P256_SIGNATURE: &'static str = file::P256_SIGNATURE;

    /// The name of the list of files.
    pub const SUMS: &'static str = file::SUMS;

    /// The name of the line by which `ssh-keygen` knows the key that signs the list.
    pub const ALLOWED_SIGNERS: &'static str = file::ALLOWED_SIGNERS;

    /// The name of the signature over the list of files.
    pub const SUMS_SIGNATURE: &'static str = file::SUMS_SIGNATURE;

    /// Signs a statement, and the list of files that `sha256sum --check` reads.
    ///
    /// # Errors
    /// [`crate::Error::BadKey`] when the key cannot sign as OpenSSH does.
    pub fn sign(statement: Vec<u8>, sums: String, key: &SealKey) -> Result<Self> {
        let signed = pre_authentication_encoding(&statement);
        Ok(Self {
            ed25519: key.sign(&signed).to_vec(),
            p256: key.sign_p256(&signed),
            sums_signature: key.sign_ssh(LISTED, sums.as_bytes())?,
            statement,
            sums,
        })
    }

    /// Returns the files, by their names in a folder `seal`, in the order of their names.
    #[must_use]
    pub fn files(&self, keys: &PublicKeys) -> Vec<(&'static str, Vec<u8>)> {
        let (ed25519, p256) = (keys.ed25519(), keys.p256());
        let signers = ed25519.to_openssh().unwrap_or_default();
        let signers = format!("{} namespaces=\"{LISTED}\" {signers}\n", keys.name());
        let both = [(&ed25519, &self.ed25519), (&p256, &self.p256)];
        let contents = [
            self.sums.clone().into_bytes(),
            self.sums_signature.clone().into_bytes(),
            signers.into_bytes(),
            ed25519.to_pem().into_bytes(),
            p256.to_pem().into_bytes(),
            line(&self.envelope(&both)),
            self.ed25519.clone(),
            self.statement.clone(),
            self.p256.clone(),
            line(&self.bundle(&p256)),
        ];
        Self::FILES.into_iter().zip(contents).collect()
    }

    /// Reads a signed statement from its files, which `read` gives; nothing when there is none.
    ///
    /// # Errors
    /// Any error of `read`.
    pub fn read<E>(
        mut read: impl FnMut(&'static str) -> std::result::Result<Option<Vec<u8>>, E>,
    ) -> std::result::Result<Option<Self>, E> {
        let Some(statement) = read(file::STATEMENT)? else {
            return Ok(None);
        };
        let text = |bytes: Option<Vec<u8>>| {
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        };
        Ok(Some(Self {
            statement,
            ed25519: read(file::ED25519_SIGNATURE)?.unwrap_or_default(),
            p256: read(file::P256_SIGNATURE)?.unwrap_or_default(),
            sums: text(read(file::SUMS)?),
            sums_signature: text(read(file::SUMS_SIGNATURE)?),
        }))
    }

    /// Returns the files that are not what they should be beside the others, each with what is wrong:
    /// a signature, or what two signatures are over.
    #[must_use]
    pub fn broken(&self, keys: &PublicKeys) -> Vec<(&'static str, &'static str)> {
        const SIGNATURE: &str = "it is not a signature of the key that seals the record";
        const SIGNED: &str = "changed: it is not what was signed";
        let signed = pre_authentication_encoding(&self.statement);
        let ed25519 = keys.ed25519().verifies(&signed, &self.ed25519);
        let p256 = keys.p256().verifies(&signed, &self.p256);
        let mut broken = match (ed25519, p256) {
            (true, true) => Vec::new(),
            (false, true) => vec![(file::ED25519_SIGNATURE, SIGNATURE)],
            (true, false) => vec![(file::P256_SIGNATURE, SIGNATURE)],
            (false, false) => vec![(file::STATEMENT, SIGNED)],
        };
        let listed = SshSignature::parse(&self.sums_signature).is_ok_and(|one| {
            one.verifies(LISTED, self.sums.as_bytes())
                && one.key().is_ok_and(|key| key == keys.ed25519())
        });
        if !listed {
            // Which of the two was changed, one signature cannot tell.
            broken.extend([(file::SUMS, SIGNED), (file::SUMS_SIGNATURE, SIGNATURE)]);
        }
        broken
    }

    /// Returns whether the statement bears a signature of that key, of either kind, that holds.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let signed = pre_authentication_encoding(&self.statement);
        [&self.ed25519, &self.p256]
            .into_iter()
            .any(|signature| key.verifies(&signed, signature))
    }

    /// Returns the key by which the statement is known: the one of those that are given that signed it, else the one
    /// that it names itself and that signed it. Nothing where neither did, and where a given key signed the list of
    /// files alone, as that list then counts for more than the statement.
    #[must_use]
    pub fn reference(&self, given: &[PublicKey]) -> Option<PublicKey> {
        let signed = pre_authentication_encoding(&self.statement);
        let mut of_kind = given.iter().filter(|key| key.as_ed25519().is_some());
        if let Some(key) = of_kind.find(|key| key.verifies(&signed, &self.ed25519)) {
            return Some(key.clone());
        }
        if self.list_signer().is_some_and(|key| given.contains(&key)) {
            return None;
        }
        let named = self.named_keys()?;
        let (ed25519, p256) = (named.ed25519(), named.p256());
        // A given P-256 key that signed the statement answers for the other half that it names.
        let is_signed = ed25519.verifies(&signed, &self.ed25519)
            || (given.contains(&p256) && p256.verifies(&signed, &self.p256));
        is_signed.then_some(ed25519)
    }

    /// Returns the key that signed the list of files; nothing where no signature over it holds.
    #[must_use]
    pub fn list_signer(&self) -> Option<PublicKey> {
        let signature = SshSignature::parse(&self.sums_signature).ok();
        let signature = signature.filter(|one| one.verifies(LISTED, self.sums.as_bytes()));
        signature.and_then(|one| one.key().ok())
    }

    /// Returns which of the list of files and its signature is not of the key that signed the statement; nothing where
    /// that key signed the list. The statement names the files in the order of the list, so that either can be held
    /// against it alone.
    #[must_use]
    pub fn not_listed_by(&self, key: &PublicKey) -> Vec<&'static str> {
        if self.list_signer().as_ref() == Some(key) {
            return Vec::new();
        }
        let mut sums = String::new();
        for (path, digest) in self.named_files() {
            sums.push_str(&format!("{digest}  {path}\n"));
        }
        let is_signed = SshSignature::parse(&self.sums_signature).is_ok_and(|one| {
            one.verifies(LISTED, sums.as_bytes()) && one.key().is_ok_and(|one| one == *key)
        });
        let list = (self.sums != sums).then_some(file::SUMS);
        let signature = (!is_signed).then_some(file::SUMS_SIGNATURE);
        list.into_iter().chain(signature).collect()
    }

    /// Returns the key that signed the list of files and the statement that names each of them.
    ///
    /// # Errors
    /// The file that is not as it must be, and why.
    pub fn signer(&self) -> std::result::Result<PublicKey, (&'static str, &'static str)> {
        let Some(key) = self.list_signer() else {
            let what = "it is not a signature over the list of files";
            return Err((file::SUMS_SIGNATURE, what));
        };
        if !key.verifies(&pre_authentication_encoding(&self.statement), &self.ed25519) {
            let what = "it is not a signature of the key that signed the list of files";
            return Err((file::ED25519_SIGNATURE, what));
        }
        let subjects: BTreeSet<_> = self.subjects().into_iter().collect();
        let mut listed = self.sums.lines().filter_map(|line| line.split_once("  "));
        if !listed.all(|(digest, path)| subjects.contains(&(path.to_owned(), digest.to_owned()))) {
            return Err((
                file::SUMS,
                "it lists what the signed statement does not name",
            ));
        }
        Ok(key)
    }

    /// Returns the keys that the statement names as those that seal the record, so that who signed it with one half
    /// shows whose the other is; nothing where it names none, as those of versions before.
    #[must_use]
    pub fn named_keys(&self) -> Option<PublicKeys> {
        let statement: Value = serde_json::from_slice(&self.statement).ok()?;
        serde_json::from_value(statement.pointer("/predicate/key")?.clone()).ok()
    }

    /// Returns size and root of the tree of the record that the statement is over; nothing where it names none.
    #[must_use]
    pub fn tree(&self) -> Option<TreeHead> {
        let statement: Value = serde_json::from_slice(&self.statement).ok()?;
        serde_json::from_value(statement.pointer("/predicate/record")?.clone()).ok()
    }

    /// Returns the notebooks and charts that the statement names, by their paths, in its order, each with its SHA-256
    /// digest.
    #[must_use]
    pub fn named_files(&self) -> Vec<(String, String)> {
        let mut subjects = self.subjects();
        subjects.retain(|(name, _)| name != RunFolder::JOURNAL && !name.starts_with(ARTIFACT));
        subjects
    }

    /// Returns the subjects of the statement with their SHA-256 digests.
    fn subjects(&self) -> Vec<(String, String)> {
        let statement: Value = serde_json::from_slice(&self.statement).unwrap_or_default();
        let subjects = statement["subject"].as_array().into_iter().flatten();
        let named = subjects.filter_map(|one| {
            let (name, digest) = (one["name"].as_str()?, one["digest"]["sha256"].as_str()?);
            Some((name.to_owned(), digest.to_owned()))
        });
        named.collect()
    }

    /// Returns the statement.
    #[must_use]
    pub fn statement(&self) -> &[u8] {
        &self.statement
    }

    /// Returns the list of files.
    #[must_use]
    pub fn sums(&self) -> &str {
        &self.sums
    }

    fn envelope(&self, signatures: &[(&PublicKey, &Vec<u8>)]) -> Value {
        let signatures: Vec<Value> = signatures
            .iter()
            .map(|(key, signature)| json!({ "keyid": key.id(), "sig": STANDARD.encode(signature) }))
            .collect();
        json!({
            "payload": STANDARD.encode(&self.statement),
            "payloadType": PAYLOAD_TYPE,
            "signatures": signatures,
        })
    }

    /// A bundle has one signature; P-256 is the kind that its verifiers know best.
    fn bundle(&self, key: &PublicKey) -> Value {
        json!({
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {
                "publicKey": { "hint": key.id() },
                "tlogEntries": [],
                "timestampVerificationData": { "rfc3161Timestamps": [] },
            },
            "dsseEnvelope": self.envelope(&[(key, &self.p256)]),
        })
    }
}

fn line(value: &Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}
