//! Signatures of OpenSSH (`ssh-keygen -Y sign`), as people give them.

use crate::{Error, PublicKey, Result};

/// The longest signature that is read, in bytes.
const LONGEST: usize = 16 * 1024;

/// A signature of OpenSSH.
#[derive(Debug, Clone, PartialEq)]
pub struct SshSignature(ssh_key::SshSig);

impl SshSignature {
    /// Reads an armoured signature (`BEGIN SSH SIGNATURE`).
    ///
    /// # Errors
    /// [`Error::BadSignature`].
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: &str| Error::BadSignature {
            what: what.to_owned(),
        };
        if text.len() > LONGEST {
            return Err(wrong("it is longer than any"));
        }
        let signature = ssh_key::SshSig::from_pem(text).map_err(|_| wrong("it cannot be read"))?;
        let again = signature
            .to_pem(ssh_key::LineEnding::LF)
            .unwrap_or_default();
        // Armour that says the same in other bytes is not what was written.
        if again.trim_end() != text.trim_end() {
            return Err(wrong("it is not written as OpenSSH writes it"));
        }
        Ok(Self(signature))
    }

    /// Returns the key that is said to have made it.
    ///
    /// # Errors
    /// [`Error::BadKey`] for a type of key that is not known: ed25519 and ecdsa-sha2-nistp256 are.
    pub fn key(&self) -> Result<PublicKey> {
        PublicKey::of_ssh(self.0.public_key())
    }

    /// Returns whether it is a signature of its own key over `content`, in that namespace.
    #[must_use]
    pub fn verifies(&self, namespace: &str, content: &[u8]) -> bool {
        let key = ssh_key::PublicKey::from(self.0.public_key().clone());
        key.verify(namespace, content, &self.0).is_ok()
    }
}
