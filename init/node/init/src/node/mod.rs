//! The node while it runs: one loop that waits for everything at once and never for one thing.

mod agent;
mod children;
mod events;
mod notifications;
mod output;
mod requests;
mod stop;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use notifications::NotifyGate;
use thiserror::Error;
use wire::NodeName;
use wire::child::FromInit;
use wire::status::{DegradedReason, Phase};

use crate::event_loop::{EventLoop, Token};
use crate::power::{PowerButtons, Reason, StopPlan};
use crate::service::{
    AGENT, Agent, Name, NotifySocket, OutputPipe, Process, Service, Supervisor, TaskLines,
};
use crate::status::StatusBoard;
use crate::wire_server::Connection;
use kernel::modules::ModuleLoader;
use kernel::root_devices::RootDevices;
use kernel::uevent::UeventSocket;
use kernel::watchdog::Watchdog;
use log::timeline;
use log::{LogQueue, RateLimit, Repeats};

/// Where services say that they are ready.
const NOTIFY_SOCKET: &str = "/run/daas/notify";
/// The log on the state disk.
const LOG_FILE: &str = "/var/log/daas/node.log";
/// How long the loop sleeps when nothing is due.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// So much later than it should PID 1 wakes up on no machine that runs.
const STOOD_STILL: Duration = Duration::from_secs(5);
/// How often a service's socket is tried until it answers.
const SOCKET_TRIES: Duration = Duration::from_millis(50);

/// Why the loop can't run.
#[derive(Debug, Error)]
#[error("{what} can't be set up")]
pub(crate) struct NodeError {
    what: &'static str,
    #[source]
    source: io::Error,
}

/// Lines of one service on the console, a second and at once: a serial line takes about a hundred
/// a second, and the kernel waits for it. The file has them all.
const CONSOLE_LINES: (u32, u32) = (10, 200);
/// Notifications of one service in the log, a second and at once.
const NOTIFICATIONS: (u32, u32) = (1, 20);
/// How long a service that floods its output is not read, and one that floods its connection.
const OUTPUT_PAUSE: Duration = Duration::from_millis(100);
const CONNECTION_PAUSE: Duration = Duration::from_secs(1);

/// What the loop needs from those who set it up.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) signals: sys::signals::SignalReader,
    pub(crate) uevents: UeventSocket,
    pub(crate) modules: ModuleLoader,
    pub(crate) root_devices: Option<RootDevices>,
    pub(crate) services: &'static [&'static Service],
    pub(crate) log: Arc<LogQueue>,
}

/// What a service has besides its life in the supervisor. It stays when its process goes.
#[derive(Debug)]
struct Slot {
    process: Option<Process>,
    /// Whether there has been one.
    has_run: bool,
    connection: Option<Connection>,
    /// What the loop waits for on the connection: reading, room to write.
    connection_interest: (bool, bool),
    /// When a connection, or an output, that was flooded is read again.
    connection_resumes: Option<Duration>,
    output_resumes: Option<Duration>,
    output: Option<OutputPipe>,
    /// How much of its output goes to the console, and how many of its notifications to the log.
    console_rate: RateLimit,
    notification_rate: RateLimit,
    /// Warnings and errors that it repeats, where it is not one of our programs.
    repeats: Repeats,
    lines: TaskLines,
    /// The first error that its process has told of.
    complaint: Option<String>,
    /// Why it is degraded, while it is.
    trouble: Option<Trouble>,
}

/// What is wrong with a service.
#[derive(Debug)]
struct Trouble {
    reason: DegradedReason,
    detail: String,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            process: None,
            has_run: false,
            connection: None,
            connection_interest: (true, false),
            connection_resumes: None,
            output_resumes: None,
            output: None,
            console_rate: RateLimit::new(CONSOLE_LINES.0, CONSOLE_LINES.1),
            notification_rate: RateLimit::new(NOTIFICATIONS.0, NOTIFICATIONS.1),
            repeats: Repeats::new(),
            lines: TaskLines::default(),
            complaint: None,
            trouble: None,
        }
    }
}

