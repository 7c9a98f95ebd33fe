//! What the pool's administrator does on the devnet: the keys of masters, and the releases that
//! count. Each is a transaction that the owner of the capabilities signs.

use anyhow::{Context, Result};
use chain::{
    Executed, LaunchMeasurement, Master, ObjectId, PhasePcr, PublicKey, Release, ReleaseImage,
    Releases,
};

/// What stands for the evidence of masters' keys on the chain: nothing verifies any on a devnet.
const NO_EVIDENCE: [u8; 32] = [0xde; 32];

/// Deadlines of what is revoked or outdated: it does not count any more.
const AT_ONCE: u64 = 0;
/// The shortest deadline of a higher minimum, with an hour to spare.
const A_DAY_AND_AN_HOUR: std::time::Duration = std::time::Duration::from_secs(25 * 60 * 60);

use super::{Description, Devnet};

impl Devnet {
    /// Registers a master's key by the registrar's capability, and lists the master in
    /// the pool's directory. Tells its enclave.
    ///
    /// # Errors
    /// When the chain refuses: a key is registered once.
    pub async fn register_master(
        &self,
        public_key: PublicKey,
        tls_key_sha256: [u8; 32],
        url: &str,
    ) -> Result<ObjectId> {
        register_master(&self.description, public_key, tls_key_sha256, url).await
    }

    /// Retires a master's key; it stays in the directory, and counts no more.
    ///
    /// # Errors
    /// When the chain refuses.
    pub async fn retire_master(&self, enclave: ObjectId) -> Result<Executed> {
        let chain = self.chain().await?;
        let administrator = Description::key(&self.description.slasher_key)?;
        let cap = self.description.admin_capability.parse()?;
        chain
            .retire_master_key(&administrator, cap, enclave)
            .await
            .context("the chain refused to retire the master's key")
    }

    /// The pool's current masters, as a node reads them.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub async fn masters(&self) -> Result<Vec<Master>> {
        let directory = self.description.directory.parse()?;
        Ok(self.chain().await?.corroborated_masters(directory).await?)
    }

    /// Approves a release. `pcr11` is the value that the boot stub leaves.
    ///
    /// # Errors
    /// When the chain refuses: a version is approved once.
    pub async fn approve_release(
        &self,
        version: &str,
        root_hash: [u8; 32],
        pcr11: [u8; 32],
    ) -> Result<Executed> {
        self.approve_measured_release(version, root_hash, pcr11, &[])
            .await
    }

    /// As [`Self::approve_release`], with what TEEs measure of it at launch.
    ///
    /// # Errors
    /// As [`Self::approve_release`].
    pub async fn approve_measured_release(
        &self,
        version: &str,
        root_hash: [u8; 32],
        pcr11: [u8; 32],
        launch_measurements: &[LaunchMeasurement],
    ) -> Result<Executed> {
        let release = Release {
            version: version.parse()?,
            images: vec![ReleaseImage {
                target: "disk".to_owned(),
                architecture: std::env::consts::ARCH.to_owned(),
                root_hash,
                pcr11: vec![PhasePcr {
                    phases: String::new(),
                    digest: pcr11,
                }],
                launch_measurements: launch_measurements.to_vec(),
            }],
            manifest: root_hash,
            places: Vec::new(),
            revoked: false,
            gone_by_ms: None,
        };
        let (key, cap) = self.releaser()?;
        self.chain()
            .await?
            .approve_release(&key, cap, &release)
            .await
            .with_context(|| format!("the chain refused to approve release {version}"))
    }

    /// Revokes a release.
    ///
    /// # Errors
    /// When the chain refuses: there is none, or it is revoked already.
    pub async fn revoke_release(&self, version: &str) -> Result<Executed> {
        let (key, cap) = self.releaser()?;
        self.chain()
            .await?
            .revoke_release(&key, cap, version.parse()?, AT_ONCE)
            .await
            .with_context(|| format!("the chain refused to revoke release {version}"))
    }

    /// Raises the least version that counts, to a release that does. Earlier ones count for a day
    /// more: at once a release goes by [`Self::revoke_release`] alone.
    ///
    /// # Errors
    /// When the chain refuses: it only rises.
    pub async fn set_minimum_release(&self, version: &str) -> Result<Executed> {
        let (key, cap) = self.releaser()?;
        let ahead_ms = u64::try_from(A_DAY_AND_AN_HOUR.as_millis())?;
        let deadline_ms = chain::now_ms().saturating_add(ahead_ms);
        self.chain()
            .await?
            .set_minimum_release(&key, cap, version.parse()?, deadline_ms)
            .await
            .with_context(|| format!("the chain refused the minimum release {version}"))
    }

    /// The registry of releases, as a master reads it.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub async fn releases(&self) -> Result<Releases> {
        let registry = self.description.release_registry.parse()?;
        Ok(self.chain().await?.corroborated_releases(registry).await?)
    }

    fn releaser(&self) -> Result<(chain::NodeKey, ObjectId)> {
        let key = Description::key(&self.description.slasher_key)?;
        Ok((key, self.description.release_capability.parse()?))
    }
}

/// Registers a master's key on a devnet that runs, and lists the master.
///
/// # Errors
/// When the chain refuses.
pub async fn register_master(
    description: &Description,
    public_key: PublicKey,
    tls_key_sha256: [u8; 32],
    url: &str,
) -> Result<ObjectId> {
    let chain = description.chain().await?;
    let key = Description::key(&description.slasher_key)?;
    let registrar = description.registrar_capability.parse()?;
    let enclave = chain
        .register_master_key(&key, registrar, public_key, tls_key_sha256, NO_EVIDENCE)
        .await
        .context("the chain refused the master's key")?;
    let administrator = description.admin_capability.parse()?;
    let directory = description.directory.parse()?;
    chain
        .list_master(&key, administrator, directory, enclave, url)
        .await
        .context("the chain refused to list the master")?;
    Ok(enclave)
}
