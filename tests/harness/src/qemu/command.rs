//! QEMU's command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::hardware::{DiskController, NetworkCard};
use super::{Accelerator, Firmware};
use crate::devnet::node::HOST6;
use crate::tpm::Tpm;
use crate::tpm::interposer::Interposer;

/// The port of the node's status page inside the machine (the configuration's default).
pub(super) const HEALTH_PORT: u16 = 8090;
/// The network backend's name, for plugging its cable.
pub(super) const NETWORK_DEVICE: &str = "net0";

/// The network where there is IPv6 alone; this host is [`HOST6`] in it.
const NETWORK6: &str = "fd00:5::/64";
/// A network that has the address of a metadata service in it: QEMU redirects connections within it alone.
const CLOUD_NETWORK: &str = "169.254.169.0/24";
/// This host in that network.
pub const CLOUD_HOST: &str = "169.254.169.2";
const METADATA_ADDRESS: &str = "169.254.169.254:80";

/// A cloud that a machine is in.
#[derive(Clone, Debug)]
pub struct CloudMachine {
    /// Who made the machine, as its firmware says.
    pub manufacturer: &'static str,
    /// The metadata service, on this host.
    pub metadata: SocketAddr,
}

/// What starts the machine.
#[derive(Clone, Debug)]
pub enum Boot {
    /// QEMU loads the kernel by itself: no firmware, no unified kernel image.
    Direct {
        /// The kernel.
        kernel: PathBuf,
        /// The initramfs.
        initramfs: PathBuf,
        /// The kernel's command line.
        command_line: String,
    },
    /// OVMF starts what lies on the disk's ESP, with variables of the machine's own.
    Firmware(Firmware),
}

/// A machine that can be switched on.
#[derive(Clone, Debug)]
pub struct MachineOptions {
    /// KVM or TCG.
    pub accelerator: Accelerator,
    /// What starts it.
    pub boot: Boot,
    /// Its disks, raw; the first is the one to boot from.
    pub disks: Vec<PathBuf>,
    /// What the disks are behind.
    pub disk_controller: DiskController,
    /// What the network is behind.
    pub network_card: NetworkCard,
    /// Optical drives with these media.
    pub media: Vec<PathBuf>,
    /// A cloud that the machine is in: its firmware says so, and its network has the metadata service.
    pub cloud: Option<CloudMachine>,
    /// A configuration handed over by fw_cfg.
    pub configuration: Option<PathBuf>,
    /// What the machine's battery-backed clock says at power-on (`-rtc base=`), when not the truth.
    pub clock: Option<String>,
    /// Go on after the guest reboots; otherwise a reboot ends the machine ([`super::Ending::Reboot`]).
    pub reboots: bool,
    /// Whether the network cable is plugged in at power-on.
    pub cable: bool,
    /// Whether its network has IPv6 alone.
    pub ipv6_alone: bool,
    /// Memory in MiB.
    pub memory: u32,
    /// Its processors.
    pub processors: u32,
    /// Whether it has a watchdog, an Intel 6300ESB, which restarts it.
    pub watchdog: bool,
    /// A TCG plugin of QEMU's with its arguments, as `-plugin` takes it.
    pub plugin: Option<String>,
    /// Its TPM.
    pub tpm: Option<Tpm>,
    /// What stands between the machine and its TPM.
    pub interposer: Option<Interposer>,
}

impl MachineOptions {
    /// A machine of the usual size: 2 CPUs, 2 GiB.
    pub fn new(accelerator: Accelerator, boot: Boot, disks: Vec<PathBuf>) -> Self {
        Self {
            accelerator,
            boot,
            disks,
            disk_controller: DiskController::default(),
            network_card: NetworkCard::default(),
            media: Vec::new(),
            cloud: None,
            configuration: None,
            clock: None,
            reboots: false,
            cable: true,
            ipv6_alone: false,
            memory: 2048,
            processors: 2,
            watchdog: false,
            plugin: None,
            tpm: None,
            interposer: None,
        }
    }

