//! The systems beside which a node is measured, built from the lock and from the node's own image.
//!
//! Equal for all: QEMU's machine, the kernel and its command line, the initramfs with its modules (a second
//! archive behind it has another first program), the disk with a node's state on it (ext4), EROFS of the same
//! settings under dm-verity as root, containerd with its configuration, and its files in the state.
//!
//! Not equal:
//! - The floor (crate `floor`) and BusyBox set a static address; systemd's networkd and a node use DHCP.
//! - Neither floor nor BusyBox checks the state's file system; systemd and a node do.
//! - systemd's root holds its own programs beside all of the node's; what opens that root is the floor's
//!   program, faster than Debian's own initramfs.
//! - A node's mark, "the agent may start", waits for state, boot phase and containerd, not for the network, which the
//!   floor and systemd wait for. Its "agent started" does, by way of the registration, and stands beside.
//! - BusyBox has no words for dm-verity: `dmsetup` opens the root, by a table made beforehand.
//! - BusyBox counts hundredths of a second, and takes the socket's file for its answer.

pub mod busybox;
pub mod initramfs;
pub mod packages;
pub mod systemd;

/// The marks that each peer sets.
#[cfg(test)]
pub(crate) fn marks_of_peers() -> [&'static str; 4] {
    use crate::boot::marks;
    [
        marks::PID_1,
        marks::ROOT,
        marks::CONTAINERD,
        marks::AGENT_MAY_START,
    ]
}
