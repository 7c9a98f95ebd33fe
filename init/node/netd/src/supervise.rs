//! The life of netd: the network first, the clock as soon as there is one.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use node_settings::NetworkConfig;
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::channel;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{info, warn};
use wire::paths;
use wire::status::{DegradedReason, Phase};

use crate::clock::{self, ClockError, Round, Source};
use crate::clock_bounds::{self, Bounds};
use crate::follow::Identity;
use crate::kept::KeptLeases;
use crate::last_time;
use crate::links::{LinkError, Links};
use crate::network::{Available, Network, NetworkEvent};
use crate::publish::Publisher;
use crate::resolver;
use crate::trial::{self, Active, Records, Trial};
use crate::{NodeSettings, Options};

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

/// What the status says where network settings were taken back.
const TAKEN_BACK: &str = "the master was not reached with the network settings of the configuration; those by which \
                          it was reached before are used again";

/// A round of time servers that is under way.
type ClockRound = Pin<Box<dyn Future<Output = Result<Round, ClockError>>>>;

/// The links, under way.
type NetworkRun = Pin<Box<dyn Future<Output = Result<(), LinkError>>>>;

/// An attempt to reach the master that is under way.
type Attempt = Pin<Box<dyn Future<Output = bool>>>;

/// Waits for an attempt that may be under way.
async fn tried(attempt: &mut Option<Attempt>) -> bool {
    match attempt {
        Some(attempt) => attempt.await,
        None => std::future::pending().await,
    }
}

/// Waits for a round that may be under way.
async fn finished(round: &mut Option<ClockRound>) -> Result<Round, ClockError> {
    match round {
        Some(round) => round.await,
        None => std::future::pending().await,
    }
}

/// Runs until a signal says to stop.
pub(crate) async fn run(config: NodeSettings, options: &Options) -> Result<()> {
    let publisher = Publisher::from_environment().context("init's socket can't be used")?;
    let built = match clock_bounds::build_time(Path::new(clock_bounds::BUILD_TIME)) {
        Ok(built) => Some(built),
        Err(error) => {
            warn!(path = clock_bounds::BUILD_TIME, %error, "no bounds for the clock");
            None
        }
    };
    let (sender, mut events) = channel(16);
    let started = Instant::now();
    let records = Records::new(&options.state);
    let mut trial = Trial::new(
        config.network.clone(),
        records.former(),
        records.refused().as_ref(),
        options.trial,
        started.elapsed(),
    );
    let start = |network: &NetworkConfig| -> Result<NetworkRun> {
        let (links, link_events) = Links::open(options.accept)?;
        let identity = Identity {
            host_name: config
                .node_name
                .as_ref()
                .map(|name| name.as_str().to_owned()),
            kept: KeptLeases::new(vec![options.run.clone(), options.state.clone()]),
        };
        let unconfigured = config.node_name.is_none();
        let network = Network::new(links, link_events, network.clone(), identity, unconfigured);
        Ok(Box::pin(network.run(sender.clone())))
    };
    let mut network = start(trial.config())?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be awaited")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be awaited")?;

    let mut keeper = Keeper::new(config.clone(), built, publisher, options);
    keeper.raise_clock();
    if trial.active() == Active::Former {
        keeper.tell_trial(trial.active());
    }
    let mut attempt: Option<Attempt> = None;
    let mut attempt_due = Instant::now();
    let mut patience = pin!(sleep(NETWORK_PATIENCE));
    let mut waiting = true;
    let mut round: Option<ClockRound> = None;
    let mut notifier = sys::Notifier::from_environment().context("init can't be notified")?;
    let mut keepalives = tokio::time::interval(notifier.interval().unwrap_or(KEEP_INTERVAL));
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
            () = sleep_until(attempt_due), if config.master.is_some() && trial.is_open() => {
                if let Some(former) = records.former() {
                    trial.remember(former);
                }
                if trial.turn(started.elapsed()) {
                    // an attempt that began with the other settings says nothing of these
                    attempt = None;
                    keeper.network_up = false;
                    keeper.tell_trial(trial.active());
                    network = start(trial.config())?;
                }
                attempt_due = Instant::now() + trial.interval();
                if keeper.network_up && attempt.is_none() {
                    attempt = config.master.clone().map(|master| -> Attempt {
                        Box::pin(async move { trial::reaches(&master).await })
                    });
                }
            }
            reached = tried(&mut attempt), if attempt.is_some() => {
                attempt = None;
                attempt_due = Instant::now() + trial.interval();
                // what is not kept now is kept when the state disk is open
                if reached && records.is_there() {
                    keeper.trial_is_over(&records, &mut trial);
                }
            }
            result = finished(&mut round), if round.is_some() => {
                round = None;
                keeper.clock(result);
            }
            _ = keepalives.tick() => notifier.alive().context("init can't be told that netd works")?,
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

