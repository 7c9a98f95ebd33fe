//! Nonces that cost no memory until they are used.
//!
//! A nonce carries its own time of issue and an authentication tag over it and the node's name,
//! by a key that this process made for itself. Asking for nonces, which anybody can do, therefore
//! pushes out nobody else's; what is remembered is only which nonces have led to a registration,
//! and for that a stake is needed.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::Instant;
use wire::NodeName;

/// How long a nonce is good.
pub(crate) const LIFETIME: Duration = Duration::from_secs(60);
/// The length of a nonce: 8 bytes of time, 8 random ones, 16 of the tag.
pub(crate) const LENGTH: usize = 32;
/// Where the tag begins.
const TAG: usize = 16;
/// The most used nonces that are remembered: registrations in a minute.
const MOST_USED: usize = 16 * 1024;

type Nonce = [u8; LENGTH];

/// Why a nonce is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NonceFault {
    /// It was not issued here, or for another node.
    Unknown,
    /// Its minute is over.
    Expired,
    /// It has led to a registration already.
    Used,
    /// More registrations than can be remembered.
    Busy,
}

/// Issues nonces and takes them back once.
pub(crate) struct Challenges {
    key: hmac::Key,
    random: SystemRandom,
    began: Instant,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    known: HashSet<Nonce>,
    /// In the order in which they can be forgotten.
    order: VecDeque<(Instant, Nonce)>,
}

impl Challenges {
    /// With a key of its own.
    pub(crate) fn new() -> Result<Self, ring::error::Unspecified> {
        let random = SystemRandom::new();
        Ok(Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &random)?,
            random,
            began: Instant::now(),
            used: Mutex::default(),
        })
    }

    /// A nonce for a node.
    pub(crate) fn issue(&self, node_id: &NodeName) -> Result<Nonce, ring::error::Unspecified> {
        let mut nonce = [0; LENGTH];
        let (body, place) = nonce.split_at_mut(TAG);
        let (time, random) = body.split_at_mut(8);
        time.copy_from_slice(&self.now().to_be_bytes());
        self.random.fill(random)?;
        let tag = self.tag(body, node_id);
        place.copy_from_slice(tag.as_ref().get(..TAG).unwrap_or_default());
        Ok(nonce)
    }

    /// Whether a nonce was issued to this node, less than a minute ago, and has not led to a
    /// registration. It stays good.
    pub(crate) fn check(&self, node_id: &NodeName, nonce: &[u8]) -> Result<Nonce, NonceFault> {
        let nonce: Nonce = nonce.try_into().map_err(|_| NonceFault::Unknown)?;
        let (body, tag) = nonce.split_at(TAG);
        let expected = self.tag(body, node_id);
        if !equal(expected.as_ref().get(..TAG).unwrap_or_default(), tag) {
            return Err(NonceFault::Unknown);
        }
        let mut time = [0; 8];
        time.copy_from_slice(body.get(..8).unwrap_or_default());
        let age = self.now().saturating_sub(u64::from_be_bytes(time));
        if u128::from(age) >= LIFETIME.as_millis() {
            return Err(NonceFault::Expired);
        }
        if self.used().known.contains(&nonce) {
            return Err(NonceFault::Used);
        }
        Ok(nonce)
    }

    /// Uses a nonce up that was checked before: of two requests with the same one, one succeeds.
    pub(crate) fn consume(&self, nonce: Nonce) -> Result<(), NonceFault> {
        let now = Instant::now();
        let mut used = self.used();
        while let Some((_, oldest)) = used.order.front().copied().filter(|(when, _)| *when <= now) {
            used.order.pop_front();
            used.known.remove(&oldest);
        }
        if used.known.contains(&nonce) {
            return Err(NonceFault::Used);
        }
        if used.known.len() >= MOST_USED {
            return Err(NonceFault::Busy);
        }
        used.known.insert(nonce);
        used.order.push_back((now + LIFETIME, nonce));
        Ok(())
    }

    fn tag(&self, body: &[u8], node_id: &NodeName) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        // the body's length is fixed, so that the two can't run into one another
        context.update(body);
        context.update(node_id.as_str().as_bytes());
        context.sign()
    }

    /// Milliseconds since this process began: no clock that is set matters.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn used(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares in a time that does not depend on the content.
fn equal(one: &[u8], other: &[u8]) -> bool {
    let mut difference = u8::from(one.len() != other.len());
    for (a, b) in one.iter().zip(other) {
        difference |= a ^ b;
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeName {
        format!("edge-{number:04}").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn good_for_one_node_one_minute_and_once() {
        let challenges = Challenges::new().unwrap();
        let nonce = challenges.issue(&node(1)).unwrap();
        assert_ne!(nonce, challenges.issue(&node(1)).unwrap());
        let check = |number, nonce: &[u8]| challenges.check(&node(number), nonce);
        assert_eq!(check(1, &nonce), Ok(nonce));
        assert_eq!(check(2, &nonce), Err(NonceFault::Unknown));
        assert_eq!(check(1, &nonce[1..]), Err(NonceFault::Unknown));
        for index in 0..LENGTH {
            let mut changed = nonce;
            changed[index] ^= 1;
            assert_eq!(check(1, &changed), Err(NonceFault::Unknown));
        }
        tokio::time::advance(LIFETIME - Duration::from_millis(1)).await;
        assert_eq!(challenges.consume(nonce), Ok(()));
        assert_eq!(challenges.consume(nonce), Err(NonceFault::Used));
        assert_eq!(check(1, &nonce), Err(NonceFault::Used));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(check(1, &nonce), Err(NonceFault::Expired));
    }

    #[tokio::test(start_paused = true)]
    async fn used_nonces_are_forgotten_after_their_minute_and_bounded() {
        let challenges = Challenges::new().unwrap();
        for _ in 0..MOST_USED {
            let nonce = challenges.issue(&node(1)).unwrap();
            challenges.consume(nonce).unwrap();
        }
        let one_more = challenges.issue(&node(1)).unwrap();
        assert_eq!(challenges.consume(one_more), Err(NonceFault::Busy));
        tokio::time::advance(LIFETIME).await;
        assert_eq!(challenges.consume(one_more), Ok(()));
        assert_eq!(challenges.used().known.len(), 1);
    }

    #[tokio::test]
    async fn another_process_knows_nothing_of_it() {
        let nonce = Challenges::new().unwrap().issue(&node(1)).unwrap();
        let other = Challenges::new().unwrap();
        assert_eq!(other.check(&node(1), &nonce), Err(NonceFault::Unknown));
    }
}
