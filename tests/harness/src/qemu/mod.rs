//! One virtual machine: its command line, console, power and events.

mod accelerator;
mod command;
mod firmware;
mod hardware;
mod qmp;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use accelerator::Accelerator;
pub use command::{Boot, CLOUD_HOST, CloudMachine, MachineOptions};
pub use firmware::{Firmware, Owner};
pub use hardware::{DiskController, NetworkCard};

use crate::log::{Found, LineLog};
use crate::process::ManagedProcess;
use crate::tpm::{Measurements, Running};
use qmp::{Event, Qmp};

/// QEMU itself starts within this; the guest has its own, longer limits.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// QEMU ends within this once the machine is off.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// A running virtual machine. Dropping it cuts its power.
pub struct Machine {
    process: ManagedProcess,
    // behind QEMU: fields are dropped in order, and QEMU must not see its TPM go
    tpm: Option<Running>,
    qmp: Qmp,
    health_port: u16,
    powered_on: Instant,
    input: std::os::unix::net::UnixStream,
    follower: JoinHandle<Result<()>>,
    patience: Duration,
    /// The console, line by line since power-on.
    pub console: LineLog,
}

/// How a machine went off.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The guest switched the machine off.
    PowerOff,
    /// The guest asked for a reboot.
    Reboot,
}

impl Machine {
    /// Switches a machine on. `directory` takes its sockets (so its path must be short, see unix(7))
    /// and the console's record `console.log`.
    ///
    /// # Errors
    /// When QEMU does not start, with what it wrote.
    pub async fn start(
        options: &MachineOptions,
        directory: &Path,
        tap: Option<mpsc::Sender<Vec<u8>>>,
    ) -> Result<Self> {
        let sockets = [directory.join("console.sock"), directory.join("qmp.sock")];
        let [console_listener, qmp_listener] = {
            // from an earlier machine in the same directory
            for socket in &sockets {
                let _ = std::fs::remove_file(socket);
            }
            [listen(&sockets[0])?, listen(&sockets[1])?]
        };
        let tpm = match &options.tpm {
            Some(tpm) => Some(tpm.power_on(directory).await?),
            None => None,
        };
        let mut socket = tpm.as_ref().map(|tpm| tpm.socket().to_owned());
        if let (Some(control), Some(interposer)) = (&socket, &options.interposer) {
            socket = Some(interposer.listen(control, directory)?);
        }
        let arguments = options.arguments(&sockets[0], &sockets[1], socket.as_deref())?;
        let powered_on = Instant::now();
        let console = LineLog::new("the console");
        let process = ManagedProcess::spawn(
            "QEMU",
            Path::new("qemu-system-x86_64"),
            arguments,
            &directory.join("qemu.log"),
        )?;
        let connect = async {
            let serial = accept(&console_listener, &process).await?;
            let monitor = accept(&qmp_listener, &process).await?;
            anyhow::Ok((serial, Qmp::new(monitor).await?))
        };
        let (serial, mut qmp) = tokio::time::timeout(START_TIMEOUT, connect)
            .await
            .context("it took too long")
            .flatten()
            .with_context(|| format!("QEMU did not start:\n{}", process.log.tail(20)))?;
        let input = serial.into_std().context("no console")?;
        input.set_nonblocking(false).context("no console")?;
        let reader = input.try_clone().context("no console")?;
        let record = directory.join("console.log");
        let follower = tokio::task::spawn_blocking({
            let console = console.clone();
            move || console.follow(reader, &record, tap)
        });
        if !options.cable {
            qmp.set_link(command::NETWORK_DEVICE, false).await?;
        }
        let health_port = qmp.forwarded_port(command::HEALTH_PORT).await?;
        let patience = options.accelerator.patience();
        Ok(Self {
            process,
            tpm,
            qmp,
            health_port,
            powered_on,
            input,
            follower,
            patience,
            console,
        })
    }

    /// The port on this host's loopback that leads to the node's status page.
    pub fn health_port(&self) -> u16 {
        self.health_port
    }

    /// Time since power-on.
    pub fn uptime(&self) -> Duration {
        self.powered_on.elapsed()
    }

    /// How long a scenario waits at most for one thing to happen in this machine.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Waits for a line on the console, from power-on on.
    ///
    /// # Errors
    /// When the console ends or the machine's patience is over.
    pub async fn expect(&self, pattern: &str) -> Result<Found> {
        self.console.wait(pattern, 0, self.patience).await
    }

    /// Waits for a line at or after `position` ([`LineLog::position`]).
    ///
    /// # Errors
    /// As [`Self::expect`].
    pub async fn expect_after(&self, position: usize, pattern: &str) -> Result<Found> {
        self.console.wait(pattern, position, self.patience).await
    }

