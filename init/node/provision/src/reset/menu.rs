//! The boot menu's choice, where somebody has set it to the entry that resets (`build.sh reset`): put back
//! once all is done, so that the next start is that of a new node. Whoever chose the entry in the menu
//! itself has left nothing there.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::step::Step;
use crate::system_partition::{VFAT, mount_detached};
use kernel::block_devices::BlockDevice;

/// The boot loader's configuration (loader.conf(5)), from the root of the EFI system partition.
const FILE: &str = "loader/loader.conf";
/// Longer than any: ours has a hundred bytes.
const LIMIT: u64 = 4096;
/// What stands behind the name of a kernel image for its profile that resets (systemd-boot(7)).
const RESET: &[u8] = b"@reset";

/// Puts the choice back, or says why not; none: it was not changed.
pub(super) fn put_back(partition: &BlockDevice) -> Option<Step> {
    let name = format!("{}:{FILE}", partition.path().display());
    let result = mount_detached(partition, VFAT, true)
        .map_err(io::Error::from)
        .and_then(|root| {
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            match openat(&root, FILE, flags, Mode::empty()) {
                Ok(file) => put_back_in(&File::from(file)),
                Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
                Err(error) => Err(error.into()),
            }
        });
    match result {
        Ok(true) => Some(Step::Done(format!("{name} chooses the node again"))),
        Ok(false) => None,
        Err(error) => Some(Step::NotDone(format!(
            "{name} still chooses the reset, and can't be changed: {error}"
        ))),
    }
}

/// Whether anything was to be put back. The file keeps its length, and its one sector is written at once:
/// a power cut leaves the one choice or the other.
fn put_back_in(file: &File) -> io::Result<bool> {
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text)?;
    let Some(chosen) = without_reset(&text) else {
        return Ok(false);
    };
    file.write_all_at(&chosen, 0)?;
    file.sync_all()?;
    Ok(true)
}

/// The same with blanks in the place of the profile's name, which the boot loader does not take for a part
/// of the value; none: nothing chooses the profile.
fn without_reset(text: &[u8]) -> Option<Vec<u8>> {
    let mut found = false;
    let lines: Vec<Vec<u8>> = text
        .split(|byte| *byte == b'\n')
        .map(|line| {
            let value = line
                .strip_prefix(b"default ")
                .map(<[u8]>::trim_ascii_end)
                .and_then(|value| value.strip_suffix(RESET));
            let Some(value) = value else {
                return line.to_vec();
            };
            found = true;
            let mut changed = [b"default ", value].concat();
            changed.resize(line.len(), b' ');
            changed
        })
        .collect();
    found.then(|| lines.join(&b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_of_the_reset_is_put_back_and_nothing_else_is_touched() {
        let text = b"timeout 1\ndefault k3s-daas*.efi@reset\r\neditor no\n";
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(text, 0).unwrap();
        assert!(put_back_in(&file).unwrap());
        let mut changed = vec![0_u8; text.len()];
        file.read_exact_at(&mut changed, 0).unwrap();
        assert_eq!(
            changed,
            b"timeout 1\ndefault k3s-daas*.efi       \neditor no\n"
        );
        assert_eq!(file.metadata().unwrap().len(), text.len() as u64);
    }

    #[test]
    fn without_that_choice_there_is_nothing_to_put_back() {
        for text in [
            &b""[..],
            b"timeout 1\ndefault k3s-daas*.efi\neditor no\n",
            b"# default x@reset\ntitle @reset\n",
            b"default k3s-daas*.efi@resets",
        ] {
            assert_eq!(without_reset(text), None);
        }
    }
}
