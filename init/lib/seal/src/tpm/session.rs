//! Authorisation sessions: TPM 2.0 Library Part 1, 19 and 21.

use std::thread;
use std::time::Duration;

use tpm2_protocol::{
    basic::TpmHandle,
    data::{
        Tpm2bAuth, Tpm2bEncryptedSecret, Tpm2bNonce, TpmAlgId, TpmCc, TpmRcBase, TpmRh, TpmSe,
        TpmaSession, TpmsAuthCommand, TpmsAuthResponse, TpmtSymDef, TpmuSymKeyBits, TpmuSymMode,
    },
    frame::{TpmStartAuthSessionCommand, TpmStartAuthSessionResponse},
};
use zeroize::Zeroizing;

use super::{
    Tpm,
    crypto::{self, Digest},
    error::Error,
    object::Loaded,
};

/// How often work is done again, in a new policy session each time, since a PCR was extended meanwhile. With
/// Secure Boot on, the kernel measures each module that it loads into PCR 10 (IMA's architecture policy,
/// security/integrity/ima/ima_efi.c), and a boot loads some dozens.
const PCR_CHANGES: u32 = 100;
/// The pause before it is done again.
const PCR_CHANGE_PAUSE: Duration = Duration::from_millis(50);

/// An error of what is done in a policy session.
pub(crate) trait PolicyError: From<Error> {
    /// Whether a PCR was extended after the session had checked one (`TPM_RC_PCR_CHANGED`; Part 3, 23.7), whichever
    /// PCR it was: the same can succeed in a new session.
    fn is_pcr_changed(&self) -> bool;
}

impl PolicyError for Error {
    fn is_pcr_changed(&self) -> bool {
        self.response() == Some(TpmRcBase::PcrChanged)
    }
}

/// How a command is authorised, and whether its first parameters are encrypted.
///
/// A session's key comes from a salt that only the storage root key can open, so that whoever listens
/// on the bus learns no secret and changes no message (Part 1, 19.6.8).
pub struct Session {
    handle: TpmHandle,
    /// Absent for an empty password.
    keys: Option<Keys>,
}

struct Keys {
    nonce_tpm: Tpm2bNonce,
    nonce_caller: Zeroizing<Digest>,
    session_key: Zeroizing<Digest>,
    /// The authorisation value of the object that this session authorises, empty for most.
    auth: Zeroizing<Vec<u8>>,
}

/// AES-128-CFB, the parameter encryption of our sessions and the symmetric part of our templates.
pub(crate) fn aes_128_cfb() -> TpmtSymDef {
    TpmtSymDef {
        algorithm: TpmAlgId::Aes,
        key_bits: TpmuSymKeyBits::Aes(128_u16.into()),
        mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
    }
}

impl Session {
    /// An empty password: for handles whose authorisation value is empty.
    pub(crate) fn password() -> Self {
        Self {
            handle: TpmHandle::new(TpmRh::Pw.value()),
            keys: None,
        }
    }

    /// The session's handle.
    #[must_use]
    pub(crate) fn handle(&self) -> TpmHandle {
        self.handle
    }

    /// Says which authorisation value the object has that this session authorises.
    pub(crate) fn set_auth(&mut self, auth: Zeroizing<Vec<u8>>) {
        if let Some(keys) = &mut self.keys {
            keys.auth = auth;
        }
    }

    pub(crate) fn is_salted(&self) -> bool {
        self.keys.is_some()
    }

    /// Draws the nonce of the next command.
    pub(crate) fn roll(&mut self) -> Result<(), Error> {
        if let Some(keys) = &mut self.keys {
            keys.nonce_caller = crypto::random()?;
        }
        Ok(())
    }

    /// The TPM's newest nonce, which binds another session's command to this one's encryption.
    pub(crate) fn nonce_tpm(&self) -> &[u8] {
        self.keys.as_ref().map_or(&[], |keys| &keys.nonce_tpm)
    }

    /// Encrypts a command's first parameter: Part 1, 21.3.
    pub(crate) fn encrypt(&self, parameter: &mut [u8]) {
        if let Some(keys) = &self.keys {
            crypto::encrypt(
                &keys.parameter_key(keys.nonce_caller.as_ref(), &keys.nonce_tpm),
                parameter,
            );
        }
    }

    /// Decrypts a reply's first parameter.
    pub(crate) fn decrypt(&self, parameter: &mut [u8]) {
        if let Some(keys) = &self.keys {
            crypto::decrypt(
                &keys.parameter_key(&keys.nonce_tpm, keys.nonce_caller.as_ref()),
                parameter,
            );
        }
    }

