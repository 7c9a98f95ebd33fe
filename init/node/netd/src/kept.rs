//! Addresses that links had: asked for again after a restart (INIT-REBOOT), so that a node keeps its address.
//!
//! A file for each link, with an address and nothing else: the server says whether it still holds. On tmpfs, for a
//! restart of this program; on the state disk, for one of the machine, where that disk is open in time.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::settings::is_host;

/// The longest file, in bytes: an address and the end of its line.
const MAXIMUM_LENGTH: u64 = 16;

/// Where addresses are kept: the first place that has one counts.
#[derive(Debug, Clone)]
pub(crate) struct KeptLeases {
    places: Vec<PathBuf>,
}

fn read(path: &Path) -> Option<Ipv4Addr> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(MAXIMUM_LENGTH + 1)
        .read_to_string(&mut text)
        .ok()?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    line.parse().ok().filter(|address| is_host(*address))
}

fn write(path: &Path, address: Ipv4Addr) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(format!("{address}\n").as_bytes())?;
    fs::rename(&fresh, path)
}

impl KeptLeases {
    /// Keeps them in these directories.
    pub(crate) const fn new(places: Vec<PathBuf>) -> Self {
        Self { places }
    }

    fn paths(&self, hardware: [u8; 6]) -> impl Iterator<Item = PathBuf> {
        let digits: String = hardware.iter().map(|byte| format!("{byte:02x}")).collect();
        self.places
            .iter()
            .map(move |place| place.join(format!("lease-{digits}")))
    }

    /// The address that a link had.
    pub(crate) fn former(&self, hardware: [u8; 6]) -> Option<Ipv4Addr> {
        self.paths(hardware).find_map(|path| read(&path))
    }

    /// Keeps an address wherever there is another or none. The disk is written to when an address changes, and not
    /// flushed: what is lost with the power costs one message of the next boot.
    pub(crate) fn keep(&self, hardware: [u8; 6], address: Ipv4Addr) {
        for path in self.paths(hardware) {
            if read(&path) == Some(address) || !path.parent().is_some_and(Path::is_dir) {
                continue;
            }
            if let Err(error) = write(&path, address) {
                warn!(path = %path.display(), %error, "the address is not kept");
            }
        }
    }

    /// Forgets an address that is not the link's any more.
    pub(crate) fn forget(&self, hardware: [u8; 6]) {
        for path in self.paths(hardware) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    warn!(path = %path.display(), %error, "an address of before stays");
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_kept_wherever_there_is_a_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let (run, state) = (folder.path().join("run"), folder.path().join("state"));
        fs::create_dir(&run).expect("made");
        let kept = KeptLeases::new(vec![run.clone(), state.clone()]);
        let (link, address) = ([2, 0, 0, 0, 0, 1], Ipv4Addr::new(10, 0, 0, 50));
        assert_eq!(kept.former(link), None);
        kept.keep(link, address);
        assert_eq!(kept.former(link), Some(address));
        // the state's disk comes later, and is what is left after a boot
        fs::create_dir(&state).expect("made");
        kept.keep(link, address);
        fs::remove_dir_all(&run).expect("removed");
        assert_eq!(kept.former(link), Some(address));
        assert_eq!(kept.former([2, 0, 0, 0, 0, 2]), None);
        kept.forget(link);
        assert_eq!(kept.former(link), None);
    }

    #[test]
    fn what_is_no_host_s_address_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = KeptLeases::new(vec![folder.path().to_owned()]);
        for text in [
            "",
            "10.0.0",
            "224.0.0.1\n",
            "10.0.0.50 and more",
            "::1",
            "10.0.0.50\n\n\n\n\n\n\n\n\n\n",
        ] {
            fs::write(folder.path().join("lease-020000000001"), text).expect("written");
            assert_eq!(kept.former([2, 0, 0, 0, 0, 1]), None, "{text}");
        }
    }
}
