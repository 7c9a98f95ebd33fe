//! Quotes of heartbeats: the same key, the same boot, the same registers.

use attest::evidence::REGISTERS;
use master_api::{HeartbeatQuote, RefusalCode};
use seal::tpm::{
    attest::Quote,
    crypto::{Digest, Point},
};

use crate::{fault::Fault, policy::Verified};

/// What a session began with, and every heartbeat of it must show again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    key: Point,
    reset_count: u32,
    restart_count: u32,
    /// Of the last quote, in milliseconds: the next one's is not below it.
    clock: u64,
    registers: Digest,
}

impl Verified {
    /// The boot that the evidence is of.
    #[must_use]
    pub fn boot(&self) -> Boot {
        Boot {
            key: self.key,
            reset_count: self.reset_count,
            restart_count: self.restart_count,
            clock: self.clock,
            registers: self.registers,
        }
    }
}

impl Boot {
    /// Verifies a heartbeat's quote, which must be over one of these data. Gives what the next one is
    /// compared with.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self, quote: &HeartbeatQuote, data: &[Digest]) -> Result<Self, Fault> {
        let quote = Quote {
            message: quote.message.0.clone(),
            signature: quote.signature.0.clone(),
        };
        let nonce = quote
            .nonce()
            .map_err(|error| Fault::new(RefusalCode::EvidenceMalformed, error.to_string()))?;
        let quoted = quote
            .verify(&self.key, &nonce, &REGISTERS)
            .map_err(|error| Fault::new(RefusalCode::QuoteSignature, error.to_string()))?;
        if !data.iter().any(|data| nonce == data) {
            return Err(Fault::new(
                RefusalCode::QuoteNonce,
                "the heartbeat's quote is an old one, or another's",
            ));
        }
        if quoted.reset_count != self.reset_count {
            return Err(Fault::new(
                RefusalCode::AnotherBoot,
                "the node was booted since it registered: register again",
            ));
        }
        if quoted.restart_count != self.restart_count {
            return Err(Fault::new(
                RefusalCode::AnotherBoot,
                "the node's TPM was started again since it registered: register again",
            ));
        }
        if quoted.clock < self.clock {
            return Err(Fault::new(
                RefusalCode::AnotherBoot,
                "the clock of the node's TPM went back: register again",
            ));
        }
        if quoted.pcr_digest != self.registers {
            return Err(Fault::new(
                RefusalCode::RegistersChanged,
                "the TPM's registers were extended since the node registered",
            ));
        }
        Ok(Self {
            clock: quoted.clock,
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use master_api::Base64;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_quote_is_refused(
            message in prop::collection::vec(any::<u8>(), 0..256),
            signature in prop::collection::vec(any::<u8>(), 0..128),
        ) {
            // the curve's base point (SEC 2, 2.4.2)
            let point = hex::decode(
                "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            )
            .expect("hex");
            let boot = Boot {
                key: Point::from_sec1(&point).expect("a point"),
                reset_count: 0,
                restart_count: 0,
                clock: 0,
                registers: [0; 32],
            };
            let quote = HeartbeatQuote {
                message: Base64(message),
                signature: Base64(signature),
            };
            prop_assert!(boot.check(&quote, &[[0; 32]]).is_err());
        }
    }
}