    /// The arguments after the program's name; `tpm` is the socket of the TPM.
    pub(super) fn arguments(
        &self,
        console: &Path,
        monitor: &Path,
        tpm: Option<&Path>,
    ) -> Result<Vec<OsString>> {
        let mut arguments = Arguments::default();
        arguments.take([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-machine",
            match &self.boot {
                Boot::Firmware(firmware) if firmware.secure => "q35,smm=on",
                _ => "q35",
            },
        ]);
        arguments.take(self.accelerator.arguments());
        let (processors, memory) = (self.processors.to_string(), self.memory.to_string());
        arguments.take(["-smp", &processors, "-m", &memory]);
        if let Some(plugin) = &self.plugin {
            arguments.take(["-plugin", plugin]);
        }
        if !self.reboots {
            arguments.take(["-no-reboot"]);
        }
        if let Some(clock) = &self.clock {
            arguments.take(["-rtc", &format!("base={clock}")]);
        }
        arguments.take([
            "-chardev",
            &format!("socket,id=console,path={}", path(console)?),
        ]);
        arguments.take(["-serial", "chardev:console"]);
        arguments.take([
            "-chardev",
            &format!("socket,id=monitor,path={}", path(monitor)?),
        ]);
        arguments.take(["-mon", "chardev=monitor,mode=control"]);
        arguments.take(["-object", "rng-random,id=entropy,filename=/dev/urandom"]);
        arguments.take(["-device", "virtio-rng-pci,rng=entropy"]);
        if self.watchdog {
            arguments.take(["-device", "i6300esb", "-action", "watchdog=reset"]);
        }
        arguments.take(["-netdev", &self.network()?]);
        if let Some(cloud) = &self.cloud {
            // SMBIOS 3.7, type 1
            arguments.take([
                "-smbios",
                &format!("type=1,manufacturer={}", cloud.manufacturer),
            ]);
        }
        for device in self.network_card.devices(NETWORK_DEVICE) {
            arguments.take(["-device", &device]);
        }
        self.storage(&mut arguments)?;
        if let Some(socket) = tpm {
            let chardev = format!("socket,id=tpm,path={}", path(socket)?);
            arguments.take(["-chardev", &chardev, "-tpmdev"]);
            arguments.take([
                "emulator,id=tpm0,chardev=tpm",
                "-device",
                "tpm-crb,tpmdev=tpm0",
            ]);
        }
        if let Some(file) = &self.configuration {
            let value = format!("name=opt/k3s-daas/node.toml,file={}", path(file)?);
            arguments.take(["-fw_cfg", &value]);
        }
        self.boot(&mut arguments)?;
        Ok(arguments.0)
    }
}

impl MachineOptions {
    /// Disks and optical drives.
    fn storage(&self, arguments: &mut Arguments) -> Result<()> {
        for (index, disk) in self.disks.iter().enumerate() {
            let drive = format!(
                "file={},format=raw,if=none,id=disk{index},cache=writeback,discard=unmap",
                path(disk)?
            );
            arguments.take(["-drive", &drive]);
            for device in self.disk_controller.devices(index) {
                arguments.take(["-device", &device]);
            }
        }
        for (index, medium) in self.media.iter().enumerate() {
            let drive = format!(
                "file={},format=raw,if=none,id=medium{index},readonly=on",
                path(medium)?
            );
            let device = format!("ide-cd,drive=medium{index},bus=ide.{index}");
            arguments.take(["-drive", &drive, "-device", &device]);
        }
        Ok(())
    }

    /// What starts first: a kernel, or the firmware.
    fn boot(&self, arguments: &mut Arguments) -> Result<()> {
        match &self.boot {
            Boot::Direct {
                kernel,
                initramfs,
                command_line,
            } => {
                arguments.take(["-kernel", path(kernel)?, "-initrd", path(initramfs)?]);
                arguments.take(["-append", command_line]);
            }
            Boot::Firmware(firmware) => {
                let code = format!(
                    "if=pflash,format=raw,unit=0,readonly=on,file={}",
                    firmware.code
                );
                let own = format!(
                    "if=pflash,format=raw,unit=1,file={}",
                    path(&firmware.variables)?
                );
                arguments.take(["-drive", &code, "-drive", &own]);
                if firmware.secure {
                    // none but the firmware writes its variables
                    let property = "driver=cfi.pflash01,property=secure,value=on";
                    arguments.take(["-global", property]);
                }
            }
        }
        Ok(())
    }

    fn network(&self) -> Result<String> {
        // port 0: the system chooses, and the monitor tells
        let mut network =
            format!("user,id={NETWORK_DEVICE},hostfwd=tcp:127.0.0.1:0-:{HEALTH_PORT}");
        if self.ipv6_alone {
            network.push_str(&format!(
                ",ipv4=off,ipv6=on,ipv6-net={NETWORK6},ipv6-host={HOST6}"
            ));
        }
        if let Some(cloud) = &self.cloud {
            let harness = std::env::current_exe().context("the harness does not find itself")?;
            // QEMU starts this program for each connection, and speaks to it over its standard streams
            network.push_str(&format!(
                ",net={CLOUD_NETWORK},guestfwd=tcp:{METADATA_ADDRESS}-cmd:{} connect {}",
                path(&harness)?,
                cloud.metadata.port()
            ));
        }
        Ok(network)
    }
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn take<'a>(&mut self, more: impl IntoIterator<Item = &'a str>) {
        self.0.extend(more.into_iter().map(OsString::from));
    }
}

/// A path as part of one of QEMU's option lists, in which a comma ends the value.
fn path(path: &Path) -> Result<&str> {
    match path.to_str() {
        Some(text) if !text.contains(',') => Ok(text),
        _ => bail!(
            "QEMU cannot take the path {}: it has a comma or is not UTF-8",
            path.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_comma_is_refused() {
        let boot = Boot::Direct {
            kernel: "/kernel".into(),
            initramfs: "/initramfs".into(),
            command_line: String::new(),
        };
        let options = MachineOptions::new(Accelerator::Tcg, boot, vec!["/tmp/a,b".into()]);
        let error = options.arguments(Path::new("/c"), Path::new("/q"), None);
        assert!(error.unwrap_err().to_string().contains("comma"));
    }
}
