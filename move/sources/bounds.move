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

/// A new authority over stakes counts only after this: a day longer than the longest unbonding,
/// so that whoever does not trust it can have left by then.
public fun notice_ms(): u64 { 15 * DAY_MS }

/// What a pool begins with: a minimum of 1 SUI, unbonding for 7 days, seal tokens for 30 days, a
/// tenth of a slash to its reporter.
public fun defaults(): (u64, u64, u64, u64) { (SUI_MIST, 7 * DAY_MS, 30 * DAY_MS, 1_000) }

/// Whether a pool may have these rules.
public fun allow(
    minimum_stake: u64,
    unbonding_ms: u64,
    seal_token_ms: u64,
    reporter_basis_points: u64,
): bool {
    minimum_stake().contain(minimum_stake) && unbonding_ms().contain(unbonding_ms) &&
        seal_token_ms().contain(seal_token_ms) &&
        reporter_basis_points().contain(reporter_basis_points)
}

/// Whether a value lies within, both ends included.
public fun contain(bounds: Bounds, value: u64): bool {
    value >= bounds.least && value <= bounds.most
}

public fun least(bounds: Bounds): u64 { bounds.least }

public fun most(bounds: Bounds): u64 { bounds.most }

fun between(least: u64, most: u64): Bounds { Bounds { least, most } }
