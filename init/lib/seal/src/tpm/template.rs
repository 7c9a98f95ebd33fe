//! The templates of the keys that live in the TPM.

use tpm2_protocol::{
    basic::TpmHandle,
    data::{
        Tpm2bDigest, Tpm2bEccParameter, TpmAlgId, TpmCc, TpmEccCurve, TpmRh, TpmaObject,
        TpmsEccParms, TpmsEccPoint, TpmsKeyedhashParms, TpmsSchemeHash, TpmtEccScheme,
        TpmtKdfScheme, TpmtPublic, TpmtSymDef, TpmuAsymScheme, TpmuPublicId, TpmuPublicParms,
        TpmuSymKeyBits, TpmuSymMode,
    },
};

use super::{
    Tpm,
    crypto::{Digest, Point},
    error::Error,
    object::{Loaded, Public},
    session::aes_128_cfb,
};

/// The handle of the storage root key: TCG TPM v2.0 Provisioning Guidance 1.0, 7.8, table 2.
pub const STORAGE_ROOT_KEY: u32 = 0x8100_0001;

/// The policy of endorsement keys, `PolicySecret(TPM_RH_ENDORSEMENT)`: TCG EK Credential Profile for
/// TPM 2.0, version 2.3, annex B (PolicyA, SHA-256).
const ENDORSEMENT_POLICY: Digest = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// What a P-256 key is for.
enum Use {
    /// Protects other objects.
    Storage,
    /// Signs by ECDSA with SHA-256.
    Signing,
}

fn point(x: &[u8], y: &[u8]) -> Result<TpmsEccPoint, Error> {
    let parameter = |bytes| {
        Tpm2bEccParameter::try_from(bytes).map_err(|_| Error::TooLong(TpmCc::CreatePrimary))
    };
    Ok(TpmsEccPoint {
        x: parameter(x)?,
        y: parameter(y)?,
    })
}

fn digest(bytes: &[u8]) -> Result<Tpm2bDigest, Error> {
    Tpm2bDigest::try_from(bytes).map_err(|_| Error::TooLong(TpmCc::Create))
}

fn ecc(
    attributes: TpmaObject,
    policy: &[u8],
    purpose: &Use,
    unique: TpmsEccPoint,
) -> Result<Public, Error> {
    let (symmetric, scheme) = match purpose {
        Use::Storage => (aes_128_cfb(), TpmtEccScheme::default()),
        Use::Signing => (
            TpmtSymDef {
                algorithm: TpmAlgId::Null,
                key_bits: TpmuSymKeyBits::Null,
                mode: TpmuSymMode::Null,
            },
            TpmtEccScheme {
                scheme: TpmAlgId::Ecdsa,
                details: TpmuAsymScheme::Hash(TpmsSchemeHash {
                    hash_alg: TpmAlgId::Sha256,
                }),
            },
        ),
    };
    Ok(Public {
        area: TpmtPublic {
            object_type: TpmAlgId::Ecc,
            name_alg: TpmAlgId::Sha256,
            object_attributes: attributes,
            auth_policy: digest(policy)?,
            parameters: TpmuPublicParms::Ecc(TpmsEccParms {
                symmetric,
                scheme,
                curve_id: TpmEccCurve::NistP256,
                kdf: TpmtKdfScheme::default(),
            }),
            unique: TpmuPublicId::Ecc(unique),
        },
    })
}

/// Born in this TPM, and bound to it and to its parent.
fn native() -> TpmaObject {
    TpmaObject::FIXED_TPM | TpmaObject::FIXED_PARENT | TpmaObject::SENSITIVE_DATA_ORIGIN
}

/// The storage root key: TCG EK Credential Profile 2.3, B.3.4 (template L-2, ECC NIST P-256), with the
/// changes of TCG TPM v2.0 Provisioning Guidance 1.0, 7.5.1: `userWithAuth` and `noDA` set,
/// `adminWithPolicy` clear, no policy.
pub(crate) fn storage_root() -> Result<Public, Error> {
    let attributes = native()
        | TpmaObject::USER_WITH_AUTH
        | TpmaObject::NO_DA
        | TpmaObject::RESTRICTED
        | TpmaObject::DECRYPT;
    ecc(attributes, &[], &Use::Storage, point(&[0; 32], &[0; 32])?)
}

/// The endorsement key: TCG EK Credential Profile 2.3, B.3.4 (template L-2, ECC NIST P-256).
pub(crate) fn endorsement() -> Result<Public, Error> {
    let attributes =
        native() | TpmaObject::ADMIN_WITH_POLICY | TpmaObject::RESTRICTED | TpmaObject::DECRYPT;
    ecc(
        attributes,
        &ENDORSEMENT_POLICY,
        &Use::Storage,
        point(&[0; 32], &[0; 32])?,
    )
}

/// The attestation key: restricted, so that it signs nothing but what the TPM itself has made
/// (Part 1, 25.1.4). Its place as a primary key makes it the same at each boot with nothing stored.
pub(crate) fn attestation() -> Result<Public, Error> {
    let attributes = native()
        | TpmaObject::USER_WITH_AUTH
        | TpmaObject::NO_DA
        | TpmaObject::RESTRICTED
        | TpmaObject::SIGN_ENCRYPT;
    ecc(attributes, &[], &Use::Signing, point(&[], &[])?)
}

