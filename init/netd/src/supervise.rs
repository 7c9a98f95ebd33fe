//! The life of netd: the network first, the clock as soon as there is one.

use std::net::Ipv4Addr;
use std::path::Path;
use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use config::PublicConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::channel;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{info, warn};
use wire::status::{DegradedReason, Phase};

use crate::clock::{self, ClockError, Floor};
use crate::network::{Network, NetworkEvent};
use crate::report::Report;
use crate::resolver;
use crate::settings::Settings;

/// How long the boot waits for an address before the node says that it has none.
const NETWORK_PATIENCE: Duration = Duration::from_secs(15);
/// How long the boot waits for the time once there is a network. A node whose time servers are
/// blocked goes on with its own clock, and says so.
const CLOCK_PATIENCE: Duration = Duration::from_secs(10);
/// The first and the longest wait between two tries to get the time.
const CLOCK_RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(512));
/// How often a clock that is right is checked.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1024);

/// A round of time servers that is under way: who answered, and the offset in seconds.
type ClockRound = Pin<Box<dyn Future<Output = Result<(String, f64), ClockError>>>>;

/// Waits for a round that may be under way.
async fn finished(round: &mut Option<ClockRound>) -> Result<(String, f64), ClockError> {
    match round {
        Some(round) => round.await,
        None => std::future::pending().await,
    }
}

