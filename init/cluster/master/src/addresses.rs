//! Places that are bounded for each address, so that one can't take them all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The bits of an IPv6 address that are one site's: it has the others for itself (RFC 6177, section 2).
const SITE: u128 = !0 << 64;

/// How many places are taken from each address.
#[derive(Debug)]
pub(crate) struct Addresses {
    most: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A place that is taken, given back when it is dropped.
pub(crate) struct Place {
    addresses: Arc<Addresses>,
    source: IpAddr,
}

impl Addresses {
    /// So many places for each address.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            counts: Mutex::default(),
        }
    }

    /// Takes a place; `None`: this address has as many as it gets.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let source = source(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(source).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place {
            addresses: Arc::clone(self),
            source,
        })
    }
}

/// Who an address belongs to: itself with IPv4, its /64 with IPv6.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & SITE).into(),
        address => address,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self
            .addresses
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_one_address_and_given_back() {
        let addresses = Arc::new(Addresses::new(3));
        let one: IpAddr = [192, 0, 2, 1].into();
        let mut places: Vec<Place> = (0..3)
            .map(|_| addresses.enter(one).expect("room"))
            .collect();
        assert!(addresses.enter(one).is_none());
        assert!(addresses.enter([192, 0, 2, 2].into()).is_some());
        places.pop();
        assert!(addresses.enter(one).is_some());
        places.clear();
        assert!(addresses.counts.lock().expect("alone").is_empty());
    }

    #[test]
    fn a_site_of_ipv6_is_one_address_and_so_is_mapped_ipv4() {
        let from = |text: &str| source(text.parse().expect("an address"));
        assert_eq!(from("2001:db8:0:1::1"), from("2001:db8:0:1:ffff::2"));
        assert_ne!(from("2001:db8:0:1::1"), from("2001:db8:0:2::1"));
        assert_eq!(from("::ffff:192.0.2.1"), from("192.0.2.1"));
        assert_ne!(from("192.0.2.1"), from("192.0.2.2"));
    }
}
