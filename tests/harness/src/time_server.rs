//! An SNTP server (RFC 4330) on the loopback, so that the machine's time never depends on a network
//! that a test host may not have.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Length of a message without extensions (RFC 4330, section 4).
const MESSAGE: usize = 48;
/// Seconds from 1900 to 1970 (RFC 4330, section 3).
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// A running time server; it stops when dropped.
pub struct TimeServer {
    port: u16,
    task: JoinHandle<()>,
    ipv6: Option<JoinHandle<()>>,
}

impl TimeServer {
    /// Starts a server on a port that the system chooses.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socket = UdpSocket::bind(address)
            .await
            .context("no port for the time server")?;
        let port = socket
            .local_addr()
            .context("the time server has no address")?
            .port();
        Ok(Self {
            port,
            task: tokio::spawn(serve(socket)),
            ipv6: None,
        })
    }

    /// Answers on the same port of the IPv6 loopback, too.
    ///
    /// # Errors
    /// When this host has no IPv6, or the port is taken there.
    pub async fn listen_on_ipv6(&mut self) -> Result<()> {
        let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, self.port))
            .await
            .context("no port on ::1 for the time server")?;
        self.ipv6 = Some(tokio::spawn(serve(socket)));
        Ok(())
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(task) = &self.ipv6 {
            task.abort();
        }
    }
}

async fn serve(socket: UdpSocket) {
    let mut buffer = [0_u8; 512];
    // an error here is one datagram's: the next may be well
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let request = buffer.get(..length).unwrap_or_default();
        if let Some(reply) = reply(request, SystemTime::now()) {
            let _ = socket.send_to(&reply, client).await;
        }
    }
}

/// The answer to a client's message; none for anything else (RFC 4330, sections 4 and 6).
fn reply(request: &[u8], now: SystemTime) -> Option<[u8; MESSAGE]> {
    let request: &[u8; MESSAGE] = request.get(..MESSAGE)?.try_into().ok()?;
    let (version, mode) = ((request[0] >> 3) & 7, request[0] & 7);
    if mode != 3 || !(3..=4).contains(&version) {
        return None;
    }
    let now = timestamp(now)?;
    let mut reply = [0_u8; MESSAGE];
    reply[0] = (version << 3) | 4;
    reply[1] = 1;
    reply[2] = request[2];
    reply[3] = 0xec; // precision: about a microsecond, 2^-20 s
    reply[12..16].copy_from_slice(b"LOCL");
    reply[16..24].copy_from_slice(&now);
    reply[24..32].copy_from_slice(&request[40..48]);
    reply[32..40].copy_from_slice(&now);
    reply[40..48].copy_from_slice(&now);
    Some(reply)
}

/// Seconds since 1900 and their fraction, 32 bits each (RFC 4330, section 3).
fn timestamp(time: SystemTime) -> Option<[u8; 8]> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    // the seconds wrap in 2036, as the protocol says
    let seconds = (since.as_secs() + NTP_TO_UNIX) & u64::from(u32::MAX);
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    Some(((seconds << 32) | fraction).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_answer_carries_the_time_and_the_clients_own() {
        let mut request = [0_u8; MESSAGE];
        request[0] = 0x23;
        request[40..48].copy_from_slice(b"fromthem");
        let now = UNIX_EPOCH + Duration::new(1_700_000_000, 500_000_000);
        let reply = reply(&request, now).unwrap();
        assert_eq!(reply[0], 0x24);
        assert_eq!(&reply[24..32], b"fromthem");
        let seconds = u32::from_be_bytes(reply[40..44].try_into().unwrap());
        assert_eq!(u64::from(seconds), 1_700_000_000 + NTP_TO_UNIX);
        assert_eq!(reply[44..48], [0x80, 0, 0, 0]);
    }

    #[test]
    fn other_datagrams_get_no_answer() {
        let now = UNIX_EPOCH;
        assert!(reply(&[0x23; 12], now).is_none());
        assert!(reply(&[0x24; MESSAGE], now).is_none());
    }

    #[tokio::test]
    async fn the_server_answers() {
        let server = TimeServer::start().await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut request = [0_u8; MESSAGE];
        request[0] = 0x23;
        client
            .send_to(&request, ("127.0.0.1", server.port()))
            .await
            .unwrap();
        let mut answer = [0_u8; 512];
        assert_eq!(client.recv(&mut answer).await.unwrap(), MESSAGE);
    }
}
