//! The key that seals a record, and the keys that check what was sealed.
//!
//! One Ed25519 key is the secret. The P-256 key, for verifiers that know no Ed25519, is derived from
//! it by HKDF-SHA256, so that there is one thing to keep.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use ed25519_dalek::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use p256::ecdsa::signature::Verifier as _;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{Digest, Error, Result};

/// What the derived key is for; another use would take another text.
const DERIVATION: &[u8] = b"code-deploy seal P-256 v1";

/// The key that seals. It does not print, and is cleared from memory when it goes.
#[derive(Clone)]
pub struct SealKey {
    ed25519: SigningKey,
    p256: p256::ecdsa::SigningKey,
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({})", self.public().name())
    }
}

impl SealKey {
    /// Makes a key from 32 random bytes, which the caller clears.
    ///
    /// # Errors
    /// [`Error::BadKey`] when no P-256 key follows from them, which random bytes do not do.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self> {
        Self::of(SigningKey::from_bytes(seed))
    }

    /// Reads a key: PKCS#8 as `openssl genpkey -algorithm ed25519` writes it, or an OpenSSH key of
    /// type `ed25519` without a passphrase.
    ///
    /// # Errors
    /// [`Error::BadKey`], which says nothing of what was read.
    pub fn parse(text: &str) -> Result<Self> {
        if text.contains("BEGIN OPENSSH PRIVATE KEY") {
            return Self::parse_ssh(text);
        }
        let key = SigningKey::from_pkcs8_pem(text.trim()).map_err(|_| {
            bad("it is neither an Ed25519 key in PKCS#8 (PEM) nor an OpenSSH key of type ed25519")
        })?;
        Self::of(key)
    }

    fn parse_ssh(text: &str) -> Result<Self> {
        let key = ssh_key::PrivateKey::from_openssh(text)
            .map_err(|_| bad("it is not a whole OpenSSH key"))?;
        if key.is_encrypted() {
            return Err(bad(
                "it has a passphrase, and nobody can be asked for that while a run goes on",
            ));
        }
        let Some(pair) = key.key_data().ed25519() else {
            return Err(bad("it is an OpenSSH key of another type than ed25519"));
        };
        Self::of(SigningKey::from_bytes(&pair.private.to_bytes()))
    }

    fn of(ed25519: SigningKey) -> Result<Self> {
        let derived = Hkdf::<Sha256>::new(None, ed25519.as_bytes());
        let mut scalar = Zeroizing::new([0; 32]);
        derived
            .expand(DERIVATION, scalar.as_mut_slice())
            .map_err(|_| bad("no P-256 key can be derived from it"))?;
        let p256 = p256::ecdsa::SigningKey::from_slice(scalar.as_slice())
            .map_err(|_| bad("no P-256 key can be derived from it"))?;
        Ok(Self { ed25519, p256 })
    }

    /// Returns the key as PKCS#8 (PEM), to be kept in a file that nobody else may read.
    ///
    /// # Errors
    /// [`Error::BadKey`] when it cannot be written so.
    pub fn to_pem(&self) -> Result<Zeroizing<String>> {
        let pem = self.ed25519.to_pkcs8_pem(LineEnding::LF);
        pem.map_err(|_| bad("it cannot be written as PKCS#8"))
    }

    /// Returns the public halves.
    #[must_use]
    pub fn public(&self) -> PublicKeys {
        PublicKeys {
            ed25519: self.ed25519.verifying_key(),
            p256: *self.p256.verifying_key(),
        }
    }

    /// Signs with Ed25519.
    #[must_use]
    pub fn sign(&self, content: &[u8]) -> [u8; 64] {
        self.ed25519.sign(content).to_bytes()
    }

    /// Signs with P-256 over SHA-256 (deterministic, RFC 6979); returns the signature in DER, with the low s.
    #[must_use]
    pub fn sign_p256(&self, content: &[u8]) -> Vec<u8> {
        let signature: p256::ecdsa::Signature = self.p256.sign(content);
        signature.normalize_s().to_der().as_bytes().to_vec()
    }

    /// Signs as `ssh-keygen -Y sign` does; returns the armoured signature.
    ///
    /// # Errors
    /// [`Error::BadKey`] when it cannot be written so.
    pub fn sign_ssh(&self, namespace: &str, content: &[u8]) -> Result<String> {
        let pair = ssh_key::private::Ed25519Keypair::from(&self.ed25519);
        let signing = ssh_key::PrivateKey::from(pair);
        let signature = signing.sign(namespace, ssh_key::HashAlg::Sha512, content);
        let armoured = signature.and_then(|signature| signature.to_pem(ssh_key::LineEnding::LF));
        armoured.map_err(|_| bad("it cannot sign as an OpenSSH key"))
    }
}

