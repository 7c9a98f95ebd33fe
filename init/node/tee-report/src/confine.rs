//! How the service that is root gives up what root can do.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};
use sys::capability::{Capabilities, Capability};
use sys::process::{RestrictError, restrict_self};
use sys::system_calls::{Filter, FilterError};
use thiserror::Error;

/// Where the new root is put together, out of sight of everybody else.
const WORKSHOP: &str = "/tmp";
/// The new root holds two names.
const ROOM: &std::ffi::CStr = c"mode=0755,size=64k,nr_inodes=16";

/// What could not be given up.
#[derive(Debug, Error)]
pub(crate) enum ConfineError {
    #[error("the report service gets no namespaces of its own")]
    Namespaces(#[source] io::Error),
    #[error("the report service's own root can't be made")]
    Root(#[source] io::Error),
    #[error("the report service can't be kept from system calls")]
    Filter(#[from] FilterError),
    #[error("the report service can't give up its rights")]
    Rights(#[source] RestrictError),
}

/// Where the sources are, in the new root. One that the machine does not have is not there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inside {
    pub(crate) configfs: PathBuf,
    pub(crate) nitro: PathBuf,
}

/// Mounts, network and the rest are this process's own from now on. What it mounts, nobody else sees;
/// it has no network.
pub(crate) fn own_namespaces() -> Result<(), ConfineError> {
    sys::namespaces::own().map_err(ConfineError::Namespaces)?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(|error| ConfineError::Namespaces(error.into()))
}

/// Nothing but the sources of reports is there from now on, and no right beside those that they need.
/// To be called after [`own_namespaces`], before there is a second thread.
pub(crate) fn into_empty_root(configfs: &Path, nitro: &Path) -> Result<Inside, ConfineError> {
    let has_nitro = nitro.exists();
    let inside = change_root(Path::new(WORKSHOP), configfs, nitro).map_err(ConfineError::Root)?;
    // the entries of configfs belong to this very user, root
    let keep = if has_nitro {
        Capabilities::NONE.with(Capability::CAP_SYS_ADMIN)
    } else {
        Capabilities::NONE
    };
    restrict_self(keep, &Filter::for_closed_service()?).map_err(ConfineError::Rights)?;
    Ok(inside)
}

fn change_root(workshop: &Path, configfs: &Path, nitro: &Path) -> io::Result<Inside> {
    let closed = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    mount("tmpfs", workshop, "tmpfs", closed, Some(ROOM))?;
    let at = |name: &str| (workshop.join(name), Path::new("/").join(name));
    let ((outer_configfs, inner_configfs), (outer_nitro, inner_nitro)) = (at("report"), at("nsm"));
    if configfs.is_dir() {
        fs::create_dir(&outer_configfs)?;
        mount_bind(configfs, &outer_configfs)?;
    }
    if nitro.exists() {
        drop(File::create_new(&outer_nitro)?);
        mount_bind(nitro, &outer_nitro)?;
    }
    mount_remount(workshop, closed | MountFlags::RDONLY, ROOM)?;
    // the old root lies on the new one, and is taken away (pivot_root(2), "pivot_root(".", ".")")
    chdir(workshop)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;
    Ok(Inside {
        configfs: inner_configfs,
        nitro: inner_nitro,
    })
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    use std::thread;

    use super::*;

    fn status(field: &str) -> String {
        let text = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        line.unwrap().trim().to_owned()
    }

    /// Namespaces, root directory, capabilities and filter are a thread's: the other tests keep theirs.
    fn in_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        // CAP_SETPCAP and CAP_SYS_ADMIN
        let needed = 1 << 8 | 1 << 21;
        let held = u64::from_str_radix(&status("CapEff:"), 16).unwrap();
        assert_eq!(
            held & needed,
            needed,
            "root without the rights that are to be given up"
        );
        thread::spawn(work).join().unwrap()
    }

    #[test]
    #[ignore = "needs root, for rights to give up"]
    fn new_root_holds_nothing_but_the_sources_as_root() {
        // not below the workshop, which covers what is there
        let configfs = tempfile::tempdir_in("/dev/shm").unwrap();
        fs::write(configfs.path().join("attribute"), "here").unwrap();
        let entry = configfs.path().join("entry");
        let outside = configfs.path().to_owned();
        let status = in_a_thread(move || {
            own_namespaces().unwrap();
            // read through a descriptor that was open before, as the mounted /proc is gone
            let proc = File::open("/proc/thread-self/status").unwrap();
            let absent = Path::new("/nowhere/nsm");
            let inside = into_empty_root(&outside, absent).unwrap();
            let names: Vec<_> = fs::read_dir("/")
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(names, ["report"]);
            for gone in ["/proc", "/etc/passwd", "/run", "/../usr"] {
                assert!(!Path::new(gone).exists(), "{gone}");
            }
            let attribute = inside.configfs.join("attribute");
            assert_eq!(fs::read_to_string(attribute).unwrap(), "here");
            fs::create_dir(inside.configfs.join("entry")).unwrap();
            // the root itself is nobody's to write to
            let refused = fs::write("/file", "x").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
            // no sockets of any kind, no programs, no way back
            let denied = |error: io::Error| assert_eq!(error.raw_os_error(), Some(1), "{error}");
            denied(TcpListener::bind("127.0.0.1:0").unwrap_err());
            denied(UnixStream::pair().unwrap_err());
            denied(rustix::process::chroot("/").unwrap_err().into());
            denied(unmount("/report", UnmountFlags::DETACH).unwrap_err().into());
            // threads are made, for reports that may hang
            assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
            io::read_to_string(proc).unwrap()
        });
        let line = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            line.unwrap().trim().to_owned()
        };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(line(set), "0000000000000000", "{set}");
        }
        assert_eq!(
            (line("NoNewPrivs:"), line("Seccomp:")),
            ("1".into(), "2".into())
        );
        assert!(entry.is_dir(), "what is made inside is made outside");
        // the rest of this program is as it was
        assert!(Path::new("/proc/self").exists());
        assert!(Command::new("/bin/true").status().unwrap().success());
        drop(UnixStream::pair().unwrap());
    }

    #[test]
    #[ignore = "needs root, for rights to give up"]
    fn security_module_leaves_one_capability_as_root() {
        let left = in_a_thread(|| {
            own_namespaces().unwrap();
            let proc = File::open("/proc/thread-self/status").unwrap();
            // any device stands for it
            let inside = into_empty_root(Path::new("/nowhere"), Path::new("/dev/null")).unwrap();
            assert!(inside.nitro.exists() && !inside.configfs.exists());
            let error = sys::nitro_security_module::exchange(&inside.nitro, b"x").unwrap_err();
            // ENOTTY: it was opened, and is another device
            assert_eq!(error.raw_os_error(), Some(25));
            io::read_to_string(proc).unwrap()
        });
        // CAP_SYS_ADMIN is 21
        assert!(left.contains("CapEff:\t0000000000200000"), "{left}");
        assert!(left.contains("CapBnd:\t0000000000200000"), "{left}");
        assert_ne!(status("CapEff:"), "0000000000200000");
    }
}
