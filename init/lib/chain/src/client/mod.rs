//! The way in: a chain, reached through any of its fullnodes.

mod administer;
mod confirm;
mod find;
mod gas;
mod governance;
mod kept;
mod payout;
mod read;
mod registry;
mod submit;
mod transact;
mod watch;

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chain_types::{Address, Mist, ObjectId};
use sui_sdk_types::Address as SuiAddress;
use tokio::sync::Notify;

use crate::error::ChainError;
use crate::rpc::Fullnode;
use crate::settings::{ChainSettings, Timeouts};
use crate::stake::Pool;

pub use kept::{KeptFor, KeptTransaction, PayoutTo, PayoutTransaction, StakeOf, StakeTransaction};
pub use submit::Prepared;
pub use watch::{StakeWatch, WatchEvent};

/// A connection to the chain that the settings name. Cheap to clone.
///
/// Calls go to the fullnode that answered last; where it does not answer, or lags, or serves
/// another chain, to the next one. What cannot be undone is asked of two, where there are two.
#[derive(Clone)]
pub struct Chain {
    inner: Arc<Inner>,
}

struct Inner {
    fullnodes: Vec<Fullnode>,
    /// Index of the fullnode that is asked first.
    preferred: AtomicUsize,
    package: SuiAddress,
    pool: SuiAddress,
    timeouts: Timeouts,
    /// What is shown of records and not believed yet.
    doubts: Mutex<confirm::Doubts>,
    /// Wakes those who watch records when there is a new doubt.
    doubted: Notify,
}

impl Chain {
    /// Connects to the first fullnode that answers, serves the right chain and keeps up with it.
    ///
    /// # Errors
    /// [`ChainError::Settings`], or what the first fullnode fails with when none is good.
    pub async fn connect(settings: &ChainSettings) -> Result<Self, ChainError> {
        settings.check()?;
        let fullnodes = settings
            .fullnodes
            .iter()
            .map(|url| Fullnode::new(url, settings))
            .collect::<Result<Vec<_>, _>>()?;
        let chain = Self {
            inner: Arc::new(Inner {
                fullnodes,
                preferred: AtomicUsize::new(0),
                package: settings.package.into(),
                pool: settings.pool.into(),
                timeouts: settings.timeouts,
                doubts: Mutex::default(),
                doubted: Notify::new(),
            }),
        };
        chain.on_any(|fullnode| fullnode.verify()).await?;
        Ok(chain)
    }

    /// The pool's terms.
    ///
    /// # Errors
    /// [`ChainError::NotFound`] and [`ChainError::WrongObject`] where the settings name no pool
    /// of the package; else what the conversation fails with.
    pub async fn pool(&self) -> Result<Pool, ChainError> {
        self.on_any(|fullnode| async { Ok(self.pool_on(fullnode).await?.terms) })
            .await
    }

    /// What slashes have brought into the pool's treasury.
    ///
    /// # Errors
    /// As for [`Self::pool`].
    pub async fn treasury(&self) -> Result<Mist, ChainError> {
        self.on_any(|fullnode| async {
            let pool = self.pool_on(fullnode).await?;
            Ok(self.treasury_on(fullnode, &pool).await?.0)
        })
        .await
    }

    /// All SUI that an account can spend.
    ///
    /// # Errors
    /// What the conversation fails with.
    pub async fn balance(&self, address: Address) -> Result<Mist, ChainError> {
        self.on_any(|fullnode| fullnode.balance(address.into()))
            .await
    }

    /// The fullnodes, the preferred one first.
    fn by_preference(&self) -> impl Iterator<Item = &Fullnode> {
        let first = self.inner.preferred.load(Ordering::Relaxed);
        let (before, after) = self
            .inner
            .fullnodes
            .split_at_checked(first)
            .unwrap_or((&self.inner.fullnodes, &[]));
        after.iter().chain(before)
    }

    /// Asks this fullnode first from now on.
    fn prefer(&self, fullnode: &Fullnode) {
        let place = |other: &Fullnode| std::ptr::eq(other, fullnode);
        if let Some(index) = self.inner.fullnodes.iter().position(place) {
            self.inner.preferred.store(index, Ordering::Relaxed);
        }
    }

    /// How many fullnodes must agree on what cannot be undone.
    fn needed(&self) -> usize {
        self.inner.fullnodes.len().min(2)
    }

    /// Asks the preferred fullnode, then the others, until one answers; that one is preferred
    /// from then on.
    async fn on_any<'a, T, F>(&'a self, ask: impl Fn(&'a Fullnode) -> F) -> Result<T, ChainError>
    where
        F: Future<Output = Result<T, ChainError>>,
    {
        let first = self.inner.preferred.load(Ordering::Relaxed);
        let (answer, index) = self.on_any_from(first, ask).await?;
        self.inner.preferred.store(index, Ordering::Relaxed);
        Ok(answer)
    }

    /// Asks one fullnode, then those after it, until one answers; and tells which one did.
    async fn on_any_from<'a, T, F>(
        &'a self,
        first: usize,
        ask: impl Fn(&'a Fullnode) -> F,
    ) -> Result<(T, usize), ChainError>
    where
        F: Future<Output = Result<T, ChainError>>,
    {
        let count = self.inner.fullnodes.len();
        let mut failure = None;
        for step in 0..count {
            let index = first.wrapping_add(step) % count;
            let Some(fullnode) = self.inner.fullnodes.get(index) else {
                continue;
            };
            match ask(fullnode).await {
                Ok(answer) => return Ok((answer, index)),
                Err(error) if another_may_know_better(&error) && count > 1 => {
                    tracing::warn!(fullnode = fullnode.url(), %error, "asking another fullnode");
                    failure.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(
            failure.unwrap_or(ChainError::Settings(crate::SettingsError::Fullnodes {
                most: count,
                found: 0,
            })),
        )
    }
}

/// Whether the fault lies with the fullnode rather than with the question.
fn another_may_know_better(error: &ChainError) -> bool {
    error.retryable()
        || matches!(
            error,
            ChainError::WrongChain { .. }
                | ChainError::InvalidAnswer { .. }
                | ChainError::DearGas { .. }
        )
}

/// Keeps `ObjectId` out of the signatures below that speak Sui's own type.
fn id(object: SuiAddress) -> ObjectId {
    object.into()
}
