/// A pool's table of offences: for which reasons evidence slashes a stake, and how much.
module k3s_daas::offences;

use k3s_daas::{basis_points, scheduled::{Self, Scheduled}};
use sui::clock::Clock;

#[error(code = 0)]
const EOutOfBounds: vector<u8> =
    b"The share is 1 to 10000 basis points, and the daily cap no less than it and no more than 10000";
#[error(code = 1)]
const ETooManyOffences: vector<u8> = b"The table is full: 32 offences";
#[error(code = 2)]
const EUnknownOffence: vector<u8> = b"The table has no such reason";
#[error(code = 3)]
const ENotInForce: vector<u8> = b"The offence is not in force";

/// Most offences of a table, so that it can always be read whole.
const MOST_OFFENCES: u64 = 32;

/// A reason, and what it costs.
public struct Offence has copy, drop, store { reason: u16, penalty: Scheduled<Penalty> }

/// What an offence costs.
public struct Penalty has copy, drop, store {
    /// The share of what the record holds that one verdict takes.
    basis_points: u64,
    /// The most that verdicts of this reason take of a record in a day (UTC), as a share of what it
    /// held at the first of them.
    daily_cap_basis_points: u64,
    in_force: bool,
}

/// The share and the daily cap of an offence that is in force.
public(package) fun penalty(offences: &vector<Offence>, reason: u16, clock: &Clock): (u64, u64) {
    let found = offences.find_index!(|offence| offence.reason == reason);
    assert!(found.is_some(), EUnknownOffence);
    let penalty = offences[found.destroy_some()].penalty.at(clock.timestamp_ms());
    assert!(penalty.in_force, ENotInForce);
    (penalty.basis_points, penalty.daily_cap_basis_points)
}

/// Schedules what an offence costs from a time on. Until then a new one is not in force. Returns
/// from when on it counts.
public(package) fun change(
    offences: &mut vector<Offence>,
    reason: u16,
    basis_points: u64,
    daily_cap_basis_points: u64,
    in_force: bool,
    from_ms: u64,
    clock: &Clock,
): u64 {
    assert!(
        basis_points::is_valid(basis_points) && basis_points::is_valid(daily_cap_basis_points) &&
            basis_points <= daily_cap_basis_points,
        EOutOfBounds,
    );
    let penalty = Penalty { basis_points, daily_cap_basis_points, in_force };
    let now_ms = clock.timestamp_ms();
    let found = offences.find_index!(|offence| offence.reason == reason);
    let index = if (found.is_some()) found.destroy_some()
    else {
        assert!(offences.length() < MOST_OFFENCES, ETooManyOffences);
        let none = Penalty { basis_points, daily_cap_basis_points, in_force: false };
        offences.push_back(Offence { reason, penalty: scheduled::fixed(none) });
        offences.length() - 1
    };
    offences[index].penalty.schedule(penalty, from_ms, now_ms)
}
