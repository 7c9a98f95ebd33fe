//! A signing key that is born in the TPM and never leaves it.

use p256::ecdsa::Signature;
use tpm2_protocol::{
    data::{
        Tpm2bDigest, TpmAlgId, TpmCc, TpmRh, TpmSt, TpmtSigScheme, TpmtSignature, TpmtTkHashcheck,
        TpmuSignature,
    },
    frame::{TpmSignCommand, TpmSignResponse},
};
use zeroize::Zeroizing;

use super::{
    Tpm,
    crypto::{self, Digest, Point},
    error::Error,
    malformed,
    object::Loaded,
    policy::{Policy, Unsatisfied},
    sealed_object::SealedObject,
    template,
};
use crate::release::ReleasePolicies;

/// A signature of ECDSA over P-256 with SHA-256: r and s, 32 bytes each, s in the lower half.
pub type SignatureBytes = [u8; 64];

/// A P-256 key below the storage root key.
///
/// The key has no PCR 7 in its policy: a policy cannot be changed, and a new revocation list of the
/// firmware's would take the key, and what it owns, for ever. Instead it has an authorisation value,
/// which belongs into the sealed file: so the key follows the whole policy of that file.
pub struct SigningKey {
    object: SealedObject,
    auth: Zeroizing<[u8; 32]>,
    policy: Policy,
}

impl SigningKey {
    /// Puts a key together again from what was stored of it.
    #[must_use]
    pub fn new(object: SealedObject, auth: Zeroizing<[u8; 32]>, policy: Policy) -> Self {
        Self {
            object,
            auth,
            policy,
        }
    }

    /// What is to be stored, in the open.
    #[must_use]
    pub fn object(&self) -> &SealedObject {
        &self.object
    }

    /// The authorisation value, to be stored sealed.
    #[must_use]
    pub fn auth(&self) -> &[u8; 32] {
        &self.auth
    }

    /// The key's policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The public key.
    ///
    /// # Errors
    ///
    /// When the stored public part is malformed.
    pub fn public_key(&self) -> Result<Point, Error> {
        self.object.public()?.point()
    }
}

impl Tpm {
    /// Makes a signing key under a policy, which must ask for the authorisation value.
    ///
    /// # Errors
    ///
    /// When the policy does not ask for it, or the TPM refuses.
    pub fn create_signing_key(
        &mut self,
        root: &Loaded,
        policy: Policy,
    ) -> Result<SigningKey, Error> {
        if !policy.auth_value {
            return Err(Error::PolicyDigest);
        }
        let auth = crypto::random::<32>()?;
        let template = template::signing(&policy.digest()?)?;
        let (private, public) = self.create(root, auth.as_ref(), &[], &template)?;
        public.point()?;
        if public.area.auth_policy != template.area.auth_policy
            || public.area.object_attributes != template.area.object_attributes
        {
            return Err(malformed(
                TpmCc::Create,
                "the key is another than was asked for",
            ));
        }
        let object = SealedObject {
            private,
            public: public.to_bytes()?,
        };
        Ok(SigningKey {
            object,
            auth,
            policy,
        })
    }

    /// Signs a digest. The signature has its s in the lower half of the curve's order, as Sui demands
    /// (the other half would make a second valid signature out of each).
    ///
    /// # Errors
    ///
    /// When the key's policy does not hold now, or the TPM refuses.
    pub fn sign(
        &mut self,
        root: &Loaded,
        key: &SigningKey,
        releases: &ReleasePolicies,
        digest: &Digest,
    ) -> Result<SignatureBytes, Unsatisfied> {
        let public = key.object.public()?;
        let signature = self.with_loaded(root, &key.object.private, &public, |tpm, loaded| {
            tpm.with_policy(root, |tpm, session| {
                tpm.satisfy(root, session, &key.policy, releases)?;
                // trailing zeros of an authorisation value do not count (Part 1, 17.6.4.3)
                let used = key
                    .auth
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .map_or(0, |last| last + 1);
                let auth = key.auth.get(..used).unwrap_or_default().to_vec();
                session.set_auth(Zeroizing::new(auth));
                let command = TpmSignCommand {
                    handles: [loaded.handle()],
                    digest: Tpm2bDigest::try_from(digest.as_slice())
                        .map_err(|_| Error::TooLong(TpmCc::Sign))?,
                    in_scheme: TpmtSigScheme::default(),
                    // an unrestricted key signs any digest, and takes the null ticket (Part 3, 20.2)
                    validation: TpmtTkHashcheck {
                        tag: TpmSt::HashCheck,
                        hierarchy: TpmRh::Null,
                        digest: Tpm2bDigest::default(),
                    },
                };
                let reply: TpmSignResponse =
                    tpm.run(&command, &[&loaded.name().to_bytes()], &mut [session])?;
                Ok::<_, Unsatisfied>(reply.signature)
            })
        })?;
        let signature = parse_signature(&signature, TpmCc::Sign)?;
        Ok(signature.normalize_s().to_bytes().into())
    }
}

/// An ECDSA signature out of a `TPMT_SIGNATURE`.
pub(crate) fn parse_signature(
    signature: &TpmtSignature,
    command: TpmCc,
) -> Result<Signature, Error> {
    let TpmuSignature::Ecdsa(ecdsa) = &signature.signature else {
        return Err(malformed(command, "its signature is not ECDSA"));
    };
    if ecdsa.hash != TpmAlgId::Sha256 {
        return Err(malformed(command, "its signature is not with SHA-256"));
    }
    let scalar = |bytes: &[u8]| -> Option<[u8; 32]> {
        let mut padded = [0; 32];
        padded
            .get_mut(32_usize.checked_sub(bytes.len())?..)?
            .copy_from_slice(bytes);
        Some(padded)
    };
    scalar(&ecdsa.signature_r)
        .zip(scalar(&ecdsa.signature_s))
        .and_then(|(r, s)| Signature::from_scalars(r, s).ok())
        .ok_or_else(|| malformed(command, "its signature is no pair of scalars"))
}
