//! A service of the devnet: a program of this tree that can be stopped, paused and started again
//! under the same address.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::log::LineLog;
use crate::process::ManagedProcess;

/// A service on this host is ready within this, also on a busy one.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Ports below those that Linux gives to outgoing connections (ip(7), `ip_local_port_range`), so
/// that a port that is free now is still free when its service starts, or starts again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port of the loopback that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let width = PORTS.end - PORTS.start;
    // two harnesses at a time begin at different places
    let first = (std::process::id().wrapping_mul(499) % u32::from(width)) as u16;
    for _ in 0..width {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % width;
        let port = PORTS.start + (first + step) % width;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port between {} and {} is free", PORTS.start, PORTS.end)
}

/// A free port whose next one is free and nobody else's too: `k3s server` takes a second port for
/// its API server, one above the one it is told.
///
/// # Errors
/// When there is none.
pub fn free_port_pair() -> Result<u16> {
    let mut port = free_port()?;
    loop {
        let next = free_port()?;
        if next == port + 1 {
            return Ok(port);
        }
        port = next;
    }
}

/// One service.
pub struct Service {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
    ready: &'static str,
    record: PathBuf,
    process: Option<ManagedProcess>,
}

impl Service {
    /// A service that does not run yet. `ready` is the expression for the line that it writes when
    /// it takes connections, `record` the file that keeps its output.
    pub fn new(
        name: &'static str,
        program: PathBuf,
        arguments: Vec<OsString>,
        ready: &'static str,
        record: PathBuf,
    ) -> Self {
        Self {
            name,
            program,
            arguments,
            ready,
            record,
            process: None,
        }
    }

    /// Starts it and waits until it takes connections; nothing to do where it runs already.
    ///
    /// # Errors
    /// When it does not start, with what it wrote.
    pub async fn start(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        let process = ManagedProcess::spawn(
            self.name,
            &self.program,
            self.arguments.iter().cloned(),
            &self.record,
        )?;
        process.ready(self.ready, READY_TIMEOUT).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills it: connections to it are refused from now on.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Stops it from answering, with its connections open: a host that hangs.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.running()?.signal(Signal::STOP)
    }

    /// Lets a paused service go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.running()?.signal(Signal::CONT)
    }

    /// What it writes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn log(&self) -> Result<&LineLog> {
        Ok(&self.running()?.log)
    }

    fn running(&self) -> Result<&ManagedProcess> {
        self.process
            .as_ref()
            .with_context(|| format!("{} does not run", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_not_given_twice() {
        let taken = free_port().unwrap();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, taken)).unwrap();
        let next = free_port().unwrap();
        assert_ne!(taken, next);
        assert!(PORTS.contains(&next));
    }

    #[test]
    fn the_second_port_of_a_pair_is_not_given_again() {
        let pair = free_port_pair().unwrap();
        let _first = TcpListener::bind((Ipv4Addr::LOCALHOST, pair)).unwrap();
        let _second = TcpListener::bind((Ipv4Addr::LOCALHOST, pair + 1)).unwrap();
        assert!(![pair, pair + 1].contains(&free_port().unwrap()));
    }

    #[tokio::test]
    async fn a_service_starts_again() {
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["-c", "echo listening; exec sleep 600"]
            .map(OsString::from)
            .to_vec();
        let record = directory.path().join("log");
        let mut service = Service::new(
            "sleeper",
            "/bin/sh".into(),
            arguments,
            "^listening$",
            record.clone(),
        );
        assert!(service.pause().is_err());
        service.start().await.unwrap();
        service.pause().unwrap();
        service.resume().unwrap();
        service.stop().await.unwrap();
        service.start().await.unwrap();
        assert_eq!(
            std::fs::read_to_string(record).unwrap(),
            "listening\nlistening\n"
        );
    }
}
