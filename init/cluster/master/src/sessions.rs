//! Registered nodes, in memory and bounded.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use attest_verify::{Boot, Fault, Image};
use chain::{ObjectId, Stake};
use tokio::time::Instant;
use wire::NodeName;

/// The most nodes; the one that was silent for longest goes first, and registers again.
const MOST_SESSIONS: usize = 16 * 1024;
/// A node that was heard of within this time keeps its name against another stake.
const NAME_KEPT: Duration = Duration::from_secs(120);
/// How long a read of the stake serves: less than the time between two heartbeats.
const READ_SERVES: Duration = Duration::from_secs(5);

/// One registered node.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// The seal token that it registered with, as it wrote it.
    pub(crate) seal_token: String,
    /// The stake, as last read.
    pub(crate) stake: Stake,
    /// When it was read.
    read: Instant,
    /// When the node was last heard of.
    heard: Instant,
    /// The last heartbeat's number.
    sequence: u64,
    /// What was verified, where the session began with evidence.
    pub(crate) attested: Option<Attested>,
    /// Why it is over: the next heartbeat is told.
    pub(crate) refused: Option<Fault>,
}

/// What was verified of a node, and goes on being so with every heartbeat.
#[derive(Debug, Clone)]
pub(crate) struct Attested {
    /// What it runs.
    pub(crate) image: Image,
    /// What every heartbeat must show.
    pub(crate) boot: Boot,
    /// What the next heartbeat's quote is over: the nonce of the last answer; the first one's, that of
    /// the registration.
    nonce: Vec<u8>,
    /// The one before, should the last answer have been lost.
    before: Option<Vec<u8>>,
}

impl Attested {
    /// By evidence over this nonce.
    pub(crate) fn new(image: Image, boot: Boot, nonce: Vec<u8>) -> Self {
        Self {
            image,
            boot,
            nonce,
            before: None,
        }
    }

    /// What the next heartbeat's quote can be over.
    pub(crate) fn nonces(&self) -> impl Iterator<Item = &[u8]> {
        [Some(&self.nonce), self.before.as_ref()]
            .into_iter()
            .flatten()
            .map(Vec::as_slice)
    }
}

impl Session {
    /// Whether the stake need not be read again.
    pub(crate) fn is_fresh(&self) -> bool {
        self.read.elapsed() < READ_SERVES
    }

    /// Whether a number is above the last heartbeat's.
    pub(crate) fn is_next(&self, sequence: u64) -> bool {
        sequence > self.sequence
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Session>>);

impl Sessions {
    /// Begins a session, and ends any other of the same stake. `false` when another stake's node has
    /// the same name in the cluster and is alive: their records begin with the same ten characters.
    pub(crate) fn begin(
        &self,
        id: String,
        seal_token: String,
        stake: Stake,
        attested: Option<Attested>,
    ) -> bool {
        let now = Instant::now();
        let mut sessions = self.lock();
        let has_name = |other: &Session| same_name(&other.stake, &stake);
        if is_name_taken(&sessions, &stake) {
            return false;
        }
        sessions.retain(|_, other| other.stake.record != stake.record && !has_name(other));
        if sessions.len() >= MOST_SESSIONS
            && let Some(silent) = sessions
                .iter()
                .min_by_key(|(_, session)| session.heard)
                .map(|(id, _)| id.clone())
        {
            sessions.remove(&silent);
        }
        let session = Session {
            seal_token,
            stake,
            read: now,
            heard: now,
            sequence: 0,
            attested,
            refused: None,
        };
        sessions.insert(id, session);
        true
    }

    /// Whether another stake's node has the same name and is alive.
    pub(crate) fn name_taken(&self, stake: &Stake) -> bool {
        is_name_taken(&self.lock(), stake)
    }

    /// The names of the nodes whose sessions go on, with the records of their stakes.
    pub(crate) fn names(&self) -> BTreeMap<NodeName, ObjectId> {
        let sessions = self.lock();
        let live = sessions
            .values()
            .filter(|session| session.refused.is_none());
        live.filter_map(|session| {
            let stake = &session.stake;
            (!stake.verdict.is_over()).then_some((stake.node_name().ok()?, stake.record))
        })
        .collect()
    }

    /// A session, as it is.
    pub(crate) fn get(&self, id: &str) -> Option<Session> {
        self.lock().get(id).cloned()
    }

    /// Takes a heartbeat's number, and what its quote showed; `false` when it is not above the last
    /// one, or the session is over.
    pub(crate) fn advance(&self, id: &str, sequence: u64, shown: Option<Boot>) -> bool {
        match self.lock().get_mut(id) {
            Some(session) if sequence > session.sequence => {
                session.sequence = sequence;
                if let (Some(attested), Some(shown)) = (&mut session.attested, shown) {
                    attested.boot = shown;
                }
                session.heard = Instant::now();
                true
            }
            _ => false,
        }
    }

    /// Keeps the nonce of the next heartbeat's quote.
    pub(crate) fn expect(&self, id: &str, nonce: Vec<u8>) {
        if let Some(session) = self.lock().get_mut(id)
            && let Some(attested) = &mut session.attested
        {
            attested.before = Some(std::mem::replace(&mut attested.nonce, nonce));
        }
    }

