//! Policies: computed in software, and satisfied in the TPM.
//!
//! What this crate seals opens under `PolicyAuthorize(release key)`, then `PolicyPCR(7)`, then
//! `PolicyNV(counter)`. The release key has signed `PolicyPCR(11)` of each image and boot phase. Thus
//! an update by the same publisher opens what was sealed before, another machine's Secure Boot keys do
//! not, and nothing does once the boot phase is over.
//!
//! PCR 12 is part of what the release key signs, at zero: the boot stub measures into it what comes from
//! outside the image (a command line, credentials, add-ons). Without Secure Boot it takes such a command
//! line from whoever starts it, and that could name another root.

use serde::{Deserialize, Serialize};
use tpm2_protocol::{
    data::{
        Tpm2bDigest, Tpm2bEccParameter, Tpm2bMaxBuffer, Tpm2bNonce, TpmAlgId, TpmCc, TpmEo, TpmRh,
        TpmsSignatureEcc, TpmtSignature, TpmtTkVerified, TpmuSignature,
    },
    frame::{
        TpmPolicyAuthValueCommand, TpmPolicyAuthValueResponse, TpmPolicyAuthorizeCommand,
        TpmPolicyAuthorizeResponse, TpmPolicyGetDigestCommand, TpmPolicyGetDigestResponse,
        TpmPolicyNvCommand, TpmPolicyNvResponse, TpmPolicyPcrCommand, TpmPolicyPcrResponse,
        TpmVerifySignatureCommand, TpmVerifySignatureResponse,
    },
};
use zeroize::Zeroizing;

use super::{
    Request, Session, Tpm,
    crypto::{Digest, Point, sha256},
    error::Error,
    nv::CounterLimit,
    object::{Loaded, Name, Public, name_of, single_handle},
    pcr,
    policy_digest::PolicyDigest,
    session::PolicyError,
    template,
};
use crate::release::{Phase, ReleasePolicies, SignedPolicy, policy_reference};

/// Why a policy cannot be satisfied now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unsatisfied {
    /// PCR 7 is another than at sealing.
    #[error(
        "the Secure Boot state (PCR 7) is another than at sealing: its keys, its revocation list or the firmware were changed, or it was switched on or off"
    )]
    SecureBoot,
    /// PCR 11 has a value that the release key did not sign for this phase and floor.
    #[error(
        "the release key has signed no policy for the measured kernel (PCR 11 is {measured}) in the phase \"{phase}\" at the floor {floor}: this is another image, a release below the floor, or the phase is over until the next boot"
    )]
    NotReleased {
        /// The value of PCR 11, in hexadecimal.
        measured: String,
        /// The phase asked for.
        phase: Phase,
        /// The floor asked for.
        floor: u32,
    },
    /// Something was given to the kernel from outside its image.
    #[error(
        "the kernel was given something from outside its image (PCR 12 is not zero): a command line, credentials or an add-on"
    )]
    Overridden,
    /// The image's policies are signed by another key.
    #[error("the image's policies are of another release key than the sealed file's")]
    OtherPublisher,
    /// The counter has passed the limit.
    #[error(
        "the TPM's rollback counter is at {count}, past this file's {limit}: it is an older copy of a file that was sealed anew"
    )]
    RolledBack {
        /// What the counter stands at.
        count: u64,
        /// What the file admits.
        limit: u64,
    },
    /// The counter is gone or another.
    #[error(
        "the TPM's rollback counter is not the one that this file was sealed with: it is a copy from before a reset, or the counter was deleted"
    )]
    OtherCounter,
    /// The TPM failed.
    #[error(transparent)]
    Tpm(#[from] Error),
}

impl PolicyError for Unsatisfied {
    fn is_pcr_changed(&self) -> bool {
        matches!(self, Self::Tpm(error) if error.is_pcr_changed())
    }
}

/// What has to hold for an object to be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Whose images may use it.
    pub release_key: Point,
    /// In which phase of the boot.
    pub phase: Phase,
    /// The lowest security version of an image that may use it: see [`crate::release`].
    pub floor: u32,
    /// The value of PCR 7, if it must be one.
    pub secure_boot: Option<Digest>,
    /// The counter that outdates the object.
    pub counter: Option<CounterLimit>,
    /// Whether the object's authorisation value must be known.
    pub auth_value: bool,
}

