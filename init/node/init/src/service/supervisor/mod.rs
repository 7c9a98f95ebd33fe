//! All services together: which of them is to start, to end or to be killed now.

use std::time::Duration;

use super::machine::Machine;
use super::{Ended, Exit, Name, Service, Stage};

/// What is to be done with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Start its process. Answer by [`Supervisor::exited`] when there can be none.
    Start(Name),
    /// Send it SIGTERM.
    Terminate(Name),
    /// Send its process SIGABRT: it does not do its work. Where it can, it says what it is at.
    Abort(Name),
    /// Send its process SIGKILL: that process alone, never its cgroup, where what it started for
    /// others may go on.
    Kill(Name),
}

/// All services.
#[derive(Debug)]
pub(crate) struct Supervisor {
    machines: Vec<Machine>,
    halted: bool,
    /// Whether those start that don't need a configuration, though there is none.
    unconfigured: bool,
}

impl Supervisor {
    /// Services that have not started.
    pub(crate) fn new(services: &'static [&'static Service]) -> Self {
        Self {
            machines: services
                .iter()
                .map(|service| Machine::new(service))
                .collect(),
            halted: false,
            unconfigured: false,
        }
    }

    /// What is to be done now. To be asked again after every event, and when
    /// [`Supervisor::deadline`] has come.
    pub(crate) fn plan(&mut self, now: Duration) -> Vec<Command> {
        let mut commands = Vec::new();
        for machine in &mut self.machines {
            if machine.must_be_killed(now) {
                commands.push(Command::Kill(machine.service.name));
            } else if machine.is_silent(now) {
                commands.push(Command::Abort(machine.service.name));
            }
        }
        if self.halted {
            return commands;
        }
        let due: Vec<Name> = self
            .machines
            .iter()
            .filter(|machine| machine.is_due(now) && self.may_start(machine))
            .map(|machine| machine.service.name)
            .collect();
        for name in due {
            if let Some(machine) = self.machine(name) {
                machine.started(now);
                commands.push(Command::Start(name));
            }
        }
        commands
    }

    /// When [`Supervisor::plan`] is to be asked again if nothing else happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.machines
            .iter()
            .filter(|machine| machine.stage.runs() || self.may_start(machine))
            .filter_map(Machine::deadline)
            .min()
    }

    /// A service says that it is ready. `true` when that is news.
    pub(crate) fn ready(&mut self, name: Name, now: Duration) -> bool {
        self.machine(name).is_some_and(|machine| machine.ready(now))
    }

    /// A service's process says that it does its work.
    pub(crate) fn alive(&mut self, name: Name, now: Duration) {
        if let Some(machine) = self.machine(name) {
            machine.alive(now);
        }
    }

    /// The time until now is held against nobody: keepalives could not be heard.
    pub(crate) fn excuse(&mut self, now: Duration) {
        for machine in &mut self.machines {
            machine.alive(now);
        }
    }

    /// Whether a service will count as hung by then, unless a keepalive of it waits to be read.
    pub(crate) fn has_silent(&self, now: Duration) -> bool {
        self.machines.iter().any(|machine| machine.silent_by(now))
    }

    /// A service was asked whether it works. Where what it requires does not, its answer does not count.
    pub(crate) fn probed(&mut self, name: Name, well: bool, now: Duration) -> Option<Command> {
        let requires = name.service().requires;
        let mut required = self.machines.iter();
        let blameless =
            required.any(|machine| requires.contains(&machine.service.name) && !machine.is_well());
        let halted = self.halted;
        let machine = self.machine(name)?;
        machine
            .probed(well || blameless || halted, now)
            .then_some(Command::Abort(name))
    }

    /// A service's process ended, or could not be made.
    pub(crate) fn exited(&mut self, name: Name, exit: &Exit, now: Duration) -> Ended {
        self.machine(name)
            .map_or(Ended::Stopped, |machine| machine.exited(exit, now))
    }

    /// Somebody wants a service that does not start by itself.
    pub(crate) fn want(&mut self, name: Name) {
        if let Some(machine) = self.machine(name) {
            machine.wanted = true;
        }
    }

    /// A service is to end and to start again, without a wait, for that is no failure.
    pub(crate) fn restart(&mut self, name: Name, now: Duration) -> Option<Command> {
        let machine = self.machine(name)?;
        machine.stop(now).then_some(Command::Terminate(name))
    }

    /// A service is to end for good.
    pub(crate) fn stop(&mut self, name: Name, now: Duration) -> Option<Command> {
        if let Some(machine) = self.machine(name) {
            machine.wanted = false;
        }
        self.restart(name, now)
    }

    /// A service that waits after a failure waits no longer than until `at`.
    pub(crate) fn hasten(&mut self, name: Name, at: Duration) {
        if let Some(machine) = self.machine(name)
            && let Stage::Waiting { until } = machine.stage
        {
            machine.stage = Stage::Waiting {
                until: until.min(at),
            };
        }
    }

    /// A task that is done runs once more. What requires it starts no more until it is done again;
    /// what runs goes on.
    pub(crate) fn redo(&mut self, name: Name, now: Duration) {
        if let Some(machine) = self.machine(name) {
            machine.redo(now);
        }
    }

    /// Whether the services that don't need a configuration start without one.
    pub(crate) fn set_unconfigured(&mut self, unconfigured: bool) {
        self.unconfigured = unconfigured;
    }

    /// From now on nothing starts.
    pub(crate) fn halt(&mut self) {
        self.halted = true;
    }

    /// Where a service stands.
    pub(crate) fn stage(&self, name: Name) -> Stage {
        self.machines
            .iter()
            .find(|machine| machine.service.name == name)
            .map_or(Stage::Idle, |machine| machine.stage)
    }

    /// Where every service stands.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (Name, Stage)> {
        self.machines
            .iter()
            .map(|machine| (machine.service.name, machine.stage))
    }

    /// Whether a service could start now, whether or not it is wanted.
    pub(crate) fn has_its_requirements(&self, name: Name) -> bool {
        self.machines
            .iter()
            .find(|machine| machine.service.name == name)
            .is_some_and(|machine| self.may_start(machine))
    }

    /// Whether all that it requires is up, and all that it comes after is, or has failed. What is not
    /// can't come up by time alone.
    fn may_start(&self, machine: &Machine) -> bool {
        let mut required = machine.service.requires.iter();
        let mut earlier = self
            .machines
            .iter()
            .filter(|other| machine.service.after.contains(&other.service.name));
        let spared = self.unconfigured && machine.service.unconfigured;
        !self.halted
            && required
                .all(|name| self.stage(*name).is_up() || (spared && *name == Name::Configure))
            && earlier.all(Machine::is_settled)
    }

    fn machine(&mut self, name: Name) -> Option<&mut Machine> {
        self.machines
            .iter_mut()
            .find(|machine| machine.service.name == name)
    }
}

#[cfg(test)]
mod tests;
