//! The device mapper's control device: creating and removing mapped devices of one target.
//!
//! Layouts and numbers: include/uapi/linux/dm-ioctl.h. Calls: `DM_VERSION`, `DM_DEV_CREATE`,
//! `DM_TABLE_LOAD`, `DM_DEV_SUSPEND` (which resumes), `DM_DEV_REMOVE`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{self, IoctlOutput, Opcode, opcode};

/// Where devtmpfs puts the control device once the module `dm_mod` is there.
pub const CONTROL_DEVICE: &str = "/dev/mapper/control";

/// `DM_IOCTL`, the group of all device mapper calls.
const GROUP: u8 = 0xfd;
const DM_VERSION: u8 = 0;
const DM_DEV_CREATE: u8 = 3;
const DM_DEV_REMOVE: u8 = 4;
const DM_DEV_SUSPEND: u8 = 6;
const DM_TABLE_LOAD: u8 = 9;

/// `DM_READONLY_FLAG`: the table is loaded, and the device opened, for reading only.
const DM_READONLY_FLAG: u32 = 1;

/// The interface version that the calls ask for: 4.0 has all of them, and the kernel accepts any
/// minor version up to its own.
const INTERFACE_VERSION: [u32; 3] = [4, 0, 0];

const NAME_LENGTH: usize = 128;
const UUID_LENGTH: usize = 129;
const TARGET_TYPE_LENGTH: usize = 16;
/// Bytes of one call's buffer: far over what a verity table needs (about 400 bytes).
const BUFFER_LENGTH: usize = 4096;

/// `struct dm_ioctl`, the head of every call's buffer.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_number: u32,
    padding: u32,
    device: u64,
    name: [u8; NAME_LENGTH],
    uuid: [u8; UUID_LENGTH],
    data: [u8; 7],
}

/// `struct dm_target_spec`, followed by the target's parameters as a C string.
#[repr(C)]
#[derive(Clone, Copy)]
struct TargetSpec {
    sector_start: u64,
    length: u64,
    status: i32,
    next: u32,
    target_type: [u8; TARGET_TYPE_LENGTH],
}

const HEADER_LENGTH: usize = size_of::<Header>();
const PARAMETERS_OFFSET: usize = HEADER_LENGTH + size_of::<TargetSpec>();
const _: () = assert!(HEADER_LENGTH == 312 && size_of::<TargetSpec>() == 40);

/// One call's buffer, aligned as the kernel's structures want it.
#[repr(C, align(8))]
struct Buffer {
    header: Header,
    target: TargetSpec,
    parameters: [u8; BUFFER_LENGTH - PARAMETERS_OFFSET],
}

impl Buffer {
    fn new(name: &str) -> Result<Box<Self>, Error> {
        Ok(Box::new(Self {
            header: Header {
                version: INTERFACE_VERSION,
                data_size: BUFFER_LENGTH as u32,
                data_start: HEADER_LENGTH as u32,
                target_count: 0,
                open_count: 0,
                flags: 0,
                event_number: 0,
                padding: 0,
                device: 0,
                name: padded(name).ok_or(Error::TooLong { what: "name" })?,
                uuid: [0; UUID_LENGTH],
                data: [0; 7],
            },
            target: TargetSpec {
                sector_start: 0,
                length: 0,
                status: 0,
                next: 0,
                target_type: [0; TARGET_TYPE_LENGTH],
            },
            parameters: [0; BUFFER_LENGTH - PARAMETERS_OFFSET],
        }))
    }
}

/// `text` followed by zero bytes; `None` unless at least one zero byte fits.
fn padded<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    if text.len() >= LENGTH || text.contains('\0') {
        return None;
    }
    bytes
        .get_mut(..text.len())?
        .copy_from_slice(text.as_bytes());
    Some(bytes)
}

/// A call to the device mapper, for [`ioctl::ioctl`].
struct Call<'a> {
    opcode: Opcode,
    buffer: &'a mut Buffer,
}

// SAFETY: every call of this group takes a pointer to a `struct dm_ioctl` whose `data_size` says
// how many bytes may be read and written from there: the whole `Buffer`, which is borrowed
// mutably for the time of the call. Every bit pattern is a valid `Buffer`.
unsafe impl ioctl::Ioctl for Call<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::from_mut(self.buffer).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut std::ffi::c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// What kept the device mapper from making the device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control device can't be opened: most often because `dm_mod` is not loaded.
    #[error("cannot open {CONTROL_DEVICE}")]
    Control(#[source] io::Error),
    /// The kernel refused one of the calls.
    #[error("the device mapper refused {call}")]
    Call {
        /// The name of the call in `dm-ioctl.h`.
        call: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A name or a table does not fit into its field.
    #[error("the {what} of the mapped device is too long")]
    TooLong {
        /// The field.
        what: &'static str,
    },
}

/// A mapped device that is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedDevice {
    /// Major device number.
    pub major: u32,
    /// Minor device number; devtmpfs calls the device `/dev/dm-<minor>`.
    pub minor: u32,
}

/// The open control device.
#[derive(Debug)]
pub struct DeviceMapper(File);

impl DeviceMapper {
    /// Opens the control device and checks that the kernel speaks interface version 4.
    ///
    /// # Errors
    /// [`Error::Control`] or [`Error::Call`].
    pub fn open() -> Result<Self, Error> {
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open(CONTROL_DEVICE)
            .map_err(Error::Control)?;
        let mapper = Self(control);
        let mut buffer = Buffer::new("")?;
        mapper.call("DM_VERSION", DM_VERSION, &mut buffer)?;
        Ok(mapper)
    }

