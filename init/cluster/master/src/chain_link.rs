//! The chain, connected when it is first needed.

use std::future::Future;
use std::time::{SystemTime, UNIX_EPOCH};

use attest::tee_report::TeeKind;
use attest_verify::{LaunchMeasurement, Release, Standing};
use chain::{Chain, ChainError, ChainSettings, ObjectId, Stake, Tee};
use tokio::sync::OnceCell;

/// What the master reads from the chain.
pub trait StakeReader: Send + Sync + 'static {
    /// The stake behind a seal token, when two fullnodes say the same where two are configured;
    /// `None`: there is no such token.
    fn stake_of_seal_token(
        &self,
        seal_token: ObjectId,
    ) -> impl Future<Output = Result<Option<Stake>, ChainError>> + Send;

    /// The stake as it is now.
    fn reread(&self, stake: &Stake) -> impl Future<Output = Result<Stake, ChainError>> + Send;

    /// The stake of a record where it is over ([`chain::Verdict::is_over`]), and that is confirmed;
    /// `None` where it stands, or nothing is known of it.
    fn ended(
        &self,
        record: ObjectId,
    ) -> impl Future<Output = Result<Option<Stake>, ChainError>> + Send;

    /// The releases of a registry, when two fullnodes say the same where two are configured.
    fn releases(
        &self,
        registry: ObjectId,
    ) -> impl Future<Output = Result<Vec<Release>, ChainError>> + Send;
}

/// The real chain.
pub struct ChainLink {
    settings: ChainSettings,
    connection: OnceCell<Chain>,
}

impl ChainLink {
    /// Not connected yet: a master starts without the chain, and says so to whoever asks.
    #[must_use]
    pub fn new(settings: ChainSettings) -> Self {
        Self {
            settings,
            connection: OnceCell::new(),
        }
    }

    async fn connection(&self) -> Result<&Chain, ChainError> {
        self.connection
            .get_or_try_init(|| Chain::connect(&self.settings))
            .await
    }
}

impl StakeReader for ChainLink {
    async fn stake_of_seal_token(&self, seal_token: ObjectId) -> Result<Option<Stake>, ChainError> {
        self.connection()
            .await?
            .corroborated_stake_of_token(seal_token)
            .await
    }

    async fn reread(&self, stake: &Stake) -> Result<Stake, ChainError> {
        self.connection().await?.reread(stake).await
    }

    async fn ended(&self, record: ObjectId) -> Result<Option<Stake>, ChainError> {
        let chain = self.connection().await?;
        match chain.read_record(record).await? {
            // a Node is not removed on one fullnode's word
            Some(stake) if stake.verdict.is_over() => chain.confirm(&stake).await.map(Some),
            _ => Ok(None),
        }
    }

    async fn releases(&self, registry: ObjectId) -> Result<Vec<Release>, ChainError> {
        let known = self
            .connection()
            .await?
            .corroborated_releases(registry)
            .await?;
        Ok(releases(&known, now_ms()))
    }
}

/// What the chain says of each image of a registry's releases, at a time in milliseconds since the Unix
/// epoch.
fn releases(known: &chain::Releases, now_ms: u64) -> Vec<Release> {
    let minimum = known.minimum.to_string();
    let standing = |release: &chain::Release| {
        if release.counts(now_ms) {
            Standing::Approved
        } else if release.revoked {
            Standing::Revoked
        } else {
            Standing::BelowMinimum {
                minimum: minimum.clone(),
            }
        }
    };
    let image = |release: &chain::Release, image: &chain::ReleaseImage| {
        let launches = image.launch_measurements.iter();
        Some(Release {
            version: release.version.to_string(),
            pcr11: image.stub_pcr11()?,
            launch_measurements: launches
                .filter_map(|launch| {
                    Some(LaunchMeasurement {
                        kind: kind_of(launch.tee)?,
                        digest: launch.digest,
                    })
                })
                .collect(),
            standing: standing(release),
        })
    };
    let mut images = Vec::new();
    for release in &known.releases {
        images.extend(release.images.iter().filter_map(|one| image(release, one)));
    }
    images
}

/// This machine's time, in milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// The kind of report of a trusted execution environment; `None`: it is newer than this program.
const fn kind_of(tee: Tee) -> Option<TeeKind> {
    match tee {
        Tee::SevSnp => Some(TeeKind::SevSnp),
        Tee::Tdx => Some(TeeKind::Tdx),
        Tee::Nitro => Some(TeeKind::Nitro),
        _ => None,
    }
}
