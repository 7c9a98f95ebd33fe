//! PID 1 on the root, from its first instruction to its last.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tracing::{info, warn};

use crate::node::{End, Inputs, Node, NodeError};
use crate::power;
use crate::service::{RESET_SERVICES, SERVICES, Service};
use crate::setup::{self, SetupError};
use kernel::command_line::CommandLine;
use kernel::failure::{Failure, show_and_restart};

/// The word on the kernel command line that asks for a reset.
const RESET_WORD: &str = "daas.reset";
/// Longer than any os-release.
const OS_RELEASE_LIMIT: usize = 64 * 1024;

/// Why the system can't run.
#[derive(Debug, Error)]
enum SystemError {
    #[error("signals can't be read")]
    Signals(#[source] std::io::Error),
    #[error("there can be no thread for the log")]
    Log(#[source] std::io::Error),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Runs the system. Whatever goes wrong here is told on the console before the machine restarts:
/// a kernel panic would end it without a word.
pub(crate) fn run() -> ! {
    set_hook(Box::new(|panic| {
        log::emergency(&format!("init has a bug: {panic}"));
    }));
    let what = match catch_unwind(AssertUnwindSafe(live)) {
        Ok(Ok(end)) => {
            // the way out has no way back in: a panic there powers off too
            let last = catch_unwind(AssertUnwindSafe(|| {
                power::finish(end.reason, &end.log, end.watchdog)
            }));
            match last {
                Ok(never) => never,
                Err(_) => power::power_off(),
            }
        }
        Ok(Err(error)) => log::chain(&error),
        Err(panic) => format!("init has a bug: {}", words_of(panic.as_ref())),
    };
    show_and_restart(
        &Failure {
            what,
            place: "init (PID 1)".to_owned(),
            hint: "Report the lines above. The node starts again by itself.".to_owned(),
            details: Vec::new(),
        },
        Duration::ZERO,
        None,
    )
}

/// What a panic said.
fn words_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
}

fn live() -> Result<End, SystemError> {
    // before any thread: a signal that another thread takes never comes
    let signals = sys::signals::SignalReader::new().map_err(SystemError::Signals)?;
    let log = log::start().map_err(SystemError::Log)?;
    show_banner();
    // Ctrl-Alt-Del comes as SIGINT from now on, instead of a restart on the spot
    if let Err(error) = rustix::system::reboot(rustix::system::RebootCommand::CadOff) {
        warn!(%error, "Ctrl-Alt-Del restarts the machine on the spot");
    }
    let setup = setup::system_setup()?;
    let node = Node::new(Inputs {
        signals,
        uevents: setup.uevents,
        modules: setup.modules,
        root_devices: setup.root_devices,
        services: services(),
        log: Arc::clone(&log),
    })?;
    Ok(node.run()?)
}

/// What runs: nothing but the reset where the kernel command line asks for one.
fn services() -> &'static [&'static Service] {
    match CommandLine::read() {
        Ok(line) if line.has(RESET_WORD) => {
            warn!(
                "reset: {RESET_WORD} stands on the kernel command line; keys and state are wiped"
            );
            RESET_SERVICES
        }
        Ok(_) => SERVICES,
        Err(error) => {
            warn!(%error, "the kernel command line can't be read: no reset");
            SERVICES
        }
    }
}

/// Says what runs here.
fn show_banner() {
    let text = files::read_text(kernel::console::OS_RELEASE, OS_RELEASE_LIMIT).unwrap_or_default();
    for line in banner(&text) {
        info!("{line}");
    }
}

fn banner(os_release: &str) -> Vec<String> {
    let value = |key: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map_or("unknown", |value| value.trim_matches(['"', '\'']))
    };
    let (name, version) = (value("NAME"), value("VERSION_ID"));
    match value("K3S_DAAS_K3S") {
        "double" => vec![
            format!("{name} {version}"),
            "DOUBLE: this image carries a double of k3s, for tests alone".to_owned(),
        ],
        k3s => vec![format!("{name} {version} k3s={k3s}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_names_a_double() {
        let release = "NAME=\"K3s-DaaS\"\nVERSION_ID=0.1.0\nK3S_DAAS_K3S=double\n";
        assert_eq!(
            banner(release),
            [
                "K3s-DaaS 0.1.0",
                "DOUBLE: this image carries a double of k3s, for tests alone"
            ]
        );
        let release = release.replace("double", "v1.36.4+k3s1");
        assert_eq!(banner(&release), ["K3s-DaaS 0.1.0 k3s=v1.36.4+k3s1"]);
        assert_eq!(banner(""), ["unknown unknown k3s=unknown"]);
    }

    #[test]
    fn a_panic_has_words() {
        assert_eq!(words_of(&"static"), "static");
        assert_eq!(words_of(&"owned".to_owned()), "owned");
        assert_eq!(words_of(&7), "a panic without words");
    }
}