fn bad(what: &str) -> Error {
    Error::BadKey {
        what: what.to_owned(),
    }
}

/// The public halves of a key that seals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct PublicKeys {
    ed25519: VerifyingKey,
    p256: p256::ecdsa::VerifyingKey,
}

/// Public halves as a record has them: SubjectPublicKeyInfo in DER and base64, which is what stands
/// between the first and last line of a PEM file.
#[derive(Serialize, Deserialize)]
struct Written {
    name: String,
    ed25519: String,
    p256: String,
}

impl PublicKeys {
    /// Returns the key's name, which follows from it: `code-deploy-` and the beginning of its digest.
    #[must_use]
    pub fn name(&self) -> String {
        name_of(&self.ed25519)
    }

    /// Returns the two halves as one; nothing where they are not of these kinds.
    #[must_use]
    pub fn of(ed25519: &PublicKey, p256: &PublicKey) -> Option<Self> {
        match (&ed25519.0, &p256.0) {
            (Kind::Ed25519(ed25519), Kind::P256(p256)) => Some(Self {
                ed25519: *ed25519,
                p256: *p256,
            }),
            _ => None,
        }
    }

    /// Returns the key that checks Ed25519 signatures.
    #[must_use]
    pub fn ed25519(&self) -> PublicKey {
        PublicKey(Kind::Ed25519(self.ed25519))
    }

    /// Returns the key that checks P-256 signatures.
    #[must_use]
    pub fn p256(&self) -> PublicKey {
        PublicKey(Kind::P256(self.p256))
    }
}

fn name_of(key: &VerifyingKey) -> String {
    let digest = Digest::of(key.as_bytes()).short();
    format!("code-deploy-{digest}")
}

impl From<PublicKeys> for Written {
    fn from(keys: PublicKeys) -> Self {
        Self {
            name: keys.name(),
            ed25519: STANDARD.encode(keys.ed25519().spki()),
            p256: STANDARD.encode(keys.p256().spki()),
        }
    }
}

impl TryFrom<Written> for PublicKeys {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        let der = |text: &str| STANDARD.decode(text).map_err(|_| bad("it is not base64"));
        let ed25519 = VerifyingKey::from_public_key_der(&der(&written.ed25519)?)
            .map_err(|_| bad("it is no Ed25519 key"))?;
        let p256 = p256::ecdsa::VerifyingKey::from_public_key_der(&der(&written.p256)?)
            .map_err(|_| bad("it is no P-256 key"))?;
        let keys = Self { ed25519, p256 };
        if keys.name() != written.name {
            return Err(bad("its name does not follow from it"));
        }
        Ok(keys)
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Ed25519(VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
}

impl PublicKey {
    /// Reads a public key: PEM (`BEGIN PUBLIC KEY`), an OpenSSH line (`ssh-ed25519 AAAA...`,
    /// `ecdsa-sha2-nistp256 ...`), or a verifier key of a signed note (`NAME+HASH+KEY`).
    ///
    /// # Errors
    /// [`Error::BadKey`].
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.contains("BEGIN PUBLIC KEY") {
            if let Ok(key) = VerifyingKey::from_public_key_pem(text) {
                return Ok(Self(Kind::Ed25519(key)));
            }
            let key = p256::ecdsa::VerifyingKey::from_public_key_pem(text);
            let key = key.map_err(|_| bad("it is neither an Ed25519 nor a P-256 key"))?;
            return Ok(Self(Kind::P256(key)));
        }
        if text.starts_with("ssh-") || text.starts_with("ecdsa-") {
            let key = ssh_key::PublicKey::from_openssh(text)
                .map_err(|_| bad("it is not an OpenSSH public key"))?;
            return Self::of_ssh(key.key_data());
        }
        crate::note::parse_verifier(text).map(|key| Self(Kind::Ed25519(key)))
    }

