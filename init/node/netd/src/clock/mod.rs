//! The clock by SNTP (RFC 4330, RFC 5905).

mod sntp;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use node_settings::TimeServer;
use rustix::time::{ClockId, Timespec, clock_settime};
use thiserror::Error;
use tokio::time::timeout;

use self::sntp::SntpError;
use crate::clock_bounds::Bounds;

/// How long one server may take, name resolution apart.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the resolution of a server's name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The clock is stepped from this offset on: the step threshold of RFC 5905, appendix A.1.
const STEP_THRESHOLD: Duration = Duration::from_millis(128);

/// Two clocks that differ by no more than this agree.
const AGREEMENT: Duration = Duration::from_secs(10);

/// No clock is right that is earlier, where the image does not say when it was made: 2025.
const EARLIEST: Duration = Duration::from_secs(1_735_689_600);

/// The time servers for a network that names none.
const PUBLIC_SERVERS: &[&str] = &["time.cloudflare.com", "time.nist.gov"];

/// Why the clock is not set.
#[derive(Debug, Error)]
pub(crate) enum ClockError {
    /// The name of a server has no address.
    #[error("the name of the time server {0} can't be resolved")]
    Name(String),
    /// A server does not answer well.
    #[error("the time server {server} gives no time")]
    Server {
        /// Host and port.
        server: String,
        /// Why.
        #[source]
        source: SntpError,
    },
    /// A server's time can't be.
    #[error("the time server {0} gives a time before this image was made or the node last ran")]
    BeforeFloor(String),
    /// A server's time can hardly be, and nobody else says so.
    #[error("the time server {0} alone gives a time more than a year ahead")]
    TooFar(String),
    /// The kernel refuses.
    #[error("the clock can't be set")]
    Set(#[source] io::Error),
    /// Nobody answered in the time that the boot waits.
    #[error("the boot waits no longer for the time")]
    Late,
    /// There is nobody to ask.
    #[error("no time server is known")]
    NoServer,
}

/// Who named a time server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The configuration.
    Configured,
    /// The network, which anybody on it can speak for.
    Offered,
    /// This program.
    Public,
}

/// A time server to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) server: TimeServer,
    pub(crate) origin: Origin,
    /// Asked only whether another one is right with a time that can hardly be.
    pub(crate) witness: bool,
}

/// What a round of time servers came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Round {
    /// Whose time the clock has.
    pub(crate) source: Source,
    /// How far the clock was off before, in seconds.
    pub(crate) offset: f64,
    /// Whether the clock and this server agreed before.
    pub(crate) agreed: bool,
    /// Whether more than this server's word stands for the time: another's, or the configuration's.
    pub(crate) vouched: bool,
}

impl Source {
    /// Whether the words of two servers are more than one's.
    pub(crate) fn is_independent_of(&self, other: &Self) -> bool {
        self.server != other.server
            && (self.origin != Origin::Offered || other.origin != Origin::Offered)
    }

    /// Host and port.
    pub(crate) fn name(&self) -> String {
        self.server.to_string()
    }
}

/// The servers to ask, in order: the configured ones; else those of the network; else public ones.
/// Public ones are witnesses to all others.
pub(crate) fn sources(configured: &[TimeServer], offered: &[std::net::IpAddr]) -> Vec<Source> {
    let ntp = |host: String| TimeServer { host, port: 123 };
    let mut sources: Vec<Source> = if configured.is_empty() {
        let offered = offered
            .iter()
            .map(|address| (ntp(address.to_string()), Origin::Offered));
        offered
            .map(|(server, origin)| Source {
                server,
                origin,
                witness: false,
            })
            .collect()
    } else {
        let configured = configured.iter().cloned();
        configured
            .map(|server| Source {
                server,
                origin: Origin::Configured,
                witness: false,
            })
            .collect()
    };
    let witness = !sources.is_empty();
    sources.extend(PUBLIC_SERVERS.iter().map(|host| Source {
        server: ntp((*host).to_owned()),
        origin: Origin::Public,
        witness,
    }));
    sources
}

/// The same servers in the order in which they can confirm what one of them has said: those first
/// that are independent of it, witnesses too.
pub(crate) fn to_confirm(by: &Source, sources: Vec<Source>) -> Vec<Source> {
    let (mut others, same): (Vec<Source>, Vec<Source>) = sources
        .into_iter()
        .partition(|source| source.is_independent_of(by));
    for other in &mut others {
        other.witness = false;
    }
    others.extend(same);
    others
}

