//! What a publisher signs about an image, so that a machine lets it open what is sealed.
//!
//! For each image the publisher predicts PCR 11 at each [`Phase`] of its boot, and signs the policy
//! "PCR 11 has this value, and PCR 12 none" together with a reference that names the phase and a *floor*. An image of
//! security version `v` gets signatures for the floors `0..=v`. What is sealed names one floor; an
//! image below it has no signature for it, however valid its others are. Raising the floor is sealing
//! anew under a higher one and then incrementing the TPM's counter, which the old copy's policy bounds.

use std::fmt;

use p256::{
    ecdsa::{
        Signature, SigningKey, VerifyingKey,
        signature::hazmat::{PrehashSigner, PrehashVerifier},
    },
    pkcs8::DecodePublicKey,
};
use serde::{Deserialize, Serialize};

use crate::tpm::{
    crypto::{Digest, Point, sha256},
    error::Error,
    pcr,
    policy_digest::PolicyDigest,
};

/// The largest file of signed policies in bytes.
pub const MAX_FILE: usize = 64 * 1024;

/// The format of the file of signed policies.
const FORMAT: u32 = 1;

/// The phases of a boot that policies tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// From the kernel's start until `init` has taken out what is sealed.
    Boot,
    /// From then to the end.
    Run,
}

impl Phase {
    /// The phase's name, in policies and as what ends the phase before it is measured.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Run => "run",
        }
    }

    /// PCR 11 in this phase, for an image that the boot stub left it with `stub`: `init` extends it by
    /// the name of each phase that it enters.
    #[must_use]
    pub fn predict(self, stub: &Digest) -> Digest {
        let boot = pcr::extended(stub, &pcr::phase_digest(Self::Boot.name()));
        match self {
            Self::Boot => boot,
            Self::Run => pcr::extended(&boot, &pcr::phase_digest(Self::Run.name())),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The `policyRef` that ties a signature to a phase and a floor.
#[must_use]
pub(crate) fn policy_reference(phase: Phase, floor: u32) -> Vec<u8> {
    format!("k3s-daas/{phase}/{floor}").into_bytes()
}

/// A publisher's word that images with this PCR 11 may open what is sealed for a phase and a floor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPolicy {
    /// The phase.
    pub phase: Phase,
    /// The floor.
    pub floor: u32,
    /// The value of PCR 11.
    pub pcr11: Digest,
    /// ECDSA over P-256 with SHA-256: r and s, 32 bytes each.
    pub signature: [u8; 64],
}

impl SignedPolicy {
    /// Signs for one phase and floor.
    ///
    /// # Errors
    ///
    /// When the signature cannot be made.
    pub fn sign(key: &SigningKey, phase: Phase, floor: u32, pcr11: Digest) -> Result<Self, Error> {
        let mut signed = Self {
            phase,
            floor,
            pcr11,
            signature: [0; 64],
        };
        let signature: Signature = key
            .sign_prehash(&signed.message()?)
            .map_err(|_| Error::Signature("the release key could not sign"))?;
        signed.signature = signature.to_bytes().into();
        Ok(signed)
    }

    /// The policy that is approved: PCR 11 has the value, and nothing came from outside the image.
    pub(crate) fn approved(&self) -> Result<Digest, Error> {
        let pcrs = [
            (pcr::KERNEL, &self.pcr11),
            (pcr::OVERRIDES, &pcr::UNTOUCHED),
        ];
        Ok(PolicyDigest::new().pcrs(&pcrs)?.digest())
    }

    /// What is signed: TPM 2.0 Library Part 3, 23.16.1, equation 20 (aHash).
    fn message(&self) -> Result<Digest, Error> {
        Ok(sha256(&[
            &self.approved()?,
            &policy_reference(self.phase, self.floor),
        ]))
    }

    fn verify(&self, key: &VerifyingKey) -> Result<(), Error> {
        let wrong = |_| Error::Signature("a signed policy is not of the release key");
        let signature = Signature::from_slice(&self.signature).map_err(wrong)?;
        key.verify_prehash(&self.message()?, &signature)
            .map_err(wrong)
    }
}

/// The signed policies that go with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasePolicies {
    /// The release key.
    pub key: Point,
    policies: Vec<SignedPolicy>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    key: String,
    policies: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    phase: Phase,
    floor: u32,
    pcr11: String,
    signature: String,
}