/// The node.
#[derive(Debug)]
pub(crate) struct Node {
    events: EventLoop,
    inputs: Inputs,
    notify: NotifySocket,
    notify_gate: NotifyGate,
    supervisor: Supervisor,
    slots: BTreeMap<Name, Slot>,
    board: StatusBoard,
    agent: Agent,
    /// The node's name, once the configuration is there, and that configuration's digest.
    node_name: Option<NodeName>,
    configuration: Option<String>,
    /// What runs only as long as there is no configuration.
    without_configuration: Option<Name>,
    buttons: PowerButtons,
    watchdog: Option<Watchdog>,
    log_opened: bool,
    /// Corrupt blocks of the root that were well when they were read again.
    endured: u32,
    /// Whether the root has worked for a while.
    root_works: bool,
    /// The node's stop, and why.
    stop: Option<(Reason, StopPlan)>,
    /// The agent's, while the node goes on.
    agent_stop: Option<StopPlan>,
    finished: bool,
}

/// How the loop ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) reason: Reason,
    pub(crate) log: Arc<LogQueue>,
    pub(crate) watchdog: Option<Watchdog>,
}

impl Node {
    /// Sets the loop up. Nothing starts yet.
    ///
    /// # Errors
    /// [`NodeError`]: then this machine can't be run.
    pub(crate) fn new(inputs: Inputs) -> Result<Self, NodeError> {
        let failed = |what| move |source| NodeError { what, source };
        let events = EventLoop::new().map_err(failed("the event loop"))?;
        let notify = NotifySocket::bind(Path::new(NOTIFY_SOCKET)).map_err(failed(NOTIFY_SOCKET))?;
        events
            .watch(&inputs.signals, Token::Signals)
            .and_then(|()| events.watch(&inputs.uevents, Token::Uevents))
            .and_then(|()| events.watch(&notify, Token::Notify))
            .map_err(failed("the event loop"))?;
        let services = inputs.services;
        let slots = Name::ALL.iter().map(|name| (*name, Slot::default()));
        Ok(Self {
            events,
            inputs,
            notify,
            notify_gate: NotifyGate::default(),
            supervisor: Supervisor::new(services),
            slots: slots.collect(),
            board: StatusBoard::new(timeline::load()),
            agent: Agent::new(Path::new(wire::paths::AGENT)),
            node_name: None,
            configuration: None,
            without_configuration: None,
            buttons: PowerButtons::default(),
            watchdog: None,
            log_opened: false,
            endured: 0,
            root_works: false,
            stop: None,
            agent_stop: None,
            finished: false,
        })
    }

    /// Runs until the machine is to go off.
    ///
    /// # Errors
    /// When epoll(7) itself fails, which leaves nothing to wait with.
    pub(crate) fn run(mut self) -> Result<End, NodeError> {
        self.look_for_buttons();
        self.look_for_watchdog();
        loop {
            self.settle();
            if let Some((reason, _)) = self.stop.as_ref().filter(|_| self.finished) {
                return Ok(End {
                    reason: *reason,
                    log: self.inputs.log,
                    watchdog: self.watchdog,
                });
            }
            let begun = timeline::now();
            let wait = self.time_to_wait(begun);
            let tokens = self.events.wait(wait).map_err(|source| NodeError {
                what: "the wait for events",
                source,
            })?;
            let now = timeline::now();
            if now.saturating_sub(begun) > wait.saturating_add(STOOD_STILL) {
                // the machine itself stood still, as a virtual one can: so did every service
                self.supervisor.excuse(now);
            }
            // signals last: what a process said counts before its end does
            let (signals, others): (Vec<Token>, Vec<Token>) = tokens
                .into_iter()
                .partition(|token| *token == Token::Signals);
            for token in others.into_iter().chain(signals) {
                self.handle(token);
            }
        }
    }

