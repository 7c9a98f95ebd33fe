//! One question to a time server (RFC 4330, section 5; RFC 5905, section 7.3).
//!
//! Our own 48 bytes: rsntp takes a timestamp from 2104 on for another time, and panics at one from 2172 on. A timestamp
//! of 32 bits of seconds means one time in each 136 years: the one that is not before this machine's floor is taken,
//! and [`super`] refuses what is beyond the ceiling.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::follow::random;

const LENGTH: usize = 48;
/// Version 4, mode client.
const QUESTION: u8 = 0x23;
const SERVER: u8 = 4;
/// The clock of who says this is not synchronized.
const ALARM: u8 = 3;
/// Strata of clocks that are synchronized.
const STRATA: std::ops::Range<u8> = 1..16;
/// Seconds from 1900, where NTP counts from, to 1970.
const NTP_TO_UNIX: i128 = 2_208_988_800;
const NANOSECONDS: i128 = 1_000_000_000;
const ERA: i128 = 1 << 32;

/// Why a server gives no time.
#[derive(Debug, Error)]
pub(crate) enum SntpError {
    /// The network failed.
    #[error("no exchange with it")]
    Network(#[source] io::Error),
    /// It does not answer.
    #[error("it does not answer")]
    Silent,
    /// Its clock is not set, or it refuses.
    #[error("it says that it has no time")]
    NoTime,
}

/// How far this machine's clock is behind a server's, in nanoseconds; negative where it is ahead.
pub(crate) type Behind = i128;

fn nanoseconds(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i128::try_from(since.as_nanos()).unwrap_or(i128::MAX / 4),
        Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX / 4),
    }
}

/// The time of a timestamp, in nanoseconds since 1970: the first that is not before `floor`, in seconds since then.
fn unfold(timestamp: u64, floor: i128) -> i128 {
    let seconds = i128::from(timestamp >> 32) - NTP_TO_UNIX;
    let fraction = (i128::from(timestamp & 0xffff_ffff) * NANOSECONDS) >> 32;
    // a clock that is a little before the floor is still told apart from one of the next era
    let least = floor - ERA / 8;
    (seconds + (least - seconds + ERA - 1).div_euclid(ERA) * ERA) * NANOSECONDS + fraction
}

fn timestamp(message: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(
        message.get(at..at + 8)?.try_into().ok()?,
    ))
}

/// What an answer says; none: it is not one to this question.
fn read(
    message: &[u8],
    nonce: u64,
    floor: i128,
    sent: i128,
    received: i128,
) -> Option<Result<Behind, SntpError>> {
    let (first, stratum) = (*message.first()?, *message.get(1)?);
    if message.len() < LENGTH || first & 7 != SERVER || timestamp(message, 24)? != nonce {
        return None;
    }
    let (arrived, left) = (timestamp(message, 32)?, timestamp(message, 40)?);
    if first >> 6 == ALARM || !STRATA.contains(&stratum) || left == 0 || arrived == 0 {
        return Some(Err(SntpError::NoTime));
    }
    let (arrived, left) = (unfold(arrived, floor), unfold(left, floor));
    Some(Ok((arrived - sent + left - received) / 2))
}

/// Asks a server. `floor` is the time before which no clock is right.
///
/// # Errors
/// [`SntpError`].
pub(crate) async fn ask(
    server: SocketAddr,
    floor: SystemTime,
    patience: Duration,
) -> Result<Behind, SntpError> {
    let own: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own).await.map_err(SntpError::Network)?;
    socket.connect(server).await.map_err(SntpError::Network)?;
    // a random number in place of the time: who does not see it can't answer, and the clock is not disclosed
    let nonce = u64::from(random()) << 32 | u64::from(random());
    let mut question = [0; LENGTH];
    question[0] = QUESTION;
    question[40..].copy_from_slice(&nonce.to_be_bytes());
    let sent = nanoseconds(SystemTime::now());
    socket.send(&question).await.map_err(SntpError::Network)?;
    let floor = nanoseconds(floor) / NANOSECONDS;
    let answer = async {
        let mut buffer = [0; 512];
        loop {
            let length = socket.recv(&mut buffer).await.map_err(SntpError::Network)?;
            let received = nanoseconds(SystemTime::now());
            if let Some(read) = read(
                buffer.get(..length).unwrap_or_default(),
                nonce,
                floor,
                sent,
                received,
            ) {
                return read;
            }
        }
    };
    timeout(patience, answer)
        .await
        .unwrap_or(Err(SntpError::Silent))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLOOR: i128 = 1_700_000_000;

    fn answer(seconds: i128) -> Vec<u8> {
        let mut message = vec![0x24, 2];
        message.resize(24, 0);
        message.extend(7_u64.to_be_bytes());
        let timestamp = u64::try_from((seconds + NTP_TO_UNIX).rem_euclid(ERA)).unwrap() << 32;
        message.extend(timestamp.to_be_bytes());
        message.extend(timestamp.to_be_bytes());
        message
    }

    #[test]
    fn time_of_every_year_is_taken_as_it_is() {
        // 2023, 2036 (the end of the first era), 2104, 2172 less the eighth of an era that is before the floor
        for seconds in [
            FLOOR,
            2_085_978_495,
            2_085_978_497,
            4_233_462_143,
            4_233_462_144,
            FLOOR + ERA * 7 / 8 - 1,
        ] {
            let now = FLOOR * NANOSECONDS;
            let behind = read(&answer(seconds), 7, FLOOR, now, now)
                .expect("an answer")
                .expect("a time");
            assert_eq!(behind, (seconds - FLOOR) * NANOSECONDS, "{seconds}");
        }
    }

    #[test]
    fn time_before_the_floor_is_before_it() {
        let now = FLOOR * NANOSECONDS;
        let behind = read(&answer(FLOOR - 86_400), 7, FLOOR, now, now)
            .expect("an answer")
            .expect("a time");
        assert_eq!(behind, -86_400 * NANOSECONDS);
    }

    #[test]
    fn answer_to_another_question_is_none() {
        let good = answer(FLOOR);
        assert!(read(&good, 8, FLOOR, 0, 0).is_none());
        assert!(read(&good[..47], 7, FLOOR, 0, 0).is_none());
        for (at, value) in [(0, 0xe4), (1, 0), (1, 16)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(
                matches!(read(&bad, 7, FLOOR, 0, 0), Some(Err(SntpError::NoTime))),
                "{at}"
            );
        }
    }

    proptest! {
        #[test]
        fn reading_takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..80), now in any::<i64>()) {
            let now = i128::from(now);
            let _ = read(&bytes, 7, FLOOR, now, now);
            let mut whole = answer(FLOOR);
            for (place, byte) in whole.iter_mut().skip(32).zip(&bytes) {
                *place = *byte;
            }
            if let Some(Ok(behind)) = read(&whole, 7, FLOOR, now, now) {
                prop_assert!((behind + now) / NANOSECONDS >= FLOOR - ERA / 8 - 1);
            }
        }
    }
}
