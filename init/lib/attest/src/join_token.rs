//! What the master grants, encrypted for the one TPM that the evidence is of.
//!
//! The key of the encryption is a credential (`TPM2_MakeCredential`) for the endorsement key that a
//! manufacturer has certified and the attestation key that signed the quote. A TPM gives it out if both
//! are its own, and so the attestation key is proved only by what the node can do afterwards.

use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use master_api::{Base64, Grant, SealedToken};
use seal::tpm::{Public, Tpm, attest::Credential, crypto::Digest, error::Error as TpmError};
use zeroize::Zeroizing;

/// Bytes of an XChaCha20-Poly1305 nonce (draft-irtf-cfrg-xchacha, 2.3).
const NONCE: usize = 24;

/// The longest ciphertext in bytes: a join token has 4096 at most.
const MAXIMUM: usize = 16 * 1024;

/// A grant that can't be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The TPM's side of it.
    #[error("the join token's key can't be {0} for the TPM")]
    Tpm(&'static str, #[source] TpmError),
    /// No random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// The parts are not of the lengths that they should have.
    #[error("the sealed join token is malformed")]
    Malformed,
    /// The encryption is not by this key, over this request.
    #[error("the sealed join token was made for another request, or was changed")]
    Cipher,
}

fn random<const LENGTH: usize>() -> Result<Zeroizing<[u8; LENGTH]>, TokenError> {
    let mut bytes = Zeroizing::new([0; LENGTH]);
    getrandom::fill(bytes.as_mut()).map_err(|_| TokenError::Random)?;
    Ok(bytes)
}

/// Encrypts a grant for the TPM with these two keys, in answer to the request of this hash.
///
/// # Errors
/// When the keys are no such keys, or there are no random numbers.
pub fn seal(
    endorsement: &Public,
    attestation: &Public,
    request: &Digest,
    grant: &Grant,
) -> Result<SealedToken, TokenError> {
    let made = |error| TokenError::Tpm("made", error);
    let key = random::<32>()?;
    let name = attestation.name().map_err(made)?;
    let credential = Credential::make(endorsement, &name, key.as_slice()).map_err(made)?;
    let nonce = random::<NONCE>()?;
    let content = bcs::to_bytes(grant)
        .map(Zeroizing::new)
        .map_err(|_| TokenError::Malformed)?;
    let ciphertext = XChaCha20Poly1305::new((&*key).into())
        .encrypt(
            &XNonce::from(*nonce),
            Payload {
                msg: &content,
                aad: request,
            },
        )
        .map_err(|_| TokenError::Cipher)?;
    Ok(SealedToken {
        credential: Base64(credential.blob),
        seed: Base64(credential.seed),
        nonce: Base64(nonce.to_vec()),
        ciphertext: Base64(ciphertext),
    })
}

/// Opens a grant by the TPM that it was sealed for. Blocks for as long as the TPM works.
///
/// # Errors
/// When it is malformed, for another TPM, or for another request.
pub fn open(tpm: &mut Tpm, request: &Digest, sealed: &SealedToken) -> Result<Grant, TokenError> {
    let opened = |error| TokenError::Tpm("opened", error);
    let nonce: [u8; NONCE] = sealed
        .nonce
        .0
        .as_slice()
        .try_into()
        .map_err(|_| TokenError::Malformed)?;
    if sealed.ciphertext.0.len() > MAXIMUM {
        return Err(TokenError::Malformed);
    }
    let credential = Credential {
        blob: sealed.credential.0.clone(),
        seed: sealed.seed.0.clone(),
    };
    let root = tpm.storage_root_key().map_err(opened)?;
    let key = tpm
        .activate_credential(&root, &credential)
        .map_err(opened)?;
    let key: Zeroizing<[u8; 32]> = Zeroizing::new(
        key.as_slice()
            .try_into()
            .map_err(|_| TokenError::Malformed)?,
    );
    let content = XChaCha20Poly1305::new((&*key).into())
        .decrypt(
            &XNonce::from(nonce),
            Payload {
                msg: &sealed.ciphertext.0,
                aad: request,
            },
        )
        .map(Zeroizing::new)
        .map_err(|_| TokenError::Cipher)?;
    bcs::from_bytes(&content).map_err(|_| TokenError::Malformed)
}
