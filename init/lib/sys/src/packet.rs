//! Packet sockets (packet(7)): what a link receives before it has an address.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use libc::{c_int, c_void, sock_filter, sock_fprog, sockaddr_ll, socklen_t};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socket_with};

/// The length of an Ethernet address, in bytes.
const ETHERNET_ADDRESS: u8 = 6;

/// The Ethernet address that every host on the link takes.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// The protocol whose packets a socket receives, without their Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// IPv4.
    Ipv4,
    /// ARP.
    Arp,
    /// IPv6.
    Ipv6,
}

impl Protocol {
    /// `ETH_P_IP`, `ETH_P_ARP`, `ETH_P_IPV6` of `<linux/if_ether.h>`.
    const fn number(self) -> u16 {
        match self {
            Self::Ipv4 => 0x0800,
            Self::Arp => 0x0806,
            Self::Ipv6 => 0x86dd,
        }
    }
}

/// One test of a filter. A packet passes where all of them hold; offsets are in bytes from the packet's
/// beginning, behind the Ethernet header, and a packet that is too short does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// The byte at an offset has this value.
    Byte(u32, u8),
    /// The two bytes at an offset, in network order, have this value.
    Half(u32, u16),
    /// The four bytes at an offset, in network order, have this value.
    Word(u32, u32),
    /// No bit of the mask is set in the two bytes at an offset.
    NoBits(u32, u16),
    /// The two bytes at an offset behind the IPv4 header, whatever its length, have this value.
    AfterIpv4(u32, u16),
}

/// How many bytes of a packet pass a filter: the longest of Ethernet's own frames and more.
const SNAPSHOT: u32 = 9216;

// Instructions of the classic BPF (Documentation/networking/filter.rst).
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_INDEXED: u16 = 0x48;
const LOAD_X_HEADER_LENGTH: u16 = 0xb1;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;

const fn instruction(code: u16, constant: u32) -> sock_filter {
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k: constant,
    }
}

/// The filter's program: each test leaps over a refusal.
fn program(tests: &[Test]) -> Vec<sock_filter> {
    let mut program = Vec::new();
    let mut passes_when = |jump: u16, constant: u32, on_true: bool, load: &[sock_filter]| {
        program.extend_from_slice(load);
        let (jt, jf) = if on_true { (1, 0) } else { (0, 1) };
        program.push(sock_filter {
            code: jump,
            jt,
            jf,
            k: constant,
        });
        program.push(instruction(RETURN, 0));
    };
    for test in tests {
        match *test {
            Test::Byte(at, value) => {
                passes_when(
                    JUMP_EQUAL,
                    value.into(),
                    true,
                    &[instruction(LOAD_BYTE, at)],
                );
            }
            Test::Half(at, value) => {
                passes_when(
                    JUMP_EQUAL,
                    value.into(),
                    true,
                    &[instruction(LOAD_HALF, at)],
                );
            }
            Test::Word(at, value) => {
                passes_when(JUMP_EQUAL, value, true, &[instruction(LOAD_WORD, at)]);
            }
            Test::NoBits(at, mask) => {
                passes_when(JUMP_BITS, mask.into(), false, &[instruction(LOAD_HALF, at)]);
            }
            Test::AfterIpv4(at, value) => passes_when(
                JUMP_EQUAL,
                value.into(),
                true,
                &[
                    instruction(LOAD_X_HEADER_LENGTH, 0),
                    instruction(LOAD_HALF_INDEXED, at),
                ],
            ),
        }
    }
    program.push(instruction(RETURN, SNAPSHOT));
    program
}

/// A packet socket on one link. It never blocks.
#[derive(Debug)]
pub struct PacketSocket {
    descriptor: OwnedFd,
    index: u32,
    protocol: Protocol,
}

