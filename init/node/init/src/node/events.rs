//! What comes from outside: signals, devices, buttons, notifications.

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::time::Duration;
use sys::signals::Signal;
use tracing::{debug, error, info, warn};

use super::Node;
use crate::event_loop::Token;
use crate::power::{Press, Reason};
use crate::service::{Kind, LOOKS_ON_DISKS, Name, Readiness, SERVICES, Stage};
use kernel::failure::show_and_restart;
use kernel::root_failures;
use kernel::uevent::{Received, Uevent};
use kernel::watchdog::Watchdog;
use log::timeline;

/// How many messages of one kind are taken before others have their turn.
const AT_ONCE: usize = 64;
/// How many blocks of the root may be well only when they are read again, until the machine restarts for one.
const ENDURED: u32 = 8;
/// After what time since the kernel's start the root works, and its failures in a row are over.
pub(super) const ROOT_WORKS: Duration = Duration::from_secs(10 * 60);
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

    /// A corrupt block of the root: nothing that runs from it can be trusted to run on. Only one that is well when it is
    /// read again is endured, and not for ever: whoever read it was refused it, and starts again.
    fn check_root(&mut self, event: &Uevent) {
        let Some(devices) = &self.inputs.root_devices else {
            return;
        };
        let Some(block) = devices.corrupt_block(event) else {
            return;
        };
        if endures(&mut self.endured, || devices.reads_well(block)) {
            let times = self.endured;
            error!(
                times,
                "the root's {block} was not what the image was built with, and is when it is read again: the disk, \
                 its cable or the memory may be failing"
            );
            return;
        }
        if let Err(error) = root_failures::add_in_time(devices) {
            warn!(%error, "the root's failures can't be counted");
        }
        show_and_restart(
            &devices.failure(block),
            Duration::ZERO,
            self.watchdog.take(),
        );
    }

    /// A root that was read from for a while works: its failures in a row are over.
    pub(super) fn forget_root_failures(&mut self, now: Duration) {
        if now < ROOT_WORKS || std::mem::replace(&mut self.root_works, true) {
            return;
        }
        let Some(devices) = self.inputs.root_devices.clone() else {
            return;
        };
        // a disk that hangs keeps this thread alone
        let forgetting = sys::thread::spawn_without_signals("root-works", move || {
            if let Err(error) = root_failures::forget(&devices) {
                warn!(%error, "the root's failures can't be forgotten");
            }
        });
        if let Err(error) = forgetting {
            warn!(%error, "the root's failures can't be forgotten");
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

/// Whether a corrupt block is endured: it reads well now, and there were not too many of its kind.
fn endures(endured: &mut u32, reads_well: impl FnOnce() -> bool) -> bool {
    let endures = *endured < ENDURED && reads_well();
    if endures {
        *endured = endured.saturating_add(1);
    }
    endures
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
    fn corrupt_blocks_that_read_well_are_endured_for_a_while() {
        let mut endured = 0;
        assert!(!endures(&mut endured, || false));
        for _ in 0..ENDURED {
            assert!(endures(&mut endured, || true));
        }
        assert!(!endures(&mut endured, || true));
        assert_eq!(endured, ENDURED);
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
