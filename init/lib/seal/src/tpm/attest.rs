//! Attestation: quotes, and the proof that a quote's key lives beside a certified endorsement key.

use p256::ecdsa::{VerifyingKey, signature::Verifier};
use tpm2_protocol::{
    TpmMarshal, TpmUnmarshal,
    data::{
        Tpm2bData, Tpm2bDigest, Tpm2bEncryptedSecret, Tpm2bIdObject, Tpm2bNonce, TpmCc, TpmRh,
        TpmlPcrSelection, TpmsAttest, TpmtSigScheme, TpmtSignature, TpmuAttest,
    },
    frame::{TpmPolicySecretCommand, TpmPolicySecretResponse},
};
use zeroize::Zeroizing;

use super::{
    Request, Session, Tpm,
    crypto::{self, Digest, Point},
    error::Error,
    malformed, marshal,
    object::{Loaded, Name, Public, hierarchy},
    pcr, put_sized,
    signing::parse_signature,
    take_sized, template,
};

/// A quote as the TPM made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// What is signed: a `TPMS_ATTEST` (Part 2, 10.12.12), as `tpm2_checkquote --message` takes it.
    pub message: Vec<u8>,
    /// The signature: a `TPMT_SIGNATURE` (Part 2, 11.3.4), as `tpm2_checkquote --signature` takes it.
    pub signature: Vec<u8>,
}

/// What a verified quote says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted {
    /// The hash over the values of the selected PCRs, in the order of their numbers.
    pub pcr_digest: Digest,
    /// The number of times that the TPM was reset: another boot is another number.
    pub reset_count: u32,
    /// The number of times that the machine came back from sleep since then.
    pub restart_count: u32,
    /// Milliseconds that the TPM was powered.
    pub clock: u64,
    /// The version of the TPM's firmware.
    pub firmware_version: u64,
}

/// A credential that only the TPM with both keys can open: `TPM2_MakeCredential`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The encrypted credential (`TPM2B_ID_OBJECT` without its size).
    pub blob: Vec<u8>,
    /// The ephemeral point that its key comes from (`TPMS_ECC_POINT`).
    pub seed: Vec<u8>,
}

impl Quote {
    /// What the quote is over, as its message says. Nothing is verified here.
    ///
    /// # Errors
    ///
    /// When the message is malformed.
    pub fn nonce(&self) -> Result<Vec<u8>, Error> {
        let (attest, _) = TpmsAttest::unmarshal(&self.message)
            .map_err(|_| malformed(TpmCc::Quote, "its message is malformed"))?;
        Ok(attest.extra_data.to_vec())
    }

    /// Checks that this quote is of this key, over this nonce, over these PCRs of the SHA-256 bank.
    ///
    /// # Errors
    ///
    /// When any of it is not so; the error says which.
    pub fn verify(&self, key: &Point, nonce: &[u8], pcrs: &[u8]) -> Result<Quoted, Error> {
        let wrong = |what| malformed(TpmCc::Quote, what);
        let (signature, rest) = TpmtSignature::unmarshal(&self.signature)
            .map_err(|_| wrong("its signature is malformed"))?;
        if !rest.is_empty() {
            return Err(wrong("something follows its signature"));
        }
        let signature = parse_signature(&signature, TpmCc::Quote)?;
        VerifyingKey::from(key.public_key()?)
            .verify(&self.message, &signature)
            .map_err(|_| Error::Signature("the quote is not of this attestation key"))?;
        let (attest, rest) =
            TpmsAttest::unmarshal(&self.message).map_err(|_| wrong("its message is malformed"))?;
        if !rest.is_empty() {
            return Err(wrong("something follows its message"));
        }
        let TpmuAttest::Quote(quoted) = &attest.attested else {
            return Err(wrong("it attests something else"));
        };
        if !crypto::same(&attest.extra_data, nonce) {
            return Err(Error::Signature("the quote is over another nonce"));
        }
        if quoted.pcr_select != pcr::selection(pcrs)? {
            return Err(Error::Signature("the quote is over other PCRs"));
        }
        Ok(Quoted {
            pcr_digest: (*quoted.pcr_digest)
                .try_into()
                .map_err(|_| wrong("its digest is not of SHA-256"))?,
            reset_count: attest.clock_info.reset_count.value(),
            restart_count: attest.clock_info.restart_count.value(),
            clock: attest.clock_info.clock.value(),
            firmware_version: attest.firmware_version.value(),
        })
    }
}

impl Credential {
    /// Encrypts up to 32 bytes for the TPM that has the endorsement key, and in it the key of this
    /// name: Part 1, 24.
    ///
    /// # Errors
    ///
    /// When the endorsement key is not one of P-256, or the secret is too long.
    pub fn make(endorsement: &Public, key: &Name, secret: &[u8]) -> Result<Self, Error> {
        let command = TpmCc::MakeCredential;
        if secret.len() > 32 {
            return Err(Error::TooLong(command));
        }
        let template = template::endorsement()?;
        if endorsement.area.parameters != template.area.parameters {
            return Err(Error::NotP256("the endorsement key"));
        }
        let (seed, point) = crypto::share_secret(&endorsement.point()?, "IDENTITY")?;
        let mut identity = Vec::with_capacity(34);
        put_sized(&mut identity, secret, command)?;
        let (integrity, identity) = crypto::outer_wrap(&seed, &key.to_bytes(), identity);
        let mut blob = Vec::with_capacity(68);
        put_sized(&mut blob, &integrity, command)?;
        blob.extend_from_slice(&identity);
        Ok(Self { blob, seed: point })
    }
}

