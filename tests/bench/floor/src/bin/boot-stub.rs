//! What systemd's stub does to a TPM, where QEMU starts the kernel without it: as the first program of an
//! initramfs it extends PCR 11 by the digests in `/bench/pcr11`, one in hexadecimal a line, and executes
//! the node's own first program. So a node seals and unseals as it does behind its stub, without the half
//! minute that firmware takes.

use std::convert::Infallible;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Context as _, Result};
use floor::mark;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tpm::channel::Channel;
use tpm::transport::DEVICE;
use tpm::{Digest, pcr};

/// The digests.
const DIGESTS: &str = "/bench/pcr11";
/// The node's own first program.
const NEXT: &str = "/init";

fn main() -> ExitCode {
    if !rustix::process::getpid().is_init() {
        eprintln!("boot-stub: it runs as PID 1 of an initramfs");
        return ExitCode::from(2);
    }
    let error = match run() {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let _ = mark::say(&format!("bench: failed {error:#}"));
    loop {
        thread::park();
    }
}

fn run() -> Result<Infallible> {
    mount("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, None).context("no /dev")?;
    let text = fs::read_to_string(DIGESTS).context("no digests")?;
    let mut channel = Channel::open(Path::new(DEVICE))?;
    for line in text.lines() {
        let mut digest = Digest::default();
        hex::decode_to_slice(line, &mut digest).context("a line is no digest")?;
        pcr::extend(&mut channel, pcr::KERNEL, &digest)?;
    }
    drop(channel);
    unmount("/dev", UnmountFlags::empty()).context("/dev stays")?;
    Err(Command::new(NEXT).exec()).context("cannot execute the node's program")
}
