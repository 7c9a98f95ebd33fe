//! Requests to character devices that are neither disks nor mappers.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::c_int;

/// `EV_KEY` of <linux/input-event-codes.h>: keys and buttons.
pub const EVENT_KEY: u16 = 0x01;
/// `KEY_POWER` of <linux/input-event-codes.h>.
pub const KEY_POWER: u16 = 116;
/// The length of `struct input_event` of <linux/input.h> where a `long` has 64 bits: two of them
/// of time, then type and code with 16 bits each and the value with 32.
pub const INPUT_EVENT_LENGTH: usize = 24;

/// Bytes of the bitmap of keys: `KEY_MAX` is 0x2ff.
const KEY_BYTES: usize = 0x300 / 8;
/// `EVIOCGBIT(EV_KEY, KEY_BYTES)` of <linux/input.h>: `_IOC(_IOC_READ, 'E', 0x20 + EV_KEY, len)`.
const EVIOCGBIT_KEYS: libc::Ioctl =
    (2_u32 << 30 | (KEY_BYTES as u32) << 16 | (b'E' as u32) << 8 | (0x20 + EVENT_KEY as u32)) as _;
/// `WDIOC_SETTIMEOUT` of <linux/watchdog.h>: `_IOWR('W', 6, int)`.
const WDIOC_SETTIMEOUT: libc::Ioctl = (3_u32 << 30 | 4 << 16 | (b'W' as u32) << 8 | 6) as _;

/// Whether an input device (`/dev/input/event*`) has a power key.
///
/// # Errors
/// What ioctl(2) says, `ENOTTY` for what is no input device.
pub fn has_power_key(device: impl AsFd) -> io::Result<bool> {
    let mut keys = [0_u8; KEY_BYTES];
    // SAFETY: the kernel writes at most as many bytes as the request's number holds, which is the
    // buffer's length.
    let result = unsafe {
        libc::ioctl(
            device.as_fd().as_raw_fd(),
            EVIOCGBIT_KEYS,
            keys.as_mut_ptr(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let byte = keys.get(usize::from(KEY_POWER / 8)).copied();
    Ok(byte.unwrap_or(0) >> (KEY_POWER % 8) & 1 == 1)
}

/// Asks a watchdog (`/dev/watchdog`) for a time limit and gives the one that it took, in seconds.
///
/// # Errors
/// What ioctl(2) says, `EOPNOTSUPP` for a watchdog whose limit is fixed.
pub fn set_watchdog_limit(device: impl AsFd, seconds: u16) -> io::Result<u32> {
    let mut value = c_int::from(seconds);
    // SAFETY: the kernel reads and writes one int.
    let result =
        unsafe { libc::ioctl(device.as_fd().as_raw_fd(), WDIOC_SETTIMEOUT, &raw mut value) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::try_from(value).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_have_the_numbers_of_the_headers() {
        // as `strace` and the C preprocessor give them
        assert_eq!(EVIOCGBIT_KEYS as u32, 0x8060_4521);
        assert_eq!(WDIOC_SETTIMEOUT as u32, 0xc004_5706);
    }

    #[test]
    fn a_file_is_no_device() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(has_power_key(&file).is_err());
        assert!(set_watchdog_limit(&file, 30).is_err());
    }
}
