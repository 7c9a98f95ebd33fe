//! The second opinion before anything that can't be undone or stops work, and the doubt until there
//! is one.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use chain_types::ObjectId;
use tokio::time::Instant;

use super::Chain;
use crate::error::ChainError;
use crate::rpc::Fullnode;
use crate::stake::Stake;

/// How often a single fullnode is asked whether it has a later checkpoint; Sui makes several a
/// second.
const NEXT_CHECKPOINT: Duration = Duration::from_millis(100);

/// Most records in doubt at once. A master watches up to 20,000.
const MOST_DOUBTS: usize = 32 * 1024;

/// A doubt that nobody has asked about for so long is forgotten. Longer than a master's round takes.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);

/// Why what a fullnode shows of a record is not believed yet.
#[derive(Debug, Clone)]
struct Doubt {
    /// As that fullnode shows it.
    stake: Stake,
    /// While one of several fullnodes alone shows it, at ever later checkpoints; `None`: another
    /// contradicts, or none answers, or no later checkpoint came.
    alone: Option<Alone>,
    /// When it was asked about last.
    asked: Instant,
}

/// What one fullnode alone has shown, while no other answered.
#[derive(Debug, Clone)]
struct Alone {
    fullnode: String,
    /// Its last checkpoint when it was first seen.
    height: u64,
    since: Instant,
}

/// What is not believed yet, by record: one record's trouble never hides another's.
#[derive(Debug, Default)]
pub(super) struct Doubts(HashMap<ObjectId, Doubt>);

impl Doubts {
    /// The doubt about a stake: of the same verdict, and not too old.
    fn about(&self, stake: &Stake) -> Option<&Doubt> {
        self.of(stake.record)
            .filter(|doubt| doubt.stake.verdict == stake.verdict)
    }

    /// The doubt about a record, unless it is too old.
    fn of(&self, record: ObjectId) -> Option<&Doubt> {
        let doubt = self.0.get(&record);
        doubt.filter(|doubt| doubt.asked.elapsed() < FORGOTTEN_AFTER)
    }

    fn keep(&mut self, stake: &Stake, alone: Option<Alone>) {
        if self.0.len() >= MOST_DOUBTS && !self.0.contains_key(&stake.record) {
            self.make_room();
        }
        let doubt = Doubt {
            stake: stake.clone(),
            alone,
            asked: Instant::now(),
        };
        self.0.insert(stake.record, doubt);
    }

    /// What is in doubt of a record's stake, and stops work.
    fn claim_about(&self, record: ObjectId) -> Option<&Stake> {
        let doubt = self.of(record)?;
        doubt.stake.verdict.stops_work().then_some(&doubt.stake)
    }

    /// Keeps or settles the doubt about a stake. Whether there is one.
    fn settle(&mut self, stake: &Stake, outcome: &Result<Stake, ChainError>) -> bool {
        let known = self.about(stake).map(|doubt| doubt.alone.clone());
        match outcome {
            Ok(_) => {
                self.0.remove(&stake.record);
                return false;
            }
            Err(ChainError::Disagreement { agreeing: 0, .. }) => {
                // however old it is
                let refuted = |doubt: &Doubt| doubt.stake.verdict == stake.verdict;
                if self.0.get(&stake.record).is_some_and(refuted) {
                    self.0.remove(&stake.record);
                }
                return false;
            }
            Err(ChainError::Unconfirmed { .. }) => self.keep(stake, known.flatten()),
            Err(ChainError::Disagreement { .. }) => self.keep(stake, None),
            // nothing new is known; what one showed for long it has to show anew
            Err(_) if known.is_some() => self.keep(stake, None),
            Err(_) => return false,
        }
        true
    }

    /// Forgets what is old, or else what has waited longest.
    fn make_room(&mut self) {
        self.0
            .retain(|_, doubt| doubt.asked.elapsed() < FORGOTTEN_AFTER);
        while self.0.len() >= MOST_DOUBTS {
            let oldest = self.0.iter().min_by_key(|(_, doubt)| doubt.asked);
            let Some(record) = oldest.map(|(record, _)| *record) else {
                return;
            };
            self.0.remove(&record);
        }
    }
}

/// What a fullnode that keeps up with the chain shows.
struct Opinion<'a> {
    fullnode: &'a Fullnode,
    height: u64,
    stake: Stake,
}

impl Opinion<'_> {
    /// What stands against a claim.
    fn contrary(&self) -> String {
        format!(
            "{} shows it as {} (version {}, checkpoint {})",
            self.fullnode.url(),
            self.stake.verdict,
            self.stake.version,
            self.height
        )
    }
}

