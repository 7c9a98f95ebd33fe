//! The life of one service. No clock and no process here: both are told.

use std::fmt;
use std::time::Duration;

use wire::backoff::Backoff;
use wire::exit;

use super::table::{Kind, Readiness, Service};

/// How long a service has to end after SIGTERM before it gets SIGKILL.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// After how many answers in a row that were none a service counts as hung.
pub(crate) const UNANSWERED: u32 = 3;
/// How long a service that failed waits before it starts again: the first time, and all of them.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const RESTARTS: Backoff = Backoff::new(FIRST_WAIT, Duration::from_secs(30));
/// A daemon that was up for so long has no failures in a row.
pub(crate) const SETTLED: Duration = Duration::from_secs(60);

/// Where a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nobody wants it, or what it requires is not up.
    Idle,
    /// Its process runs and is not yet ready.
    Starting {
        /// When it was started.
        since: Duration,
    },
    /// It is up.
    Ready {
        /// When it became so.
        since: Duration,
    },
    /// It runs and does not do its work: it was sent SIGABRT, and is killed where that does not end it.
    Hung {
        /// When it is killed; none: it was.
        kill_at: Option<Duration>,
    },
    /// It was asked to end.
    Stopping {
        /// When it is killed; none: it was.
        kill_at: Option<Duration>,
    },
    /// It failed and starts again later.
    Waiting {
        /// When.
        until: Duration,
    },
    /// A task that ended well, or a daemon with nothing to do on this machine.
    Done,
}

impl Stage {
    /// The one name of this stage, in the node's status.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting { .. } => "starting",
            Self::Ready { .. } => "ready",
            Self::Hung { .. } => "hung",
            Self::Stopping { .. } => "stopping",
            Self::Waiting { .. } => "waiting",
            Self::Done => "done",
        }
    }

    /// Whether there is a process.
    pub(crate) const fn runs(self) -> bool {
        matches!(
            self,
            Self::Starting { .. } | Self::Ready { .. } | Self::Hung { .. } | Self::Stopping { .. }
        )
    }

    /// Whether those that require it may start.
    pub(crate) const fn is_up(self) -> bool {
        matches!(self, Self::Ready { .. } | Self::Done)
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// It never ran its program, and why.
    NotStarted(String),
}

impl Exit {
    /// Whether it says that the configuration can't be used.
    pub(crate) fn is_of_configuration(&self) -> bool {
        self.is_status(exit::CONFIGURATION)
    }

    /// Whether it is this status or a higher one.
    fn is_at_least(&self, least: u8) -> bool {
        matches!(self, Self::Status(status) if *status >= i32::from(least))
    }

    /// Whether it is this status.
    pub(crate) fn is_status(&self, status: u8) -> bool {
        *self == Self::Status(i32::from(status))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(formatter, "exit status {status}"),
            Self::Signal(signal) => write!(formatter, "signal {signal}"),
            Self::NotStarted(why) => write!(formatter, "not started: {why}"),
        }
    }
}

/// What the end of a process meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was asked to.
    Stopped,
    /// A task is done, or a daemon has nothing to do.
    Done,
    /// It failed, for the so-manieth time in a row, and starts again after a wait.
    Failed {
        /// In a row, this one included.
        failures: u32,
        /// Until the next start.
        wait: Duration,
    },
}

/// One service.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) service: &'static Service,
    pub(crate) stage: Stage,
    pub(crate) wanted: bool,
    backoff: Backoff,
    failures: u32,
    /// When its process last said that it does its work, or was started.
    alive: Duration,
    /// How many times in a row it gave no good answer to whoever asks whether it works.
    unanswered: u32,
    /// Its last failure was for good.
    failed_for_good: bool,
}

impl Machine {
    /// A service that has not started.
    pub(crate) const fn new(service: &'static Service) -> Self {
        Self {
            service,
            stage: Stage::Idle,
            wanted: service.automatic,
            backoff: RESTARTS,
            failures: 0,
            alive: Duration::ZERO,
            unanswered: 0,
            failed_for_good: false,
        }
    }

    /// Whether those that come after it wait no longer: it is up, or has failed as its entry says.
    pub(crate) const fn is_settled(&self) -> bool {
        self.stage.is_up()
            || (matches!(self.stage, Stage::Waiting { .. })
                && (self.failed_for_good || self.failures >= self.service.settled.failures))
    }

