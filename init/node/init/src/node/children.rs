//! Services' processes: starting and reaping.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, wait};
use tracing::{info, warn};
use wire::paths::STATE_ENCRYPTION;
use wire::status::DegradedReason;

use super::requests::named_in;
use kernel::failure::{self, Failure};

use super::{NOTIFY_SOCKET, Node, Trouble};
use crate::cgroups;
use crate::event_loop::Token;
use crate::power::Reason;
use crate::service::{
    Arguments, Command, Effect, Ended, Exit, Kind, Launch, Name, OutputPipe, Stage, launch,
};
use crate::wire_server::Connection;
use log::chain;
use log::timeline;

/// A daemon that failed again and again must be up for so long before that is over: one that says
/// that it is ready just before it fails would come and go otherwise.
const RECOVERED: Duration = Duration::from_secs(10);

impl Node {
    /// Starts, asks to end, and kills what the supervisor says.
    pub(super) fn carry_out_plan(&mut self, now: Duration) {
        for command in self.supervisor.plan(now) {
            match command {
                Command::Start(name) => self.start(name, now),
                Command::Terminate(name) => self.signal(name, Signal::TERM),
                Command::Abort(name) => {
                    let seconds = name.service().watchdog.unwrap_or_default().as_secs();
                    self.abort(name, &format!("no keepalive for {seconds} s"));
                }
                Command::Kill(name) => {
                    warn!(service = %name, "it does not end: it is killed");
                    self.signal(name, Signal::KILL);
                    if matches!(self.supervisor.stage(name), Stage::Starting { .. }) {
                        self.take_effects(name.service().effects.overdue);
                    }
                }
            }
        }
    }

    /// Ends a service that runs and does not do its work.
    pub(super) fn abort(&mut self, name: Name, why: &str) {
        tracing::error!(service = %name, "it hangs and is ended: {why}");
        self.signal(name, Signal::ABORT);
        self.take_effects(name.service().effects.ended);
    }

    /// Sends a signal to a service's own process.
    pub(super) fn signal(&self, name: Name, signal: Signal) {
        let process = self.slots.get(&name).and_then(|slot| slot.process.as_ref());
        if let Some(Err(error)) = process.map(|process| process.signal(signal)) {
            warn!(service = %name, %error, "a signal can't be sent");
        }
    }

    fn start(&mut self, name: Name, now: Duration) {
        // a task that finds nothing yet starts again and again
        let first = self.slots.get(&name).is_some_and(|slot| !slot.has_run);
        let seconds = timeline::text(timeline::now());
        match self.try_start(name) {
            Ok(process) => {
                if matches!(name.service().kind, Kind::Daemon(_)) || first {
                    let process = process.as_raw_nonzero();
                    info!(service = %name, process, seconds, "started");
                }
                self.take_effects(name.service().effects.started);
            }
            Err(why) => self.ended(name, &Exit::NotStarted(why), now),
        }
    }

    fn try_start(&mut self, name: Name) -> Result<Pid, String> {
        let service = name.service();
        let arguments = match service.arguments {
            Arguments::Fixed(arguments) => {
                arguments.iter().map(|text| (*text).to_owned()).collect()
            }
            Arguments::Agent => self
                .agent
                .arguments()
                .ok_or("there is nothing to join yet")?,
        };
        let status = self.encoded_status();
        let slot = self.slots.entry(name).or_default();
        if slot.output.is_none() {
            let pipe = OutputPipe::new().map_err(|error| error.to_string())?;
            self.events
                .watch(&pipe, Token::Output(name))
                .map_err(|error| error.to_string())?;
            slot.output = Some(pipe);
        }
        let output = slot.output.as_ref().ok_or("it has no output")?;
        let (connection, theirs) = service
            .rights
            .map(Connection::new)
            .transpose()
            .map_err(|error| error.to_string())?
            .unzip();
        let cgroup = open_cgroup(service.cgroup, service.starting_weight)?;
        let process = launch(&Launch {
            service,
            arguments: &arguments,
            cgroup: Some(cgroup.as_fd()),
            notify_socket: NOTIFY_SOCKET,
            output: output.writer(),
            connection: theirs.as_ref().map(AsFd::as_fd),
        })
        .map_err(|error| chain(&error))?;
        let id = process.id();
        slot.process = Some(process);
        slot.has_run = true;
        slot.complaint = None;
        slot.connection_interest = (true, false);
        slot.connection_resumes = None;
        slot.connection = None;
        if let Some(connection) = connection {
            if let Err(error) = self.events.watch(&connection, Token::Connection(name)) {
                warn!(service = %name, %error, "its messages can't be waited for");
            }
            slot.connection = Some(connection);
        }
        if let Some(status) = status {
            self.send_status(name, &status);
        }
        Ok(id)
    }

