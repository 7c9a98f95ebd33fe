//! What this machine can seal and unseal, and under which policy.

use std::io;
use std::path::Path;

use seal::envelope::{self, Envelope, Sealing};
use seal::release::{self, MAX_FILE, Phase, ReleasePolicies};
use seal::tpm::crypto::Point;
use seal::tpm::nv::CounterLimit;
use seal::tpm::policy::{Policy, Unsatisfied};
use seal::tpm::transport::DEVICE;
use seal::tpm::{Tpm, error::Error as TpmError, pcr};
use thiserror::Error;
use wire::paths::{RELEASE_KEY, RELEASE_POLICIES};
use zeroize::Zeroizing;

use tpm::presence::{self, Presence};

/// Why this machine, as it was booted, can't seal.
#[derive(Debug, Error)]
pub(crate) enum CannotSeal {
    #[error("this machine has no TPM 2.0, or it is switched off in the firmware's setup")]
    NoTpm,
    #[error(
        "the firmware tells of a TPM 2.0, and the kernel could not start it: a power cycle may help"
    )]
    NotStarted,
    #[error(
        "this boot is not measured: the kernel was not started by UEFI from its unified image, so \
         that no publisher vouches for it to the TPM"
    )]
    NotMeasured,
    #[error("what the publisher signed about this image can't be read")]
    Read(#[source] io::Error),
    #[error("what the publisher signed about this image can't be used")]
    Policies(#[from] release::FileError),
    #[error(
        "the image's policies are signed by another key than the one that it was measured with"
    )]
    OtherKey,
    #[error(
        "the image is not what its publisher signed: PCR 11 of the TPM is {measured}, which no \
         policy names"
    )]
    NotAsSigned { measured: String },
    #[error(transparent)]
    Tpm(#[from] TpmError),
}

/// The machine's TPM, and what the publisher signed about the image that runs.
pub(crate) struct Sealer {
    pub(crate) tpm: Tpm,
    pub(crate) releases: ReleasePolicies,
}

impl Sealer {
    /// Opens the TPM of a machine whose boot was measured.
    ///
    /// # Errors
    /// [`CannotSeal`].
    pub(crate) fn open() -> Result<Self, CannotSeal> {
        match presence::presence() {
            Presence::Ready => {}
            Presence::Absent => return Err(CannotSeal::NoTpm),
            Presence::NotStarted => return Err(CannotSeal::NotStarted),
        }
        let releases = ReleasePolicies::from_json(&read(RELEASE_POLICIES)?)?;
        let key = read(RELEASE_KEY)?;
        if release::key_from_pem(&String::from_utf8_lossy(&key))? != releases.key {
            return Err(CannotSeal::OtherKey);
        }
        Ok(Self {
            tpm: Tpm::open(Path::new(DEVICE))?,
            releases,
        })
    }

    /// The phase that the TPM is in, by what the publisher signed.
    ///
    /// # Errors
    /// [`CannotSeal::NotAsSigned`]: what was sealed now would not open at the next boot.
    pub(crate) fn phase(&mut self) -> Result<Phase, CannotSeal> {
        let measured = self.tpm.read_pcr(pcr::KERNEL)?;
        self.releases
            .phase_of(&measured)
            .ok_or_else(|| CannotSeal::NotAsSigned {
                measured: hex_digits(&measured),
            })
    }

    /// The security version of the image that runs.
    pub(crate) fn security_version(&self) -> u32 {
        self.releases.security_version().unwrap_or_default()
    }

    /// The policy for what is sealed now, where nothing was sealed under the counter at `counter`: this
    /// publisher's images of this security version and above, in their boot phase, in this Secure Boot state,
    /// until that counter goes on.
    ///
    /// # Errors
    /// What the TPM says.
    pub(crate) fn policy(&mut self, counter: u32) -> Result<Policy, Unsatisfied> {
        let root = self.tpm.storage_root_key()?;
        let now = self.tpm.renew_counter(&root, counter, &self.releases)?;
        self.policy_under(now.as_it_stands())
    }

    fn policy_under(&mut self, limit: CounterLimit) -> Result<Policy, Unsatisfied> {
        Ok(Policy {
            release_key: self.releases.key,
            phase: Phase::Boot,
            floor: self.security_version(),
            secure_boot: Some(self.tpm.read_pcr(pcr::SECURE_BOOT)?),
            counter: Some(limit),
            auth_value: false,
        })
    }

    /// Seals for this machine.
    ///
    /// # Errors
    /// What the TPM says.
    pub(crate) fn seal(
        &mut self,
        label: &str,
        policy: Policy,
        recovery: Option<Point>,
        content: &[u8],
    ) -> Result<Envelope, envelope::Error> {
        let sealing = Sealing {
            label,
            policy,
            recovery,
        };
        Envelope::seal(&mut self.tpm, &sealing, content)
    }

    /// Brings the counter up to what a policy admits: all that was sealed before under that counter
    /// never opens again. Where that was done already, nothing happens; nor does it once the boot phase is over,
    /// as the TPM would refuse: the next boot does it.
    ///
    /// # Errors
    /// What the TPM says.
    pub(crate) fn outdate_others(&mut self, policy: &Policy) -> Result<(), Unsatisfied> {
        let Some(limit) = policy.counter else {
            return Ok(());
        };
        let root = self.tpm.storage_root_key()?;
        let counter = self.tpm.counter(&root, limit.handle)?;
        if counter.is_none_or(|counter| counter.count >= limit.limit) {
            return Ok(());
        }
        let measured = self.tpm.read_pcr(pcr::KERNEL)?;
        if self.releases.phase_of(&measured) == Some(Phase::Run) {
            tracing::info!("what was sealed before opens until the next boot");
            return Ok(());
        }
        self.tpm
            .increment_counter(&root, limit.handle, &self.releases)
            .map(drop)
    }

    /// The policy for what takes the place of something that is to open no more: it still holds once
    /// [`Sealer::outdate_others`] was called with it.
    ///
    /// # Errors
    /// What the TPM says.
    pub(crate) fn outdating_policy(&mut self, counter: u32) -> Result<Policy, Unsatisfied> {
        let root = self.tpm.storage_root_key()?;
        let now = self.tpm.ensure_counter(&root, counter, &self.releases)?;
        self.policy_under(now.after_increment())
    }

    /// Opens what was sealed.
    ///
    /// # Errors
    /// Why not: each reason has its own.
    pub(crate) fn unseal(
        &mut self,
        envelope: &Envelope,
        label: &str,
    ) -> Result<Zeroizing<Vec<u8>>, envelope::Error> {
        envelope.open(&mut self.tpm, label, &self.releases)
    }
}

fn read(path: &str) -> Result<Vec<u8>, CannotSeal> {
    files::read_bounded(path, MAX_FILE).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => CannotSeal::NotMeasured,
        _ => CannotSeal::Read(error),
    })
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex_digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