impl Chain {
    /// The stake as it is now, when that can be relied on. To be asked before anything that can't
    /// be undone, again and again where it fails.
    ///
    /// Two fullnodes that show the same verdict are enough. Where only one is configured, it has
    /// to show it again at a later checkpoint. Where several are configured and one alone
    /// answers, it has to show it at ever later checkpoints for
    /// [`crate::Timeouts::corroboration`]; one that answers and shows something else stands
    /// against that for as long as it keeps up with the chain.
    ///
    /// # Errors
    /// [`ChainError::Disagreement`] where fullnodes contradict one another,
    /// [`ChainError::Unconfirmed`] while one alone shows it, or the only one has no later checkpoint; else what the fullnodes fail with.
    pub async fn confirm(&self, stake: &Stake) -> Result<Stake, ChainError> {
        let doubted_before = self.doubts().about(stake).is_some();
        let outcome = self.second_opinion(stake).await;
        let doubted = self.doubts().settle(stake, &outcome);
        if doubted && !doubted_before {
            self.inner.doubted.notify_waiters();
        }
        outcome
    }

    /// What a fullnode shows of a stake that stops work ([`crate::Verdict::stops_work`]), and that is
    /// not believed yet.
    pub(super) fn doubted_claim(&self, record: ObjectId) -> Option<Stake> {
        self.doubts().claim_about(record).cloned()
    }

    async fn second_opinion(&self, stake: &Stake) -> Result<Stake, ChainError> {
        let opinions = self
            .inner
            .fullnodes
            .iter()
            .map(|fullnode| self.opinion(fullnode, stake));
        let (mut agreeing, mut contrary, mut failure) = (Vec::new(), Vec::new(), None);
        for opinion in futures::future::join_all(opinions).await {
            match opinion {
                Ok(opinion) if opinion.stake.verdict == stake.verdict => agreeing.push(opinion),
                Ok(opinion) => contrary.push(opinion.contrary()),
                Err((fullnode, error @ ChainError::NotFound { .. })) => {
                    contrary.push(format!("{}: {error}", fullnode.url()));
                }
                Err((_, error)) => {
                    tracing::warn!(%error, "a fullnode cannot confirm the stake");
                    failure.get_or_insert(error);
                }
            }
        }
        agreeing.sort_by_key(|opinion| opinion.stake.version);
        let count = agreeing.len();
        let contrary: Option<&String> = contrary.first();
        let Some(latest) = agreeing.pop() else {
            return Err(match (contrary, failure) {
                (Some(contrary), _) => self.disagreement(stake, 0, contrary.clone()),
                (None, Some(failure)) => failure,
                (None, None) => {
                    ChainError::Settings(crate::SettingsError::Fullnodes { most: 0, found: 0 })
                }
            });
        };
        if self.inner.fullnodes.len() > 1 && count >= self.needed() {
            return Ok(latest.stake);
        }
        if let Some(contrary) = contrary {
            return Err(self.disagreement(stake, count, contrary.clone()));
        }
        if self.inner.fullnodes.len() == 1 {
            return self.confirm_later(latest).await;
        }
        self.confirm_alone(latest)
    }

