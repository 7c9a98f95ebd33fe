//! What services ask for over their connections, and what the configuration says.

use std::io;

use tracing::{error, info, warn};
use wire::NodeName;
use wire::child::ToInit;
use wire::paths::{CONFIGURATION_DIGEST, NODE_NAME, PLAIN_COPY, SEAL};
use wire::status::{Phase, Probed, Protection, WELL};

use super::{CONNECTION_PAUSE, Node};
use crate::identity;
use crate::service::{Name, OnChange, Stage, UNANSWERED};
use crate::wire_server::Received;
use log::timeline;

/// How many messages of one service are taken before others have their turn.
const AT_ONCE: usize = 32;
/// The longest sentence of a service that is logged, in bytes.
const MAXIMUM_SENTENCE: usize = 512;
/// How many refused messages of one process are told one by one.
const TOLD_REFUSALS: u32 = 5;

/// The longest sentence about a configuration that still stands in the plain, in bytes.
const PLAIN_COPY_LIMIT: usize = 1024;
/// Longer than a node's name, or a digest in hexadecimal, in bytes.
const LINE_LIMIT: usize = 128;

impl Node {
    /// Takes the messages of a service, and sends what waits for it.
    pub(super) fn handle_connection(&mut self, name: Name) {
        let now = timeline::now();
        for _ in 0..AT_ONCE {
            let Some(slot) = self.slots.get_mut(&name) else {
                return;
            };
            let Some(connection) = &mut slot.connection else {
                return;
            };
            let received = connection.receive();
            if !matches!(received, Received::Empty | Received::Closed)
                && !connection.may_go_on(now)
                && slot.connection_resumes.is_none()
            {
                slot.connection_resumes = Some(now.saturating_add(CONNECTION_PAUSE));
                warn!(service = %name, "it sends too many messages, and is read less often");
            }
            let paused = slot.connection_resumes.is_some();
            match received {
                Received::Message(message) => self.take_message(name, message),
                Received::Refused(why) => {
                    let refused = connection.refused();
                    if refused <= TOLD_REFUSALS {
                        warn!(service = %name, refused, "a message is refused: {why}");
                    }
                }
                Received::Empty => break,
                Received::Closed => {
                    slot.connection = None;
                    return;
                }
            }
            if paused {
                break;
            }
        }
        if let Some(connection) = self
            .slots
            .get_mut(&name)
            .and_then(|slot| slot.connection.as_mut())
        {
            connection.flush();
        }
        self.settle_interest(name);
    }

    fn take_message(&mut self, name: Name, message: ToInit) {
        match message {
            ToInit::State { state } => self.board.report(state),
            ToInit::Degraded { reason, detail } => self.board.degrade(reason, &detail),
            ToInit::Recovered { reason } => self.board.recover(reason),
            ToInit::Reached { phase } => self.reach(phase),
            ToInit::Probed { service, fault } => self.take_probe(service, fault.as_deref()),
            ToInit::Desired { desired } => self.desire(name, &desired),
        }
    }

    /// Takes what a service answered to `probe`. One that gives no good answer, too many times in a row, is ended.
    fn take_probe(&mut self, probed: Probed, fault: Option<&str>) {
        let mut services = self.inputs.services.iter();
        let Some(service) = services.find(|service| service.probed == Some(probed)) else {
            return;
        };
        let (name, now) = (service.name, timeline::now());
        let fault = fault.map(sentence);
        let is_ready = matches!(self.supervisor.stage(name), Stage::Ready { .. });
        if is_ready && let Some(fault) = &fault {
            warn!(service = %name, "no good answer: {fault}");
        }
        let answer = is_ready.then(|| fault.clone().unwrap_or_else(|| WELL.to_owned()));
        self.board.set_probe(probed, answer);
        if self.supervisor.probed(name, fault.is_none(), now).is_some() {
            let fault = fault.unwrap_or_default();
            self.abort(
                name,
                &format!("no good answer {UNANSWERED} times in a row, at last: {fault}"),
            );
        }
    }

    /// The configuration is there. What PID 1 needs of it is read again, since another process wrote it.
    pub(super) fn configured(&mut self) {
        self.board.set_seal(named_in(SEAL));
        let plain_copy = files::read_text(PLAIN_COPY, PLAIN_COPY_LIMIT).ok();
        self.board.set_plain_copy(plain_copy);
        let was_unconfigured = self.end_what_needs_no_configuration();
        let (name, digest) = match node_name_and_digest() {
            Ok(read) => read,
            // `provision configure` has checked it: only a full tmpfs or a broken memory gets here
            Err(error) => {
                error!(%error, "the configuration that was taken can't be read");
                return;
            }
        };
        if self.configuration.as_ref() == Some(&digest) {
            return;
        }
        if self.configuration.replace(digest).is_some() || was_unconfigured {
            info!("the configuration is another one: the network is set up anew");
            self.configure_anew();
        }
        if let Err(error) = identity::set_hostname(&name) {
            let error = log::chain(&error);
            warn!(error, "the host name can't be set");
        }
        info!(node = %name, "configured");
        self.node_name = Some(name);
        self.reach(Phase::Configured);
    }

    /// There is a configuration: what runs without one has nothing more to do. Whether anything ran so.
    fn end_what_needs_no_configuration(&mut self) -> bool {
        self.supervisor.set_unconfigured(false);
        let Some(name) = self.without_configuration.take() else {
            return false;
        };
        if let Some(command) = self.supervisor.stop(name, timeline::now()) {
            self.carry_out(command);
        }
        self.clear_trouble(name);
        true
    }

    /// The configuration is another one for what runs with it.
    fn configure_anew(&mut self) {
        let now = timeline::now();
        for service in self.inputs.services {
            match service.configured.map(|configured| configured.on_change) {
                Some(OnChange::Restart) => {
                    if let Some(command) = self.supervisor.restart(service.name, now) {
                        self.carry_out(command);
                    }
                }
                Some(OnChange::Hasten) => self.supervisor.hasten(service.name, now),
                None => {}
            }
        }
    }
}

/// The node's name, and what tells its configuration from another.
fn node_name_and_digest() -> io::Result<(NodeName, String)> {
    let name = files::read_text(NODE_NAME, LINE_LIMIT)?
        .parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((name, files::read_text(CONFIGURATION_DIGEST, LINE_LIMIT)?))
}

/// What a task has left the name of.
pub(super) fn named_in(file: &str) -> Protection {
    files::read_text(file, 64)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(Protection::Unknown)
}

/// A service's words, made fit for a log.
pub(super) fn sentence(text: &str) -> String {
    let mut text = log::visible(text);
    text.truncate(text.floor_char_boundary(MAXIMUM_SENTENCE));
    text
}
