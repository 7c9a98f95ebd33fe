//! Keys in the kernel's keyrings (keyrings(7)): how a secret reaches the device mapper without
//! standing in a table, where whoever is root could read it back for as long as the mapping lives.

use std::ffi::CString;
use std::io;

use libc::{c_int, c_long};

/// `KEYCTL_UNLINK`, include/uapi/linux/keyctl.h.
const KEYCTL_UNLINK: c_long = 9;
/// `KEY_SPEC_THREAD_KEYRING`, include/uapi/linux/keyctl.h: the calling thread's own, which goes with
/// the thread.
const THREAD_KEYRING: c_long = -1;
/// The kernel finds it and nobody reads it, not even who has put it there (keyrings(7), "logon").
const TYPE: &std::ffi::CStr = c"logon";

/// A key on the keyring of the thread that made it. Dropping it takes it off; the kernel wipes it
/// once nobody uses it.
#[derive(Debug)]
pub struct LogonKey {
    serial: c_int,
}

impl LogonKey {
    /// Puts a secret of up to 32,767 bytes on the calling thread's keyring. The description has the
    /// form `<who>:<what>`.
    ///
    /// # Errors
    /// What `add_key(2)` says: `EINVAL` for a description without a colon or for an empty secret,
    /// `EDQUOT` when the user has too many keys, `ENOSYS` for a kernel without keyrings.
    pub fn add(description: &str, secret: &[u8]) -> io::Result<Self> {
        let description = CString::new(description)?;
        // SAFETY: type and description are strings that end in a zero byte, the payload is as long
        // as said; all outlive the call, which copies them.
        let serial = unsafe {
            libc::syscall(
                libc::SYS_add_key,
                TYPE.as_ptr(),
                description.as_ptr(),
                secret.as_ptr(),
                secret.len(),
                THREAD_KEYRING,
            )
        };
        if serial < 0 {
            return Err(io::Error::last_os_error());
        }
        let serial =
            c_int::try_from(serial).map_err(|_| io::Error::from(rustix::io::Errno::OVERFLOW))?;
        Ok(Self { serial })
    }
}

impl Drop for LogonKey {
    fn drop(&mut self) {
        // SAFETY: the call takes two numbers and touches no memory of ours.
        // It fails only for a key that is gone already.
        let _ = unsafe {
            libc::syscall(
                libc::SYS_keyctl,
                KEYCTL_UNLINK,
                c_long::from(self.serial),
                THREAD_KEYRING,
            )
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `KEYCTL_SEARCH`, include/uapi/linux/keyctl.h.
    const KEYCTL_SEARCH: c_long = 10;
    /// `KEYCTL_READ`, include/uapi/linux/keyctl.h.
    const KEYCTL_READ: c_long = 11;

    fn find(description: &std::ffi::CStr) -> io::Result<c_long> {
        // SAFETY: both strings end in a zero byte and outlive the call.
        let found = unsafe {
            libc::syscall(
                libc::SYS_keyctl,
                KEYCTL_SEARCH,
                THREAD_KEYRING,
                TYPE.as_ptr(),
                description.as_ptr(),
                0,
            )
        };
        match found {
            -1 => Err(io::Error::last_os_error()),
            serial => Ok(serial),
        }
    }

    #[test]
    fn a_key_is_found_until_it_is_dropped_and_never_read() {
        let key = match LogonKey::add("daas:test", b"secret") {
            Ok(key) => key,
            // Sandboxes for containers refuse keyrings, which know no namespaces.
            Err(error) => {
                let refused = [libc::ENOSYS, libc::EPERM, libc::EACCES].map(Some);
                assert!(refused.contains(&error.raw_os_error()), "{error}");
                return;
            }
        };
        assert_eq!(find(c"daas:test").unwrap(), c_long::from(key.serial));
        let mut buffer = [0_u8; 16];
        // SAFETY: the buffer is as long as said and outlives the call.
        let read = unsafe {
            libc::syscall(
                libc::SYS_keyctl,
                KEYCTL_READ,
                c_long::from(key.serial),
                buffer.as_mut_ptr(),
                buffer.len(),
            )
        };
        assert_eq!((read, buffer), (-1, [0; 16]));
        drop(key);
        assert!(find(c"daas:test").is_err());
    }

    #[test]
    fn a_description_needs_its_colon() {
        assert!(LogonKey::add("state", b"secret").is_err());
        assert!(LogonKey::add("a\0:b", b"secret").is_err());
    }
}
