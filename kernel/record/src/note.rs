//! Checkpoints: a tree's size and root as a signed note, in the text forms of C2SP
//! (`signed-note`, `tlog-checkpoint`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use sha2::{Digest as _, Sha256};

use crate::tree::TreeHead;
use crate::{Digest, Error, PublicKey, Result, SealKey};

/// The byte that says Ed25519 in a key's hash and in a verifier key.
const ED25519: u8 = 1;

/// A statement of how large a tree is and what its root is, signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose tree: the application, the environment and the run.
    pub origin: String,
    /// Its size and root.
    pub head: TreeHead,
    signatures: Vec<NoteSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NoteSignature {
    name: String,
    hash: [u8; 4],
    signature: Vec<u8>,
}

/// What a line of the signatures of a note shows, where some keys are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureLine {
    /// It is a signature of this key over the note.
    Holds(PublicKey),
    /// It says by name or id that it is of this key, and is not.
    Broken(PublicKey),
    /// It says that it is of a key of this name, which is none of those known: nothing shows whose it is.
    Unknown(String),
}

impl Checkpoint {
    /// Signs the head of a tree.
    #[must_use]
    pub fn sign(origin: &str, head: TreeHead, key: &SealKey) -> Self {
        let mut checkpoint = Self {
            origin: origin.to_owned(),
            head,
            signatures: Vec::new(),
        };
        let public = key.public().ed25519();
        let name = public.name();
        checkpoint.signatures.push(NoteSignature {
            hash: key_hash(&name, &public).unwrap_or_default(),
            name,
            signature: key.sign(checkpoint.text().as_bytes()).to_vec(),
        });
        checkpoint
    }

    /// Returns the text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let root = STANDARD.encode(self.head.root.as_bytes());
        format!("{}\n{}\n{root}\n", self.origin, self.head.size)
    }

    fn parse(note: &str) -> Result<Self> {
        let wrong = |what: &str| Error::BadNote {
            what: what.to_owned(),
        };
        // A note holds none, so that no name in it steers the terminal that shows it.
        if note.chars().any(|one| one.is_control() && one != '\n') {
            return Err(wrong("a control character stands in it"));
        }
        let (text, signatures) = note
            .split_once("\n\n")
            .ok_or_else(|| wrong("no blank line stands between text and signatures"))?;
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(wrong("its text is not the three lines of a checkpoint"));
        };
        let root = STANDARD.decode(root).ok();
        let root = root.and_then(|root| <[u8; 32]>::try_from(root).ok());
        let root = root.ok_or_else(|| wrong("its third line is not a root"))?;
        let size = size
            .parse()
            .map_err(|_| wrong("its second line is not a size"))?;
        let signatures: Option<Vec<_>> = signatures.lines().map(NoteSignature::parse).collect();
        let checkpoint = Self {
            origin: origin.to_owned(),
            head: TreeHead {
                size,
                root: Digest::from_bytes(root),
            },
            signatures: signatures.ok_or_else(|| wrong("a line of a signature is not one"))?,
        };
        if checkpoint.signatures.is_empty() || checkpoint.to_string() != note {
            return Err(wrong("it is not written as a signed note is"));
        }
        Ok(checkpoint)
    }

    /// Returns whether a key signed it. A P-256 key signs no notes.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let text = self.text();
        self.signatures.iter().any(|one| one.is_of(key, &text))
    }

    /// Returns what each line of its signatures shows to somebody who knows these keys. Whoever may write a note
    /// may add lines to it, in any name.
    #[must_use]
    pub fn lines(&self, known: &[PublicKey]) -> Vec<SignatureLine> {
        let text = self.text();
        let judged = self.signatures.iter().map(|one| {
            if let Some(key) = known.iter().find(|key| one.is_of(key, &text)) {
                return SignatureLine::Holds(key.clone());
            }
            match known.iter().find(|key| one.names(key)) {
                Some(key) => SignatureLine::Broken(key.clone()),
                None => SignatureLine::Unknown(one.name.clone()),
            }
        });
        judged.collect()
    }

    /// Returns how many signatures it bears.
    #[must_use]
    pub fn signatures(&self) -> usize {
        self.signatures.len()
    }

    /// Returns the names under which it is said to be signed: nothing shows yet that it is.
    pub fn signers(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|one| one.name.as_str())
    }
}

impl std::str::FromStr for Checkpoint {
    type Err = Error;

    /// Reads a checkpoint. It is read strictly: the same checkpoint has one text.
    ///
    /// # Errors
    /// [`Error::BadNote`].
    fn from_str(note: &str) -> Result<Self> {
        Self::parse(note)
    }
}

impl std::fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text())?;
        for one in &self.signatures {
            let body = STANDARD.encode([one.hash.as_slice(), &one.signature].concat());
            writeln!(f, "\u{2014} {} {body}", one.name)?;
        }
        Ok(())
    }
}

impl NoteSignature {
    fn parse(line: &str) -> Option<Self> {
        let (name, body) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        // What C2SP keeps out of a key's name.
        if name.is_empty() || name.contains(|one: char| one.is_whitespace() || one == '+') {
            return None;
        }
        let body = STANDARD.decode(body).ok()?;
        let (hash, signature) = body.split_first_chunk::<4>()?;
        Some(Self {
            name: name.to_owned(),
            hash: *hash,
            signature: signature.to_vec(),
        })
    }

    /// Returns whether it is a signature of that key over a text.
    fn is_of(&self, key: &PublicKey, text: &str) -> bool {
        self.bears_id_of(key) && key.verifies(text.as_bytes(), &self.signature)
    }

    /// Returns whether it says that it is of that key, by the key's own name or its id.
    fn names(&self, key: &PublicKey) -> bool {
        self.bears_id_of(key) || self.name == key.name()
    }

    fn bears_id_of(&self, key: &PublicKey) -> bool {
        key_hash(&self.name, key) == Some(self.hash)
    }
}

/// Returns the four bytes by which a note's signature says which key made it; nothing for a P-256 key.
fn key_hash(name: &str, key: &PublicKey) -> Option<[u8; 4]> {
    let key = key.as_ed25519()?;
    let mut hasher = Sha256::new();
    hasher.update(name);
    hasher.update([b'\n', ED25519]);
    hasher.update(key.as_bytes());
    let [a, b, c, d, ..]: [u8; 32] = hasher.finalize().into();
    Some([a, b, c, d])
}

/// Returns a key as verifiers of signed notes take it: `NAME+HASH+KEY`; nothing for a P-256 key.
#[must_use]
pub fn verifier(key: &PublicKey) -> Option<String> {
    let bytes = key.as_ed25519()?.as_bytes();
    let name = key.name();
    let hash = hex::encode(key_hash(&name, key)?);
    let body = STANDARD.encode([[ED25519].as_slice(), bytes].concat());
    Some(format!("{name}+{hash}+{body}"))
}

pub(crate) fn parse_verifier(text: &str) -> Result<VerifyingKey> {
    let bad = || Error::BadKey {
        what: "it is no public key in PEM, of OpenSSH or of a signed note".to_owned(),
    };
    // The key itself may hold a `+`, the name and the hash do not.
    let body = text.splitn(3, '+').nth(2).ok_or_else(bad)?;
    let body = STANDARD.decode(body).map_err(|_| bad())?;
    let key = body.strip_prefix(&[ED25519]).ok_or_else(bad)?;
    let key = <[u8; 32]>::try_from(key).map_err(|_| bad())?;
    VerifyingKey::from_bytes(&key).map_err(|_| bad())
}
