//! Events of the kernel's devices, from its netlink socket.
//!
//! Format: lib/kobject_uevent.c. One datagram an event: `<action>@<path>`, then `KEY=value`
//! strings, each ended by a zero byte.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with, sockopt,
};

/// The group of the kernel's own messages; group 2 is for a udev, which is not here.
const KERNEL_GROUP: u32 = 1;
/// `UEVENT_BUFFER_SIZE` is 2048 bytes (include/linux/kobject.h), before the head line with the
/// path.
const DATAGRAM_LIMIT: usize = 8 * 1024;
/// Room for the burst of a boot (about a thousand events of 400 bytes). What does not fit is
/// reported as [`Received::Lost`].
const SOCKET_BUFFER: usize = 1024 * 1024;

/// One event of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `remove`, `change`, `move`, `bind`, `unbind`, …
    pub action: String,
    /// Path below `/sys`.
    pub device_path: String,
    fields: BTreeMap<String, String>,
}

impl Uevent {
    /// Takes a datagram apart; `None` for what is no event of the kernel.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let mut strings = datagram
            .split(|byte| *byte == 0)
            .map(String::from_utf8_lossy);
        let head = strings.next()?;
        let (action, device_path) = head.split_once('@')?;
        if action.is_empty() || !device_path.starts_with('/') {
            return None;
        }
        let fields = strings
            .filter_map(|string| {
                let (key, value) = string.split_once('=')?;
                Some((key.to_owned(), value.to_owned()))
            })
            .collect();
        Some(Self {
            action: action.to_owned(),
            device_path: device_path.to_owned(),
            fields,
        })
    }

    /// The value of one field, such as `MODALIAS` or `DEVNAME`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str)
    }

    /// Whether a block device (a disk or a partition) came, went or changed.
    pub fn is_block_device(&self) -> bool {
        self.get("SUBSYSTEM") == Some("block")
    }
}

/// What one read of the socket gave.
#[derive(Debug)]
pub enum Received {
    /// An event.
    Event(Uevent),
    /// Nothing now.
    Empty,
    /// Events came faster than they were read, and some are gone: look at the devices afresh.
    Lost,
}

/// The socket. It does not block; its descriptor becomes readable when an event waits.
#[derive(Debug)]
pub struct UeventSocket(OwnedFd);

impl UeventSocket {
    /// Opens the socket. Events before this moment are not seen, so open it before looking at
    /// the devices that are there already.
    ///
    /// # Errors
    /// What the system says.
    pub fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(KOBJECT_UEVENT),
        )?;
        if let Err(error) = sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER) {
            tracing::debug!(%error, "the uevent socket keeps its default buffer");
        }
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self(socket))
    }

    /// Reads one event.
    ///
    /// # Errors
    /// What the system says, but for an empty socket and for lost events.
    pub fn receive(&self) -> io::Result<Received> {
        let mut buffer = [0; DATAGRAM_LIMIT];
        loop {
            let (length, sender) = match recvfrom(&self.0, &mut buffer[..], RecvFlags::TRUNC) {
                Ok((_, length, sender)) => (length, sender),
                Err(Errno::AGAIN) => return Ok(Received::Empty),
                Err(Errno::NOBUFS) => return Ok(Received::Lost),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            // Port 0 is the kernel. Anybody with CAP_NET_ADMIN could send here as well.
            let from_kernel = sender
                .and_then(|address| SocketAddrNetlink::try_from(address).ok())
                .is_some_and(|address| address.pid() == 0);
            let event = buffer
                .get(..length)
                .filter(|_| from_kernel)
                .and_then(Uevent::parse);
            match event {
                Some(event) => return Ok(Received::Event(event)),
                None => tracing::debug!(length, "a datagram on the uevent socket is no event"),
            }
        }
    }
}

impl AsFd for UeventSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_taken_apart() {
        let event = Uevent::parse(
            b"add@/devices/pci0000:00/0000:00:03.0\0ACTION=add\0SUBSYSTEM=pci\0MODALIAS=pci:v1\0",
        )
        .unwrap();
        assert_eq!(event.action, "add");
        assert_eq!(event.device_path, "/devices/pci0000:00/0000:00:03.0");
        assert_eq!(event.get("MODALIAS"), Some("pci:v1"));
        assert_eq!(event.get("DEVNAME"), None);
        assert!(!event.is_block_device());
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for datagram in [
            &b""[..],
            b"\0",
            b"libudev\0\xfe\xed",
            b"add@",
            b"@/devices",
            b"add/x",
        ] {
            assert_eq!(Uevent::parse(datagram), None);
        }
    }

    #[test]
    fn odd_fields_do_no_harm() {
        let event = Uevent::parse(b"change@/x\0novalue\0=\0A=b=c\0B=\xff").unwrap();
        assert_eq!(event.get("A"), Some("b=c"));
        assert_eq!(event.get("novalue"), None);
        assert_eq!(event.get("B"), Some("\u{fffd}"));
    }

    #[test]
    fn the_socket_opens_and_is_empty() {
        let socket = UeventSocket::open().unwrap();
        assert!(matches!(
            socket.receive(),
            Ok(Received::Empty | Received::Event(_))
        ));
    }
}