    pub(crate) fn of_ssh(key: &ssh_key::public::KeyData) -> Result<Self> {
        if let Some(key) = key.ed25519() {
            let key = VerifyingKey::from_bytes(&key.0).map_err(|_| bad("it is no Ed25519 key"))?;
            return Ok(Self(Kind::Ed25519(key)));
        }
        let point = key.ecdsa().map(|key| key.as_sec1_bytes());
        let key = point.and_then(|point| p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok());
        let key = key.ok_or_else(|| bad("it is an OpenSSH key of a type that is not known"))?;
        Ok(Self(Kind::P256(key)))
    }

    /// Returns the SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        let der = match &self.0 {
            Kind::Ed25519(key) => key.to_public_key_der(),
            Kind::P256(key) => key.to_public_key_der(),
        };
        der.map(|der| der.as_bytes().to_vec()).unwrap_or_default()
    }

    /// Returns the key as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let body = STANDARD.encode(self.spki());
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .filter_map(|line| std::str::from_utf8(line).ok())
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    /// Returns the digest of the key in DER, by which envelopes name it.
    #[must_use]
    pub fn id(&self) -> Digest {
        Digest::of(&self.spki())
    }

    /// Returns the key as OpenSSH writes it; nothing for a P-256 key, which no line names here.
    #[must_use]
    pub fn to_openssh(&self) -> Option<String> {
        let Kind::Ed25519(key) = &self.0 else {
            return None;
        };
        let data = ssh_key::public::Ed25519PublicKey(key.to_bytes());
        ssh_key::PublicKey::from(data).to_openssh().ok()
    }

    /// Returns the fingerprint as `ssh-keygen -l` shows it; nothing for a P-256 key, as [`PublicKey::to_openssh`].
    #[must_use]
    pub fn fingerprint(&self) -> Option<String> {
        let line = self.to_openssh()?;
        let key = STANDARD.decode(line.split(' ').nth(1)?).ok()?;
        let digest = STANDARD_NO_PAD.encode(Digest::of(&key).as_bytes());
        Some(format!("SHA256:{digest}"))
    }

    pub(crate) fn as_ed25519(&self) -> Option<&VerifyingKey> {
        match &self.0 {
            Kind::Ed25519(key) => Some(key),
            Kind::P256(_) => None,
        }
    }

    /// Returns a name for people: that of a seal's key, or the beginning of the digest.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.0 {
            Kind::Ed25519(key) => name_of(key),
            Kind::P256(_) => format!("P-256 key {}", self.id().short()),
        }
    }

    /// Returns whether a signature over `content` is of this key: 64 bytes of Ed25519, or P-256 over
    /// SHA-256 in DER, with the low s alone.
    #[must_use]
    pub fn verifies(&self, content: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Kind::Ed25519(key) => Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(content, &signature).is_ok()),
            Kind::P256(key) => p256::ecdsa::Signature::from_der(signature).is_ok_and(|signature| {
                !is_high(&signature) && key.verify(content, &signature).is_ok()
            }),
        }
    }
}

/// What is said of a P-256 signature with the high s.
pub const HIGH_S: &str = "its s is the high one of two: anybody can make it from the low one without the key, so that only \
                          the low one counts. Somebody changed it, or a version before signed it; \
                          `code-deploy notebooks --run RUN` signs anew";

/// Returns whether something is a P-256 signature in DER with the high s of the two that hold over the same.
#[must_use]
pub fn has_high_s(signature: &[u8]) -> bool {
    p256::ecdsa::Signature::from_der(signature).is_ok_and(|signature| is_high(&signature))
}

fn is_high(signature: &p256::ecdsa::Signature) -> bool {
    signature.normalize_s() != *signature
}
