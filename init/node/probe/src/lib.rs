//! The service `probe`: it asks containerd and the kubelet whether they work, and reports what they answer to PID 1,
//! which ends and restarts a service that gives no good answer.
//!
//! PID 1 speaks no HTTP, and neither of them sends keepalives. The kubelet is asked for its `/healthz` on the
//! loopback address; containerd at a socket of its own (`image/runtime/containerd/health`), at which nothing else can
//! be asked: who may connect to containerd's other socket may run containers as root, and this program may not. It has
//! no capability, one thread, and knows no secret. What it reads is bounded in time and length, and of a good answer
//! it is the status alone.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::string_slice))]

pub mod ask;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use sys::{InitConnection, Notifier};
use thiserror::Error;
use wire::child::{FILE_DESCRIPTOR_VARIABLE, MAXIMUM_DATAGRAM, MessageError, ToInit, encode};
use wire::paths::CONTAINERD_HEALTH;
use wire::status::Probed;

use crate::ask::{Place, ask};

/// How often both are asked.
const PERIOD: Duration = Duration::from_secs(10);
/// How long both have for their answers. containerd's own limit is shorter, so that its reason arrives.
const LIMIT: Duration = Duration::from_secs(10);
/// `healthz-bind-address` and `healthz-port` of the kubelet, as they are by default (k8s.io/kubelet, KubeletConfiguration).
const KUBELET: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10248);
/// How many statuses of PID 1 are read between two rounds. More wait, and the newest of them counts.
const STATUSES_AT_ONCE: usize = 64;

/// Why nobody is asked any more.
#[derive(Debug, Error)]
enum ProbeError {
    #[error("the connection to PID 1 can't be used")]
    Connection(#[source] io::Error),
    #[error("PID 1 has not started this program, so that there is nobody to report to")]
    NoConnection,
    #[error("PID 1 can't be told that this program is ready, or that it works")]
    Notify(#[source] io::Error),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("PID 1 is gone")]
    Gone,
}

/// Runs the service.
#[must_use]
pub fn run() -> ExitCode {
    match serve() {
        Ok(never) => match never {},
        Err(error) => {
            tracing::error!(
                "containerd and the kubelet are not asked whether they work: {}",
                log::chain(&error)
            );
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<std::convert::Infallible, ProbeError> {
    let init = InitConnection::from_environment(FILE_DESCRIPTOR_VARIABLE)
        .map_err(ProbeError::Connection)?
        .ok_or(ProbeError::NoConnection)?;
    let mut notifier = Notifier::from_environment().map_err(ProbeError::Notify)?;
    notifier.ready().map_err(ProbeError::Notify)?;
    let places = [
        (
            Probed::Containerd,
            Place::Unix(Path::new(CONTAINERD_HEALTH)),
        ),
        (Probed::Kubelet, Place::Tcp(KUBELET)),
    ];
    loop {
        let begun = Instant::now();
        notifier.alive().map_err(ProbeError::Notify)?;
        forget_statuses(&init)?;
        for (service, fault) in round(&places, LIMIT) {
            report(&init, service, fault)?;
        }
        thread::sleep(PERIOD.saturating_sub(begun.elapsed()));
    }
}

/// Asks all at once, and gives what is wrong with each: one that hangs takes no time from another.
pub fn round(places: &[(Probed, Place<'_>)], limit: Duration) -> Vec<(Probed, Option<String>)> {
    let deadline = Instant::now() + limit;
    let asked: Vec<_> = places
        .iter()
        .map(|(service, place)| (*service, ask(place, deadline)))
        .collect();
    asked
        .into_iter()
        .map(|(service, asked)| {
            let answer = asked.and_then(ask::Asked::answer);
            (service, answer.err().map(|fault| log::chain(&fault)))
        })
        .collect()
}

/// PID 1 reads in its loop at once: a full queue means that it has left this program unread for having sent too much,
/// which two messages in ten seconds are not.
fn report(init: &InitConnection, service: Probed, fault: Option<String>) -> Result<(), ProbeError> {
    let datagram = encode(&ToInit::Probed { service, fault })?;
    init.send(&datagram).map_err(ProbeError::Connection)
}

/// Reads what PID 1 says of the node, which is of no interest here.
fn forget_statuses(init: &InitConnection) -> Result<(), ProbeError> {
    let mut buffer = vec![0; MAXIMUM_DATAGRAM];
    for _ in 0..STATUSES_AT_ONCE {
        match init.receive(&mut buffer) {
            Ok(0) => return Err(ProbeError::Gone),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(ProbeError::Connection(error)),
        }
    }
    Ok(())
}
