//! The second opinion before anything that can't be undone.

use std::time::Duration;

use chain_types::ObjectId;
use tokio::time::Instant;

use super::Chain;
use crate::error::ChainError;
use crate::rpc::Fullnode;
use crate::stake::{Stake, Verdict};

/// How often a single fullnode is asked whether it has a later checkpoint; Sui makes several a
/// second.
const NEXT_CHECKPOINT: Duration = Duration::from_millis(100);

/// What one fullnode alone has shown, and since when.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Suspicion {
    record: ObjectId,
    verdict: Verdict,
    fullnode: String,
    /// Its last checkpoint when it was first seen.
    height: u64,
    since: Instant,
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
    /// [`ChainError::Unconfirmed`] while one alone shows it; else what the fullnodes fail with.
    pub async fn confirm(&self, stake: &Stake) -> Result<Stake, ChainError> {
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
            self.forget();
            return Err(match (contrary, failure) {
                (Some(contrary), _) => self.disagreement(stake, 0, contrary.clone()),
                (None, Some(failure)) => failure,
                (None, None) => {
                    ChainError::Settings(crate::SettingsError::Fullnodes { most: 0, found: 0 })
                }
            });
        };
        if self.inner.fullnodes.len() > 1 && count >= self.needed() {
            self.forget();
            return Ok(latest.stake);
        }
        if let Some(contrary) = contrary {
            self.forget();
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
            Err(_elapsed) => Err(self.unconfirmed(&first, limit, limit)),
        }
    }

    /// One of several, while the others don't answer.
    fn confirm_alone(&self, seen: Opinion<'_>) -> Result<Stake, ChainError> {
        let needed = self.inner.timeouts.corroboration;
        let mut suspicion = self.suspicion();
        let known = suspicion.take().filter(|known| {
            known.record == seen.stake.record
                && known.verdict == seen.stake.verdict
                && known.fullnode == seen.fullnode.url()
        });
        let known = known.unwrap_or_else(|| Suspicion {
            record: seen.stake.record,
            verdict: seen.stake.verdict,
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
        *suspicion = Some(known);
        drop(suspicion);
        Err(self.unconfirmed(&seen, waited, needed))
    }

    fn unconfirmed(&self, seen: &Opinion<'_>, waited: Duration, needed: Duration) -> ChainError {
        ChainError::Unconfirmed {
            record: seen.stake.record,
            claim: seen.stake.verdict.name(),
            fullnode: seen.fullnode.url().to_owned(),
            waited_seconds: waited.as_secs(),
            needed_seconds: needed.as_secs(),
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

    fn forget(&self) {
        *self.suspicion() = None;
    }

    fn suspicion(&self) -> std::sync::MutexGuard<'_, Option<Suspicion>> {
        self.inner
            .suspicion
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
