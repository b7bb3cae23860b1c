//! The tree beside `ct-merkle`, which shares no code with it.

use code_deploy_record::{
    Digest, Tree, TreeHead, consistency_proof, includes, inclusion_proof, is_consistent, leaf_hash,
    root_of,
};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof};
use proptest::prelude::*;
use sha2::Sha256;

fn content(number: u64) -> Vec<u8> {
    format!("leaf {number}").into_bytes()
}

fn leaves(count: u64) -> Vec<Digest> {
    (0..count)
        .map(|number| leaf_hash(&content(number)))
        .collect()
}

fn head(leaves: &[Digest]) -> TreeHead {
    TreeHead {
        size: leaves.len() as u64,
        root: root_of(leaves),
    }
}

fn oracle(count: u64) -> MemoryBackedTree<Sha256, Vec<u8>> {
    let mut tree = MemoryBackedTree::new();
    (0..count).for_each(|number| tree.push(content(number)));
    tree
}

fn joined(proof: &[Digest]) -> Vec<u8> {
    proof.iter().flat_map(|one| *one.as_bytes()).collect()
}

#[test]
fn roots_and_proofs_are_those_of_another_implementation() {
    let mut grown = Tree::default();
    for size in 1..70_u64 {
        grown.push(leaf_hash(&content(size - 1)));
        let (own, other) = (leaves(size), oracle(size));
        let root = root_of(&own);
        assert_eq!(grown.root(), root);
        assert_eq!(
            root.as_bytes().as_slice(),
            other.root().as_bytes().as_slice()
        );
        for index in 0..size {
            let proof = inclusion_proof(&own, index as usize).unwrap();
            assert_eq!(
                joined(&proof),
                other.prove_inclusion(index as usize).as_bytes()
            );
            assert!(includes(&root, size, index, &own[index as usize], &proof));
            let theirs = InclusionProof::try_from_bytes(joined(&proof)).unwrap();
            other
                .root()
                .verify_inclusion(&content(index), index, &theirs)
                .unwrap();
        }
        for old in 1..size {
            let proof = consistency_proof(&own, old as usize).unwrap();
            let grew = (size - old) as usize;
            assert_eq!(joined(&proof), other.prove_consistency(grew).as_bytes());
            assert!(is_consistent(
                &head(&own[..old as usize]),
                &head(&own),
                &proof
            ));
            let theirs = ConsistencyProof::try_from_bytes(joined(&proof)).unwrap();
            other
                .root()
                .verify_consistency(&oracle(old).root(), &theirs)
                .unwrap();
        }
    }
}

#[test]
fn what_is_not_there_has_no_proof() {
    let own = leaves(5);
    assert_eq!(inclusion_proof(&own, 5), None);
    assert_eq!(inclusion_proof(&[], 0), None);
    assert_eq!(consistency_proof(&own, 6), None);
    assert_eq!(root_of(&[]), Digest::of(b""));
    assert!(is_consistent(&head(&[]), &head(&own), &[]));
    assert!(is_consistent(&head(&own), &head(&own), &[]));
    assert!(!is_consistent(&head(&own), &head(&own[..3]), &[]));
}

proptest! {
    #[test]
    fn no_other_leaf_place_size_or_proof_is_taken(
        size in 1_u64..200, place in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(),
    ) {
        let own = leaves(size);
        let root = root_of(&own);
        let index = place.index(size as usize);
        let proof = inclusion_proof(&own, index).unwrap();
        let leaf = own[index];
        let at = index as u64;
        prop_assert!(includes(&root, size, at, &leaf, &proof));
        prop_assert!(!includes(&root, size, at, &leaf_hash(b"another"), &proof));
        prop_assert!(!includes(&leaf_hash(b"another"), size, at, &leaf, &proof));
        if size > 1 {
            prop_assert!(!includes(&root, size, (at + 1) % size, &leaf, &proof));
            prop_assert!(!includes(&root, size, at, &leaf, &proof[1..]));
            let mut bent = proof.clone();
            bent[flip.index(proof.len())] = Digest::ZERO;
            prop_assert!(!includes(&root, size, at, &leaf, &bent));
        }
        let longer: Vec<_> = proof.iter().copied().chain([Digest::ZERO]).collect();
        prop_assert!(!includes(&root, size, at, &leaf, &longer));
    }

    #[test]
    fn a_tree_that_was_rewritten_is_not_consistent(
        old in 1_usize..100, more in 1_usize..100, at in any::<prop::sample::Index>(),
    ) {
        let own = leaves((old + more) as u64);
        let mut rewritten = own.clone();
        rewritten[at.index(old)] = leaf_hash(b"another");
        let before = head(&own[..old]);
        let proof = consistency_proof(&rewritten, old).unwrap();
        prop_assert!(!is_consistent(&before, &head(&rewritten), &proof));
        let honest = consistency_proof(&own, old).unwrap();
        prop_assert!(!is_consistent(&before, &head(&rewritten), &honest));
        prop_assert!(is_consistent(&before, &head(&own), &honest));
    }
}