fn write_time(path: &Path) {
    match last_time::write(path, SystemTime::now()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "the time is not kept");
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
    /// What the search for a network has found so far.
    searching: String,
    /// Whether the network is used as it was before the configuration changed.
    taken_back: bool,
    resolver: PathBuf,
    last_time: PathBuf,
    offered_time_servers: Vec<IpAddr>,
    clock_due: Instant,
    clock_retry: Duration,
    clock_degraded: bool,
    /// When the boot stops waiting for the time; none: it no longer waits.
    clock_deadline: Option<Instant>,
    ready: bool,
}

impl Keeper {
    fn new(
        config: NodeSettings,
        built: Option<SystemTime>,
        publisher: Publisher,
        options: &Options,
    ) -> Self {
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
            searching: "no Ethernet link has an address yet; the search goes on".to_owned(),
            taken_back: false,
            resolver: options.run.join(paths::RESOLVER_NAME),
            last_time: options.state.join(paths::LAST_TIME_NAME),
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
            NetworkEvent::Up(available) => self.network_is_up(available),
            NetworkEvent::Down(detail) => {
                warn!(detail, "no network");
                self.network_up = false;
                self.degrade_network(detail);
            }
            NetworkEvent::Searching(detail) => self.searching = detail,
        }
    }

    fn network_is_late(&mut self) {
        if !self.network_up && !self.network_degraded {
            let detail = self.searching.clone();
            warn!(detail, "no network");
            self.degrade_network(detail);
        }
    }

    fn degrade_network(&mut self, detail: String) {
        self.network_degraded = true;
        self.publisher.degraded(DegradedReason::Network, detail);
    }

    /// Says which network settings are used from now on, and why.
    fn tell_trial(&mut self, active: Active) {
        self.taken_back = active == Active::Former;
        if self.taken_back {
            warn!(detail = TAKEN_BACK, "network settings of before");
            self.degrade_network(TAKEN_BACK.to_owned());
        } else {
            warn!(
                "the master is not reached with the network settings of before either: those of the configuration are tried again"
            );
        }
    }

    /// The master was reached.
    fn trial_is_over(&mut self, records: &Records, trial: &mut Trial) {
        if let Err(error) = records.write(&trial.reached()) {
            warn!(%error, "the network settings are not kept");
        }
        if trial.active() == Active::Wanted {
            info!("the master is reached with these network settings: they are kept");
            self.taken_back = false;
        }
    }

    fn network_is_up(&mut self, available: Available) {
        if let Err(error) = resolver::write(&self.resolver, &available.dns, &available.search) {
            warn!(path = %self.resolver.display(), %error, "name servers are not written");
        }
        self.offered_time_servers = available.time_servers;
        if self.taken_back {
            // it works, and is not what the configuration says
            self.degrade_network(TAKEN_BACK.to_owned());
        } else if self.network_degraded {
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
            self.kept = last_time::read(&self.last_time);
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
        let there = self.last_time.parent().is_some_and(Path::is_dir);
        if due && there && self.doubt.is_none() {
            self.kept_at = Some(Instant::now());
            let path = self.last_time.clone();
            drop(tokio::task::spawn_blocking(move || write_time(&path)));
        }
    }

    /// Keeps the time before the node goes off.
    fn keep_time_at_the_end(&self) {
        if self.clock_set && self.doubt.is_none() {
            write_time(&self.last_time);
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
        let sources = clock::sources(&[], &[IpAddr::from([192, 0, 2, 1])]);
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