    /// Does everything that is due now.
    fn settle(&mut self) {
        let now = timeline::now();
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.pet(now);
        }
        self.forget_root_failures(now);
        self.resume(now);
        self.resume_notifications(now);
        self.hear_keepalives(now);
        self.try_sockets(now);
        self.advance_stop(now);
        self.advance_agent_stop(now);
        if self.supervisor.has_its_requirements(AGENT) {
            self.reach(Phase::AgentMayStart);
        }
        self.carry_out_plan(now);
        self.recover(now);
        self.count_repeats(now);
        if self.board.has_reached(Phase::State) && !self.log_opened {
            self.log_opened = self.inputs.log.open(&PathBuf::from(LOG_FILE));
        }
        self.publish();
    }

    fn time_to_wait(&self, now: Duration) -> Duration {
        [
            self.supervisor.deadline(),
            self.stop.as_ref().map(|(_, plan)| plan.deadline(now)),
            self.agent_stop.as_ref().map(|plan| plan.deadline(now)),
            self.watchdog.as_ref().map(Watchdog::deadline),
            (!self.root_works).then_some(events::ROOT_WORKS),
            self.recoveries().map(|(_, at)| at).min(),
            self.resumptions().min(),
            self.slots
                .values()
                .filter_map(|slot| slot.repeats.deadline())
                .min(),
            self.notify_gate.resumes(),
            self.awaited_sockets()
                .next()
                .map(|_| now.saturating_add(SOCKET_TRIES)),
            (self.board.has_reached(Phase::State) && !self.log_opened)
                .then(|| now.saturating_add(SOCKET_TRIES)),
        ]
        .into_iter()
        .flatten()
        .map(|deadline| deadline.saturating_sub(now))
        .fold(LONGEST_WAIT, Duration::min)
    }

    /// Sends the status to those who show it, when it has changed.
    fn publish(&mut self) {
        let services = self
            .supervisor
            .stages()
            .map(|(name, stage)| (name.text().to_owned(), stage.name().to_owned()))
            .collect();
        self.board.set_services(services);
        if !self.board.take_change() {
            return;
        }
        let Some(status) = self.encoded_status() else {
            return;
        };
        for name in Name::ALL {
            self.send_status(*name, &status);
        }
    }

    fn encoded_status(&self) -> Option<Rc<[u8]>> {
        let status = self.board.status().clone();
        match wire::child::encode(&FromInit::Status { status }) {
            Ok(bytes) => Some(bytes.as_slice().into()),
            Err(error) => {
                tracing::error!(%error, "the status can't be sent");
                None
            }
        }
    }

    fn send_status(&mut self, name: Name, status: &Rc<[u8]>) {
        if let Some(connection) = self
            .slots
            .get_mut(&name)
            .and_then(|slot| slot.connection.as_mut())
        {
            connection.send_status(status);
        }
        self.settle_interest(name);
    }

    /// Waits on a connection for what is of interest now: messages, unless it was flooded; room,
    /// as long as a status waits for it.
    fn settle_interest(&mut self, name: Name) {
        let Some(slot) = self.slots.get_mut(&name) else {
            return;
        };
        let Some(connection) = &slot.connection else {
            return;
        };
        let interest = (slot.connection_resumes.is_none(), connection.waits());
        if interest == slot.connection_interest {
            return;
        }
        let token = Token::Connection(name);
        match self
            .events
            .change(connection, token, interest.0, interest.1)
        {
            Ok(()) => slot.connection_interest = interest,
            Err(error) => {
                tracing::warn!(%error, service = %name, "a connection can't be waited on")
            }
        }
    }

    /// When what was flooded is read again.
    fn resumptions(&self) -> impl Iterator<Item = Duration> {
        self.slots
            .values()
            .flat_map(|slot| [slot.connection_resumes, slot.output_resumes])
            .flatten()
    }

    /// Reads again what was flooded.
    fn resume(&mut self, now: Duration) {
        for name in Name::ALL {
            let Some(slot) = self.slots.get_mut(name) else {
                continue;
            };
            if let Some(output) = &slot.output
                && slot.output_resumes.take_if(|at| *at <= now).is_some()
                && let Err(error) = self
                    .events
                    .change(output, Token::Output(*name), true, false)
            {
                tracing::warn!(%error, service = %name, "an output can't be waited on");
            }
            if slot.connection_resumes.take_if(|at| *at <= now).is_some() {
                self.settle_interest(*name);
            }
        }
    }

    /// Marks a phase, once.
    fn reach(&mut self, phase: Phase) {
        if !self.board.has_reached(phase) {
            self.board.reached(timeline::mark(phase));
        }
    }

    /// Tells what is wrong with the services, all together, or that nothing is.
    fn settle_trouble(&mut self) {
        for reason in [
            DegradedReason::Service,
            DegradedReason::StateDisk,
            DegradedReason::Configuration,
        ] {
            let troubles: Vec<&str> = self
                .slots
                .values()
                .filter_map(|slot| slot.trouble.as_ref())
                .filter(|trouble| trouble.reason == reason)
                .map(|trouble| trouble.detail.as_str())
                .collect();
            if troubles.is_empty() {
                self.board.recover(reason);
            } else {
                self.board.degrade(reason, &troubles.join("; "));
            }
        }
    }
}
