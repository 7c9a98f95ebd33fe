//! The root made ready for services: everything between the switch of roots and PID 1's loop.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::Path;

use wire::paths;
use wire::status::Phase;
use wire::users::{METADATA, NETD, STAKER, TPM_BROKER};

use crate::{cgroups, identity, read_ahead, sysctls};
use kernel::modules::ModuleLoader;
use kernel::mounts;
use kernel::root_devices::RootDevices;
use kernel::uevent::UeventSocket;
use log::timeline;

/// Modules that containers and k3s need, and that no device asks for. What the kernel fetches by
/// itself on first use (matches and targets of iptables) is not here.
const MODULES: [&str; 4] = [
    "overlay",
    // Without it, packets on a bridge pass iptables by, and the sysctls for it do not exist.
    "br_netfilter",
    // k3s checks and sets its sysctls before kube-proxy uses it.
    "nf_conntrack",
    // flannel's default backend.
    "vxlan",
];

/// Where the kernel has the event log (Documentation/security/tpm/tpm_event_log.rst).
const KERNEL_EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
/// Longer than any firmware's log: they have some hundred KiB at the most.
const EVENT_LOG_LIMIT: usize = 1024 * 1024;

/// A directory on `/run`.
struct Directory {
    path: &'static str,
    mode: u32,
    owner: u32,
}

const DIRECTORIES: [Directory; 9] = [
    Directory {
        path: paths::RUN,
        mode: 0o755,
        owner: 0,
    },
    Directory {
        path: paths::CONFIGURATION,
        mode: 0o755,
        owner: 0,
    },
    Directory {
        path: paths::EVIDENCE,
        mode: 0o755,
        owner: 0,
    },
    Directory {
        path: paths::AGENT,
        mode: 0o700,
        owner: 0,
    },
    Directory {
        path: paths::METADATA_RUN,
        mode: 0o700,
        owner: METADATA,
    },
    Directory {
        path: paths::NETD_RUN,
        mode: 0o755,
        owner: NETD,
    },
    Directory {
        path: paths::STAKER_RUN,
        mode: 0o750,
        owner: STAKER,
    },
    Directory {
        path: paths::TPM_BROKER_RUN,
        mode: 0o755,
        owner: TPM_BROKER,
    },
    Directory {
        path: "/run/lock",
        mode: 0o755,
        owner: 0,
    },
];

/// What the loop goes on with.
#[derive(Debug)]
pub(crate) struct Setup {
    /// Events of devices, to be read by the loop.
    pub(crate) uevents: UeventSocket,
    /// Loads the modules that events ask for.
    pub(crate) modules: ModuleLoader,
    /// The devices that the root lies on, to tell a corrupt block of it by. None where init was
    /// not started from its initramfs.
    pub(crate) root_devices: Option<RootDevices>,
}

/// The root can't be made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error(transparent)]
    Mount(#[from] mounts::MountError),
    #[error(transparent)]
    Cgroup(#[from] cgroups::CgroupError),
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
    #[error("the directory {path} cannot be made")]
    Directory {
        path: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the kernel's device events cannot be read")]
    Uevents(#[source] io::Error),
    #[error("the thread that loads kernel modules cannot be started")]
    Thread(#[source] io::Error),
}

/// Makes the root ready: mounts, control groups, sysctls, modules, identity, directories. To be
/// called once, by PID 1.
///
/// # Errors
/// The first step that the system cannot do without. Missing modules and sysctls are logged: a
/// node that starts and says what it lacks is worth more than one that does not start.
pub(crate) fn system_setup() -> Result<Setup, SetupError> {
    timeline::mark(Phase::SwitchRoot);
    if let Err(error) = sys::memory::lock_current_pages() {
        tracing::warn!(%error, "init's pages are not locked in memory");
    }
    mounts::root()?;
    // Before anything more is read from the root, so that no corrupt block goes unseen.
    let uevents = UeventSocket::open().map_err(SetupError::Uevents)?;
    cgroups::prepare()?;
    sysctls::apply();
    identity::prepare()?;
    DIRECTORIES.iter().try_for_each(|directory| {
        make_directory(directory).map_err(|source| SetupError::Directory {
            path: directory.path,
            source,
        })
    })?;
    keep_event_log();
    timeline::mark(Phase::Mounts);
    read_ahead::start();
    // Their sysctls exist once the modules are there.
    let modules =
        ModuleLoader::start(&MODULES, sysctls::apply_bridge).map_err(SetupError::Thread)?;
    Ok(Setup {
        uevents,
        modules,
        root_devices: RootDevices::load(),
    })
}

fn make_directory(directory: &Directory) -> io::Result<()> {
    let path = Path::new(directory.path);
    match fs::DirBuilder::new().mode(directory.mode).create(path) {
        Err(error) if !path.is_dir() => return Err(error),
        _ => {}
    }
    // Whatever the umask is, and whoever made it before.
    fs::set_permissions(path, Permissions::from_mode(directory.mode))?;
    chown(path, Some(directory.owner), Some(directory.owner))
}

/// Lays out what the TPM's firmware shows to the master. Without a TPM there is nothing to do.
fn keep_event_log() {
    let kept = match files::read_bounded(KERNEL_EVENT_LOG, EVENT_LOG_LIMIT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Ok(content) => files::replace(paths::EVENT_LOG, &content, 0o644),
        Err(error) => Err(error),
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "the firmware's event log can't be kept");
    }
}
