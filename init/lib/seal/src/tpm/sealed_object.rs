//! Sealing: data that the TPM gives out only under a policy.

use serde::{Deserialize, Serialize};
use tpm2_protocol::data::TpmCc;
use zeroize::Zeroizing;

use super::{
    Request, Tpm,
    error::Error,
    malformed,
    object::{Loaded, Public},
    policy::{Policy, Unsatisfied},
    take_sized, template,
};
use crate::release::ReleasePolicies;

/// The most bytes that can be sealed: `MAX_SYM_DATA` of Part 2, 11.1.13.
pub const MAX_SEALED: usize = 128;

/// An object below the storage root key, outside the TPM: nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedObject {
    /// The private part, encrypted by the storage root key (`TPM2B_PRIVATE` without its size).
    pub private: Vec<u8>,
    /// The public part (`TPM2B_PUBLIC`).
    pub public: Vec<u8>,
}

impl SealedObject {
    /// The public part, parsed.
    ///
    /// # Errors
    ///
    /// When it is malformed.
    pub fn public(&self) -> Result<Public, Error> {
        Public::from_bytes(&self.public)
    }
}

impl Tpm {
    /// Seals up to [`MAX_SEALED`] bytes under a policy.
    ///
    /// # Errors
    ///
    /// When they are too many, or the TPM refuses.
    pub fn seal(
        &mut self,
        root: &Loaded,
        data: &[u8],
        policy: &Policy,
    ) -> Result<SealedObject, Error> {
        if data.len() > MAX_SEALED {
            return Err(Error::TooLong(TpmCc::Create));
        }
        let template = template::sealed(&policy.digest()?, None)?;
        let (private, public) = self.create(root, &[], data, &template)?;
        if public.area.auth_policy != template.area.auth_policy
            || public.area.object_attributes != template.area.object_attributes
        {
            return Err(malformed(
                TpmCc::Create,
                "the object is another than was asked for",
            ));
        }
        Ok(SealedObject {
            private,
            public: public.to_bytes()?,
        })
    }

    /// Takes out what was sealed.
    ///
    /// # Errors
    ///
    /// When the policy does not hold now, or the TPM refuses.
    pub fn unseal(
        &mut self,
        root: &Loaded,
        object: &SealedObject,
        policy: &Policy,
        releases: &ReleasePolicies,
    ) -> Result<Zeroizing<Vec<u8>>, Unsatisfied> {
        let command = TpmCc::Unseal;
        let public = object.public()?;
        self.with_loaded(root, &object.private, &public, |tpm, object| {
            tpm.with_policy(root, |tpm, session| {
                tpm.satisfy(root, session, policy, releases)?;
                let request = Request {
                    command,
                    handles: &[(object.handle(), &object.name().to_bytes())],
                    parameters: Zeroizing::default(),
                    encrypt: false,
                    decrypt: true,
                    reply_handles: 0,
                };
                let reply = tpm.call(request, &mut [session])?;
                match take_sized(&reply.parameters) {
                    Some((data, [])) => Ok(Zeroizing::new(data.to_vec())),
                    _ => Err(malformed(command, "its parameters are cut").into()),
                }
            })
        })
    }
}
