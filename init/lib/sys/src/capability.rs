//! Sets of capabilities (capabilities(7)).

/// One capability, by its number in <linux/capability.h>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Capability {
    /// `CAP_NET_BIND_SERVICE`: ports below 1024.
    NetBindService = 10,
    /// `CAP_NET_ADMIN`: links, addresses, routes.
    NetAdmin = 12,
    /// `CAP_NET_RAW`: raw and packet sockets.
    NetRaw = 13,
    /// `CAP_SYS_ADMIN`: among much else, requests to the Nitro Security Module.
    SysAdmin = 21,
    /// `CAP_SYS_TIME`: the system clock.
    SysTime = 25,
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// No capability at all.
    pub const NONE: Self = Self(0);

    /// The set with one more.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u32)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words() {
        let set = Capabilities::NONE
            .with(Capability::NetAdmin)
            .with(Capability::SysTime);
        assert!(set.holds(12) && set.holds(25) && !set.holds(13) && !set.holds(64));
        assert_eq!(set.words(), [1 << 12 | 1 << 25, 0]);
        assert_eq!(Capabilities::NONE.words(), [0, 0]);
    }
}
