//! What comes from outside: signals, devices, buttons, notifications.

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::time::Duration;
use sys::signals::Signal;
use tracing::{debug, info, warn};

use super::Node;
use crate::event_loop::Token;
use crate::power::{Press, Reason};
use crate::service::{Kind, LOOKS_ON_DISKS, Name, Readiness, SERVICES, Stage};
use kernel::failure::show_and_restart;
use kernel::uevent::{Received, Uevent};
use kernel::watchdog::Watchdog;
use log::timeline;

/// How many messages of one kind are taken before others have their turn.
const AT_ONCE: usize = 64;
/// How long after a disk came the configuration is looked for: its partitions come with it.
const DISK_SETTLES: Duration = Duration::from_millis(300);

impl Node {
    /// Handles what a descriptor has.
    pub(super) fn handle(&mut self, token: Token) {
        match token {
            Token::Signals => self.handle_signals(),
            Token::Notify => self.handle_notifications(),
            Token::Uevents => self.handle_uevents(),
            Token::Output(name) => self.handle_output(name),
            Token::Connection(name) => self.handle_connection(name),
            Token::Button(number) => self.handle_button(number),
        }
    }

    fn handle_signals(&mut self) {
        loop {
            match self.inputs.signals.next() {
                Ok(Some(Signal::Child)) => self.reap(),
                Ok(Some(signal)) => {
                    let reason = match signal {
                        Signal::Interrupt => Reason::Keys,
                        Signal::Power => Reason::PowerFailure,
                        Signal::Terminate | Signal::Child => Reason::Terminate,
                    };
                    self.begin_stop(reason, signal.name());
                }
                Ok(None) => return,
                Err(error) => {
                    warn!(%error, "signals can't be read");
                    return;
                }
            }
        }
    }

    fn handle_uevents(&mut self) {
        let mut input_came = false;
        let mut disk_came = false;
        let mut watchdog_came = false;
        for _ in 0..AT_ONCE {
            match self.inputs.uevents.receive() {
                Ok(Received::Empty) => break,
                Ok(Received::Event(event)) => {
                    let news = event.action == "add" || event.action == "change";
                    input_came |= news && is_input_device(&event);
                    disk_came |= news && event.is_block_device();
                    watchdog_came |= news && event.get("DEVNAME") == Some("watchdog");
                    self.inputs.modules.on_uevent(&event);
                    self.check_root(&event);
                }
                Ok(Received::Lost) => {
                    info!("device events were lost: looking at every device");
                    self.inputs.modules.rescan();
                    (input_came, disk_came, watchdog_came) = (true, true, true);
                }
                Err(error) => {
                    warn!(%error, "device events can't be read");
                    break;
                }
            }
        }
        if input_came {
            self.look_for_buttons();
        }
        if watchdog_came {
            self.look_for_watchdog();
        }
        if disk_came {
            let at = timeline::now().saturating_add(DISK_SETTLES);
            self.supervisor.hasten(LOOKS_ON_DISKS, at);
        }
    }

    /// A corrupt block of the root: nothing that runs from it can be trusted to run on.
    fn check_root(&mut self, event: &Uevent) {
        let devices = self.inputs.root_devices.as_ref();
        let failure =
            devices.and_then(|devices| Some(devices.failure(devices.corrupt_block(event)?)));
        if let Some(failure) = failure {
            show_and_restart(&failure, self.watchdog.take());
        }
    }

    /// Watches every power button that is there.
    pub(super) fn look_for_buttons(&mut self) {
        for number in self.buttons.look() {
            if let Some(device) = self.buttons.descriptor(number)
                && let Err(error) = self.events.watch(device, Token::Button(number))
            {
                warn!(%error, "a power button can't be watched");
            }
        }
    }

    /// Starts the watchdog, once there is one. On the way out it is left alone: it may have been
    /// stopped.
    pub(super) fn look_for_watchdog(&mut self) {
        if self.watchdog.is_none() && self.stop.is_none() {
            self.watchdog = Watchdog::start(timeline::now());
        }
    }

    fn handle_button(&mut self, number: u32) {
        match self.buttons.read(number) {
            Press::Pressed => self.begin_stop(Reason::PowerButton, "the power button was pressed"),
            Press::Gone => debug!(number, "a power button is gone"),
            Press::No => {}
        }
    }

    /// Services that run and whose sockets do not answer yet.
    pub(super) fn awaited_sockets(&self) -> impl Iterator<Item = (Name, &'static str)> {
        SERVICES.iter().filter_map(|service| match service.kind {
            Kind::Daemon(Readiness::Socket(path))
                if matches!(self.supervisor.stage(service.name), Stage::Starting { .. }) =>
            {
                Some((service.name, path))
            }
            _ => None,
        })
    }

    /// Tries the sockets that are waited for.
    pub(super) fn try_sockets(&mut self, _now: Duration) {
        let awaited: Vec<(Name, &str)> = self.awaited_sockets().collect();
        for (name, path) in awaited {
            if answers(path) {
                self.became_ready(name);
            }
        }
    }
}

/// Whether somebody takes connections there. Does not wait.
fn answers(path: &str) -> bool {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    match (socket, SocketAddrUnix::new(path)) {
        (Ok(socket), Ok(address)) => connect(&socket, &address).is_ok(),
        _ => false,
    }
}

/// A device below `/dev/input`, of which there is one for each that can be read.
fn is_input_device(event: &Uevent) -> bool {
    event.get("SUBSYSTEM") == Some("input")
        && event
            .get("DEVNAME")
            .is_some_and(|name| name.starts_with("input/event"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_answers_only_while_somebody_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let path = path.to_str().unwrap();
        assert!(!answers(path));
        let listener = UnixListener::bind(path).unwrap();
        assert!(answers(path));
        drop(listener);
        assert!(!answers(path), "a socket that was left behind");
    }

    #[test]
    fn input_devices() {
        let event = |text: &[u8]| Uevent::parse(text).unwrap();
        assert!(is_input_device(&event(
            b"add@/devices/x/input0/event0\0SUBSYSTEM=input\0DEVNAME=input/event0\0"
        )));
        assert!(!is_input_device(&event(
            b"add@/devices/x/input0\0SUBSYSTEM=input\0MODALIAS=input:b0019\0"
        )));
        assert!(!is_input_device(&event(
            b"add@/devices/vda\0SUBSYSTEM=block\0DEVNAME=vda\0"
        )));
    }
}
