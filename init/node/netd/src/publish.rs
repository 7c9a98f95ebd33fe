//! Publishes the network's state to `init`, which owns the node's status.

use std::io;

use sys::InitConnection;
use tracing::warn;
use wire::child::{self, FILE_DESCRIPTOR_VARIABLE, ToInit};
use wire::status::{DegradedReason, Phase};

/// The connection to `init`; without one, the state stands in the log alone.
#[derive(Debug)]
pub(crate) struct Publisher {
    connection: Option<InitConnection>,
}

impl Publisher {
    /// Takes the connection that `init` gave.
    pub(crate) fn from_environment() -> io::Result<Self> {
        let connection = InitConnection::from_environment(FILE_DESCRIPTOR_VARIABLE)?;
        if connection.is_none() {
            warn!("not started by init: the network's state is not published");
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
            warn!(%error, "the state could not be published to init");
        }
    }
}
