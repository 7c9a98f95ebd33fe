//! What `init` is told.

use std::io;

use sys::InitConnection;
use tracing::warn;
use wire::child::{self, FILE_DESCRIPTOR_VARIABLE, ToInit};
use wire::status::{DegradedReason, Phase};

/// The way to `init`; without one, what it would be told stands in the log alone.
#[derive(Debug)]
pub(crate) struct Report {
    connection: Option<InitConnection>,
}

impl Report {
    /// Takes the connection that `init` gave.
    pub(crate) fn from_environment() -> io::Result<Self> {
        let connection = InitConnection::from_environment(FILE_DESCRIPTOR_VARIABLE)?;
        if connection.is_none() {
            warn!("not started by init: nobody is told of the network's state");
        }
        Ok(Self { connection })
    }

    pub(crate) fn reached(&self, phase: Phase) {
        self.send(&ToInit::Reached { phase });
    }

    pub(crate) fn degraded(&self, reason: DegradedReason, detail: String) {
        self.send(&ToInit::Degraded { reason, detail });
    }

    pub(crate) fn recovered(&self, reason: DegradedReason) {
        self.send(&ToInit::Recovered { reason });
    }

    /// `init` reads in its loop at once: a full queue means that it is gone, and netd with it.
    fn send(&self, message: &ToInit) {
        let Some(connection) = &self.connection else {
            return;
        };
        let sent = child::encode(message)
            .map_err(io::Error::other)
            .and_then(|datagram| connection.send(&datagram));
        if let Err(error) = sent {
            warn!(%error, "init could not be told");
        }
    }
}
