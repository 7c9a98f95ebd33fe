//! Sealing for one machine from afar, by the public part of its storage root key alone.

use serde::{Deserialize, Serialize};
use tpm2_protocol::{
    data::{
        Tpm2bData, Tpm2bEncryptedSecret, Tpm2bPrivate, TpmAlgId, TpmCc, TpmtSymDef, TpmuSymKeyBits,
        TpmuSymMode,
    },
    frame::{TpmImportCommand, TpmImportResponse},
};
use zeroize::Zeroizing;

use super::{
    Tpm,
    crypto::{self, Digest, sha256},
    error::Error,
    object::{Loaded, Public},
    policy::Policy,
    put_sized,
    sealed_object::{MAX_SEALED, SealedObject},
    template,
};

/// A sealed object on its way to a TPM: Part 1, 23.3.2. It has the outer wrap alone: the inner one
/// needs a key that travels some other way, and would protect nothing beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicate {
    /// The wrapped private part (`TPM2B_PRIVATE` without its size).
    pub private: Vec<u8>,
    /// The public part (`TPM2B_PUBLIC`).
    pub public: Vec<u8>,
    /// The ephemeral point that the wrapping's seed comes from (`TPMS_ECC_POINT`).
    pub seed: Vec<u8>,
}

impl Duplicate {
    /// Seals up to [`MAX_SEALED`] bytes under a policy, for the TPM whose storage root key this is.
    ///
    /// # Errors
    ///
    /// When the key is no storage root key of the template, or the data are too long.
    pub fn seal(root: &Public, data: &[u8], policy: &Policy) -> Result<Self, Error> {
        let command = TpmCc::Import;
        if data.len() > MAX_SEALED {
            return Err(Error::TooLong(command));
        }
        template::check_storage_root(root)?;
        // Part 1, 27.5: a sealed object's unique value is the hash of its seed and its data
        let obfuscation = crypto::random::<32>()?;
        let unique = sha256(&[obfuscation.as_ref(), data]);
        let public = template::sealed(&policy.digest()?, Some(&unique))?;
        let name = public.name()?.to_bytes();

        // TPMT_SENSITIVE (Part 2, 12.3.2.4): type, authorisation value, seed, data
        let mut sensitive = Zeroizing::new(Vec::with_capacity(256));
        sensitive.extend_from_slice(&TpmAlgId::KeyedHash.value().to_be_bytes());
        put_sized(&mut sensitive, &[], command)?;
        put_sized(&mut sensitive, obfuscation.as_ref(), command)?;
        put_sized(&mut sensitive, data, command)?;
        let mut wrapped = Vec::with_capacity(256);
        put_sized(&mut wrapped, &sensitive, command)?;

        let (seed, point) = crypto::share_secret(&root.point()?, "DUPLICATE")?;
        let (integrity, wrapped) = crypto::outer_wrap(&seed, &name, wrapped);
        let mut private = Vec::with_capacity(256);
        put_sized(&mut private, &integrity, command)?;
        private.extend_from_slice(&wrapped);
        Ok(Self {
            private,
            public: public.to_bytes()?,
            seed: point,
        })
    }
}

impl Tpm {
    /// Takes a duplicate in: from then on it is a sealed object of this TPM's.
    ///
    /// # Errors
    ///
    /// When it was made for another TPM or was edited, or the TPM refuses.
    pub fn import(&mut self, root: &Loaded, object: &Duplicate) -> Result<SealedObject, Error> {
        let too_long = |_| Error::TooLong(TpmCc::Import);
        let command = TpmImportCommand {
            handles: [root.handle()],
            encryption_key: Tpm2bData::default(),
            object_public: Public::from_bytes(&object.public)?.sized(),
            duplicate: Tpm2bPrivate::try_from(object.private.as_slice()).map_err(too_long)?,
            in_sym_seed: Tpm2bEncryptedSecret::try_from(object.seed.as_slice())
                .map_err(too_long)?,
            symmetric_alg: TpmtSymDef {
                algorithm: TpmAlgId::Null,
                key_bits: TpmuSymKeyBits::Null,
                mode: TpmuSymMode::Null,
            },
        };
        let reply: TpmImportResponse = self.with_hmac(root, |tpm, session| {
            tpm.run(&command, &[&root.name().to_bytes()], &mut [session])
        })?;
        Ok(SealedObject {
            private: reply.out_private.to_vec(),
            public: object.public.clone(),
        })
    }
}

/// A digest of a policy, for those who check an object's.
impl SealedObject {
    /// Whether the object is under this policy and under nothing weaker.
    ///
    /// # Errors
    ///
    /// When its public part is malformed.
    pub fn is_under(&self, policy: &Policy) -> Result<bool, Error> {
        let expected: Digest = policy.digest()?;
        let area = self.public()?.area;
        let attributes = tpm2_protocol::data::TpmaObject::USER_WITH_AUTH;
        Ok(*area.auth_policy == expected && !area.object_attributes.contains(attributes))
    }
}