    /// Sends a person's keys to the console.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn type_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.input.write_all(bytes).context("the console is gone")
    }

    /// Presses the power button. A node that has not come far enough to see it does nothing.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub async fn press_power_button(&mut self) -> Result<()> {
        self.qmp.press_power_button().await
    }

    /// Plugs the network cable in or out.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub async fn set_cable(&mut self, plugged: bool) -> Result<()> {
        self.qmp.set_link(command::NETWORK_DEVICE, plugged).await
    }

    /// Whether the machine still runs.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub async fn is_running(&mut self) -> Result<bool> {
        self.qmp.is_running().await
    }

    /// Waits until the guest itself ends the machine, and QEMU with it.
    ///
    /// # Errors
    /// When it goes on for longer than the machine's patience, ends in another way, or QEMU fails.
    pub async fn wait_end(&mut self) -> Result<Ending> {
        self.wait_end_within(self.patience).await
    }

    async fn wait_end_within(&mut self, limit: Duration) -> Result<Ending> {
        let wanted = |event: &Event| matches!(event, Event::Shutdown { .. });
        let event = self.qmp.events().wait(wanted, limit).await?;
        let status = self.process.wait(END_TIMEOUT).await?;
        if let Some(tpm) = &mut self.tpm {
            // QEMU tells it to end; what it keeps is on disk then
            tpm.ended().await?;
        }
        let _ = (&mut self.follower).await;
        ending(&event, status)
    }

    /// As [`Self::wait_end`], for as long as it takes.
    ///
    /// # Errors
    /// As [`Self::wait_end`].
    pub async fn wait_shutdown(&mut self) -> Result<Ending> {
        const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);
        self.wait_end_within(FOREVER).await
    }

    /// Waits until the guest switches the machine off.
    ///
    /// # Errors
    /// As [`Self::wait_end`], or when the guest reboots instead.
    pub async fn wait_power_off(&mut self) -> Result<()> {
        match self.wait_end().await? {
            Ending::PowerOff => Ok(()),
            Ending::Reboot => bail!("the node rebooted where it should have powered off"),
        }
    }

    /// Cuts the power: QEMU is killed, nothing in the guest gets a chance to end in order.
    ///
    /// # Errors
    /// When QEMU cannot be killed.
    pub async fn cut_power(&mut self) -> Result<()> {
        self.process.kill().await?;
        if let Some(tpm) = &mut self.tpm {
            tpm.cut_power().await?;
        }
        let _ = (&mut self.follower).await;
        Ok(())
    }

    /// Cuts the machine's power, but not its TPM's before these PCRs are read: what this boot measured.
    ///
    /// # Errors
    /// When the machine has no TPM, or it does not answer.
    pub async fn cut_power_and_measure(&mut self, pcrs: &[u8]) -> Result<Measurements> {
        self.process.kill().await?;
        let _ = (&mut self.follower).await;
        let tpm = self.tpm.as_mut().context("the machine has no TPM")?;
        let measurements = tpm.measurements(pcrs).context("cannot read PCRs")?;
        tpm.cut_power().await?;
        Ok(measurements)
    }
}

fn ending(event: &Event, status: ExitStatus) -> Result<Ending> {
    if !status.success() {
        bail!("QEMU failed: {status}");
    }
    match event {
        Event::Shutdown {
            guest: true,
            reason,
        } if reason == "guest-shutdown" => Ok(Ending::PowerOff),
        Event::Shutdown {
            guest: true,
            reason,
        } if reason == "guest-reset" => Ok(Ending::Reboot),
        other => bail!("the machine went off, but not by the node: {other:?}"),
    }
}

fn listen(path: &PathBuf) -> Result<UnixListener> {
    UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))
}

async fn accept(listener: &UnixListener, process: &ManagedProcess) -> Result<UnixStream> {
    tokio::select! {
        accepted = listener.accept() => Ok(accepted.context("QEMU did not connect")?.0),
        () = process.log.ended() => bail!("it ended at once"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn only_the_guest_ends_a_machine_well() {
        let by = |guest, reason: &str| Event::Shutdown {
            guest,
            reason: reason.to_owned(),
        };
        let success = ExitStatus::from_raw(0);
        assert_eq!(
            ending(&by(true, "guest-shutdown"), success).unwrap(),
            Ending::PowerOff
        );
        assert_eq!(
            ending(&by(true, "guest-reset"), success).unwrap(),
            Ending::Reboot
        );
        assert!(ending(&by(true, "guest-panic"), success).is_err());
        assert!(ending(&by(false, "host-qmp-quit"), success).is_err());
        assert!(ending(&by(true, "guest-shutdown"), ExitStatus::from_raw(9)).is_err());
    }
}