/// Asks one server after the other until one has set the clock.
pub(crate) async fn synchronize(
    sources: &[Source],
    bounds: Option<Bounds>,
) -> Result<Round, ClockError> {
    let mut last = ClockError::NoServer;
    let mut doubted: Vec<(&Source, Offset)> = Vec::new();
    for source in sources {
        if source.witness && doubted.is_empty() {
            break;
        }
        let answer = match ask(source, bounds).await {
            Ok(answer) => answer,
            Err(error) => {
                // that a witness is silent says less than what it was to be witness to
                if !source.witness {
                    last = error;
                }
                continue;
            }
        };
        match judge(source, answer, SystemTime::now(), bounds, &doubted) {
            Ok(time) => {
                if answer.length >= STEP_THRESHOLD {
                    set(time)?;
                }
                return Ok(Round {
                    source: source.clone(),
                    offset: answer.seconds(),
                    agreed: answer.length <= AGREEMENT,
                    vouched: source.origin == Origin::Configured
                        || is_witnessed(source, answer, &doubted),
                });
            }
            Err(error) => {
                if matches!(error, ClockError::TooFar(_)) {
                    doubted.push((source, answer));
                }
                last = error;
            }
        }
    }
    Err(last)
}

/// How far this machine's clock is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offset {
    length: Duration,
    /// Whether the clock is ahead.
    ahead: bool,
}

impl Offset {
    fn seconds(self) -> f64 {
        let seconds = self.length.as_secs_f64();
        if self.ahead { -seconds } else { seconds }
    }

    fn agrees_with(self, other: Self) -> bool {
        let apart = if self.ahead == other.ahead {
            self.length.abs_diff(other.length)
        } else {
            self.length.saturating_add(other.length)
        };
        apart <= AGREEMENT
    }
}

/// The time that an answer means, where it can be believed: by itself within the bounds; beyond
/// them by this machine's own clock, or by another server, unless the network named both.
fn judge(
    source: &Source,
    answer: Offset,
    now: SystemTime,
    bounds: Option<Bounds>,
    doubted: &[(&Source, Offset)],
) -> Result<SystemTime, ClockError> {
    let time = if answer.ahead {
        now.checked_sub(answer.length)
    } else {
        now.checked_add(answer.length)
    };
    let time = time.ok_or_else(|| ClockError::BeforeFloor(source.name()))?;
    let Some(bounds) = bounds else {
        return Ok(time);
    };
    if time < bounds.floor {
        return Err(ClockError::BeforeFloor(source.name()));
    }
    let near = time <= bounds.ceiling || answer.length <= AGREEMENT;
    if near || is_witnessed(source, answer, doubted) {
        Ok(time)
    } else {
        Err(ClockError::TooFar(source.name()))
    }
}

/// Whether another server, independent of this one, says the same.
fn is_witnessed(source: &Source, answer: Offset, doubted: &[(&Source, Offset)]) -> bool {
    let mut doubted = doubted.iter();
    doubted.any(|(other, said)| source.is_independent_of(other) && answer.agrees_with(*said))
}

async fn ask(source: &Source, bounds: Option<Bounds>) -> Result<Offset, ClockError> {
    let name = source.name();
    let addresses = timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(&name)).await;
    let address: SocketAddr = addresses
        .ok()
        .and_then(Result::ok)
        .and_then(|mut all| all.next())
        .ok_or_else(|| ClockError::Name(name.clone()))?;
    let floor = bounds.map_or(UNIX_EPOCH + EARLIEST, |bounds| bounds.floor);
    let behind = sntp::ask(address, floor, REPLY_TIMEOUT)
        .await
        .map_err(|source| ClockError::Server {
            server: name,
            source,
        })?;
    let nanoseconds = u64::try_from(behind.unsigned_abs()).unwrap_or(u64::MAX);
    Ok(Offset {
        length: Duration::from_nanos(nanoseconds),
        ahead: behind < 0,
    })
}

/// Sets a clock that is behind the floor to it; true when it was.
pub(crate) fn raise(bounds: Bounds) -> Result<bool, ClockError> {
    if SystemTime::now() >= bounds.floor {
        return Ok(false);
    }
    set(bounds.floor)?;
    Ok(true)
}

/// Sets the system's clock.
fn set(time: SystemTime) -> Result<(), ClockError> {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = Timespec {
        tv_sec: since.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: since.subsec_nanos().into(),
    };
    clock_settime(ClockId::Realtime, time).map_err(|error| ClockError::Set(error.into()))
}

#[cfg(test)]
mod tests;
