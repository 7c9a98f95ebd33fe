//! The clock by SNTP (RFC 4330, RFC 5905).

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use node_settings::TimeServer;
use rsntp::{AsyncSntpClient, Config, SynchronizationError};
use rustix::time::{ClockId, Timespec, clock_settime};
use thiserror::Error;
use tokio::time::timeout;

use crate::clock_bounds::Bounds;

/// How long one server may take, name resolution apart.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the resolution of a server's name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The clock is stepped from this offset on: the step threshold of RFC 5905, appendix A.1.
const STEP_THRESHOLD: Duration = Duration::from_millis(128);

/// Two clocks that differ by no more than this agree.
const AGREEMENT: Duration = Duration::from_secs(10);

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
        source: SynchronizationError,
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
        format!("{}:{}", self.server.host, self.server.port)
    }
}

/// The servers to ask, in order: the configured ones; else those of the network; else public ones.
/// Public ones are witnesses to all others.
pub(crate) fn sources(configured: &[TimeServer], offered: &[std::net::Ipv4Addr]) -> Vec<Source> {
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
        let answer = match ask(source).await {
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

async fn ask(source: &Source) -> Result<Offset, ClockError> {
    let name = source.name();
    let addresses = timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(&name)).await;
    let address: SocketAddr = addresses
        .ok()
        .and_then(Result::ok)
        .and_then(|mut all| all.find(SocketAddr::is_ipv4))
        .ok_or_else(|| ClockError::Name(name.clone()))?;
    let client = AsyncSntpClient::with_config(Config::default().timeout(REPLY_TIMEOUT));
    let server_error = |source| ClockError::Server {
        server: name.clone(),
        source,
    };
    let result = client.synchronize(address).await.map_err(server_error)?;
    let offset = result.clock_offset();
    let length = offset
        .abs_as_std_duration()
        .map_err(|_| ClockError::BeforeFloor(name.clone()))?;
    Ok(Offset {
        length,
        ahead: offset.signum() < 0,
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
mod tests {
    use super::*;
    use crate::clock_bounds::LONGEST_JUMP;
    use std::net::Ipv4Addr;
    use tokio::net::UdpSocket;

    #[test]
    fn a_clock_past_its_floor_is_left_alone() {
        let built = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let bounds = Bounds::new(built, None, Duration::ZERO);
        assert!(!raise(bounds).expect("nothing to set"));
    }

    /// Seconds from the NTP era 0, 1900-01-01, to 1970-01-01 (RFC 5905, figure 4).
    const NTP_EPOCH: u64 = 2_208_988_800;

    /// A time server that answers one request with a time that is off by so many seconds.
    async fn server(offset: i64) -> TimeServer {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let port = socket.local_addr().expect("bound").port();
        tokio::spawn(async move {
            let mut request = [0; 48];
            let (_, from) = socket.recv_from(&mut request).await.expect("a request");
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("after 1970");
            let seconds = (now.as_secs() + NTP_EPOCH)
                .checked_add_signed(offset)
                .expect("a time");
            let seconds = u32::try_from(seconds).expect("era 0").to_be_bytes();
            let fraction = ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000) as u32;
            let mut reply = [0; 48];
            reply[0] = 0x24; // no leap, version 4, server (RFC 5905, section 7.3)
            reply[1] = 1;
            for at in [16, 32, 40] {
                reply[at..at + 4].copy_from_slice(&seconds);
                reply[at + 4..at + 8].copy_from_slice(&fraction.to_be_bytes());
            }
            reply[24..32].copy_from_slice(&request[40..48]);
            socket.send_to(&reply, from).await.expect("sent");
        });
        TimeServer {
            host: "127.0.0.1".to_owned(),
            port,
        }
    }

    fn source(server: TimeServer, origin: Origin) -> Source {
        Source {
            server,
            origin,
            witness: false,
        }
    }

    async fn configured(offset: i64) -> Source {
        source(server(offset).await, Origin::Configured)
    }

    fn bounds(floor: SystemTime) -> Option<Bounds> {
        Some(Bounds::new(floor, None, Duration::ZERO))
    }

    #[tokio::test]
    async fn a_right_clock_is_left_alone() {
        let sources = [configured(0).await];
        let round = synchronize(&sources, None).await.expect("a time");
        assert_eq!(round.source, sources[0]);
        assert!(round.offset.abs() < 1.0 && round.agreed, "{round:?}");
    }

    #[tokio::test]
    async fn a_time_before_the_floor_is_refused_and_the_next_server_asked() {
        let bounds = bounds(SystemTime::now() - Duration::from_secs(1000));
        let only = [configured(-100_000).await];
        let error = synchronize(&only, bounds).await.expect_err("too early");
        assert!(matches!(error, ClockError::BeforeFloor(_)), "{error}");
        let both = [configured(-100_000).await, configured(0).await];
        let round = synchronize(&both, bounds).await.expect("the second");
        assert_eq!(round.source, both[1]);
    }

    /// A server that is never asked: whoever asks it waits for nothing.
    fn silent() -> Source {
        let server = TimeServer {
            host: "witness.invalid".to_owned(),
            port: 123,
        };
        Source {
            witness: true,
            ..source(server, Origin::Public)
        }
    }

    #[tokio::test]
    async fn a_jump_of_years_is_not_made_by_one_server_s_word() {
        let bounds = bounds(SystemTime::now() - Duration::from_secs(1000));
        let years = 3 * 366 * 24 * 60 * 60;
        let lies = [configured(years).await, configured(0).await, silent()];
        let round = synchronize(&lies, bounds).await.expect("the second");
        assert_eq!(round.source, lies[1]);
        let alone = [configured(years).await];
        let error = synchronize(&alone, bounds).await.expect_err("alone");
        assert!(matches!(error, ClockError::TooFar(_)), "{error}");
    }

    #[tokio::test]
    async fn nobody_to_ask() {
        let error = synchronize(&[silent()], None).await.expect_err("nobody");
        assert!(matches!(error, ClockError::NoServer), "{error}");
    }

    #[test]
    fn what_is_beyond_the_ceiling_takes_two_that_agree() {
        let second = Duration::from_secs(1);
        let now = UNIX_EPOCH + second * 1_700_000_000;
        let bounds = bounds(now);
        let behind = |length| Offset {
            length,
            ahead: false,
        };
        let at = |host: &str, origin| {
            let host = host.to_owned();
            source(TimeServer { host, port: 123 }, origin)
        };
        let judged = |origin, offset, doubted: &[(Origin, Offset)]| {
            let others: Vec<(Source, Offset)> = doubted
                .iter()
                .map(|(origin, offset)| (at("192.0.2.2", *origin), *offset))
                .collect();
            let others: Vec<(&Source, Offset)> = others
                .iter()
                .map(|(other, offset)| (other, *offset))
                .collect();
            judge(&at("192.0.2.1", origin), offset, now, bounds, &others)
        };
        let (near, far) = (behind(LONGEST_JUMP), behind(LONGEST_JUMP * 3));
        let almost = behind(LONGEST_JUMP * 3 + AGREEMENT);
        let other = behind(LONGEST_JUMP * 3 + AGREEMENT * 2);
        use Origin::{Configured, Offered, Public};
        assert_eq!(judged(Offered, near, &[]).ok(), Some(now + LONGEST_JUMP));
        for (origin, doubted, believed) in [
            (Public, &[][..], false),
            (Public, &[(Public, almost)], true),
            (Public, &[(Public, other)], false),
            (Public, &[(Public, other), (Offered, almost)], true),
            (Offered, &[(Offered, almost)], false),
            (Offered, &[(Configured, almost)], true),
            (Configured, &[(Configured, far)], true),
        ] {
            let found = judged(origin, far, doubted);
            assert_eq!(found.is_ok(), believed, "{origin:?} {doubted:?}");
        }
        // a clock that runs on a battery is a witness too
        let later = now + LONGEST_JUMP * 5;
        let source = at("192.0.2.1", Offered);
        assert!(judge(&source, behind(AGREEMENT), later, bounds, &[]).is_ok());
        assert!(judge(&source, behind(AGREEMENT + second), later, bounds, &[]).is_err());
        // and one that is ahead comes back
        let back = Offset {
            length: LONGEST_JUMP * 5,
            ahead: true,
        };
        assert_eq!(judge(&source, back, later, bounds, &[]).ok(), Some(now));
    }

    #[test]
    fn what_one_has_said_others_can_confirm() {
        let offered = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
        let all = sources(&[], &offered);
        let asked = to_confirm(&all[0], all.clone());
        assert_eq!(asked.len(), all.len());
        let (first, last) = asked.split_at(PUBLIC_SERVERS.len());
        assert!(
            first
                .iter()
                .all(|source| source.origin == Origin::Public && !source.witness)
        );
        assert_eq!(last, &all[..2], "whoever named both can't confirm itself");
        let public = sources(&[], &[]);
        assert_eq!(to_confirm(&public[0], public.clone())[0], public[1]);
    }

    #[test]
    fn configured_before_offered_before_public() {
        let server = TimeServer {
            host: "time.example.org".to_owned(),
            port: 1123,
        };
        let offered = [Ipv4Addr::new(192, 0, 2, 1)];
        let found = sources(std::slice::from_ref(&server), &offered);
        assert_eq!(
            (&found[0].server, found[0].origin),
            (&server, Origin::Configured)
        );
        assert!(!found[0].witness && found[1..].iter().all(|source| source.witness));
        let found = sources(&[], &offered);
        assert_eq!(
            (found[0].name().as_str(), found[0].origin),
            ("192.0.2.1:123", Origin::Offered)
        );
        assert_eq!(found.len(), 1 + PUBLIC_SERVERS.len());
        let found = sources(&[], &[]);
        assert_eq!(found.len(), PUBLIC_SERVERS.len());
        assert!(found.iter().all(|source| !source.witness));
    }
}