impl Policy {
    /// The policy's digest, as objects carry it.
    ///
    /// # Errors
    ///
    /// When the release key is not on the curve.
    pub fn digest(&self) -> Result<Digest, Error> {
        let key = release_key_name(&self.release_key)?;
        let mut digest =
            PolicyDigest::new().authorize(&key, &policy_reference(self.phase, self.floor));
        if let Some(value) = &self.secure_boot {
            digest = digest.pcrs(&[(pcr::SECURE_BOOT, value)])?;
        }
        if let Some(limit) = &self.counter {
            digest = digest.counter_at_most(limit);
        }
        if self.auth_value {
            digest = digest.auth_value();
        }
        Ok(digest.digest())
    }
}

/// The name by which a policy knows a release key.
///
/// # Errors
///
/// When the key is not on the curve.
pub fn release_key_name(key: &Point) -> Result<Name, Error> {
    release_key_public(key)?.name()
}

/// The public area in which a TPM knows a release key.
///
/// # Errors
///
/// When the key is not on the curve.
pub fn release_key_public(key: &Point) -> Result<Public, Error> {
    key.public_key()?;
    template::release_key(key)
}

fn sized_digest(digest: &[u8]) -> Result<Tpm2bDigest, Error> {
    Tpm2bDigest::try_from(digest).map_err(|_| Error::TooLong(TpmCc::PolicyAuthorize))
}

/// A signature of ECDSA over P-256 with SHA-256, as the TPM takes it.
fn tpm_signature(signature: &[u8; 64]) -> Result<TpmtSignature, Error> {
    let (r, s) = signature.split_at(32);
    let parameter = |bytes| {
        Tpm2bEccParameter::try_from(bytes).map_err(|_| Error::TooLong(TpmCc::VerifySignature))
    };
    Ok(TpmtSignature {
        sig_alg: TpmAlgId::Ecdsa,
        signature: TpmuSignature::Ecdsa(TpmsSignatureEcc {
            hash: TpmAlgId::Sha256,
            signature_r: parameter(r)?,
            signature_s: parameter(s)?,
        }),
    })
}

impl Tpm {
    /// The digest that a policy session holds.
    ///
    /// # Errors
    ///
    /// When the TPM refuses.
    pub(crate) fn policy_digest(&mut self, session: &Session) -> Result<Tpm2bDigest, Error> {
        let command = TpmPolicyGetDigestCommand {
            handles: [session.handle()],
        };
        let reply: TpmPolicyGetDigestResponse = self.run(&command, &[], &mut [])?;
        Ok(reply.policy_digest)
    }

    fn policy_pcrs(&mut self, session: &Session, pcrs: &[u8]) -> Result<(), Error> {
        let command = TpmPolicyPcrCommand {
            handles: [session.handle()],
            // empty: the present values go into the policy
            pcr_digest: Tpm2bDigest::default(),
            pcrs: pcr::selection(pcrs)?,
        };
        self.run::<_, TpmPolicyPcrResponse>(&command, &[], &mut [])
            .map(|_| ())
    }

    fn load_external(&mut self, public: &Public) -> Result<Loaded, Error> {
        let command = TpmCc::LoadExternal;
        // no private part; a hierarchy, since a ticket of the null hierarchy proves nothing
        let mut parameters = Zeroizing::new(vec![0, 0]);
        parameters.extend_from_slice(&public.to_bytes()?);
        parameters.extend_from_slice(&TpmRh::Owner.value().to_be_bytes());
        let request = Request {
            command,
            handles: &[],
            parameters,
            encrypt: false,
            decrypt: false,
            reply_handles: 1,
        };
        let reply = self.call(request, &mut [])?;
        Loaded::new(single_handle(&reply.handles, command)?, public.clone())
    }

    fn verify_signature(
        &mut self,
        key: &Loaded,
        digest: &Digest,
        signed: &SignedPolicy,
    ) -> Result<TpmtTkVerified, Error> {
        let command = TpmVerifySignatureCommand {
            handles: [key.handle()],
            digest: sized_digest(digest)?,
            signature: tpm_signature(&signed.signature)?,
        };
        let reply: TpmVerifySignatureResponse = self.run(&command, &[], &mut [])?;
        Ok(reply.validation)
    }

