//! What services say on the socket of sd_notify(3), and what everybody else says there.

use std::time::Duration;

use rustix::process::Pid;
use tracing::{debug, info, warn};

use super::Node;
use crate::event_loop::Token;
use crate::service::{Name, Notification, cgroup_of_process};
use log::timeline;
use log::{RateLimit, Verdict};

/// How many messages are taken before others have their turn.
const AT_ONCE: usize = 64;
/// Messages a second that are read from the socket, and how many at once: every service together
/// sends a handful at its start.
const MESSAGES: (u32, u32) = (20, 200);
/// How long the socket is left alone once it is flooded. Senders wait meanwhile; it is nobody's but
/// theirs.
const PAUSE: Duration = Duration::from_secs(1);
/// How often what was refused, and how often the socket was flooded, is told.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What is kept of a socket that everybody on the node may write to: how much of it is read, and
/// what was refused since that was told.
#[derive(Debug)]
pub(super) struct NotifyGate {
    rate: RateLimit,
    resumes: Option<Duration>,
    refused: u64,
    pauses: u64,
    /// Of the refusals that were not told: the first.
    why: Option<String>,
    told: Option<Duration>,
}

impl Default for NotifyGate {
    fn default() -> Self {
        Self {
            rate: RateLimit::new(MESSAGES.0, MESSAGES.1),
            resumes: None,
            refused: 0,
            pauses: 0,
            why: None,
            told: None,
        }
    }
}

impl NotifyGate {
    /// Counts a message that was read. `false` when it is the last one for a while.
    fn may_go_on(&mut self, now: Duration) -> bool {
        if self.rate.take(now) != Verdict::Drop {
            return true;
        }
        self.resumes = Some(now.saturating_add(PAUSE));
        self.pauses = self.pauses.saturating_add(1);
        false
    }

    /// Counts a message that is not followed.
    fn refuse(&mut self, why: impl Into<String>) {
        self.refused = self.refused.saturating_add(1);
        self.why.get_or_insert_with(|| why.into());
    }

    /// When the socket is read again; none: it is read.
    pub(super) const fn resumes(&self) -> Option<Duration> {
        self.resumes
    }

    /// What is to be told now, in one line: at once when it was quiet before, and then now and then.
    fn summary(&mut self, now: Duration) -> Option<String> {
        let quiet = self
            .told
            .is_none_or(|told| now.saturating_sub(told) >= TOLD_EVERY);
        if !quiet || (self.refused == 0 && self.pauses == 0) {
            return None;
        }
        self.told = Some(now);
        let refused = std::mem::take(&mut self.refused);
        let pauses = std::mem::take(&mut self.pauses);
        let why = self.why.take();
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        Some(match pauses {
            0 => format!("notifications refused: {refused}{why}"),
            _ => format!(
                "the notification socket was flooded and left alone for a second, {pauses} times; \
                 notifications refused: {refused}{why}"
            ),
        })
    }
}

impl Node {
    pub(super) fn handle_notifications(&mut self) {
        let now = timeline::now();
        for _ in 0..AT_ONCE {
            match self.notify.receive() {
                Ok(None) => break,
                Ok(Some(Ok(notification))) => self.take_notification(&notification, now),
                Ok(Some(Err(why))) => self.notify_gate.refuse(why),
                Err(error) => {
                    warn!(%error, "notifications can't be read");
                    break;
                }
            }
            if !self.notify_gate.may_go_on(now) {
                self.watch_notifications(false);
                // a keepalive may wait behind the flood
                self.supervisor.excuse(now);
                break;
            }
        }
        if let Some(summary) = self.notify_gate.summary(now) {
            warn!("{summary}");
        }
    }

    /// Reads the socket again once its pause is over.
    pub(super) fn resume_notifications(&mut self, now: Duration) {
        if self.notify_gate.resumes.take_if(|at| *at <= now).is_some() {
            self.watch_notifications(true);
        }
    }

    fn watch_notifications(&self, reading: bool) {
        let changed = self
            .events
            .change(&self.notify, Token::Notify, reading, false);
        if let Err(error) = changed {
            warn!(%error, "notifications can't be waited for");
        }
    }

    fn take_notification(&mut self, notification: &Notification, now: Duration) {
        let Some(name) = self.service_of(notification.sender) else {
            let process = notification.sender.as_raw_nonzero();
            self.notify_gate
                .refuse(format!("process {process} is of no service"));
            return;
        };
        let told = self
            .slots
            .get_mut(&name)
            .is_some_and(|slot| slot.notification_rate.take(now) != Verdict::Drop);
        if let Some(status) = notification.status.as_ref().filter(|_| told) {
            info!(service = %name, status, "notification");
        }
        if notification.stopping {
            debug!(service = %name, "it says that it stops");
        }
        if notification.ready {
            self.became_ready(name);
        }
        if notification.alive && self.is_process_of(name, notification.sender) {
            self.supervisor.alive(name, now);
        }
    }

    /// Whether a process is the one that was started: what that one started does not speak for it.
    fn is_process_of(&self, name: Name, process: Pid) -> bool {
        let slot = self.slots.get(&name);
        let started = slot.and_then(|slot| slot.process.as_ref());
        started.is_some_and(|started| started.id() == process)
    }

    /// Reads the keepalives that wait, before a service counts as hung for want of one.
    pub(super) fn hear_keepalives(&mut self, now: Duration) {
        if self.supervisor.has_silent(now) {
            self.handle_notifications();
        }
    }

    /// By the process that was started, or by the cgroup that it was started in.
    fn service_of(&self, process: Pid) -> Option<Name> {
        let started = self.slots.iter().find(|(_, slot)| {
            let process_of_slot = slot.process.as_ref().map(crate::service::Process::id);
            process_of_slot == Some(process)
        });
        match started {
            Some((name, _)) => Some(*name),
            None => cgroup_of_process(process).filter(|name| {
                self.slots
                    .get(name)
                    .is_some_and(|slot| slot.process.is_some())
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(100);

    #[test]
    fn a_flood_is_read_in_bursts_with_a_second_between() {
        let mut gate = NotifyGate::default();
        let mut read = 0_u32;
        let mut now = START;
        while now < START + Duration::from_secs(60) {
            while gate.may_go_on(now) {
                read += 1;
            }
            now = gate.resumes().unwrap();
            assert_eq!(gate.resumes.take_if(|at| *at <= now), Some(now));
        }
        assert!(read <= MESSAGES.1 + 60 * MESSAGES.0, "{read}");
    }

    #[test]
    fn what_was_refused_is_told_at_once_and_then_summed_up() {
        let mut gate = NotifyGate::default();
        assert_eq!(gate.summary(START), None);
        gate.refuse("a message is too long");
        let told = gate.summary(START).unwrap();
        assert_eq!(told, "notifications refused: 1: a message is too long");
        for _ in 0..1000 {
            gate.refuse("a message is not UTF-8");
        }
        while gate.may_go_on(START) {}
        assert_eq!(gate.summary(START + Duration::from_secs(59)), None);
        let told = gate.summary(START + TOLD_EVERY).unwrap();
        assert!(
            told.contains("1 times") && told.contains("refused: 1000: a message is not"),
            "{told}"
        );
        assert_eq!(gate.summary(START + TOLD_EVERY * 9), None);
    }
}
