//! What the kernel offers to PID 1, to the initramfs and to root's tasks.
//!
//! - [`command_line`], [`mounts`]: the kernel command line; its own file systems and the tmpfs ones.
//! - [`modules`], [`uevent`]: kernel modules, and the device events that ask for them.
//! - [`block_devices`], [`root_devices`]: disks and partitions in sysfs; those of the root.
//! - [`console`], [`failure`]: screens on every console, and the one before a restart.
//! - [`watchdog`]: the hardware that restarts a machine whose PID 1 hangs.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::string_slice))]

pub mod block_devices;
pub mod command_line;
pub mod console;
pub mod failure;
pub mod modules;
pub mod mounts;
pub mod root_devices;
pub mod root_failures;
pub mod uevent;
pub mod watchdog;