impl Tpm {
    fn with_attestation_key<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &Loaded) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let key = self.create_primary(TpmRh::Endorsement, &template::attestation()?)?;
        let result = work(self, &key);
        let flushed = self.flush(key.handle());
        let value = result?;
        flushed?;
        Ok(value)
    }

    /// The public part of the attestation key, the same at each boot until the TPM gets a new
    /// endorsement seed.
    ///
    /// # Errors
    ///
    /// When the TPM refuses.
    pub fn attestation_public(&mut self) -> Result<Public, Error> {
        self.with_attestation_key(|_, key| Ok(key.public().clone()))
    }

    /// Quotes PCRs of the SHA-256 bank by the attestation key, over a nonce of at most 64 bytes.
    ///
    /// # Errors
    ///
    /// When the nonce is too long, or the TPM refuses.
    pub fn quote(&mut self, nonce: &[u8], pcrs: &[u8]) -> Result<Quote, Error> {
        let command = TpmCc::Quote;
        let nonce = Tpm2bData::try_from(nonce).map_err(|_| Error::TooLong(command))?;
        let selection: TpmlPcrSelection = pcr::selection(pcrs)?;
        self.with_attestation_key(|tpm, key| {
            let request = Request {
                command,
                handles: &[(key.handle(), &key.name().to_bytes())],
                parameters: marshal(command, |writer| {
                    nonce.marshal(writer)?;
                    TpmtSigScheme::default().marshal(writer)?;
                    selection.marshal(writer)
                })?,
                encrypt: false,
                decrypt: false,
                reply_handles: 0,
            };
            let reply = tpm.call(request, &mut [&mut Session::password()])?;
            let (message, signature) = take_sized(&reply.parameters)
                .ok_or_else(|| malformed(command, "its parameters are cut"))?;
            Ok(Quote {
                message: message.to_vec(),
                signature: signature.to_vec(),
            })
        })
    }

    /// Opens a credential made for this TPM's endorsement key and attestation key.
    ///
    /// # Errors
    ///
    /// When it was made for others, or the TPM refuses.
    pub fn activate_credential(
        &mut self,
        root: &Loaded,
        credential: &Credential,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.with_attestation_key(|tpm, key| {
            let endorsement = tpm.endorsement_key()?;
            let result = tpm.activate(root, key, &endorsement, credential);
            let flushed = tpm.flush(endorsement.handle());
            let secret = result?;
            flushed?;
            Ok(secret)
        })
    }

    fn activate(
        &mut self,
        root: &Loaded,
        key: &Loaded,
        endorsement: &Loaded,
        credential: &Credential,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let command = TpmCc::ActivateCredential;
        let too_long = |_| Error::TooLong(command);
        let blob = Tpm2bIdObject::try_from(credential.blob.as_slice()).map_err(too_long)?;
        let seed = Tpm2bEncryptedSecret::try_from(credential.seed.as_slice()).map_err(too_long)?;
        self.with_policy(root, |tpm, session| {
            tpm.policy_endorsement(session)?;
            let request = Request {
                command,
                handles: &[
                    (key.handle(), &key.name().to_bytes()),
                    (endorsement.handle(), &endorsement.name().to_bytes()),
                ],
                parameters: marshal(command, |writer| {
                    blob.marshal(writer)?;
                    seed.marshal(writer)
                })?,
                encrypt: false,
                decrypt: true,
                reply_handles: 0,
            };
            let reply = tpm.call(request, &mut [&mut Session::password(), session])?;
            match take_sized(&reply.parameters) {
                Some((secret, [])) => Ok(Zeroizing::new(secret.to_vec())),
                _ => Err(malformed(command, "its parameters are cut")),
            }
        })
    }

    /// Satisfies the endorsement key's policy: `PolicySecret` of the endorsement hierarchy, whose
    /// authorisation value is empty (Part 3, 23.4).
    fn policy_endorsement(&mut self, session: &Session) -> Result<(), Error> {
        let (endorsement, name) = hierarchy(TpmRh::Endorsement);
        let command = TpmPolicySecretCommand {
            handles: [endorsement, session.handle()],
            nonce_tpm: Tpm2bNonce::default(),
            cp_hash_a: Tpm2bDigest::default(),
            policy_ref: Tpm2bNonce::default(),
            expiration: 0.into(),
        };
        self.run::<_, TpmPolicySecretResponse>(&command, &[&name], &mut [&mut Session::password()])
            .map(|_| ())
    }
}
