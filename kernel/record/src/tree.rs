//! The Merkle tree of RFC 6962 (section 2.1), with SHA-256.

use sha2::{Digest as _, Sha256};

use crate::Digest;

/// Returns the hash of a leaf.
#[must_use]
pub fn leaf_hash(content: &[u8]) -> Digest {
    hash(&[&[0], content])
}

fn node_hash(left: &Digest, right: &Digest) -> Digest {
    hash(&[&[1], left.as_bytes(), right.as_bytes()])
}

fn hash(parts: &[&[u8]]) -> Digest {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    Digest::from_bytes(hasher.finalize().into())
}

/// A tree that only grows. It keeps the roots of its whole subtrees, at most 64 of them, and not
/// its leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    peaks: Vec<Digest>,
}

impl Tree {
    /// Returns how many leaves were added.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns how large the tree is, and its root.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        TreeHead {
            size: self.size,
            root: self.root(),
        }
    }

    /// Adds the hash of a leaf.
    pub fn push(&mut self, leaf: Digest) {
        let (mut whole, mut rest) = (leaf, self.size);
        while rest & 1 == 1 {
            whole = self
                .peaks
                .pop()
                .map_or(whole, |left| node_hash(&left, &whole));
            rest >>= 1;
        }
        self.peaks.push(whole);
        self.size += 1;
    }

    /// Returns the root; that of no leaves is the digest of nothing.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else {
            return Digest::of(&[]);
        };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// Returns the root over hashes of leaves.
#[must_use]
pub fn root_of(leaves: &[Digest]) -> Digest {
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

/// Returns the greatest power of two below `size`, which is at least 2.
fn split(size: usize) -> usize {
    1 << (usize::BITS - 1 - (size - 1).leading_zeros())
}

/// Returns the proof that the leaf at `index` is one of `leaves`, from the leaf upwards; nothing when
/// there is no such leaf.
#[must_use]
pub fn inclusion_proof(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut proof, beside) = match index.checked_sub(left.len()) {
        Some(index) => (inclusion_proof(right, index)?, left),
        None => (inclusion_proof(left, index)?, right),
    };
    proof.push(root_of(beside));
    Some(proof)
}

/// Returns whether a proof shows that the leaf at `index` is one of the `size` under `root`.
#[must_use]
pub fn includes(root: &Digest, size: u64, index: u64, leaf: &Digest, proof: &[Digest]) -> bool {
    let Some(mut last) = size.checked_sub(1).filter(|last| index <= *last) else {
        return false;
    };
    let (mut place, mut found) = (index, *leaf);
    for beside in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            found = node_hash(beside, &found);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            found = node_hash(&found, beside);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && found == *root
}

/// Returns the proof that a tree over the first `old` of `leaves` is a beginning of the tree over all
/// of them; nothing when there are not so many.
#[must_use]
pub fn consistency_proof(leaves: &[Digest], old: usize) -> Option<Vec<Digest>> {
    match old {
        old if old > leaves.len() => None,
        0 => Some(Vec::new()),
        old => Some(subproof(leaves, old, true)),
    }
}

fn subproof(leaves: &[Digest], old: usize, whole: bool) -> Vec<Digest> {
    if old == leaves.len() {
        return if whole {
            Vec::new()
        } else {
            vec![root_of(leaves)]
        };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut proof, beside) = match old.checked_sub(left.len()) {
        Some(old) if old > 0 => (subproof(right, old, false), left),
        _ => (subproof(left, old, whole), right),
    };
    proof.push(root_of(beside));
    proof
}

/// A tree as it is named: how many leaves, and the root over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TreeHead {
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
}

/// Returns whether a proof shows that a tree only grew from `old` to `new`.
#[must_use]
pub fn is_consistent(old: &TreeHead, new: &TreeHead, proof: &[Digest]) -> bool {
    if old.size == 0 || old.size == new.size {
        return proof.is_empty() && (old.size < new.size || old.root == new.root);
    }
    let mut proof = proof.iter();
    let (mut place, mut last) = (old.size - 1, new.size.wrapping_sub(1));
    while place & 1 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    let first = if old.size.is_power_of_two() {
        Some(&old.root)
    } else {
        proof.next()
    };
    let Some(first) = first.filter(|_| old.size < new.size) else {
        return false;
    };
    let (mut before, mut after) = (*first, *first);
    for beside in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            (before, after) = (node_hash(beside, &before), node_hash(beside, &after));
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            after = node_hash(&after, beside);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && before == old.root && after == new.root
}
