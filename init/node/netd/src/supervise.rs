//! The life of netd: the network first, the clock as soon as there is one.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::pin::{Pin, pin};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::channel;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{info, warn};
use wire::paths;
use wire::status::{DegradedReason, Phase};

use crate::NodeSettings;
use crate::clock::{self, ClockError, Round, Source};
use crate::clock_bounds::{self, Bounds};
use crate::last_time;
use crate::network::{Network, NetworkEvent};
use crate::publish::Publisher;
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
/// When another server is asked about a time that one has set alone.
const CONFIRMATION: Duration = Duration::from_secs(15);
/// How often the time is kept on the state disk.
const KEEP_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// A round of time servers that is under way.
type ClockRound = Pin<Box<dyn Future<Output = Result<Round, ClockError>>>>;

/// Waits for a round that may be under way.
async fn finished(round: &mut Option<ClockRound>) -> Result<Round, ClockError> {
    match round {
        Some(round) => round.await,
        None => std::future::pending().await,
    }
}

/// Runs until a signal says to stop.
pub(crate) async fn run(config: NodeSettings) -> Result<()> {
    let publisher = Publisher::from_environment().context("init's socket can't be used")?;
    let built = match clock_bounds::build_time(Path::new(clock_bounds::BUILD_TIME)) {
        Ok(built) => Some(built),
        Err(error) => {
            warn!(path = clock_bounds::BUILD_TIME, %error, "no bounds for the clock");
            None
        }
    };
    let network = Network::new(config.network.clone(), config.node_name.clone())?;
    let (sender, mut events) = channel(16);
    let mut network = pin!(network.run(sender));
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be awaited")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be awaited")?;

    let mut keeper = Keeper::new(config, built, publisher);
    keeper.raise_clock();
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
    keeper.keep_time_at_the_end();
    info!("stopping; addresses and routes stay as they are");
    Ok(())
}

/// Who is doubted after a round.
fn doubt_after(doubt: Option<Source>, round: Round) -> Option<Source> {
    if round.vouched {
        return None;
    }
    if !round.agreed {
        return Some(round.source);
    }
    doubt.filter(|by| !round.source.is_independent_of(by))
}

fn write_time() {
    match last_time::write(Path::new(paths::LAST_TIME), SystemTime::now()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(path = paths::LAST_TIME, %error, "the time is not kept");
        }
        _ => {}
    }
}

