//! The floor: as little as brings containerd up from a node's root, as PID 1 of an initramfs. What a node
//! takes longer is what the node does beside.
//!
//! Equal to a node: kernel, initramfs (but for `/init`), disk, the root under dm-verity, its state, mounts,
//! containerd with its configuration. Not here: everything else. No check of the state's file system, no
//! control groups of services, no events of devices, no DHCP, no log, no TPM.
//!
//! A node ends its boot phase (`measure`) before containerd starts. Here that would stand between
//! [`root::mount_state`] and the start of containerd; without a TPM there is nothing to end.
//!
//! With `bench.init=PROGRAM` on the kernel's command line it opens the root and executes that program in
//! its place: so another PID 1 gets the fastest initramfs that there is. As `floor mark NAME`, on a root, it
//! writes a mark.

use std::convert::Infallible;
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use floor::{mark, network, root};
use kernel::command_line::CommandLine;
use kernel::modules::Loader;
use kernel::mounts;
use log::timeline;

/// What containers and the network need, from the root.
const ROOT_MODULES: [&str; 2] = ["virtio_net", "overlay"];
const CONTAINERD: &str = "/usr/bin/containerd";
const SOCKET: &str = "/run/containerd/containerd.sock";
const OUTPUT: &str = "/run/containerd.log";
const SEARCH_PATH: (&str, &str) = ("PATH", "/usr/sbin:/usr/bin");
/// How often the socket is tried.
const TRIES: Duration = Duration::from_millis(5);
/// containerd is up within this, also on a busy emulated machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// Bytes of containerd's output in a failure's report.
const TAIL: usize = 600;

fn main() -> ExitCode {
    if rustix::process::getpid().is_init() {
        let started = timeline::now();
        let error = match run(started) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        // the bench waits for this line; PID 1 must not end
        let _ = mark::say(&format!("bench: failed {error:#}"));
        park();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [command, name] if command == "mark" => mark::mark(name),
        _ => {
            eprintln!("floor: PID 1 of an initramfs, or `floor mark NAME`");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(started: Duration) -> Result<Infallible> {
    mounts::initramfs()?;
    mark::mark_at("pid-1", started)?;
    root::enter()?;
    mark::mark("root")?;
    let command_line = CommandLine::read().context("no command line")?;
    if let Some(program) = command_line.value("bench.init")? {
        let error = Command::new(program)
            .env_clear()
            .env(SEARCH_PATH.0, SEARCH_PATH.1)
            .exec();
        return Err(error).with_context(|| format!("cannot execute {program}"));
    }
    mounts::root()?;
    let network = thread::spawn(|| -> Result<()> {
        let mut loader = Loader::open()?;
        for module in ROOT_MODULES {
            loader.load(module)?;
        }
        network::set_up()
    });
    root::mount_state()?;
    start_containerd()?;
    mark::mark("containerd")?;
    match network.join() {
        Ok(outcome) => outcome.context("no network")?,
        Err(_) => bail!("a thread panicked"),
    }
    mark::mark("agent-may-start")?;
    park()
}

/// Starts containerd and waits until its socket takes connections.
fn start_containerd() -> Result<()> {
    let output = File::create(OUTPUT)?;
    let mut containerd = Command::new(CONTAINERD)
        .env_clear()
        .env(SEARCH_PATH.0, SEARCH_PATH.1)
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .context("cannot start containerd")?;
    let deadline = Instant::now() + PATIENCE;
    while UnixStream::connect(SOCKET).is_err() {
        if let Some(status) = containerd.try_wait()? {
            let text = fs::read_to_string(OUTPUT).unwrap_or_default();
            let tail = text.floor_char_boundary(text.len().saturating_sub(TAIL));
            bail!(
                "containerd ended ({status}): {}",
                text.get(tail..).unwrap_or_default()
            );
        }
        if Instant::now() > deadline {
            bail!("containerd does not answer");
        }
        thread::sleep(TRIES);
    }
    Ok(())
}

fn park() -> ! {
    loop {
        thread::park();
    }
}