    /// What one fullnode shows, if it is of the right chain and keeps up with it. One that only
    /// knows the record as it was before shows that; it is not wrong to say so.
    async fn opinion<'a>(
        &self,
        fullnode: &'a Fullnode,
        stake: &Stake,
    ) -> Result<Opinion<'a>, (&'a Fullnode, ChainError)> {
        let any_version = Stake {
            version: 0,
            ..stake.clone()
        };
        let read = async {
            let height = fullnode.verify().await?.height;
            let stake = self.reread_on(fullnode, &any_version).await?;
            Ok(Opinion {
                fullnode,
                height,
                stake,
            })
        };
        read.await.map_err(|error| (fullnode, error))
    }

    /// The only fullnode: the same again, at a later checkpoint.
    async fn confirm_later(&self, first: Opinion<'_>) -> Result<Stake, ChainError> {
        let limit = self.inner.timeouts.call;
        let later = async {
            loop {
                let height = first.fullnode.verify().await?.height;
                if height > first.height {
                    return self.reread_on(first.fullnode, &first.stake).await;
                }
                tokio::time::sleep(NEXT_CHECKPOINT).await;
            }
        };
        match tokio::time::timeout(limit, later).await {
            Ok(Ok(again)) if again.verdict == first.stake.verdict => Ok(again),
            Ok(Ok(again)) => {
                let claim = first.stake.clone();
                let again = Opinion {
                    stake: again,
                    ..first
                };
                Err(self.disagreement(&claim, 1, again.contrary()))
            }
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => Err(self.unconfirmed(&first, limit, None)),
        }
    }

    /// One of several, while the others don't answer.
    fn confirm_alone(&self, seen: Opinion<'_>) -> Result<Stake, ChainError> {
        let needed = self.inner.timeouts.corroboration;
        let mut doubts = self.doubts();
        let known = doubts
            .about(&seen.stake)
            .and_then(|doubt| doubt.alone.clone())
            .filter(|known| known.fullnode == seen.fullnode.url());
        let known = known.unwrap_or_else(|| Alone {
            fullnode: seen.fullnode.url().to_owned(),
            height: seen.height,
            since: Instant::now(),
        });
        let waited = known.since.elapsed();
        if waited >= needed && seen.height > known.height {
            tracing::warn!(
                fullnode = seen.fullnode.url(), record = %seen.stake.record,
                verdict = %seen.stake.verdict, seconds = waited.as_secs(),
                "one fullnode alone is believed: no other has answered for long"
            );
            return Ok(seen.stake);
        }
        doubts.keep(&seen.stake, Some(known));
        drop(doubts);
        Err(self.unconfirmed(&seen, waited, Some(needed)))
    }

    fn unconfirmed(
        &self,
        seen: &Opinion<'_>,
        waited: Duration,
        needed: Option<Duration>,
    ) -> ChainError {
        ChainError::Unconfirmed {
            record: seen.stake.record,
            claim: seen.stake.verdict.name(),
            fullnode: seen.fullnode.url().to_owned(),
            waited_seconds: waited.as_secs(),
            needed_seconds: needed.map(|needed| needed.as_secs()),
        }
    }

    fn disagreement(&self, claim: &Stake, agreeing: usize, contrary: String) -> ChainError {
        ChainError::Disagreement {
            record: claim.record,
            claim: claim.verdict.name(),
            agreeing,
            needed: self.needed(),
            contrary,
        }
    }

    fn doubts(&self) -> MutexGuard<'_, Doubts> {
        let doubts = self.inner.doubts.lock();
        doubts.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::NodeKey;
    use crate::stake::Verdict;
    use chain_types::Address;
    use chain_types::Mist;

    fn slashed(key: &NodeKey, number: usize) -> Stake {
        let mut record = [0; 32];
        record[..8].copy_from_slice(&number.to_be_bytes());
        Stake {
            record: ObjectId::from_bytes(record),
            version: 1,
            seal_token: None,
            staker: Address::from_bytes([9; 32]),
            beneficiary: Address::from_bytes([9; 32]),
            node_id: String::new(),
            node_key: key.public(),
            amount: Mist(0),
            minimum: Mist(1),
            slashed: Mist(1),
            staked_at_ms: 0,
            unbonding_until_ms: None,
            verdict: Verdict::Slashed,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn doubts_beyond_the_bound_push_out_the_oldest() {
        let key = NodeKey::generate().unwrap();
        let mut doubts = Doubts::default();
        for number in 0..MOST_DOUBTS {
            doubts.keep(&slashed(&key, number), None);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        for number in (0..10).chain(MOST_DOUBTS..MOST_DOUBTS + 10) {
            doubts.keep(&slashed(&key, number), None);
        }
        assert_eq!(doubts.0.len(), MOST_DOUBTS);
        for number in (0..10).chain(MOST_DOUBTS..MOST_DOUBTS + 10) {
            assert!(doubts.about(&slashed(&key, number)).is_some(), "{number}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubt_not_asked_about_for_long_is_forgotten() {
        let key = NodeKey::generate().unwrap();
        let mut doubts = Doubts::default();
        doubts.keep(&slashed(&key, 1), None);
        assert!(doubts.about(&slashed(&key, 1)).is_some());
        let withdrawn = Stake {
            verdict: Verdict::Withdrawn,
            ..slashed(&key, 1)
        };
        assert!(doubts.about(&withdrawn).is_none(), "another claim");
        assert!(doubts.claim_about(slashed(&key, 1).record).is_some());
        tokio::time::advance(FORGOTTEN_AFTER).await;
        assert!(doubts.about(&slashed(&key, 1)).is_none());
        assert!(doubts.claim_about(slashed(&key, 1).record).is_none());
    }

    /// As after an outage of the whole chain that lasted longer.
    #[tokio::test(start_paused = true)]
    async fn an_old_doubt_that_nobody_shows_is_removed() {
        let key = NodeKey::generate().unwrap();
        let stake = slashed(&key, 1);
        let refuted = Err(ChainError::Disagreement {
            record: stake.record,
            claim: stake.verdict.name(),
            agreeing: 0,
            needed: 2,
            contrary: "https://b.example shows it as active".to_owned(),
        });
        let mut doubts = Doubts::default();
        doubts.keep(&stake, None);
        tokio::time::advance(FORGOTTEN_AFTER).await;
        let withdrawn = Stake {
            verdict: Verdict::Withdrawn,
            ..stake.clone()
        };
        assert!(!doubts.settle(&withdrawn, &refuted));
        assert_eq!(doubts.0.len(), 1, "another claim");
        assert!(!doubts.settle(&stake, &refuted));
        assert!(doubts.0.is_empty());
    }
}
