//! A DHCP server that says exactly what a scenario says: the n-th message of a kind gets the n-th reply, and the last
//! one goes on.

use std::collections::HashMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Deserialize;
use socket2::{Domain, Socket, Type};

/// How often the server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// Behind the fixed part and the cookie.
const HEADER: usize = 240;

/// What a server says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its address.
    pub server: Ipv4Addr,
    /// Milliseconds before each reply.
    #[serde(default)]
    pub delay: u64,
    /// Whether it answers requests that are for another server, too.
    #[serde(default)]
    pub nak_others: bool,
    /// By the kind of message: `discover`, `request`, `renew`.
    pub replies: HashMap<String, Vec<Reply>>,
}

/// One reply.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// `offer`, `ack`, `nak`, or `none`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The address that it gives.
    pub yiaddr: Option<Ipv4Addr>,
    /// Options: code, and the value's bytes in hexadecimal digits.
    #[serde(default)]
    pub options: Vec<(u8, String)>,
    /// Whether it names itself.
    #[serde(default = "yes")]
    pub srv_id: bool,
}

const fn yes() -> bool {
    true
}

impl Scenario {
    /// Reads a scenario's file.
    ///
    /// # Errors
    /// Where it is none.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} can't be read", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no scenario", path.display()))
    }
}

/// A message that a server has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `discover`, `request`, `renew`, `decline`, `other`.
    pub kind: &'static str,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// When it came, since the server began.
    pub at: Duration,
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    seen: Receiver<Seen>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Server {
    /// Starts one in a namespace, on one link.
    pub(crate) fn start(namespace: &str, link: &str, scenario: Scenario) -> Result<Self> {
        let path = Path::new("/run/netns").join(namespace);
        let (sender, seen) = channel();
        let (stop, stopped) = channel();
        let (ready, is_ready) = channel();
        let link = link.to_owned();
        let thread = std::thread::spawn(move || {
            let file = File::open(&path)?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            socket.set_reuse_address(true)?;
            socket.set_broadcast(true)?;
            socket.bind_device(Some(link.as_bytes()))?;
            socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 67).into())?;
            socket.set_read_timeout(Some(LOOK))?;
            let _ = ready.send(());
            serve(&socket.into(), &scenario, &sender, &stopped)
        });
        is_ready
            .recv_timeout(Duration::from_secs(10))
            .context("the server does not start")?;
        Ok(Self {
            seen,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Waits for a message of a kind.
    ///
    /// # Errors
    /// Where none comes.
    pub fn wait(&self, kind: &str) -> Result<Seen> {
        loop {
            let seen = self
                .seen
                .recv_timeout(crate::PATIENCE)
                .with_context(|| format!("no {kind}"))?;
            if seen.kind == kind {
                return Ok(seen);
            }
        }
    }

    /// Whether no message comes for so long; the first that does ends the wait.
    #[must_use]
    pub fn hears_nothing_for(&self, time: Duration) -> bool {
        self.seen.recv_timeout(time).is_err()
    }

    /// What has come since this was asked last.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.try_iter().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn options(mut rest: &[u8]) -> HashMap<u8, Vec<u8>> {
    let mut all = HashMap::new();
    while let [code, behind @ ..] = rest {
        rest = match (code, behind) {
            (0, _) => behind,
            (255, _) | (_, []) => break,
            (code, [length, behind @ ..]) => {
                let Some((value, behind)) = behind.split_at_checked(usize::from(*length)) else {
                    break;
                };
                all.insert(*code, value.to_vec());
                behind
            }
        };
    }
    all
}

fn serve(
    socket: &UdpSocket,
    scenario: &Scenario,
    sender: &Sender<Seen>,
    stopped: &Receiver<()>,
) -> Result<()> {
    let started = Instant::now();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    loop {
        if !matches!(
            stopped.try_recv(),
            Err(std::sync::mpsc::TryRecvError::Empty)
        ) {
            return Ok(());
        }
        let mut buffer = [0; 2048];
        let (length, _) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if matches!(error.raw_os_error(), Some(11)) => continue,
            // the link went down
            Err(error) if matches!(error.raw_os_error(), Some(100)) => continue,
            Err(error) => bail!(error),
        };
        let data = buffer.get(..length).unwrap_or_default();
        let Some((header, rest)) = data
            .split_at_checked(HEADER)
            .filter(|(header, _)| header[0] == 1)
        else {
            continue;
        };
        let given = options(rest);
        let address = |code: u8| -> Option<Ipv4Addr> {
            let octets: [u8; 4] = given.get(&code)?.as_slice().try_into().ok()?;
            Some(octets.into())
        };
        let own = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
        let kind = match given.get(&53).and_then(|value| value.first()) {
            Some(1) => "discover",
            Some(3) if own.is_unspecified() => "request",
            Some(3) => "renew",
            Some(4) => "decline",
            _ => "other",
        };
        let elsewhere =
            address(54).is_some_and(|server| server != scenario.server) && !scenario.nak_others;
        let seen = Seen {
            kind,
            requested: address(50),
            at: started.elapsed(),
        };
        if sender.send(seen).is_err() || elsewhere {
            continue;
        }
        let number = counts.entry(kind).or_default();
        let replies = scenario
            .replies
            .get(kind)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let reply = replies.get(*number).or(replies.last());
        *number += 1;
        let Some(reply) = reply.filter(|reply| reply.kind != "none") else {
            continue;
        };
        // a server that is slow is what the scenario asks for
        std::thread::sleep(Duration::from_millis(scenario.delay));
        let message = encode(reply, header, scenario.server)?;
        let to = if own.is_unspecified() {
            Ipv4Addr::BROADCAST
        } else {
            own
        };
        let _ = socket.send_to(&message, SocketAddrV4::new(to, 68));
    }
}

fn encode(reply: &Reply, header: &[u8], server: Ipv4Addr) -> Result<Vec<u8>> {
    let kind = match reply.kind.as_str() {
        "offer" => 2,
        "ack" => 5,
        "nak" => 6,
        other => bail!("{other} is no kind of reply"),
    };
    let mut bytes = vec![2, 1, 6, 0];
    bytes.extend(&header[4..8]);
    bytes.extend([0; 8]);
    bytes.extend(reply.yiaddr.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    bytes.extend([0; 8]);
    bytes.extend(&header[28..44]);
    bytes.resize(236, 0);
    bytes.extend([0x63, 0x82, 0x53, 0x63, 53, 1, kind]);
    if reply.srv_id {
        bytes.extend([54, 4]);
        bytes.extend(server.octets());
    }
    for (code, digits) in &reply.options {
        let value = hex::decode(digits).with_context(|| format!("option {code}"))?;
        bytes.push(*code);
        bytes.push(u8::try_from(value.len())?);
        bytes.extend(value);
    }
    bytes.push(255);
    bytes.resize(bytes.len().max(300), 0);
    Ok(bytes)
}