impl PacketSocket {
    /// Opens a socket for the packets of one protocol, on the link with this index, that pass the tests.
    ///
    /// # Errors
    /// What the kernel says: without `CAP_NET_RAW`, or for a link that is not there.
    pub fn open(index: u32, protocol: Protocol, tests: &[Test]) -> io::Result<Self> {
        // without a protocol it receives nothing before it has its filter
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let descriptor = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
        let socket = Self {
            descriptor,
            index,
            protocol,
        };
        socket.filter(tests)?;
        let address = socket.address(BROADCAST);
        // SAFETY: the address is a sockaddr_ll of the length that is given, and outlives the call; the
        // descriptor is open.
        let status = unsafe {
            libc::bind(
                socket.descriptor.as_raw_fd(),
                (&raw const address).cast(),
                LENGTH_OF_ADDRESS,
            )
        };
        if status == 0 {
            Ok(socket)
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Replaces the filter.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn filter(&self, tests: &[Test]) -> io::Result<()> {
        let mut program = program(tests);
        let program = sock_fprog {
            len: program.len().try_into().map_err(io::Error::other)?,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: the program points to as many instructions as it says, which outlive the call; the
        // kernel copies them. The descriptor is open.
        let status = unsafe {
            libc::setsockopt(
                self.descriptor.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast::<c_void>(),
                LENGTH_OF_PROGRAM,
            )
        };
        if status == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Sends one packet to an Ethernet address; the kernel puts the Ethernet header before it.
    ///
    /// # Errors
    /// What the kernel says: `WouldBlock` where the queue is full, `NetworkDown` where the link is.
    pub fn send(&self, to: [u8; 6], packet: &[u8]) -> io::Result<()> {
        let address = self.address(to);
        // SAFETY: packet and address are valid for the lengths that are given, and outlive the call; the
        // descriptor is open.
        let sent = unsafe {
            libc::sendto(
                self.descriptor.as_raw_fd(),
                packet.as_ptr().cast::<c_void>(),
                packet.len(),
                0,
                (&raw const address).cast(),
                LENGTH_OF_ADDRESS,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Receives one packet. What is longer than the buffer is cut.
    ///
    /// # Errors
    /// `WouldBlock` where there is none; what else the kernel says.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, _) = recv(&self.descriptor, buffer, RecvFlags::empty())?;
        Ok(length)
    }

    fn address(&self, hardware: [u8; 6]) -> sockaddr_ll {
        let mut sll_addr = [0; 8];
        for (place, byte) in sll_addr.iter_mut().zip(hardware) {
            *place = byte;
        }
        sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: self.protocol.number().to_be(),
            sll_ifindex: self.index as c_int,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: ETHERNET_ADDRESS,
            sll_addr,
        }
    }
}

const LENGTH_OF_ADDRESS: socklen_t = size_of::<sockaddr_ll>() as socklen_t;
const LENGTH_OF_PROGRAM: socklen_t = size_of::<sock_fprog>() as socklen_t;

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's interpreter makes of a program, for the instructions that occur here.
    fn passes(program: &[sock_filter], packet: &[u8]) -> bool {
        let (mut at, mut a, mut x) = (0, 0_u32, 0);
        let load = |offset: u32, length: usize| -> Option<u32> {
            let offset = offset as usize;
            let bytes = packet.get(offset..offset + length)?;
            Some(
                bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | u32::from(*byte)),
            )
        };
        loop {
            let now = &program[at];
            at += 1;
            let loaded = match now.code {
                LOAD_WORD => load(now.k, 4),
                LOAD_HALF => load(now.k, 2),
                LOAD_BYTE => load(now.k, 1),
                LOAD_HALF_INDEXED => load(now.k + x, 2),
                LOAD_X_HEADER_LENGTH => match load(now.k, 1) {
                    Some(byte) => {
                        x = 4 * (byte & 15);
                        Some(a)
                    }
                    None => None,
                },
                JUMP_EQUAL | JUMP_BITS => {
                    let holds = if now.code == JUMP_EQUAL {
                        a == now.k
                    } else {
                        a & now.k != 0
                    };
                    at += usize::from(if holds { now.jt } else { now.jf });
                    continue;
                }
                RETURN => return now.k != 0,
                other => unreachable!("{other}"),
            };
            match loaded {
                Some(value) => a = value,
                None => return false,
            }
        }
    }

    #[test]
    fn filter_passes_what_every_test_holds_for() {
        let tests = [
            Test::Byte(1, 17),
            Test::NoBits(2, 0x1fff),
            Test::AfterIpv4(2, 68),
            Test::Word(4, 0x0102_0304),
            Test::Half(6, 0x0304),
        ];
        let program = program(&tests);
        let mut packet = vec![0; 40];
        packet[0] = 0x46; // a header of 24 bytes
        packet[1] = 17;
        packet[4..8].copy_from_slice(&[1, 2, 3, 4]);
        packet[27] = 68;
        assert!(passes(&program, &packet));
        for (at, value) in [(0, 0x45), (1, 6), (3, 1), (27, 67), (4, 9)] {
            let mut other = packet.clone();
            other[at] = value;
            assert!(!passes(&program, &other), "{at}");
        }
        assert!(!passes(&program, &packet[..20]), "too short");
    }
}
