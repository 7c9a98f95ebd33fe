//! The chain, connected when it is first needed.

use std::future::Future;

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
        Ok(releases(&known))
    }
}

/// What the chain says of each image of a registry's releases. Whether a deadline is over is for whoever
/// asks: what is read here is kept.
fn releases(known: &chain::Releases) -> Vec<Release> {
    let minimum = known.minimum.to_string();
    let standing = |release: &chain::Release| match (release.revoked, release.gone_by_ms) {
        // the contracts give every revoked one a deadline
        (true, deadline) => Standing::Revoked {
            gone_by_ms: deadline.unwrap_or(0),
        },
        (false, Some(gone_by_ms)) => Standing::BelowMinimum {
            minimum: minimum.clone(),
            gone_by_ms,
        },
        (false, None) => Standing::Approved,
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

/// The kind of report of a trusted execution environment; `None`: it is newer than this program.
const fn kind_of(tee: Tee) -> Option<TeeKind> {
    match tee {
        Tee::SevSnp => Some(TeeKind::SevSnp),
        Tee::Tdx => Some(TeeKind::Tdx),
        Tee::Nitro => Some(TeeKind::Nitro),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_deadline_is_kept_as_read() {
        let image = chain::ReleaseImage {
            target: "disk".to_owned(),
            architecture: "x86_64".to_owned(),
            root_hash: [1; 32],
            pcr11: vec![chain::PhasePcr {
                phases: String::new(),
                digest: [2; 32],
            }],
            launch_measurements: Vec::new(),
        };
        let mut known = chain::Releases {
            minimum: "2.0.0".parse().unwrap(),
            releases: vec![chain::Release {
                version: "1.0.0".parse().unwrap(),
                images: vec![image],
                manifest: [3; 32],
                places: Vec::new(),
                revoked: true,
                gone_by_ms: Some(u64::MAX),
            }],
        };
        let mut standing = |revoked, gone_by_ms| {
            known.releases[0].revoked = revoked;
            known.releases[0].gone_by_ms = gone_by_ms;
            releases(&known).remove(0).standing
        };
        for gone_by_ms in [0, u64::MAX] {
            assert_eq!(
                standing(true, Some(gone_by_ms)),
                Standing::Revoked { gone_by_ms }
            );
            let minimum = "2.0.0".to_owned();
            assert_eq!(
                standing(false, Some(gone_by_ms)),
                Standing::BelowMinimum {
                    minimum,
                    gone_by_ms
                }
            );
        }
        assert_eq!(standing(true, None), Standing::Revoked { gone_by_ms: 0 });
        assert_eq!(standing(false, None), Standing::Approved);
    }
}