    /// Reaps every process that has ended: services, and orphans, which come to PID 1.
    pub(super) fn reap(&mut self) {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((process, status))) => self.reaped(process, status),
                Err(Errno::INTR) => {}
                // ECHILD: there is none at all
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn reaped(&mut self, id: Pid, status: WaitStatus) {
        let found = self.slots.iter_mut().find_map(|(name, slot)| {
            let process = slot.process.take_if(|process| process.id() == id)?;
            Some((*name, process))
        });
        if let Some((name, process)) = found {
            let exit = process.exit(status);
            // what it said counts before its end does
            self.handle_connection(name);
            if let Some(slot) = self.slots.get_mut(&name) {
                slot.connection = None;
            }
            self.ended(name, &exit, timeline::now());
        }
    }

    fn ended(&mut self, name: Name, exit: &Exit, now: Duration) {
        let lines = self
            .slots
            .get_mut(&name)
            .and_then(|slot| slot.output.as_mut())
            .map(|output| output.finish(now))
            .unwrap_or_default();
        self.take_lines(name, lines, now);
        let repeats = self.slots.get_mut(&name);
        let counted = repeats.map(|slot| slot.repeats.finish(now));
        self.write_counted(name, counted.unwrap_or_default(), now);
        self.forget_words_of(name);
        let ended = self.supervisor.exited(name, exit, now);
        if let Some(probed) = name.service().probed {
            self.board.set_probe(probed, None);
        }
        let told = self.run_of_task_ended(name, exit);
        match ended {
            Ended::Stopped => info!(service = %name, exit = %exit, "stopped"),
            Ended::Done => {
                let seconds = timeline::text(now);
                info!(service = %name, seconds, "done");
                self.clear_trouble(name);
                self.take_effects(name.service().effects.up);
            }
            Ended::Failed { failures, wait } => {
                if told {
                    let again_in = format!("{:.1}s", wait.as_secs_f32());
                    warn!(service = %name, exit = %exit, failures, again_in, "ended");
                }
                self.note_trouble(name, exit, failures);
                if let Some(task) = configuration_task(name, exit) {
                    self.supervisor.redo(task, now);
                }
                if !self.is_ignored(name, exit) {
                    self.take_effects_of_failure(name, exit);
                }
            }
        }
        self.take_effects(name.service().effects.ended);
    }

    /// Everything that only a running process can vouch for goes with it.
    fn forget_words_of(&mut self, name: Name) {
        for reason in name
            .service()
            .rights
            .map_or(&[][..], |rights| rights.degraded)
        {
            self.board.recover(*reason);
        }
    }

    fn note_trouble(&mut self, name: Name, exit: &Exit, failures: u32) {
        let service = name.service();
        let of_configuration = configuration_task(name, exit).is_some();
        let patience = failures < service.failures && !of_configuration;
        if patience || self.is_ignored(name, exit) {
            return;
        }
        let Some(slot) = self.slots.get_mut(&name) else {
            return;
        };
        let detail = match (service.kind, slot.lines.complaint()) {
            (Kind::Task { quiet: true, .. }, Some(complaint)) => complaint.to_owned(),
            _ if of_configuration => {
                let complaint = slot.complaint.as_deref();
                let complaint = complaint.unwrap_or("it does not say why");
                format!("{name} can't use the configuration: {complaint}")
            }
            _ => format!("{name} ends again and again ({exit})"),
        };
        let reason = if of_configuration {
            DegradedReason::Configuration
        } else {
            service.degrades
        };
        slot.trouble = Some(Trouble { reason, detail });
        self.settle_trouble();
    }

    /// Whether an exit is ignored, as another service has not finished yet.
    pub(super) fn is_ignored(&self, name: Name, exit: &Exit) -> bool {
        name.service().ignored_until.is_some_and(|ignored| {
            ignored
                .statuses
                .iter()
                .any(|status| exit.is_status(*status))
                && self.is_unfinished(ignored.finished)
        })
    }