/// Why a file of signed policies is not one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Too long.
    #[error("the file of signed policies is longer than {MAX_FILE} bytes")]
    TooLong,
    /// Not the JSON it should be.
    #[error("the file of signed policies is malformed")]
    Json(#[from] serde_json::Error),
    /// A newer format.
    #[error("the file of signed policies has the format {0}, and this program reads {FORMAT}")]
    Format(u32),
    /// A field that is not what it should be.
    #[error("in the file of signed policies, \"{field}\" is not {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// A signature that is not the key's.
    #[error(transparent)]
    Signature(#[from] Error),
}

impl ReleasePolicies {
    /// Signs what an image needs: each phase, for the floors up to its security version. `stub` is
    /// PCR 11 as the boot stub leaves it.
    ///
    /// # Errors
    ///
    /// When the key cannot sign.
    pub fn sign(key: &SigningKey, stub: &Digest, version: u32) -> Result<Self, Error> {
        let policies = [Phase::Boot, Phase::Run]
            .into_iter()
            .flat_map(|phase| (0..=version).map(move |floor| (phase, floor)))
            .map(|(phase, floor)| SignedPolicy::sign(key, phase, floor, phase.predict(stub)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            key: Point::from_public_key(&key.verifying_key().into()),
            policies,
        })
    }

    /// What the publisher foretold for PCR 11 in a phase. None without policies.
    #[must_use]
    pub fn foretold(&self, phase: Phase) -> Option<Digest> {
        self.policies
            .iter()
            .find(|policy| policy.phase == phase)
            .map(|policy| policy.pcr11)
    }

    /// The policy for a phase and floor whose PCR 11 is this.
    #[must_use]
    pub fn find(&self, phase: Phase, floor: u32, pcr11: &Digest) -> Option<&SignedPolicy> {
        self.policies
            .iter()
            .find(|policy| (policy.phase, policy.floor, &policy.pcr11) == (phase, floor, pcr11))
    }

    /// The highest floor that the image is signed for: its security version. None without policies.
    #[must_use]
    pub fn security_version(&self) -> Option<u32> {
        self.policies.iter().map(|policy| policy.floor).max()
    }

    /// The phase in which PCR 11 has this value, by what was signed.
    #[must_use]
    pub fn phase_of(&self, pcr11: &Digest) -> Option<Phase> {
        self.policies
            .iter()
            .find(|policy| policy.pcr11 == *pcr11)
            .map(|policy| policy.phase)
    }

    /// Reads a file of signed policies, and checks every signature.
    ///
    /// # Errors
    ///
    /// When it is malformed, or a signature is not of the key that it names. Whether that key is the
    /// right one is for the sealed object to say.
    pub fn from_json(json: &[u8]) -> Result<Self, FileError> {
        if json.len() > MAX_FILE {
            return Err(FileError::TooLong);
        }
        let file: File = serde_json::from_slice(json)?;
        if file.format != FORMAT {
            return Err(FileError::Format(file.format));
        }
        let key = hex::decode(&file.key)
            .ok()
            .and_then(|bytes| Point::from_sec1(&bytes).ok())
            .ok_or(FileError::Field {
                field: "key",
                expected: "a P-256 point in hexadecimal",
            })?;
        let verifying = VerifyingKey::from(key.public_key()?);
        let policies = file
            .policies
            .iter()
            .map(|entry| {
                let policy = entry.parse()?;
                policy.verify(&verifying)?;
                Ok(policy)
            })
            .collect::<Result<_, FileError>>()?;
        Ok(Self { key, policies })
    }

    /// Writes the file of signed policies.
    ///
    /// # Errors
    ///
    /// Never in practice: the structure has nothing that JSON cannot hold.
    pub fn to_json(&self) -> Result<String, FileError> {
        Ok(serde_json::to_string_pretty(&File {
            format: FORMAT,
            key: hex::encode(self.key.to_compressed()),
            policies: self
                .policies
                .iter()
                .map(|policy| Entry {
                    phase: policy.phase,
                    floor: policy.floor,
                    pcr11: hex::encode(policy.pcr11),
                    signature: hex::encode(policy.signature),
                })
                .collect(),
        })?)
    }
}

/// Reads a publisher's key: a P-256 public key in PEM, as `openssl ec -pubout` writes it.
///
/// # Errors
///
/// [`FileError::Field`] when it is none.
pub fn key_from_pem(pem: &str) -> Result<Point, FileError> {
    p256::PublicKey::from_public_key_pem(pem)
        .map(|key| Point::from_public_key(&key))
        .map_err(|_| FileError::Field {
            field: "release key",
            expected: "a P-256 public key in PEM",
        })
}

impl Entry {
    fn parse(&self) -> Result<SignedPolicy, FileError> {
        let mut policy = SignedPolicy {
            phase: self.phase,
            floor: self.floor,
            pcr11: Digest::default(),
            signature: [0; 64],
        };
        hex::decode_to_slice(&self.pcr11, &mut policy.pcr11).map_err(|_| FileError::Field {
            field: "pcr11",
            expected: "64 hexadecimal digits",
        })?;
        hex::decode_to_slice(&self.signature, &mut policy.signature).map_err(|_| {
            FileError::Field {
                field: "signature",
                expected: "128 hexadecimal digits",
            }
        })?;
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from(crate::tpm::crypto::random_scalar().expect("a key"))
    }

    #[test]
    fn a_file_comes_back_as_it_went() {
        let policies = ReleasePolicies::sign(&key(), &[7; 32], 2).expect("signed");
        let json = policies.to_json().expect("JSON");
        assert_eq!(
            ReleasePolicies::from_json(json.as_bytes()).expect("a file"),
            policies
        );
        let boot = Phase::Boot.predict(&[7; 32]);
        assert_eq!(policies.security_version(), Some(2));
        assert_eq!(policies.phase_of(&boot), Some(Phase::Boot));
        assert_eq!(policies.phase_of(&[7; 32]), None);
        assert!(policies.find(Phase::Boot, 2, &boot).is_some());
        assert!(
            policies.find(Phase::Boot, 3, &boot).is_none(),
            "above its version"
        );
        assert!(
            policies.find(Phase::Run, 2, &boot).is_none(),
            "another phase"
        );
    }

    #[test]
    fn another_floor_is_another_signature() {
        let json = ReleasePolicies::sign(&key(), &[7; 32], 0)
            .map(|policies| policies.to_json().expect("JSON"))
            .expect("signed");
        let raised = json.replacen("\"floor\": 0", "\"floor\": 1", 1);
        assert_ne!(raised, json);
        let error = ReleasePolicies::from_json(raised.as_bytes()).expect_err("refused");
        assert!(matches!(error, FileError::Signature(_)), "{error}");
    }
}
