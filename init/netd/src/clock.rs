//! The clock: a floor, and SNTP (RFC 4330, RFC 5905).

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use config::TimeServer;
use rsntp::{AsyncSntpClient, Config, SynchronizationError};
use rustix::time::{ClockId, Timespec, clock_settime};
use thiserror::Error;
use tokio::time::timeout;

/// Where the image says when it was made, in seconds since 1970-01-01 UTC: no clock is earlier.
pub(crate) const BUILD_TIME: &str = "/usr/share/k3s-daas/build-time";

/// How long one server may take, name resolution apart.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the resolution of a server's name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The clock is stepped from this offset on: the step threshold of RFC 5905, appendix A.1.
const STEP_THRESHOLD: Duration = Duration::from_millis(128);

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
    #[error("the time server {0} gives a time before this image was made")]
    BeforeFloor(String),
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

/// The earliest time that a clock on this machine can rightly show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Floor(SystemTime);

impl Floor {
    /// Reads it from the image.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        let seconds = text
            .trim()
            .parse()
            .map_err(|_| io::Error::other("expected seconds since 1970-01-01 UTC"))?;
        Ok(Self(UNIX_EPOCH + Duration::from_secs(seconds)))
    }

    /// Sets a clock that is behind the floor to it; true when it was.
    pub(crate) fn raise(self) -> Result<bool, ClockError> {
        if SystemTime::now() >= self.0 {
            return Ok(false);
        }
        set(self.0)?;
        Ok(true)
    }
}

/// The servers to ask, in order: the configured ones; else those of the network; else public ones.
pub(crate) fn servers(
    configured: &[TimeServer],
    offered: &[std::net::Ipv4Addr],
) -> Vec<TimeServer> {
    if !configured.is_empty() {
        return configured.to_vec();
    }
    let server = |host: String| TimeServer { host, port: 123 };
    if offered.is_empty() {
        PUBLIC_SERVERS
            .iter()
            .map(|host| server((*host).to_owned()))
            .collect()
    } else {
        offered
            .iter()
            .map(|address| server(address.to_string()))
            .collect()
    }
}

/// Asks one server after the other until one has set the clock, and gives its name and the offset
/// in seconds that the clock had.
pub(crate) async fn synchronize(
    servers: &[TimeServer],
    floor: Option<Floor>,
) -> Result<(String, f64), ClockError> {
    let mut last = ClockError::NoServer;
    for server in servers {
        match ask(server, floor).await {
            Ok(offset) => return Ok((format!("{}:{}", server.host, server.port), offset)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn ask(server: &TimeServer, floor: Option<Floor>) -> Result<f64, ClockError> {
    let name = format!("{}:{}", server.host, server.port);
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
    let now = SystemTime::now();
    let time = if offset.signum() < 0 {
        now.checked_sub(length)
    } else {
        now.checked_add(length)
    };
    let time = time.ok_or_else(|| ClockError::BeforeFloor(name.clone()))?;
    if floor.is_some_and(|floor| time < floor.0) {
        return Err(ClockError::BeforeFloor(name));
    }
    if length >= STEP_THRESHOLD {
        set(time)?;
    }
    Ok(offset.as_secs_f64())
}

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
    use std::net::Ipv4Addr;
    use tokio::net::UdpSocket;

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

    #[tokio::test]
    async fn a_right_clock_is_left_alone() {
        let servers = [server(0).await];
        let (name, offset) = synchronize(&servers, None).await.expect("a time");
        assert!(name.starts_with("127.0.0.1:"));
        assert!(offset.abs() < 1.0, "{offset}");
    }

    #[tokio::test]
    async fn a_time_before_the_floor_is_refused_and_the_next_server_asked() {
        let floor = Some(Floor(SystemTime::now() - Duration::from_secs(1000)));
        let only = [server(-100_000).await];
        let error = synchronize(&only, floor).await.expect_err("too early");
        assert!(matches!(error, ClockError::BeforeFloor(_)), "{error}");
        let both = [server(-100_000).await, server(0).await];
        let (name, _) = synchronize(&both, floor).await.expect("the second");
        assert_eq!(name, format!("127.0.0.1:{}", both[1].port));
    }

    #[tokio::test]
    async fn nobody_to_ask() {
        assert!(matches!(
            synchronize(&[], None).await,
            Err(ClockError::NoServer)
        ));
    }

    #[test]
    fn configured_before_offered_before_public() {
        let configured = [TimeServer {
            host: "time.example.org".to_owned(),
            port: 1123,
        }];
        let offered = [Ipv4Addr::new(192, 0, 2, 1)];
        assert_eq!(servers(&configured, &offered), configured);
        assert_eq!(servers(&[], &offered)[0].host, "192.0.2.1");
        assert_eq!(servers(&[], &[]).len(), PUBLIC_SERVERS.len());
    }

    #[test]
    fn the_floor_is_read_from_the_image() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("build-time");
        fs::write(&path, "1700000000\n").expect("written");
        let floor = Floor::read(&path).expect("a time");
        assert_eq!(floor.0, UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        assert!(!floor.raise().expect("nothing to set"));
        fs::write(&path, "yesterday").expect("written");
        assert!(Floor::read(&path).is_err());
    }
}