    /// Creates and activates a read-only device of one target that starts at sector 0. `uuid`
    /// names the device for `dmsetup` and the like; `sectors` are 512 bytes each. When a step
    /// fails, the half-made device is removed.
    ///
    /// # Errors
    /// [`Error::Call`] with the step that the kernel refused: `EINVAL` or `ENXIO` for a table that
    /// the target does not accept (the kernel log says why), `EBUSY` for a name in use.
    pub fn create_read_only(
        &self,
        name: &str,
        uuid: &str,
        target_type: &str,
        sectors: u64,
        parameters: &str,
    ) -> Result<MappedDevice, Error> {
        self.create(
            (name, uuid),
            DM_READONLY_FLAG,
            target_type,
            sectors,
            parameters,
        )
    }

    /// As [`DeviceMapper::create_read_only`], for a device that can be written. Parameters hold no
    /// secret: root reads them back with `DM_TABLE_STATUS`. A key goes through
    /// [`crate::keyring`].
    ///
    /// # Errors
    /// As [`DeviceMapper::create_read_only`].
    pub fn create_writable(
        &self,
        name: &str,
        uuid: &str,
        target_type: &str,
        sectors: u64,
        parameters: &str,
    ) -> Result<MappedDevice, Error> {
        self.create((name, uuid), 0, target_type, sectors, parameters)
    }

    /// Removes a device; `false` when there is none of that name.
    ///
    /// # Errors
    /// [`Error::Call`]: `EBUSY` for a device that is in use.
    pub fn remove(&self, name: &str) -> Result<bool, Error> {
        let mut buffer = Buffer::new(name)?;
        match self.call("DM_DEV_REMOVE", DM_DEV_REMOVE, &mut buffer) {
            Ok(()) => Ok(true),
            Err(Error::Call { source, .. })
                if source.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn create(
        &self,
        (name, uuid): (&str, &str),
        flags: u32,
        target_type: &str,
        sectors: u64,
        parameters: &str,
    ) -> Result<MappedDevice, Error> {
        let mut buffer = Buffer::new(name)?;
        buffer.header.uuid = padded(uuid).ok_or(Error::TooLong { what: "uuid" })?;
        self.call("DM_DEV_CREATE", DM_DEV_CREATE, &mut buffer)?;
        let device = mapped_device(buffer.header.device);

        let activated = self.load_and_resume(name, flags, target_type, sectors, parameters);
        if let Err(error) = activated {
            // The first error is the one to tell; a device without a table is harmless.
            let _ = self.remove(name);
            return Err(error);
        }
        Ok(device)
    }

    fn load_and_resume(
        &self,
        name: &str,
        flags: u32,
        target_type: &str,
        sectors: u64,
        parameters: &str,
    ) -> Result<(), Error> {
        let mut buffer = Buffer::new(name)?;
        buffer.header.flags = flags;
        buffer.header.target_count = 1;
        buffer.target.length = sectors;
        buffer.target.target_type = padded(target_type).ok_or(Error::TooLong { what: "type" })?;
        buffer.parameters = padded(parameters).ok_or(Error::TooLong { what: "table" })?;
        self.call("DM_TABLE_LOAD", DM_TABLE_LOAD, &mut buffer)?;

        // DM_DEV_SUSPEND without DM_SUSPEND_FLAG resumes, which makes the loaded table live.
        let mut buffer = Buffer::new(name)?;
        buffer.header.flags = flags;
        self.call("DM_DEV_SUSPEND", DM_DEV_SUSPEND, &mut buffer)
    }

    fn call(&self, call: &'static str, number: u8, buffer: &mut Buffer) -> Result<(), Error> {
        let call_with_buffer = Call {
            opcode: opcode::read_write::<Header>(GROUP, number),
            buffer,
        };
        // SAFETY: see the implementation of `Ioctl` for `Call`; the file is the control device, so
        // the opcode means what the header says.
        unsafe { ioctl::ioctl(self.0.as_fd(), call_with_buffer) }.map_err(|errno| Error::Call {
            call,
            source: errno.into(),
        })
    }
}

/// Takes apart the kernel's `huge_encode_dev`, include/linux/kdev_t.h: minor bits 0-7, major bits
/// 8-19, minor bits 20 and up.
fn mapped_device(device: u64) -> MappedDevice {
    MappedDevice {
        major: ((device >> 8) & 0xfff) as u32,
        minor: ((device & 0xff) | ((device >> 12) & 0xffff_ff00)) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_those_of_the_kernel_header() {
        assert_eq!(
            opcode::read_write::<Header>(GROUP, DM_VERSION) as u32,
            0xc138_fd00
        );
        assert_eq!(
            opcode::read_write::<Header>(GROUP, DM_TABLE_LOAD) as u32,
            0xc138_fd09
        );
        assert_eq!(std::mem::offset_of!(Buffer, target), 312);
        assert_eq!(std::mem::offset_of!(Buffer, parameters), 352);
        assert_eq!(size_of::<Buffer>(), BUFFER_LENGTH);
    }

    #[test]
    fn device_numbers_are_taken_apart() {
        assert_eq!(
            mapped_device(0xfd00),
            MappedDevice {
                major: 253,
                minor: 0
            }
        );
        assert_eq!(
            mapped_device(0x0010_fd02),
            MappedDevice {
                major: 253,
                minor: 0x102
            }
        );
    }

    #[test]
    fn text_that_does_not_fit_is_refused() {
        assert_eq!(padded::<4>("abc"), Some(*b"abc\0"));
        assert_eq!(padded::<4>("abcd"), None);
        assert_eq!(padded::<4>("a\0"), None);
    }

    #[test]
    fn a_machine_without_the_device_mapper_is_an_error() {
        if !std::path::Path::new(CONTROL_DEVICE).exists() {
            assert!(matches!(DeviceMapper::open(), Err(Error::Control(_))));
        }
    }
}
