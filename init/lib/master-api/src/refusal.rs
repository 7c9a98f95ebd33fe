//! Why a master refuses a node.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the master says to a worker that it refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// `refused`.
    pub status: String,
    /// Why, for programs.
    pub code: RefusalCode,
    /// Why, for people: one sentence.
    pub message: String,
}

/// Makes the codes, whose variants have one name each, used in logs, JSON and `Display` alike.
macro_rules! codes {
    ($($(#[$inner:meta])* $variant:ident = $text:literal,)+) => {
        /// Why the master refuses a worker.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum RefusalCode { $($(#[$inner])* #[serde(rename = $text)] $variant,)+ }

        impl RefusalCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The one name of this code.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

codes! {
    /// The request is not of the protocol's shape.
    Malformed = "malformed",
    /// The header and the body name different seal tokens.
    SealTokenMismatch = "seal-token-mismatch",
    /// The timestamp is too far from the master's clock.
    Timestamp = "timestamp",
    /// The nonce is unknown, used, or too old.
    Nonce = "nonce",
    /// There is no such seal token or stake.
    StakeNotFound = "stake-not-found",
    /// The stake belongs to another node, key or pool.
    StakeOfAnother = "stake-of-another",
    /// The stake is below the pool's minimum.
    StakeBelowMinimum = "stake-below-minimum",
    /// The stake is being withdrawn, or was.
    StakeUnbonding = "stake-unbonding",
    /// The stake was slashed.
    StakeSlashed = "stake-slashed",
    /// The seal token's time is over.
    SealTokenExpired = "seal-token-expired",
    /// The signature does not belong to the node's key.
    Signature = "signature",
    /// The session is unknown: register again.
    Session = "session",
    /// The sequence number is not above the last one.
    Sequence = "sequence",
    /// The master wants evidence of what the node runs, and there is none.
    EvidenceMissing = "evidence-missing",
    /// The evidence is not of the protocol's shape.
    EvidenceMalformed = "evidence-malformed",
    /// There is no certificate of the endorsement key.
    EndorsementMissing = "endorsement-missing",
    /// The endorsement key's certificate leads to no root that the master trusts, or is for another
    /// key or purpose.
    EndorsementUntrusted = "endorsement-untrusted",
    /// A certificate of the endorsement key's chain has expired, or is not valid yet.
    EndorsementExpired = "endorsement-expired",
    /// The attestation key could sign what no TPM has made.
    AttestationKey = "attestation-key",
    /// The quote is not signed by the evidence's attestation key.
    QuoteSignature = "quote-signature",
    /// The quote is over another nonce: it is an old one, or was made for something else.
    QuoteNonce = "quote-nonce",
    /// The evidence was made for another node, key or address.
    KeyBinding = "key-binding",
    /// The evidence was made for another TLS connection: somebody stands between node and master.
    ChannelMismatch = "channel-mismatch",
    /// The values of the registers are not the ones that were quoted.
    RegistersMismatch = "registers-mismatch",
    /// The registers were extended since the session began.
    RegistersChanged = "registers-changed",
    /// The firmware's event log does not lead to the quoted registers.
    EventLog = "event-log",
    /// The firmware measures nothing of itself or of what it starts, or is not one that the master
    /// allows.
    Firmware = "firmware",
    /// A command line or a credential came from outside the image.
    CommandLine = "command-line",
    /// No approved release has these measurements.
    ReleaseUnknown = "release-unknown",
    /// The release was revoked.
    ReleaseRevoked = "release-revoked",
    /// The release is below the least version that counts.
    ReleaseBelowMinimum = "release-below-minimum",
    /// Secure Boot is off.
    SecureBootOff = "secure-boot-off",
    /// Secure Boot let something start by a key that the master does not know.
    SecureBootKeys = "secure-boot-keys",
    /// The report of a TEE does not hold: its form, its signature, or where that leads to.
    TeeReport = "tee-report",
    /// The master wants the report of a TEE, and there is none.
    TeeReportMissing = "tee-report-missing",
    /// The report is over something else than this registration: an old one, or another machine's.
    TeeReportData = "tee-report-data",
    /// The TEE is in debug mode, or may be migrated: others can read its memory.
    TeeDebug = "tee-debug",
    /// The TEE's platform has firmware that is too old, or is open to an advisory.
    TeeFirmware = "tee-firmware",
    /// The TEE launched something else than the release lists.
    TeeLaunch = "tee-launch",
    /// The release lists no launch for this TEE, and the master wants it proven.
    TeeLaunchUnlisted = "tee-launch-unlisted",
    /// The quote is of another boot than the session.
    AnotherBoot = "another-boot",
    /// The master itself can't verify at the moment: try again later.
    Unavailable = "unavailable",
}

impl RefusalCode {
    /// Whether the image that the node runs does not count: nothing but another image mends it.
    #[must_use]
    pub const fn is_about_the_release(self) -> bool {
        matches!(
            self,
            Self::ReleaseUnknown | Self::ReleaseRevoked | Self::ReleaseBelowMinimum
        )
    }

    /// Whether a heartbeat that is refused by this code ends its session: the node registers again.
    #[must_use]
    pub const fn ends_session(self) -> bool {
        matches!(
            self,
            Self::Session
                | Self::Sequence
                | Self::EvidenceMissing
                | Self::EvidenceMalformed
                | Self::QuoteSignature
                | Self::QuoteNonce
                | Self::RegistersChanged
                | Self::AnotherBoot
        ) || self.is_about_the_release()
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_in_json_and_display() {
        for code in RefusalCode::ALL {
            let json = serde_json::to_string(code).expect("a name");
            assert_eq!(json, format!("\"{code}\""));
        }
    }
}