    /// Whether it would start now, were everything up that it requires.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.wanted
            && match self.stage {
                Stage::Idle => true,
                Stage::Waiting { until } => until <= now,
                _ => false,
            }
    }

    /// Its process was made.
    pub(crate) fn started(&mut self, now: Duration) {
        self.stage = Stage::Starting { since: now };
        self.alive = now;
        self.unanswered = 0;
    }

    /// Its process says that it does its work; or the time until now is not held against it.
    pub(crate) fn alive(&mut self, now: Duration) {
        self.alive = now;
    }

    /// It was asked whether it works. Counts only what is up: until then it may have nothing to answer with.
    /// `true` when that was the last of too many answers that were none: it is hung, and is to be sent SIGABRT.
    pub(crate) fn probed(&mut self, well: bool, now: Duration) -> bool {
        if well || !matches!(self.stage, Stage::Ready { .. }) {
            self.unanswered = 0;
            return false;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.unanswered >= UNANSWERED && self.hang(now)
    }

    /// Whether it is up, and has answered whoever asked last.
    pub(crate) const fn is_well(&self) -> bool {
        self.stage.is_up() && self.unanswered == 0
    }

    /// Whether its last keepalive is too long ago. Says so once: it is to be sent SIGABRT.
    pub(crate) fn is_silent(&mut self, now: Duration) -> bool {
        self.silent_by(now) && self.hang(now)
    }

    /// Whether its last keepalive will be too long ago by then.
    pub(crate) fn silent_by(&self, now: Duration) -> bool {
        self.silent_at().is_some_and(|at| at <= now)
    }

    /// When it counts as hung unless it sends a keepalive.
    fn silent_at(&self) -> Option<Duration> {
        match self.stage {
            Stage::Starting { .. } | Stage::Ready { .. } => {
                Some(self.alive.saturating_add(self.service.watchdog?))
            }
            _ => None,
        }
    }

    fn hang(&mut self, now: Duration) -> bool {
        if let Stage::Ready { since } = self.stage {
            self.forgive_if_settled(since, now);
        }
        self.stage = Stage::Hung {
            kill_at: Some(now.saturating_add(GRACE)),
        };
        true
    }

    /// It says that it is ready. `true` when that is news.
    pub(crate) fn ready(&mut self, now: Duration) -> bool {
        let daemon = matches!(self.service.kind, Kind::Daemon(_));
        let news = daemon && matches!(self.stage, Stage::Starting { .. });
        if news {
            self.stage = Stage::Ready { since: now };
        }
        news
    }

    /// Its process ended, or could not be made.
    pub(crate) fn exited(&mut self, exit: &Exit, now: Duration) -> Ended {
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        let task = match self.service.kind {
            Kind::Task { again, .. } => Some(again),
            Kind::Daemon(_) => None,
        };
        let may_have_nothing_to_do = self.service.kind == Kind::Daemon(Readiness::NotifyOrNothing)
            && matches!(stage, Stage::Starting { .. });
        if let Stage::Stopping { .. } = stage {
            return Ended::Stopped;
        }
        if (task.is_some() || may_have_nothing_to_do) && *exit == Exit::Status(0) {
            self.stage = Stage::Done;
            self.forgive();
            return Ended::Done;
        }
        if let Stage::Ready { since } = stage {
            self.forgive_if_settled(since, now);
        }
        self.failures = self.failures.saturating_add(1);
        self.failed_for_good = self
            .service
            .settled
            .status
            .is_some_and(|least| exit.is_at_least(least));
        let wait = task.flatten().unwrap_or_else(|| self.backoff.fail());
        self.stage = Stage::Waiting {
            until: now.saturating_add(wait),
        };
        Ended::Failed {
            failures: self.failures,
            wait,
        }
    }

    /// It is asked to end. `true` when there is a process that was not yet asked.
    pub(crate) fn stop(&mut self, now: Duration) -> bool {
        match self.stage {
            Stage::Starting { .. } | Stage::Ready { .. } | Stage::Hung { .. } => {
                self.stage = Stage::Stopping {
                    kill_at: Some(now.saturating_add(GRACE)),
                };
                true
            }
            Stage::Waiting { .. } => {
                self.stage = Stage::Idle;
                false
            }
            Stage::Idle | Stage::Stopping { .. } | Stage::Done => false,
        }
    }

    /// A task that is done is to run once more, after its wait.
    pub(crate) fn redo(&mut self, now: Duration) {
        if let (Stage::Done, Kind::Task { again, .. }) = (self.stage, self.service.kind) {
            self.stage = Stage::Waiting {
                until: now.saturating_add(again.unwrap_or(FIRST_WAIT)),
            };
        }
    }

    /// Whether its time is over: a start that takes too long, or an end that does. Says so once.
    pub(crate) fn must_be_killed(&mut self, now: Duration) -> bool {
        match (self.stage, self.kill_time()) {
            (Stage::Stopping { .. }, Some(at)) if at <= now => {
                self.stage = Stage::Stopping { kill_at: None };
                true
            }
            (Stage::Hung { .. }, Some(at)) if at <= now => {
                self.stage = Stage::Hung { kill_at: None };
                true
            }
            // It is killed as one that failed: it waits before it starts again.
            (Stage::Starting { .. }, Some(at)) if at <= now => {
                self.stage = Stage::Starting { since: now };
                true
            }
            _ => false,
        }
    }

    fn kill_time(&self) -> Option<Duration> {
        match self.stage {
            Stage::Stopping { kill_at } | Stage::Hung { kill_at } => kill_at,
            Stage::Starting { since } => Some(since.saturating_add(self.service.start_limit?)),
            _ => None,
        }
    }

    /// When time alone changes something.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self.stage {
            Stage::Waiting { until } if self.wanted => Some(until),
            _ => self.kill_time().into_iter().chain(self.silent_at()).min(),
        }
    }

    fn forgive_if_settled(&mut self, since: Duration, now: Duration) {
        if now.saturating_sub(since) >= SETTLED {
            self.forgive();
        }
    }

    fn forgive(&mut self) {
        self.failures = 0;
        self.backoff.reset();
    }
}
