//! A PCR is extended once, on a TPM that loses commands or their replies.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fixtures::software_tpm::Swtpm;
use tpm::channel::Channel;
use tpm::error::Error;
use tpm::pcr;
use tpm::transport::Transport;
use zeroize::Zeroizing;

/// `TPM_CC_PCR_Extend` (TPM 2.0 library, part 2, 6.5.2), where a command has its code.
const EXTEND: [u8; 4] = [0, 0, 1, 0x82];
/// As many as `extend_once` makes.
const ATTEMPTS: usize = 5;
const DIGEST: tpm::Digest = [7; 32];

/// A TPM whose first commands to extend a PCR seem to fail: the kernel gave them up before they
/// reached it, or after.
struct Slow {
    channel: Box<dyn Transport>,
    losses: Arc<AtomicUsize>,
    reaches: bool,
}

impl Transport for Slow {
    fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let one_less = |left: usize| left.checked_sub(1);
        let lost = command.get(6..10) == Some(&EXTEND)
            && self
                .losses
                .try_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
                .is_ok();
        if !lost {
            return self.channel.transact(command);
        }
        if self.reaches {
            self.channel.transact(command)?;
        }
        Err(Error::Channel(io::ErrorKind::TimedOut.into()))
    }
}

/// Whether it succeeded, and what the PCR is then.
fn extend(losses: usize, reaches: bool, is_done: bool) -> (bool, tpm::Digest) {
    let swtpm = Swtpm::new();
    let losses = Arc::new(AtomicUsize::new(losses));
    let outcome = pcr::extend_once(
        pcr::KERNEL,
        &DIGEST,
        |_| is_done,
        || {
            Ok(Channel::new(Box::new(Slow {
                channel: swtpm.channel(),
                losses: Arc::clone(&losses),
                reaches,
            })))
        },
    );
    let mut channel = Channel::new(swtpm.channel());
    (
        outcome.is_ok(),
        pcr::read(&mut channel, pcr::KERNEL).unwrap(),
    )
}

#[test]
fn extend_once_with_losses_extends_once() {
    let once = pcr::extended(&pcr::UNTOUCHED, &DIGEST);
    for losses in [0, 1, ATTEMPTS - 1] {
        for reaches in [false, true] {
            let found = extend(losses, reaches, false);
            assert_eq!(found, (true, once), "{losses} lost, {reaches}");
        }
    }
}

#[test]
fn extend_once_without_any_answer_gives_up() {
    assert_eq!(extend(ATTEMPTS, false, false), (false, pcr::UNTOUCHED));
}

#[test]
fn extend_once_of_what_is_done_does_nothing() {
    assert_eq!(extend(0, false, true), (true, pcr::UNTOUCHED));
}

#[test]
fn extend_of_a_number_above_23_is_refused() {
    let swtpm = Swtpm::new();
    let mut channel = Channel::new(swtpm.channel());
    for number in [24, u8::MAX] {
        let error = pcr::extend(&mut channel, number, &DIGEST).unwrap_err();
        assert!(
            matches!(error, Error::NoPcr(found) if found == number),
            "{error}"
        );
        assert!(pcr::read(&mut channel, number).is_err());
    }
}
