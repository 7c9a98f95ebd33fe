//! TPMs of machines: swtpm, which is a whole TPM 2.0 in a process, with certificates as from a
//! manufacturer. What is in a TPM outlives boots, disks and machines.

mod authority;
pub mod interposer;
mod platform;
mod process;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use seal::tpm::crypto::Digest;

pub use authority::Authority;
pub use process::Running;

/// Values of PCRs (SHA-256 bank), by their numbers.
pub type Measurements = BTreeMap<u8, Digest>;

/// A TPM that is off: what it keeps, in a folder. One machine at a time can have it.
#[derive(Clone, Debug)]
pub struct Tpm {
    directory: PathBuf,
}

impl Tpm {
    /// A new TPM, as from a factory: keys of its own, and in its non-volatile memory the certificate
    /// that `authority` issues for its P-256 endorsement key (template L-2).
    ///
    /// # Errors
    /// When swtpm does not start, or the certificate cannot be made or written.
    pub async fn manufacture(directory: &Path, authority: &Authority) -> Result<Self> {
        let tpm = Self::without_certificate(directory)?;
        let mut running = tpm.power_on(directory).await?;
        let mut client = running.start_up()?;
        let key = client
            .endorsement_public()
            .and_then(|public| public.point())
            .context("the new TPM has no endorsement key")?;
        let certificate = authority.endorse(&key, directory)?;
        platform::define(
            &mut running.channel()?,
            platform::ENDORSEMENT_CERTIFICATE,
            &certificate,
        )
        .context("cannot write the endorsement certificate")?;
        running.shut_down().await?;
        Ok(tpm)
    }

    /// A new TPM whose maker gave it no certificate.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn without_certificate(directory: &Path) -> Result<Self> {
        let state = directory.join("state");
        std::fs::create_dir_all(&state)
            .with_context(|| format!("cannot create {}", state.display()))?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Clears it (`TPM2_Clear`), as a person does in the firmware's menu: the owner's keys, indices and
    /// seeds are gone, the endorsement key and its certificate stay. The TPM must be off.
    ///
    /// # Errors
    /// When it is in use, or refuses.
    pub async fn clear(&self) -> Result<()> {
        let mut running = self.power_on(&self.directory).await?;
        running.start_up()?;
        platform::clear(&mut running.channel()?).context("cannot clear the TPM")?;
        running.shut_down().await
    }

    /// What somebody gets to do with a client at hand while the TPM is in no machine, for example read or
    /// write its non-volatile memory. No PCR is extended then.
    ///
    /// # Errors
    /// When it is in use, or `work` fails.
    pub async fn visit<T>(&self, work: impl FnOnce(&mut seal::tpm::Tpm) -> Result<T>) -> Result<T> {
        let mut running = self.power_on(&self.directory).await?;
        let mut client = running.start_up()?;
        let outcome = work(&mut client)?;
        running.shut_down().await?;
        Ok(outcome)
    }

    /// Where it keeps what it keeps.
    fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Gives it power; its socket and log go into `directory`, whose path must be short (unix(7)).
    ///
    /// # Errors
    /// When swtpm does not start, as when another machine has the TPM.
    pub async fn power_on(&self, directory: &Path) -> Result<Running> {
        Running::start(&self.state(), directory).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tpm_has_its_makers_certificate_and_keeps_it_when_it_is_cleared() {
        let directory = crate::lab::directory().unwrap();
        let authority = Authority::new(&directory.path().join("authority")).unwrap();
        assert!(authority.roots_pem().is_err(), "it has not signed yet");
        let place = directory.path().join("tpm");
        std::fs::create_dir(&place).unwrap();
        let tpm = Tpm::manufacture(&place, &authority).await.unwrap();
        let look = |client: &mut seal::tpm::Tpm| {
            let root = client.storage_root_key()?;
            Ok((
                root.name(),
                client.endorsement_public()?.name()?,
                client.endorsement_certificate(&root)?,
            ))
        };
        let before = tpm.visit(look).await.unwrap();
        assert_eq!(tpm.visit(look).await.unwrap(), before, "it keeps its keys");
        let certificate = before.2.clone().unwrap();
        assert_eq!(certificate.first(), Some(&0x30), "a DER sequence");
        assert_eq!(
            authority.roots_pem().unwrap().matches("BEGIN CERT").count(),
            2
        );

        tpm.clear().await.unwrap();
        let after = tpm.visit(look).await.unwrap();
        assert_ne!(after.0, before.0, "the storage root key is another");
        assert_eq!((after.1, after.2), (before.1, before.2));
    }

    #[tokio::test]
    async fn a_tpm_is_in_one_machine_at_a_time() {
        let directory = crate::lab::directory().unwrap();
        let tpm = Tpm::without_certificate(directory.path()).unwrap();
        let other = directory.path().join("other");
        std::fs::create_dir(&other).unwrap();
        let mut first = tpm.power_on(directory.path()).await.unwrap();
        first.start_up().unwrap();
        let mut second = tpm.power_on(&other).await.unwrap();
        assert!(second.start_up().is_err(), "its state is in use");
    }
}
