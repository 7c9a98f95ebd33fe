/// The account to which a record's coins and rewards are paid.
///
/// A node's key lies on a machine that can die or be stolen. The beneficiary's does not: it can
/// request the unstake and withdraw without the node, and whatever the node does, coins go nowhere else.
module k3s_daas::beneficiary;

use k3s_daas::{pool::Pool, staking::StakeRecord};
use sui::{clock::Clock, event};

#[error(code = 0)]
const ENotBeneficiary: vector<u8> = b"Only the beneficiary may name another";

public struct BeneficiaryChanged has copy, drop {
    record: ID,
    beneficiary: address,
    /// From when on it is paid.
    from_ms: u64,
}

/// Schedules another beneficiary after the notice (`bounds::notice_ms`), which is longer
/// than any unbonding: until then the former may still request the unstake and be paid. It
/// cancels the change by naming itself.
public fun set_beneficiary(
    pool: &Pool,
    record: &mut StakeRecord,
    beneficiary: address,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    record.assert_own(pool);
    assert!(record.beneficiary(clock) == ctx.sender(), ENotBeneficiary);
    let from_ms = record.change_beneficiary(beneficiary, clock);
    event::emit(BeneficiaryChanged { record: object::id(record), beneficiary, from_ms });
}
