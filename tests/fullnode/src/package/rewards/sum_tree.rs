//! Module `sum_tree`: Merkle trees whose nodes hold the sum of the points below them.

use chain::abi::abort::Abort;
use chain::abi::rewards::{MOST_LEAVES, PROOF_STEP, TREE_DOMAIN};
use sha2::{Digest as _, Sha256};

use crate::execution::Stop;
use crate::package::require;

/// The length of a hash (`sum_tree::HASH`).
pub(in crate::package) const HASH: usize = 32;

const LEAF: u8 = 0;
const NODE: u8 = 1;

/// A hash, and the sum of the points that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::package) struct Sum {
    pub(in crate::package) hash: [u8; HASH],
    pub(in crate::package) points: u64,
}

impl Sum {
    /// A leaf: what it says, as BCS, and its points (`sum_tree::leaf`).
    pub(in crate::package) fn leaf(said: &[u8], points: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update([LEAF]);
        hash.update(TREE_DOMAIN);
        hash.update(said);
        hash.update(points.to_le_bytes());
        let hash = hash.finalize().into();
        Self { hash, points }
    }

    /// The hash of two nodes (`sum_tree::node`).
    pub(in crate::package) fn node(left: &Self, right: &Self) -> [u8; HASH] {
        let mut hash = Sha256::new();
        hash.update([NODE]);
        hash.update(TREE_DOMAIN);
        for child in [left, right] {
            hash.update(child.hash);
            hash.update(child.points.to_le_bytes());
        }
        hash.finalize().into()
    }
}

/// The levels above the leaves (`sum_tree::depth`).
pub(in crate::package) fn depth(leaves: u64) -> Result<usize, Stop> {
    require(
        (1..=MOST_LEAVES).contains(&leaves),
        &Abort::SUM_TREE_INVALID_SIZE,
    )?;
    let levels = leaves.next_power_of_two().trailing_zeros();
    usize::try_from(levels).map_err(|error| Stop::Broken(error.to_string()))
}

/// What a root stands for.
pub(super) struct Root<'a> {
    pub(super) hash: &'a [u8],
    pub(super) total: u64,
    pub(super) leaves: u64,
}

/// `sum_tree::assert_contains`.
pub(super) fn assert_contains(
    root: &Root<'_>,
    index: u64,
    leaf: Sum,
    proof: &[u8],
) -> Result<(), Stop> {
    let depth = depth(root.leaves)?;
    require(
        proof.len() == depth * PROOF_STEP,
        &Abort::SUM_TREE_WRONG_LENGTH,
    )?;
    require(index < root.leaves, &Abort::SUM_TREE_INDEX_TOO_HIGH)?;
    let mut sum = leaf;
    let mut place = index;
    for step in proof.chunks_exact(PROOF_STEP) {
        let (Some(hash), Some(points)) = (step.first_chunk(), step.last_chunk()) else {
            return Err(Stop::Broken("a step of a proof is too short".to_owned()));
        };
        let sibling = Sum {
            hash: *hash,
            points: u64::from_le_bytes(*points),
        };
        let hash = match place % 2 {
            0 => Sum::node(&sum, &sibling),
            _ => Sum::node(&sibling, &sum),
        };
        let points = sum.points.checked_add(sibling.points);
        let points = points.ok_or(Stop::Abort(&Abort::SUM_TREE_SUM_OVERFLOW))?;
        sum = Sum { hash, points };
        place /= 2;
    }
    require(
        sum.hash[..] == *root.hash && sum.points == root.total,
        &Abort::SUM_TREE_WRONG_ROOT,
    )
}
