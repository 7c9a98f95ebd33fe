//! The node's key: it owns the stake, signs transactions, and proves to the master who asks.

mod error;
mod import;
mod public;
mod signature;
mod signer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chain_types::Address;
use sui_sdk_types::{PersonalMessage, Transaction, UserSignature};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

pub use error::KeyError;
pub use public::PublicKey;
pub use signature::MessageSignature;
use signer::{Ed25519, Secp256r1};
pub use signer::{SignatureBytes, Signer};

/// One signature, waiting for its turn included.
const SIGNING_LIMIT: Duration = Duration::from_secs(60);

/// A node's key pair, wherever its secret half is. It never prints it.
#[derive(Clone)]
pub struct NodeKey {
    signer: Arc<dyn Signer>,
    /// One signature at a time on a thread of its own.
    turn: Arc<Semaphore>,
}

impl NodeKey {
    /// A key whose secret half is somewhere else, such as in a TPM.
    pub fn from_signer(signer: Arc<dyn Signer>) -> Self {
        Self {
            signer,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Reads a private key in either form of `sui keytool`: `suiprivkey1…`, which
    /// `sui keytool export` prints, or an entry of the file `sui.keystore`, which is base64.
    ///
    /// # Errors
    /// Names what is wrong with the text, never the text itself.
    pub fn import(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.starts_with(import::PREFIX) {
            return Self::from_suiprivkey(text);
        }
        Self::from_payload(&import::keystore_entry(text)?)
    }

    /// Reads `suiprivkey1…`, the form that `sui keytool export` prints.
    ///
    /// # Errors
    /// Names what is wrong with the text, never the text itself.
    pub fn from_suiprivkey(text: &str) -> Result<Self, KeyError> {
        Self::from_payload(&import::suiprivkey(text.trim())?)
    }

    fn from_payload(payload: &import::Payload) -> Result<Self, KeyError> {
        let (flag, secret) = payload.parts();
        if flag == Ed25519::FLAG {
            return Ok(Self::from_signer(Arc::new(Ed25519::new(secret))));
        }
        if flag == Secp256r1::FLAG {
            return Secp256r1::new(secret).map(|key| Self::from_signer(Arc::new(key)));
        }
        Err(KeyError::Scheme { flag })
    }

    /// A new ed25519 key from the operating system's random numbers.
    ///
    /// # Errors
    /// [`KeyError::Random`] where the system has none to give.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self::from_signer(Arc::new(Ed25519::new(&*random()?))))
    }

    /// A new secp256r1 (P-256) key, as a TPM holds them, from the operating system's random
    /// numbers.
    ///
    /// # Errors
    /// [`KeyError::Random`] where the system has none to give.
    pub fn generate_secp256r1() -> Result<Self, KeyError> {
        loop {
            // all but one in 2^32 numbers are keys
            match Secp256r1::new(&*random()?) {
                Ok(key) => return Ok(Self::from_signer(Arc::new(key))),
                Err(KeyError::Secret) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The `suiprivkey1…` text: the secret itself.
    ///
    /// # Errors
    /// [`KeyError::NotExportable`] where the secret is not in this process.
    pub fn to_suiprivkey(&self) -> Result<Zeroizing<String>, KeyError> {
        import::to_suiprivkey(&self.signer.export()?)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.signer.public()
    }

    /// The account that this key controls.
    pub fn address(&self) -> Address {
        self.public().address()
    }

    /// Signs a message as Sui's wallets do ("personal message": its own intent prefix), so that
    /// a signature over a message is never one over a transaction. Waits where the signer does.
    ///
    /// # Errors
    /// [`KeyError::Signing`] where the signer refuses.
    pub fn sign_message(&self, message: &[u8]) -> Result<MessageSignature, KeyError> {
        let digest = PersonalMessage(message.into()).signing_digest();
        self.sign(&digest).map(MessageSignature)
    }

    /// As [`Self::sign_message`], while other tasks go on.
    ///
    /// # Errors
    /// [`KeyError::Signing`] where the signer refuses, [`KeyError::Slow`] after a minute.
    pub async fn sign_message_aside(&self, message: &[u8]) -> Result<MessageSignature, KeyError> {
        let digest = PersonalMessage(message.into()).signing_digest();
        self.sign_aside(digest).await.map(MessageSignature)
    }

    /// Signs a transaction, while other tasks go on.
    pub(crate) async fn sign_transaction(
        &self,
        tx: &Transaction,
    ) -> Result<UserSignature, KeyError> {
        self.sign_aside(tx.signing_digest()).await
    }

    fn sign(&self, digest: &[u8; 32]) -> Result<UserSignature, KeyError> {
        let signature = self.signer.sign(digest)?;
        self.public().user_signature(&signature)
    }

    /// The turn is kept until the signer is done, even where nobody waits for it any more: one that
    /// hangs holds one thread and no more.
    async fn sign_aside(&self, digest: [u8; 32]) -> Result<UserSignature, KeyError> {
        if !self.signer.waits() {
            return self.sign(&digest);
        }
        let whole = async {
            let turn = Arc::clone(&self.turn).acquire_owned().await;
            let turn = turn.map_err(|_error| KeyError::Signing)?;
            let key = self.clone();
            tokio::task::spawn_blocking(move || {
                let _turn = turn;
                key.sign(&digest)
            })
            .await
            .map_err(|_error| KeyError::Signing)?
        };
        timeout(SIGNING_LIMIT, whole)
            .await
            .map_err(|_error| KeyError::Slow)?
    }
}

fn random() -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut()).map_err(KeyError::Random)?;
    Ok(secret)
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey")
            .field("address", &self.address())
            .field("secret", &"<redacted>")
            .finish()
    }
}

#[cfg(test)]
mod tests;
