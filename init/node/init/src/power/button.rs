//! The power button: any input device with a power key (Documentation/input/input.rst).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::{Errno, read};
use sys::devices::{EVENT_KEY, INPUT_EVENT_LENGTH, KEY_POWER, has_power_key};

/// Where the devices are.
const DIRECTORY: &str = "/dev/input";
/// How many events one read takes.
const EVENTS_AT_ONCE: usize = 16;

/// The devices that are open.
#[derive(Debug, Default)]
pub(crate) struct PowerButtons {
    devices: BTreeMap<u32, Device>,
}

#[derive(Debug)]
struct Device {
    path: PathBuf,
    file: File,
}

/// What a device said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Press {
    /// The power key went down.
    Pressed,
    /// Nothing of interest.
    No,
    /// The device is gone; it is closed.
    Gone,
}

impl PowerButtons {
    /// Opens every device that has a power key and is not open yet, and gives their numbers.
    pub(crate) fn look(&mut self) -> Vec<u32> {
        // no directory: no input device so far
        let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| {
                let digits = name.strip_prefix("event")?;
                digits.parse().ok()
            });
            if let Some(number) = number
                && !self.devices.contains_key(&number)
            {
                match open(&entry.path()) {
                    Ok(Some(device)) => {
                        tracing::info!(device = %device.path.display(), "watching a power button");
                        self.devices.insert(number, device);
                        found.push(number);
                    }
                    Ok(None) => {}
                    // it can go between the listing and the opening
                    Err(error) => tracing::debug!(%error, "an input device can't be opened"),
                }
            }
        }
        found
    }

    /// An open device, to wait on.
    pub(crate) fn descriptor(&self, number: u32) -> Option<BorrowedFd<'_>> {
        self.devices.get(&number).map(|device| device.file.as_fd())
    }

    /// Reads what a device has to say.
    pub(crate) fn read(&mut self, number: u32) -> Press {
        let Some(device) = self.devices.get(&number) else {
            return Press::No;
        };
        let mut buffer = [0; INPUT_EVENT_LENGTH * EVENTS_AT_ONCE];
        match read(&device.file, &mut buffer) {
            Ok(length) => {
                let (events, _) = buffer
                    .get(..length)
                    .unwrap_or_default()
                    .as_chunks::<INPUT_EVENT_LENGTH>();
                if events.iter().any(is_press) {
                    Press::Pressed
                } else {
                    Press::No
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => Press::No,
            Err(_) => {
                self.devices.remove(&number);
                Press::Gone
            }
        }
    }
}

fn open(path: &Path) -> io::Result<Option<Device>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    Ok(has_power_key(&file)?.then(|| Device {
        path: path.to_owned(),
        file,
    }))
}

/// Whether an event is the power key going down: a value of 1, where 0 is up and 2 a repetition.
fn is_press(event: &[u8; INPUT_EVENT_LENGTH]) -> bool {
    let [.., type_0, type_1, code_0, code_1, a, b, c, d] = *event;
    u16::from_ne_bytes([type_0, type_1]) == EVENT_KEY
        && u16::from_ne_bytes([code_0, code_1]) == KEY_POWER
        && i32::from_ne_bytes([a, b, c, d]) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> [u8; INPUT_EVENT_LENGTH] {
        let mut bytes = [0xaa; INPUT_EVENT_LENGTH];
        bytes[16..18].copy_from_slice(&kind.to_ne_bytes());
        bytes[18..20].copy_from_slice(&code.to_ne_bytes());
        bytes[20..].copy_from_slice(&value.to_ne_bytes());
        bytes
    }

    #[test]
    fn only_the_power_key_going_down_counts() {
        assert!(is_press(&event(1, 116, 1)));
        assert!(!is_press(&event(1, 116, 0)), "up");
        assert!(!is_press(&event(1, 116, 2)), "held");
        assert!(!is_press(&event(1, 30, 1)), "another key");
        assert!(!is_press(&event(0, 0, 0)), "the end of a report");
        assert!(!is_press(&event(4, 116, 1)), "another type");
    }

    #[test]
    fn what_is_not_open_says_nothing() {
        let mut buttons = PowerButtons::default();
        assert_eq!(buttons.read(7), Press::No);
        assert!(buttons.descriptor(7).is_none());
    }
}