    /// This session's part of a command's authorisation area: Part 1, 19.6.5. `bound` are the nonces
    /// of other sessions that encrypt, for the first session alone.
    pub(crate) fn authorise(
        &self,
        attributes: TpmaSession,
        command_hash: &Digest,
        bound: &[&[u8]],
    ) -> Result<TpmsAuthCommand, Error> {
        let mut area = TpmsAuthCommand {
            session_handle: self.handle,
            session_attributes: attributes,
            ..TpmsAuthCommand::default()
        };
        if let Some(keys) = &self.keys {
            let bits = [attributes.bits()];
            let mut parts = vec![
                command_hash.as_slice(),
                keys.nonce_caller.as_ref(),
                &keys.nonce_tpm,
            ];
            parts.extend_from_slice(bound);
            parts.push(&bits);
            let code = crypto::hmac_sha256(&keys.hmac_key(), &parts);
            let too_long = |_| Error::TooLong(TpmCc::StartAuthSession);
            area.nonce = Tpm2bNonce::try_from(keys.nonce_caller.as_slice()).map_err(too_long)?;
            area.hmac = Tpm2bAuth::try_from(code.as_slice()).map_err(too_long)?;
        }
        Ok(area)
    }

    /// Checks this session's part of a reply's authorisation area, and takes the TPM's new nonce.
    pub(crate) fn accept(
        &mut self,
        command: TpmCc,
        area: &TpmsAuthResponse,
        response_hash: &Digest,
    ) -> Result<(), Error> {
        let Some(keys) = &mut self.keys else {
            return if area.nonce.is_empty() && area.hmac.is_empty() {
                Ok(())
            } else {
                Err(Error::ReplyForged(command))
            };
        };
        let code = crypto::hmac_sha256(
            &keys.hmac_key(),
            &[
                response_hash,
                &area.nonce,
                keys.nonce_caller.as_ref(),
                &[area.session_attributes.bits()],
            ],
        );
        if !crypto::same(&code, &area.hmac) {
            return Err(Error::ReplyForged(command));
        }
        keys.nonce_tpm = area.nonce;
        Ok(())
    }
}

impl Keys {
    fn hmac_key(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([self.session_key.as_slice(), &self.auth].concat())
    }

    fn parameter_key(&self, newer: &[u8], older: &[u8]) -> Zeroizing<[u8; 32]> {
        crypto::kdfa(&self.hmac_key(), "CFB", newer, older)
    }
}

impl Tpm {
    fn start_session(&mut self, root: &Loaded, kind: TpmSe) -> Result<Session, Error> {
        let (salt, point) = crypto::share_secret(&root.point()?, "SECRET")?;
        let nonce_caller = crypto::random::<32>()?;
        let too_long = |_| Error::TooLong(TpmCc::StartAuthSession);
        let command = TpmStartAuthSessionCommand {
            handles: [root.handle(), TpmHandle::new(TpmRh::Null.value())],
            nonce_caller: Tpm2bNonce::try_from(nonce_caller.as_slice()).map_err(too_long)?,
            encrypted_salt: Tpm2bEncryptedSecret::try_from(point.as_slice()).map_err(too_long)?,
            session_type: kind,
            symmetric: aes_128_cfb(),
            auth_hash: TpmAlgId::Sha256,
        };
        let reply: TpmStartAuthSessionResponse = self.run(&command, &[], &mut [])?;
        let [handle] = reply.handles;
        // Part 1, 19.6.8: no bound object, so the salt alone is the key
        let session_key = crypto::kdfa(
            salt.as_ref(),
            "ATH",
            &reply.nonce_tpm,
            nonce_caller.as_ref(),
        );
        Ok(Session {
            handle,
            keys: Some(Keys {
                nonce_tpm: reply.nonce_tpm,
                nonce_caller,
                session_key,
                auth: Zeroizing::default(),
            }),
        })
    }

    fn with_session<T, E: From<Error>>(
        &mut self,
        root: &Loaded,
        kind: TpmSe,
        work: impl FnOnce(&mut Self, &mut Session) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut session = self.start_session(root, kind)?;
        let result = work(self, &mut session);
        let flushed = self.flush(session.handle);
        let value = result?;
        flushed?;
        Ok(value)
    }

    /// Works with a salted HMAC session, and ends it whatever comes of the work.
    ///
    /// # Errors
    ///
    /// The work's, or when the TPM refuses the session.
    pub(crate) fn with_hmac<T, E: From<Error>>(
        &mut self,
        root: &Loaded,
        work: impl FnOnce(&mut Self, &mut Session) -> Result<T, E>,
    ) -> Result<T, E> {
        self.with_session(root, TpmSe::Hmac, work)
    }

    /// Works with a salted policy session, and ends it whatever comes of the work. Where a PCR was extended
    /// meanwhile, the work is done again in a new session, within 5 s.
    ///
    /// # Errors
    ///
    /// The work's, or when the TPM refuses the session.
    pub(crate) fn with_policy<T, E: PolicyError>(
        &mut self,
        root: &Loaded,
        mut work: impl FnMut(&mut Self, &mut Session) -> Result<T, E>,
    ) -> Result<T, E> {
        for _ in 1..PCR_CHANGES {
            match self.with_session(root, TpmSe::Policy, &mut work) {
                Err(error) if error.is_pcr_changed() => thread::sleep(PCR_CHANGE_PAUSE),
                done => return done,
            }
        }
        self.with_session(root, TpmSe::Policy, work)
    }
}
