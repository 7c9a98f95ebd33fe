/// The bounds within which an administrator may move. They change with the package's code alone.
module k3s_daas::bounds;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 86_400_000;
/// One SUI, in MIST.
const SUI_MIST: u64 = 1_000_000_000;

/// Least and most of a value.
public struct Bounds has copy, drop { least: u64, most: u64 }

/// Least and most of a pool's minimum stake: 0.1 and 100,000 SUI, in MIST.
public fun minimum_stake(): Bounds { between(SUI_MIST / 10, 100_000 * SUI_MIST) }

/// Least and most of a pool's unbonding time: an hour and 14 days.
public fun unbonding_ms(): Bounds { between(HOUR_MS, 14 * DAY_MS) }

/// Least and most of a seal token's lifetime: an hour and 365 days.
public fun seal_token_ms(): Bounds { between(HOUR_MS, 365 * DAY_MS) }

/// Least and most of a reporter's share of a slash: nothing and a half.
public fun reporter_basis_points(): Bounds { between(0, 5_000) }

/// Least and most age of an attestation document at its registration: a minute and three hours,
/// which is the longest that a Nitro document's certificate counts.
public fun document_age_ms(): Bounds { between(MINUTE_MS, 3 * HOUR_MS) }

/// Least and most age of evidence when it is brought: a minute and a day.
public fun evidence_age_ms(): Bounds { between(MINUTE_MS, DAY_MS) }

/// A new authority over stakes, another penalty, a higher minimum, another unbonding time, another
/// share of reporters, a larger budget and another beneficiary count only after this: a day longer than the longest unbonding, so that whoever does not agree can have
/// left by then.
public fun notice_ms(): u64 { 15 * DAY_MS }

/// A key of a master counts only this long after its registration, so that the administrator can
/// retire a key that a stolen registrar's capability registered.
public fun registration_ms(): u64 { DAY_MS }

/// For how long after its notice a higher minimum does not count against stakes that stand.
public fun minimum_stake_grace_ms(): u64 { 7 * DAY_MS }

/// Most maintenance of a node in any thirty days: three days.
public fun maintenance_ms(): u64 { 3 * DAY_MS }

/// The days within which maintenance is counted.
public fun maintenance_window_ms(): u64 { 30 * DAY_MS }

/// Least and most days of an epoch of rewards.
public fun epoch_days(): Bounds { between(1, 31) }

/// Least and most time for objections to an epoch's root: an hour and a week.
public fun objection_ms(): Bounds { between(HOUR_MS, 7 * DAY_MS) }

/// Least and most time in which an epoch's rewards can be claimed: a week and a year.
public fun claim_ms(): Bounds { between(7 * DAY_MS, 365 * DAY_MS) }

/// For how long after its end an epoch's root can be published.
public fun root_age_ms(): u64 { 31 * DAY_MS }

/// Until when, from now on, a release that is revoked or below the minimum may count at the most.
public fun release_deadline_ms(): u64 { 90 * DAY_MS }

/// How far ahead a higher minimum's deadline is at the least, so that the administrator can lower a
/// minimum again before it counts.
public fun release_notice_ms(): u64 { DAY_MS }

/// A day.
public(package) fun day_ms(): u64 { DAY_MS }

/// What a pool begins with: a minimum of 1 SUI, unbonding for 7 days, seal tokens for 30 days, a
/// tenth of a slash to its reporter.
public(package) fun defaults(): (u64, u64, u64, u64) { (SUI_MIST, 7 * DAY_MS, 30 * DAY_MS, 1_000) }

/// Whether a value lies within, both ends included.
public fun contain(bounds: Bounds, value: u64): bool {
    value >= bounds.least && value <= bounds.most
}

public(package) fun least(bounds: Bounds): u64 { bounds.least }

public(package) fun most(bounds: Bounds): u64 { bounds.most }

fun between(least: u64, most: u64): Bounds { Bounds { least, most } }