    /// Ends the sessions of images that do not count: each is told at its next heartbeat. Gives the
    /// names of their nodes, each of them once.
    pub(crate) fn refuse_images(
        &self,
        fault: impl Fn(&Image) -> Option<Fault>,
    ) -> Vec<(String, Fault)> {
        let mut refused = Vec::new();
        for session in self.lock().values_mut() {
            let Some(attested) = session
                .attested
                .as_ref()
                .filter(|_| session.refused.is_none())
            else {
                continue;
            };
            if let Some(fault) = fault(&attested.image) {
                session.refused = Some(fault.clone());
                refused.push((session.stake.node_id.clone(), fault));
            }
        }
        refused
    }

    /// Keeps what was read of the stake.
    pub(crate) fn keep(&self, id: &str, stake: &Stake) {
        if let Some(session) = self.lock().get_mut(id) {
            session.stake = stake.clone();
            session.read = Instant::now();
        }
    }

    /// Ends a session.
    pub(crate) fn end(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Ends every session of a stake; whether there was any.
    pub(crate) fn end_all_of(&self, record: ObjectId) -> bool {
        let mut sessions = self.lock();
        let before = sessions.len();
        sessions.retain(|_, session| session.stake.record != record);
        sessions.len() < before
    }

    /// Whether there are any.
    #[cfg(test)]
    pub(crate) fn any(&self) -> bool {
        !self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether both have the same name in the cluster: their records begin with the same digits.
fn same_name(one: &Stake, other: &Stake) -> bool {
    one.node_id == other.node_id && one.node_name().ok() == other.node_name().ok()
}

fn is_name_taken(sessions: &HashMap<String, Session>, stake: &Stake) -> bool {
    sessions.values().any(|other| {
        other.stake.record != stake.record
            && same_name(&other.stake, stake)
            && other.heard.elapsed() < NAME_KEPT
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::a_stake;

    fn stake(record: u16, node_id: &str) -> Stake {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&record.to_be_bytes());
        Stake {
            record: ObjectId::from_bytes(id),
            node_id: node_id.to_owned(),
            ..a_stake()
        }
    }

    fn begin(sessions: &Sessions, id: &str, stake: Stake) -> bool {
        sessions.begin(id.to_owned(), "0x8".to_owned(), stake, None)
    }

    #[tokio::test(start_paused = true)]
    async fn one_session_for_one_stake_and_one_name() {
        let sessions = Sessions::default();
        assert!(begin(&sessions, "a", stake(1, "edge-0001")));
        assert!(begin(&sessions, "b", stake(1, "edge-0001")));
        assert!(sessions.get("a").is_none());
        // another stake of the same node id has another name
        assert!(begin(&sessions, "d", stake(2, "edge-0001")));
        assert!(sessions.get("b").is_some());
        // one whose record begins alike has the same: not while the first is alive
        let mut alike = [0; 32];
        alike[1] = 1;
        alike[31] = 1;
        let alike = || Stake {
            record: ObjectId::from_bytes(alike),
            ..stake(1, "edge-0001")
        };
        assert!(!begin(&sessions, "c", alike()));
        tokio::time::advance(NAME_KEPT - Duration::from_secs(1)).await;
        assert!(sessions.advance("b", 1, None));
        tokio::time::advance(NAME_KEPT - Duration::from_secs(1)).await;
        assert!(!begin(&sessions, "c", alike()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(begin(&sessions, "c", alike()));
        assert!(sessions.get("b").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_only_grow() {
        let sessions = Sessions::default();
        assert!(!sessions.advance("a", 1, None));
        assert!(begin(&sessions, "a", stake(1, "edge-0001")));
        assert!(!sessions.advance("a", 0, None));
        assert!(sessions.advance("a", 5, None));
        assert!(!sessions.advance("a", 5, None));
        assert!(!sessions.advance("a", 4, None));
        assert!(sessions.advance("a", u64::MAX, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_serves_for_less_than_a_heartbeat() {
        let sessions = Sessions::default();
        assert!(begin(&sessions, "a", stake(1, "edge-0001")));
        assert!(sessions.get("a").unwrap().is_fresh());
        tokio::time::advance(READ_SERVES).await;
        assert!(!sessions.get("a").unwrap().is_fresh());
        sessions.keep("a", &stake(1, "edge-0001"));
        assert!(sessions.get("a").unwrap().is_fresh());
    }

    #[tokio::test(start_paused = true)]
    async fn the_silent_one_makes_room() {
        let sessions = Sessions::default();
        for index in 0..MOST_SESSIONS {
            let index = u16::try_from(index).unwrap();
            // straight into the map: `begin` looks at every other session
            let session = Session {
                seal_token: String::new(),
                stake: stake(index, &format!("edge-{index}")),
                read: Instant::now(),
                heard: Instant::now(),
                sequence: 0,
                attested: None,
                refused: None,
            };
            sessions.lock().insert(format!("s{index}"), session);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        for index in (0..MOST_SESSIONS).filter(|index| *index != 77) {
            assert!(sessions.advance(&format!("s{index}"), 1, None));
        }
        assert!(begin(&sessions, "new", stake(u16::MAX, "edge-new")));
        assert!(sessions.get("s77").is_none());
        assert_eq!(sessions.lock().len(), MOST_SESSIONS);
    }
}
