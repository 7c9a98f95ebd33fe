/// The least that a stake must hold. A higher one counts for new stakes after a notice, and for
/// those that stand after a grace besides; a lower one at once.
module k3s_daas::minimum_stake;

use k3s_daas::{bounds, scheduled::Scheduled};
use sui::clock::Clock;

#[error(code = 0)]
const EOutOfBounds: vector<u8> = b"The minimum lies outside its published bounds";
#[error(code = 1)]
const EChangePending: vector<u8> =
    b"A rise is ahead or in its grace: cancel it, or wait until it is over";

/// Least that a new stake must hold, in MIST.
public(package) fun for_new(minimum: &Scheduled<u64>, clock: &Clock): u64 {
    minimum.at(clock.timestamp_ms())
}

/// Least that a stake which stands must hold, in MIST: after a rise, the former minimum until the
/// grace is over.
public(package) fun for_standing(minimum: &Scheduled<u64>, clock: &Clock): u64 {
    minimum.at(before_grace(clock))
}

/// Changes the minimum. What is not higher than the minimum of stakes that stand counts at once,
/// and cancels a rise that is ahead; so does everything while the pool is not open.
public(package) fun change(minimum: &mut Scheduled<u64>, value: u64, open: bool, clock: &Clock) {
    assert!(bounds::minimum_stake().contain(value), EOutOfBounds);
    minimum.settle(before_grace(clock));
    if (!open || value <= for_standing(minimum, clock)) {
        minimum.set(value);
    } else {
        assert!(!minimum.has_next(), EChangePending);
        let now_ms = clock.timestamp_ms();
        let _ = minimum.schedule(value, now_ms + bounds::notice_ms(), now_ms);
    }
}

fun before_grace(clock: &Clock): u64 {
    let now_ms = clock.timestamp_ms();
    now_ms - bounds::minimum_stake_grace_ms().min(now_ms)
}
