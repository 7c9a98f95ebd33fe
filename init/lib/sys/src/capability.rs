//! Sets of capabilities (capabilities(7)), as a mask that a `static` can hold and that a new process
//! reads without allocating.

use caps::CapsHashSet;

pub use caps::Capability;

/// A set of capabilities: bit `n` is the capability of number `n` in <linux/capability.h>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// No capability at all.
    pub const NONE: Self = Self(0);

    /// The set with one more.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    /// Whether the capability of this number is in the set.
    #[must_use]
    pub(crate) const fn holds(self, number: u32) -> bool {
        number < u64::BITS && self.0 >> number & 1 == 1
    }

    /// The set as capset(2) takes it: lower word, upper word.
    #[must_use]
    pub(crate) const fn words(self) -> [u32; 2] {
        [self.0 as u32, (self.0 >> 32) as u32]
    }

    /// The set as the crate `caps` takes it.
    #[must_use]
    pub(crate) fn to_set(self) -> CapsHashSet {
        caps::all()
            .into_iter()
            .filter(|capability| self.holds(capability.index().into()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words() {
        let set = Capabilities::NONE
            .with(Capability::CAP_NET_ADMIN)
            .with(Capability::CAP_SYS_TIME);
        assert!(set.holds(12) && set.holds(25) && !set.holds(13) && !set.holds(64));
        assert_eq!(set.words(), [1 << 12 | 1 << 25, 0]);
        assert_eq!(Capabilities::NONE.words(), [0, 0]);
        let high = Capabilities::NONE.with(Capability::CAP_CHECKPOINT_RESTORE);
        assert_eq!(high.words(), [0, 1 << 8]);
    }

    #[test]
    fn set_holds_what_the_mask_does() {
        let set = Capabilities::NONE
            .with(Capability::CAP_NET_ADMIN)
            .with(Capability::CAP_SYS_TIME)
            .to_set();
        let expected = [Capability::CAP_NET_ADMIN, Capability::CAP_SYS_TIME];
        assert_eq!(set, expected.into_iter().collect());
        assert!(Capabilities::NONE.to_set().is_empty());
    }
}
