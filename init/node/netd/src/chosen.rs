//! The one link that is used: what it has, for how long, and whether its cable is in.

use std::time::Duration;

use tokio::time::Instant;

use crate::links::Link;
use crate::settings::Settings;

/// The time of a lease that has no end (RFC 2131, section 3.3).
const INFINITE: u32 = u32::MAX;

/// The link, and what it was set to.
#[derive(Debug)]
pub(crate) struct Chosen {
    link: Link,
    settings: Settings,
    /// When a lease ends; none: it does not.
    ends: Option<Instant>,
    carrier: bool,
}

/// What became of the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The kernel no longer has it.
    Gone,
    /// It lost its carrier, or was taken down. Addresses and routes stay.
    CarrierLost,
    /// Its carrier is back. What it had is still valid, and is given with what is left of its time.
    CarrierBack(Settings),
}

impl Chosen {
    /// A link that was set to `settings` just now.
    pub(crate) fn new(link: Link, settings: Settings, now: Instant) -> Self {
        let mut chosen = Self {
            link,
            settings: settings.clone(),
            ends: None,
            carrier: true,
        };
        chosen.renew(settings, now);
        chosen
    }

    /// The link.
    pub(crate) const fn link(&self) -> &Link {
        &self.link
    }

    /// Whether it can be used, as far as the kernel says.
    pub(crate) const fn has_carrier(&self) -> bool {
        self.carrier
    }

    /// The link was set to these settings just now.
    pub(crate) fn renew(&mut self, settings: Settings, now: Instant) {
        self.ends = settings
            .lifetime
            .filter(|seconds| *seconds != INFINITE)
            .and_then(|seconds| now.checked_add(Duration::from_secs(seconds.into())));
        self.settings = settings;
    }

    /// When its address ends, should nobody renew it. None: never.
    pub(crate) const fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// Whether its address is still valid.
    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }

    /// Looks for the link among those that the kernel has; what is new of it, if anything.
    pub(crate) fn look(&mut self, links: &[Link], now: Instant) -> Option<Change> {
        let same =
            |link: &&Link| link.index == self.link.index && link.address == self.link.address;
        let Some(link) = links.iter().find(same) else {
            return Some(Change::Gone);
        };
        if link.running == self.carrier {
            return None;
        }
        self.carrier = link.running;
        if !self.carrier {
            return Some(Change::CarrierLost);
        }
        // what has run out meanwhile is told by its end
        self.is_valid(now)
            .then(|| Change::CarrierBack(self.settings_left(now)))
    }

    fn settings_left(&self, now: Instant) -> Settings {
        let left = self.ends.map(|ends| ends.saturating_duration_since(now));
        let left = left.map(|left| u32::try_from(left.as_secs()).unwrap_or(INFINITE));
        Settings {
            lifetime: left.or(self.settings.lifetime),
            ..self.settings.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn link(running: bool) -> Link {
        Link {
            index: 2,
            name: "eth0".to_owned(),
            address: [2, 0, 0, 0, 0, 1],
            running,
        }
    }

    fn settings(lifetime: Option<u32>) -> Settings {
        Settings {
            address: Ipv4Addr::new(192, 0, 2, 10),
            prefix: 24,
            routes: Vec::new(),
            dns: Vec::new(),
            time_servers: Vec::new(),
            mtu: None,
            lifetime,
        }
    }

    #[test]
    fn a_cable_that_is_pulled_and_put_back() {
        let now = Instant::now();
        let mut chosen = Chosen::new(link(true), settings(None), now);
        assert_eq!(chosen.look(&[link(true)], now), None);
        assert_eq!(chosen.look(&[link(false)], now), Some(Change::CarrierLost));
        assert_eq!(chosen.look(&[link(false)], now), None, "told once");
        assert!(!chosen.has_carrier());
        assert_eq!(
            chosen.look(&[link(true)], now),
            Some(Change::CarrierBack(settings(None)))
        );
        assert_eq!(chosen.look(&[link(true)], now), None);
        assert_eq!(chosen.look(&[], now), Some(Change::Gone));
        let other = Link {
            address: [2, 0, 0, 0, 0, 2],
            ..link(true)
        };
        assert_eq!(chosen.look(&[other], now), Some(Change::Gone));
    }

    #[test]
    fn a_lease_without_an_end_has_none() {
        let now = Instant::now();
        let mut chosen = Chosen::new(link(true), settings(Some(INFINITE)), now);
        assert_eq!(chosen.ends(), None);
        chosen.look(&[link(false)], now);
        assert_eq!(
            chosen.look(&[link(true)], now),
            Some(Change::CarrierBack(settings(Some(INFINITE))))
        );
    }

    #[test]
    fn a_lease_goes_on_to_its_end_and_no_longer() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut chosen = Chosen::new(link(true), settings(Some(100)), now);
        assert_eq!(chosen.ends(), Some(now + second * 100));
        chosen.look(&[link(false)], now);
        assert!(chosen.is_valid(now + second * 99));
        assert_eq!(
            chosen.look(&[link(true)], now + second * 40),
            Some(Change::CarrierBack(settings(Some(60))))
        );
        chosen.renew(settings(Some(200)), now + second * 50);
        assert_eq!(chosen.ends(), Some(now + second * 250));
        chosen.look(&[link(false)], now + second * 60);
        assert!(!chosen.is_valid(now + second * 250));
        assert_eq!(chosen.look(&[link(true)], now + second * 250), None);
        assert!(chosen.has_carrier());
    }
}