    pub(super) fn is_unfinished(&self, name: Name) -> bool {
        let stage = self.supervisor.stage(name);
        matches!(stage, Stage::Idle | Stage::Starting { .. })
    }

    fn take_effects_of_failure(&mut self, name: Name, exit: &Exit) {
        for (status, effect) in name.service().effects.failed {
            if status.is_none_or(|status| exit.is_status(status)) {
                self.take_effect(*effect);
            }
        }
    }

    fn take_effects(&mut self, effects: &[Effect]) {
        for effect in effects {
            self.take_effect(*effect);
        }
    }

    fn take_effect(&mut self, effect: Effect) {
        let now = timeline::now();
        match effect {
            Effect::Reach(phase) => self.reach(phase),
            Effect::ShareProcessors(name) => {
                cgroups::set_cpu_weight(name.service().cgroup, cgroups::CPU_WEIGHT);
            }
            Effect::AgentReady(ready) => self.board.set_agent_ready(ready),
            Effect::PoliciesEnforced(enforced) => self.policies_enforced(enforced),
            Effect::ReadStateEncryption => {
                let encryption = named_in(STATE_ENCRYPTION);
                self.board.set_state_encryption(encryption);
            }
            Effect::ReadConfiguration => self.configured(),
            Effect::Hasten(name) => self.supervisor.hasten(name, now),
            Effect::Redo(name) => self.supervisor.redo(name, now),
            Effect::StartWithoutConfiguration(name) => {
                self.supervisor.set_unconfigured(true);
                self.supervisor.want(name);
                self.without_configuration = Some(name);
            }
            Effect::Stop(reason) => self.begin_stop(reason, reason.detail()),
            Effect::FailReset => self.fail_reset(),
        }
    }

    /// The task of a reset ended, or hangs, before it was through. Nothing else runs: the screen can be
    /// waited for. The task's end after it was through, or was killed, is no news.
    fn fail_reset(&mut self) {
        if self.stop.is_some() {
            return;
        }
        let failure = Failure {
            what: "provision reset ended before it was through, or hangs: keys and state may still be \
                   there"
                .to_owned(),
            place: "the lines above say how far it came".to_owned(),
            hint: "Choose the reset entry once more. If that fails again, a disk or the TPM is failing."
                .to_owned(),
            details: Vec::new(),
        };
        failure::show_before_power_off(&failure, &mut self.watchdog);
        self.begin_stop(Reason::ResetFailed, "the reset was not done");
    }

    /// When each daemon that was in trouble will have been up long enough to be out of it.
    pub(super) fn recoveries(&self) -> impl Iterator<Item = (Name, Duration)> {
        self.slots.iter().filter_map(|(name, slot)| {
            slot.trouble.as_ref()?;
            match self.supervisor.stage(*name) {
                Stage::Ready { since } => Some((*name, since.saturating_add(RECOVERED))),
                _ => None,
            }
        })
    }

    /// Lets daemons out of their trouble.
    pub(super) fn recover(&mut self, now: Duration) {
        let due = self.recoveries().filter(|(_, at)| *at <= now);
        let names: Vec<Name> = due.map(|(name, _)| name).collect();
        for name in names {
            self.clear_trouble(name);
        }
    }

    pub(super) fn clear_trouble(&mut self, name: Name) {
        if let Some(slot) = self.slots.get_mut(&name)
            && slot.trouble.take().is_some()
        {
            self.settle_trouble();
        }
    }

    /// A daemon says that it is ready.
    pub(super) fn became_ready(&mut self, name: Name) {
        let now = timeline::now();
        if !self.supervisor.ready(name, now) {
            return;
        }
        let seconds = timeline::text(now);
        info!(service = %name, seconds, "ready");
        self.take_effects(name.service().effects.up);
    }
}

/// The task that finds the configuration, where a service ended since it can't use that one.
fn configuration_task(name: Name, exit: &Exit) -> Option<Name> {
    let configured = name.service().configured?;
    exit.is_of_configuration().then_some(configured.by)
}

fn open_cgroup(group: &str, weight: Option<u16>) -> Result<OwnedFd, String> {
    let directory = cgroups::create(group).map_err(|error| chain(&error))?;
    if let Some(weight) = weight {
        cgroups::set_cpu_weight(group, weight);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&directory, flags, Mode::empty())
        .map_err(|error| format!("its cgroup can't be opened: {error}"))
}