/// What netd knows of network and clock, and whom it told of it.
struct Keeper {
    config: NodeSettings,
    /// When the image was made, and the last time that was kept before this program started.
    built: Option<SystemTime>,
    kept: Option<SystemTime>,
    /// When this program kept one.
    kept_at: Option<Instant>,
    /// Whether a server's time was ever taken.
    clock_set: bool,
    /// The server by whose word alone the clock was set to what it had not shown before.
    doubt: Option<Source>,
    publisher: Publisher,
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
    fn new(config: NodeSettings, built: Option<SystemTime>, publisher: Publisher) -> Self {
        Self {
            config,
            built,
            kept: None,
            kept_at: None,
            clock_set: false,
            doubt: None,
            publisher,
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
        self.publisher.degraded(DegradedReason::Network, detail);
    }

    fn network_is_up(&mut self, settings: Settings) {
        let path = Path::new(paths::RESOLVER);
        if let Err(error) = resolver::write(path, &self.config.network.dns, &settings.dns) {
            warn!(path = paths::RESOLVER, %error, "name servers are not written");
        }
        self.offered_time_servers = settings.time_servers;
        if self.network_degraded {
            self.network_degraded = false;
            self.publisher.recovered(DegradedReason::Network);
        }
        if !self.network_up {
            self.network_up = true;
            self.publisher.reached(Phase::Network);
            self.clock_due = Instant::now();
            if !self.ready && self.clock_deadline.is_none() {
                self.clock_deadline = Some(Instant::now() + CLOCK_PATIENCE);
            }
        }
    }

    fn sources(&self) -> Vec<Source> {
        let sources = clock::sources(&self.config.time_servers, &self.offered_time_servers);
        match &self.doubt {
            Some(by) => clock::to_confirm(by, sources),
            None => sources,
        }
    }

    fn bounds(&self) -> Option<Bounds> {
        let uptime = clock_gettime(ClockId::Boottime);
        let uptime = Duration::from_secs(uptime.tv_sec.try_into().unwrap_or(0));
        Some(Bounds::new(self.built?, self.kept, uptime))
    }

    /// Sets a clock that is behind its floor. The state disk, which may hold a later one, can come
    /// after this program.
    fn raise_clock(&mut self) {
        if self.kept.is_none() && self.kept_at.is_none() {
            self.kept = last_time::read(Path::new(paths::LAST_TIME));
        }
        match self.bounds().map(clock::raise) {
            Some(Ok(true)) => warn!(
                "the clock was before the time at which this image was made or the node last ran, \
                 and is set to it"
            ),
            Some(Err(error)) => warn!(%error, "the clock is before its floor"),
            Some(Ok(false)) | None => {}
        }
    }

    /// Keeps the time now and then, unless it stands by one server's word alone: a wrong one that
    /// is kept would be wrong for good. The disk may take its time: the network does not wait for it.
    fn keep_time(&mut self) {
        let due = self.kept_at.is_none_or(|at| at.elapsed() >= KEEP_INTERVAL);
        let there = Path::new(paths::LAST_TIME)
            .parent()
            .is_some_and(Path::is_dir);
        if due && there && self.doubt.is_none() {
            self.kept_at = Some(Instant::now());
            drop(tokio::task::spawn_blocking(write_time));
        }
    }

    /// Keeps the time before the node goes off.
    fn keep_time_at_the_end(&self) {
        if self.clock_set && self.doubt.is_none() {
            write_time();
        }
    }

    /// One round of time servers.
    fn clock_round(&mut self) -> ClockRound {
        self.raise_clock();
        let (sources, bounds, deadline) = (self.sources(), self.bounds(), self.clock_deadline);
        Box::pin(async move {
            let round = clock::synchronize(&sources, bounds);
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
    fn clock(&mut self, result: Result<Round, ClockError>) {
        match result {
            Ok(round) => {
                let (server, offset) = (round.source.name(), format!("{:.3}", round.offset));
                info!(server, offset, "clock is set");
                if self.clock_degraded {
                    self.clock_degraded = false;
                    self.publisher.recovered(DegradedReason::Clock);
                }
                self.clock_set = true;
                let doubt = self.doubt.is_some();
                self.doubt = doubt_after(self.doubt.take(), round);
                self.keep_time();
                self.clock_retry = CLOCK_RETRY.0;
                let fresh_doubt = self.doubt.is_some() && !doubt;
                let wait = if fresh_doubt {
                    CONFIRMATION
                } else {
                    CLOCK_INTERVAL
                };
                self.clock_due = Instant::now() + wait;
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
        let names: Vec<String> = self
            .sources()
            .iter()
            .filter(|source| !source.witness)
            .map(Source::name)
            .collect();
        let detail = format!(
            "none of the time servers {} gives the time: {error}",
            names.join(", ")
        );
        if !self.clock_degraded {
            warn!(detail, "clock is not set");
        }
        self.clock_degraded = true;
        self.publisher.degraded(DegradedReason::Clock, detail);
    }

    /// The boot waits no longer: there is a network, and the clock is as right as it gets.
    fn settle(&mut self) {
        self.clock_deadline = None;
        if self.ready {
            return;
        }
        self.ready = true;
        self.publisher.reached(Phase::Clock);
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
            warn!(%error, "init could not be told that the network is ready");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_one_server_has_moved_is_doubted_until_another_agrees() {
        let sources = clock::sources(&[], &[Ipv4Addr::new(192, 0, 2, 1)]);
        let (offered, public) = (&sources[0], &sources[1]);
        let round = |source: &Source, agreed, vouched| Round {
            source: source.clone(),
            offset: 0.0,
            agreed,
            vouched,
        };
        // the clock that the machine came with agreed
        assert_eq!(doubt_after(None, round(offered, true, false)), None);
        let doubt = doubt_after(None, round(offered, false, false));
        assert_eq!(doubt.as_ref(), Some(offered));
        let doubt = doubt_after(doubt, round(offered, true, false));
        assert_eq!(doubt.as_ref(), Some(offered), "it agrees with itself");
        assert_eq!(doubt_after(doubt.clone(), round(public, true, false)), None);
        assert_eq!(
            doubt_after(doubt.clone(), round(offered, false, true)),
            None
        );
        let doubt = doubt_after(doubt, round(public, false, false));
        assert_eq!(doubt.as_ref(), Some(public));
    }
}
