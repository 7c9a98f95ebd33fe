//! Amounts of SUI.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in MIST, the chain's smallest unit. 1 SUI is 1,000,000,000 MIST.
///
/// It is printed in SUI, exactly: `1.05 SUI`, never rounded.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Mist(pub u64);

impl Mist {
    /// How many MIST make one SUI.
    pub const PER_SUI: u64 = 1_000_000_000;

    /// Nothing.
    pub const ZERO: Mist = Mist(0);

    /// A whole number of SUI; `None` where it does not fit.
    pub const fn from_sui(sui: u64) -> Option<Mist> {
        match sui.checked_mul(Self::PER_SUI) {
            Some(mist) => Some(Mist(mist)),
            None => None,
        }
    }

    /// The sum; `None` where it does not fit.
    pub const fn checked_add(self, other: Mist) -> Option<Mist> {
        match self.0.checked_add(other.0) {
            Some(mist) => Some(Mist(mist)),
            None => None,
        }
    }

    /// The difference, or nothing where `other` is the greater.
    pub const fn saturating_sub(self, other: Mist) -> Mist {
        Mist(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Mist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / Self::PER_SUI, self.0 % Self::PER_SUI);
        if rest == 0 {
            return write!(f, "{whole} SUI");
        }
        let digits = format!("{rest:09}");
        write!(f, "{whole}.{} SUI", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_printed_exactly() {
        for (mist, text) in [
            (0, "0 SUI"),
            (1, "0.000000001 SUI"),
            (1_000_000_000, "1 SUI"),
            (1_050_000_000, "1.05 SUI"),
            (12_345_678_901, "12.345678901 SUI"),
            (u64::MAX, "18446744073.709551615 SUI"),
        ] {
            assert_eq!(Mist(mist).to_string(), text);
        }
    }

    #[test]
    fn arithmetic_does_not_wrap() {
        assert_eq!(Mist::from_sui(u64::MAX), None);
        assert_eq!(Mist(u64::MAX).checked_add(Mist(1)), None);
        assert_eq!(Mist(1).saturating_sub(Mist(2)), Mist::ZERO);
    }
}
