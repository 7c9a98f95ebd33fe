//! What services ask for over their connections, and what the configuration says.

use std::path::Path;

use config::PublicConfig;
use tracing::{error, info, warn};
use wire::child::ToInit;
use wire::status::{Phase, Seal};

use super::{CONNECTION_PAUSE, Node};
use crate::configure::{PLAIN_COPY_FILE, PUBLIC_FILE, SEAL_FILE};
use crate::service::Name;
use crate::wire_server::Received;
use crate::{files, identity, timeline};

/// How many messages of one service are taken before others have their turn.
const AT_ONCE: usize = 32;
/// The longest sentence of a service that is logged, in bytes.
const MAXIMUM_SENTENCE: usize = 512;
/// How many refused messages of one process are told one by one.
const TOLD_REFUSALS: u32 = 5;

/// The longest sentence about a configuration that still stands in the plain, in bytes.
const PLAIN_COPY_LIMIT: usize = 1024;

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
            ToInit::Desired { desired } => self.desire(name, &desired),
        }
    }

    /// The configuration is there: its public part is read again, since another process wrote it.
    pub(super) fn configured(&mut self) {
        self.board.set_seal(named_in(SEAL_FILE));
        let plain_copy = files::read_text(PLAIN_COPY_FILE, PLAIN_COPY_LIMIT).ok();
        self.board.set_plain_copy(plain_copy);
        let was_unconfigured = self.leave_the_cloud_alone();
        let text = files::read_text(Path::new(PUBLIC_FILE), config::MAXIMUM_LENGTH);
        let config = match text {
            Ok(text) if self.public_configuration.as_ref() == Some(&text) => return,
            Ok(text) => PublicConfig::parse(PUBLIC_FILE, &text)
                .map(|config| (config, text))
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match config {
            Ok((config, text)) => {
                if self.public_configuration.replace(text).is_some() || was_unconfigured {
                    info!("the configuration is another one: the network is set up anew");
                    let now = timeline::now();
                    if let Some(command) = self.supervisor.restart(Name::Netd, now) {
                        self.carry_out(command);
                    }
                    // it may wait after what the last one did to it
                    self.supervisor.hasten(Name::Staker, now);
                }
                if let Err(error) = identity::set_hostname(&config.node_id) {
                    let error = crate::log::chain(&error);
                    warn!(error, "the host name can't be set");
                }
                info!(node = config.node_id, "configured");
                self.node_id = Some(config.node_id);
                self.reach(Phase::Configured);
            }
            // `init configure` has checked it: only a full tmpfs or a broken memory gets here
            Err(error) => error!(error, "the configuration that was taken can't be read"),
        }
    }

    /// There is a configuration: its metadata service has nothing more to say. Whether the network came up
    /// without one.
    fn leave_the_cloud_alone(&mut self) -> bool {
        let was_unconfigured = self.supervisor.is_unconfigured();
        if was_unconfigured {
            self.supervisor.set_unconfigured(false);
            if let Some(command) = self.supervisor.stop(Name::Metadata, timeline::now()) {
                self.carry_out(command);
            }
            self.clear_trouble(Name::Metadata);
        }
        was_unconfigured
    }
}

/// What a task has left the name of.
pub(super) fn named_in(file: &str) -> Seal {
    files::read_text(file, 64)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(Seal::Unknown)
}

/// A service's words, made fit for a log.
pub(super) fn sentence(text: &str) -> String {
    let mut text = crate::log::visible(text);
    text.truncate(text.floor_char_boundary(MAXIMUM_SENTENCE));
    text
}
