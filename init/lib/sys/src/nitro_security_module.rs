//! The Nitro Security Module of an AWS Nitro Enclave: one request, one answer.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::ioctl::{self, Updater, opcode};

/// `NSM_REQUEST_MAX_SIZE`, include/uapi/linux/nsm.h, in bytes.
pub const MAXIMUM_REQUEST: usize = 0x1000;
/// `NSM_RESPONSE_MAX_SIZE`, include/uapi/linux/nsm.h, in bytes.
pub const MAXIMUM_RESPONSE: usize = 0x3000;

/// `NSM_IOCTL_RAW`, `_IOWR(0x0A, 0x0, struct nsm_raw)`, include/uapi/linux/nsm.h.
const NSM_IOCTL_RAW: ioctl::Opcode = opcode::read_write::<NsmRaw>(0x0a, 0);

/// `struct nsm_iovec`, include/uapi/linux/nsm.h.
#[repr(C)]
struct NsmIovec {
    address: u64,
    length: u64,
}

/// `struct nsm_raw`, include/uapi/linux/nsm.h.
#[repr(C)]
struct NsmRaw {
    request: NsmIovec,
    response: NsmIovec,
}

/// Sends a request to the module, and waits for its answer. Both are CBOR. Needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// What `open(2)` and `ioctl(2)` say: `ENOTTY` when the device is another one, `EPERM` without the
/// capability; `InvalidInput` for a request past [`MAXIMUM_REQUEST`]; `InvalidData` when the kernel
/// says that the answer is longer than its buffer.
pub fn exchange(device: &Path, request: &[u8]) -> io::Result<Vec<u8>> {
    if request.len() > MAXIMUM_REQUEST {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let device = OpenOptions::new().read(true).write(true).open(device)?;
    let mut response = vec![0u8; MAXIMUM_RESPONSE];
    let mut message = NsmRaw {
        request: NsmIovec {
            address: request.as_ptr() as u64,
            length: request.len() as u64,
        },
        response: NsmIovec {
            address: response.as_mut_ptr() as u64,
            length: response.len() as u64,
        },
    };
    // SAFETY: NSM_IOCTL_RAW reads a `struct nsm_raw`, reads `request.length` bytes at its address,
    // writes at most `response.length` bytes at the other and stores the answer's length in that
    // field. The structure has the layout of the kernel's header, `response` is borrowed mutably
    // and by nobody else, and both buffers outlive the call, which keeps neither.
    unsafe {
        ioctl::ioctl(
            device.as_fd(),
            Updater::<NSM_IOCTL_RAW, NsmRaw>::new(&mut message),
        )
    }?;
    let length = usize::try_from(message.response.length)
        .ok()
        .filter(|length| *length <= response.len())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    response.truncate(length);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_kernel_header() {
        assert_eq!(size_of::<NsmRaw>(), 32);
        assert_eq!(NSM_IOCTL_RAW, 0xc020_0a00);
    }

    #[test]
    fn another_device_and_a_long_request_are_refused() {
        let error = exchange(Path::new("/dev/null"), b"request").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(25));
        let error = exchange(Path::new("/dev/null"), &[0; MAXIMUM_REQUEST + 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