    /// Replaces the session's policy, which must be what was signed: Part 3, 20.1 and 23.16.
    fn policy_authorize(
        &mut self,
        session: &Session,
        key: &Point,
        signed: &SignedPolicy,
    ) -> Result<(), Error> {
        let reference = policy_reference(signed.phase, signed.floor);
        let approved = signed.approved()?;
        let loaded = self.load_external(&template::release_key(key)?)?;
        let name = loaded.name().to_bytes();
        let verified = self.verify_signature(&loaded, &sha256(&[&approved, &reference]), signed);
        let flushed = self.flush(loaded.handle());
        let ticket = verified?;
        flushed?;
        let command = TpmPolicyAuthorizeCommand {
            handles: [session.handle()],
            approved_policy: sized_digest(&approved)?,
            policy_ref: Tpm2bNonce::try_from(reference.as_slice())
                .map_err(|_| Error::TooLong(TpmCc::PolicyAuthorize))?,
            key_sign: name_of(&name)?,
            check_ticket: ticket,
        };
        self.run::<_, TpmPolicyAuthorizeResponse>(&command, &[], &mut [])
            .map(|_| ())
    }

    fn policy_counter(&mut self, session: &Session, limit: &CounterLimit) -> Result<(), Error> {
        let index = limit.index();
        let command = TpmPolicyNvCommand {
            handles: [index, index, session.handle()],
            operand_b: Tpm2bMaxBuffer::try_from(limit.limit.to_be_bytes().as_slice())
                .map_err(|_| Error::TooLong(TpmCc::PolicyNv))?,
            offset: 0.into(),
            operation: TpmEo::UnsignedLe,
        };
        self.run::<_, TpmPolicyNvResponse>(&command, &[], &mut [&mut Session::password()])
            .map(|_| ())
    }

    /// Brings a policy session to where it satisfies a policy. What does not hold is found first by
    /// reading, so that the error names it; the TPM decides all the same.
    ///
    /// # Errors
    ///
    /// When the policy does not hold now.
    pub(crate) fn satisfy(
        &mut self,
        root: &Loaded,
        session: &Session,
        policy: &Policy,
        releases: &ReleasePolicies,
    ) -> Result<(), Unsatisfied> {
        if releases.key != policy.release_key {
            return Err(Unsatisfied::OtherPublisher);
        }
        if self.read_pcr(pcr::OVERRIDES)? != pcr::UNTOUCHED {
            return Err(Unsatisfied::Overridden);
        }
        let measured = self.read_pcr(pcr::KERNEL)?;
        let signed = releases
            .find(policy.phase, policy.floor, &measured)
            .ok_or_else(|| Unsatisfied::NotReleased {
                measured: hex::encode(measured),
                phase: policy.phase,
                floor: policy.floor,
            })?;
        self.policy_pcrs(session, &[pcr::KERNEL, pcr::OVERRIDES])?;
        self.policy_authorize(session, &policy.release_key, signed)?;
        if let Some(value) = &policy.secure_boot {
            if self.read_pcr(pcr::SECURE_BOOT)? != *value {
                return Err(Unsatisfied::SecureBoot);
            }
            self.policy_pcrs(session, &[pcr::SECURE_BOOT])?;
        }
        if let Some(limit) = &policy.counter {
            let counter = self
                .counter(root, limit.handle)?
                .ok_or(Unsatisfied::OtherCounter)?;
            if counter.name != limit.name {
                return Err(Unsatisfied::OtherCounter);
            }
            if counter.count > limit.limit {
                return Err(Unsatisfied::RolledBack {
                    count: counter.count,
                    limit: limit.limit,
                });
            }
            self.policy_counter(session, limit)?;
        }
        if policy.auth_value {
            let command = TpmPolicyAuthValueCommand {
                handles: [session.handle()],
            };
            self.run::<_, TpmPolicyAuthValueResponse>(&command, &[], &mut [])?;
        }
        if *self.policy_digest(session)? == policy.digest()? {
            Ok(())
        } else {
            Err(Error::PolicyDigest.into())
        }
    }
}
