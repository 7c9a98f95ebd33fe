/// Shares in basis points: hundredths of a percent.
module k3s_daas::basis_points;

/// The whole.
const WHOLE: u64 = 10_000;

/// Whether this is a share of which something is taken: 1 to 10000.
public(package) fun is_valid(basis_points: u64): bool { basis_points >= 1 && basis_points <= WHOLE }

/// So many basis points of an amount, rounded down. In u128: the product does not fit u64.
public(package) fun share(amount: u64, basis_points: u64): u64 {
    ((amount as u128) * (basis_points as u128) / (WHOLE as u128)) as u64
}