/// Runs until a signal says to stop.
pub(crate) async fn run(config: PublicConfig) -> Result<()> {
    let report = Report::from_environment().context("init's socket can't be used")?;
    let floor = match Floor::read(Path::new(clock::BUILD_TIME)) {
        Ok(floor) => Some(floor),
        Err(error) => {
            warn!(path = clock::BUILD_TIME, %error, "no floor for the clock");
            None
        }
    };
    if floor
        .map(Floor::raise)
        .transpose()
        .context("the clock is before its floor")?
        == Some(true)
    {
        warn!("the clock was before the time at which this image was made, and is set to it");
    }

    let network = Network::new(config.network.clone(), config.node_id.clone())?;
    let (sender, mut events) = channel(16);
    let mut network = pin!(network.run(sender));
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be awaited")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be awaited")?;

    let mut keeper = Keeper::new(config, floor, report);
    let mut patience = pin!(sleep(NETWORK_PATIENCE));
    let mut waiting = true;
    let mut round: Option<ClockRound> = None;
    loop {
        tokio::select! {
            ended = &mut network => {
                ended.context("the links can't be kept")?;
                bail!("the kernel closed the rtnetlink socket");
            }
            Some(event) = events.recv() => keeper.network(event),
            () = &mut patience, if waiting => {
                waiting = false;
                keeper.network_is_late();
            }
            () = sleep_until(keeper.clock_due), if keeper.network_up && round.is_none() => {
                round = Some(keeper.clock_round());
            }
            result = finished(&mut round), if round.is_some() => {
                round = None;
                keeper.clock(result);
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    info!("stopping; addresses and routes stay as they are");
    Ok(())
}

/// What netd knows of network and clock, and whom it told of it.
struct Keeper {
    config: PublicConfig,
    floor: Option<Floor>,
    report: Report,
    network_up: bool,
    network_degraded: bool,
    offered_time_servers: Vec<Ipv4Addr>,
    clock_due: Instant,
    clock_retry: Duration,
    clock_degraded: bool,
    /// When the boot stops waiting for the time; none: it no longer waits.
    clock_deadline: Option<Instant>,
    ready: bool,
}

impl Keeper {
    fn new(config: PublicConfig, floor: Option<Floor>, report: Report) -> Self {
        Self {
            config,
            floor,
            report,
            network_up: false,
            network_degraded: false,
            offered_time_servers: Vec::new(),
            clock_due: Instant::now(),
            clock_retry: CLOCK_RETRY.0,
            clock_degraded: false,
            clock_deadline: None,
            ready: false,
        }
    }

    fn network(&mut self, event: NetworkEvent) {
        match event {
            NetworkEvent::Up(settings) => self.network_is_up(settings),
            NetworkEvent::Down(detail) => {
                warn!(detail, "no network");
                self.network_up = false;
                self.degrade_network(detail);
            }
        }
    }

    fn network_is_late(&mut self) {
        if !self.network_up && !self.network_degraded {
            let detail = "no Ethernet link has an address yet; the search goes on".to_owned();
            warn!(detail, "no network");
            self.degrade_network(detail);
        }
    }

    fn degrade_network(&mut self, detail: String) {
        self.network_degraded = true;
        self.report.degraded(DegradedReason::Network, detail);
    }

    fn network_is_up(&mut self, settings: Settings) {
        let path = Path::new(resolver::PATH);
        if let Err(error) = resolver::write(path, &self.config.network.dns, &settings.dns) {
            warn!(path = resolver::PATH, %error, "name servers are not written");
        }
        self.offered_time_servers = settings.time_servers;
        if self.network_degraded {
            self.network_degraded = false;
            self.report.recovered(DegradedReason::Network);
        }
        if !self.network_up {
            self.network_up = true;
            self.report.reached(Phase::Network);
            self.clock_due = Instant::now();
            if !self.ready && self.clock_deadline.is_none() {
                self.clock_deadline = Some(Instant::now() + CLOCK_PATIENCE);
            }
        }
    }

    /// One round of time servers.
    fn clock_round(&self) -> ClockRound {
        let servers = clock::servers(&self.config.time_servers, &self.offered_time_servers);
        let (floor, deadline) = (self.floor, self.clock_deadline);
        Box::pin(async move {
            let round = clock::synchronize(&servers, floor);
            match deadline {
                // a round of silent servers must not outlast the boot's patience
                Some(deadline) => timeout_at(deadline, round)
                    .await
                    .unwrap_or(Err(ClockError::Late)),
                None => round.await,
            }
        })
    }

    /// Says how a round went, and when the next is due.
    fn clock(&mut self, result: Result<(String, f64), ClockError>) {
        match result {
            Ok((server, offset)) => {
                info!(server, offset = format!("{offset:.3}"), "clock is set");
                if self.clock_degraded {
                    self.clock_degraded = false;
                    self.report.recovered(DegradedReason::Clock);
                }
                self.clock_retry = CLOCK_RETRY.0;
                self.clock_due = Instant::now() + CLOCK_INTERVAL;
                self.settle();
            }
            Err(error) => {
                self.clock_due = Instant::now() + self.clock_retry;
                self.clock_retry = (self.clock_retry * 2).min(CLOCK_RETRY.1);
                if self
                    .clock_deadline
                    .is_none_or(|deadline| Instant::now() >= deadline)
                {
                    self.degrade_clock(&error);
                    self.settle();
                } else if let Some(deadline) = self.clock_deadline {
                    self.clock_due = self.clock_due.min(deadline);
                }
            }
        }
    }

    fn degrade_clock(&mut self, error: &ClockError) {
        let names: Vec<String> =
            clock::servers(&self.config.time_servers, &self.offered_time_servers)
                .iter()
                .map(|server| format!("{}:{}", server.host, server.port))
                .collect();
        let detail = format!(
            "none of the time servers {} answers: {error}",
            names.join(", ")
        );
        if !self.clock_degraded {
            warn!(detail, "clock is not set");
        }
        self.clock_degraded = true;
        self.report.degraded(DegradedReason::Clock, detail);
    }

    /// The boot waits no longer: there is a network, and the clock is as right as it gets.
    fn settle(&mut self) {
        self.clock_deadline = None;
        if self.ready {
            return;
        }
        self.ready = true;
        self.report.reached(Phase::Clock);
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
            warn!(%error, "init could not be told that the network is ready");
        }
    }
}