/// A signing key under a policy, never exported.
pub(crate) fn signing(policy: &Digest) -> Result<Public, Error> {
    let attributes = native() | TpmaObject::NO_DA | TpmaObject::SIGN_ENCRYPT;
    ecc(attributes, policy, &Use::Signing, point(&[], &[])?)
}

/// The public part of a signing key in software, as `TPM2_LoadExternal` takes it: its name is the
/// one that `TPM2_PolicyAuthorize` hashes, so this template must never change.
pub(crate) fn release_key(key: &Point) -> Result<Public, Error> {
    let attributes = TpmaObject::SIGN_ENCRYPT | TpmaObject::USER_WITH_AUTH;
    ecc(attributes, &[], &Use::Signing, point(&key.x, &key.y)?)
}

/// A sealed object under a policy alone. One that comes from outside (`unique` then is its hash) is
/// bound to no parent, and yet not exportable, since our policies admit no `TPM2_Duplicate`.
pub(crate) fn sealed(policy: &Digest, outside: Option<&Digest>) -> Result<Public, Error> {
    let attributes = match outside {
        None => TpmaObject::FIXED_TPM | TpmaObject::FIXED_PARENT | TpmaObject::NO_DA,
        Some(_) => TpmaObject::NO_DA,
    };
    Ok(Public {
        area: TpmtPublic {
            object_type: TpmAlgId::KeyedHash,
            name_alg: TpmAlgId::Sha256,
            object_attributes: attributes,
            auth_policy: digest(policy)?,
            parameters: TpmuPublicParms::KeyedHash(TpmsKeyedhashParms {
                scheme: tpm2_protocol::data::TpmtKeyedhashScheme {
                    scheme: TpmAlgId::Null,
                    details: tpm2_protocol::data::TpmuKeyedhashScheme::Null,
                },
            }),
            unique: TpmuPublicId::KeyedHash(digest(outside.map_or(&[], |hash| hash.as_slice()))?),
        },
    })
}

impl Tpm {
    /// The storage root key. It is made and kept when its handle is empty.
    ///
    /// What it is, is believed at the first use: whoever sits on the bus then could put his own key in
    /// its place. From then on each sealed file names the key that it was sealed for.
    ///
    /// # Errors
    ///
    /// When another kind of key lies there, or the TPM refuses.
    pub fn storage_root_key(&mut self) -> Result<Loaded, Error> {
        match self.existing_storage_root_key() {
            Err(Error::NoStorageRootKey) => {}
            other => return other,
        }
        let made = self.create_primary(TpmRh::Owner, &storage_root()?)?;
        let kept = self.persist(&made, TpmHandle::new(STORAGE_ROOT_KEY));
        let flushed = self.flush(made.handle());
        flushed?;
        match kept {
            Ok(kept) => Ok(kept),
            // another program may have made it at the same moment: the same seed gives the same key
            Err(error) => self.existing_storage_root_key().map_err(|_| error),
        }
    }

    /// The storage root key, if it is there.
    ///
    /// # Errors
    ///
    /// When nothing or another kind of key is at its handle.
    pub fn existing_storage_root_key(&mut self) -> Result<Loaded, Error> {
        let found = match self.read_public(TpmHandle::new(STORAGE_ROOT_KEY)) {
            Err(error) if error.is_absent() => return Err(Error::NoStorageRootKey),
            other => other?,
        };
        check_storage_root(found.public())?;
        Ok(found)
    }

    /// The endorsement key, made anew from the TPM's seed: the same each time.
    /// The caller flushes it.
    pub(crate) fn endorsement_key(&mut self) -> Result<Loaded, Error> {
        self.create_primary(TpmRh::Endorsement, &endorsement()?)
    }

    /// The public part of the endorsement key, which a manufacturer's certificate is for.
    ///
    /// # Errors
    ///
    /// When the TPM refuses, as when the endorsement hierarchy has a password.
    pub fn endorsement_public(&mut self) -> Result<Public, Error> {
        let key = self.endorsement_key()?;
        self.flush(key.handle())?;
        Ok(key.public().clone())
    }
}

impl Public {
    /// Whether this public area is that of an attestation key as [`Tpm::quote`] uses it: one that
    /// signs nothing but what its TPM has made, and never leaves it.
    ///
    /// # Errors
    ///
    /// Never in practice: the template is a constant.
    pub fn is_attestation_key(&self) -> Result<bool, Error> {
        Ok(self.fits(&attestation()?))
    }

    /// Whether this public area is that of an endorsement key of the template.
    ///
    /// # Errors
    ///
    /// Never in practice: the template is a constant.
    pub fn is_endorsement_key(&self) -> Result<bool, Error> {
        Ok(self.fits(&endorsement()?))
    }
}

/// Whether a public area is that of a storage root key of the template. `noDA` may be either: not
/// every system sets it, and it matters only to keys with a password.
pub(crate) fn check_storage_root(public: &Public) -> Result<(), Error> {
    let foreign = Error::ForeignStorageRootKey;
    let mut area = public.area.clone();
    if area.object_type != TpmAlgId::Ecc {
        return Err(foreign("it is not an ECC key"));
    }
    area.object_attributes |= TpmaObject::NO_DA;
    let template = storage_root()?.area;
    if area.object_attributes != template.object_attributes {
        return Err(foreign("its attributes are others"));
    }
    if area.parameters != template.parameters {
        return Err(foreign("its parameters are others"));
    }
    if !area.auth_policy.is_empty() {
        return Err(foreign("it has a policy"));
    }
    public.point().map(|_| ())
}
