//! Which release a node runs.

use attest::tee_report::TeeKind;
use master_api::RefusalCode;
use seal::{release::Phase, tpm::crypto::Digest};

use crate::fault::Fault;

/// What a node runs: the value of its register 11, once the phase "run" is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image(Digest);

/// What an environment measures of a release at launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchMeasurement {
    /// Which environment.
    pub kind: TeeKind,
    /// The launch measurement of SEV-SNP, MRTD of TDX, PCR 0 of Nitro.
    pub digest: [u8; 48],
}

/// A release that the chain knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its version.
    pub version: String,
    /// Register 11 once the boot stub has measured the unified kernel image.
    pub pcr11: Digest,
    /// What trusted execution environments measure of it at launch.
    pub launch_measurements: Vec<LaunchMeasurement>,
    /// What the chain says of it.
    pub standing: Standing,
}

/// What the chain says of a release. Deadlines are in milliseconds since the Unix epoch: nodes that run
/// the release count until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nodes that run it count.
    Approved,
    /// It was revoked.
    Revoked {
        /// Its deadline.
        gone_by_ms: u64,
    },
    /// It is below the least version that counts.
    BelowMinimum {
        /// That version.
        minimum: String,
        /// Its deadline.
        gone_by_ms: u64,
    },
}

impl Release {
    /// Whether nodes that run it count at a time, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn counts(&self, now_ms: u64) -> bool {
        match self.standing {
            Standing::Approved => true,
            Standing::Revoked { gone_by_ms } | Standing::BelowMinimum { gone_by_ms, .. } => {
                now_ms < gone_by_ms
            }
        }
    }
}

impl Image {
    /// From register 11, as quoted.
    #[must_use]
    pub const fn from_register(value: Digest) -> Self {
        Self(value)
    }

    /// Register 11, as quoted.
    #[must_use]
    pub const fn register(&self) -> &Digest {
        &self.0
    }

    /// The release that is this image, if it counts at this time, in milliseconds since the Unix epoch.
    /// Asked when a node registers, and again and again for as long as it is part of the cluster.
    ///
    /// # Errors
    /// When none is known, or it does not count.
    pub fn release<'a>(&self, releases: &'a [Release], now_ms: u64) -> Result<&'a Release, Fault> {
        let runs = || {
            releases
                .iter()
                .filter(|release| Phase::Run.predict(&release.pcr11) == self.0)
        };
        // several versions can be one image: it stays revoked under another version, and else counts
        // by the one that does
        let counts = |release: &&Release| release.counts(now_ms);
        let revoked = |release: &&Release| {
            matches!(release.standing, Standing::Revoked { .. }) && !release.counts(now_ms)
        };
        let found = runs()
            .find(revoked)
            .or_else(|| runs().find(counts))
            .or_else(|| runs().next());
        let refused = |code, message| Err(Fault::new(code, message));
        match found {
            Some(release) if release.counts(now_ms) => Ok(release),
            Some(Release {
                version,
                standing: Standing::BelowMinimum { minimum, .. },
                ..
            }) => refused(
                RefusalCode::ReleaseBelowMinimum,
                format!(
                    "the release {version} is below {minimum}, the least that counts: update the node"
                ),
            ),
            // one that is approved counts
            Some(Release { version, .. }) => refused(
                RefusalCode::ReleaseRevoked,
                format!("the release {version} was revoked: update the node"),
            ),
            None => refused(
                RefusalCode::ReleaseUnknown,
                format!(
                    "no release on chain leads to the node's register 11, which is {}",
                    hex::encode(self.0)
                ),
            ),
        }
    }
}
