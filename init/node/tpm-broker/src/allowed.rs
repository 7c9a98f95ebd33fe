//! Which commands pass: those of which the staker makes a registration, a quote and a signature.
//!
//! | For | Commands |
//! | --- | --- |
//! | the machine's identity | `ReadPublic` of the storage root key, `CreatePrimary` of endorsement and attestation key, `NV_ReadPublic` and `NV_Read` of the endorsement key's certificate |
//! | sessions | `StartAuthSession`, `FlushContext` |
//! | a quote | `PCR_Read`, `Quote` |
//! | a join token | `PolicySecret` of the endorsement hierarchy, `ActivateCredential` |
//! | the Sui key's signature | `Load`, `LoadExternal`, `VerifySignature`, `PolicyPCR`, `PolicyAuthorize`, `PolicyAuthValue`, `PolicyGetDigest`, `Sign` |
//!
//! None of them changes what the TPM keeps. A wrong authorisation value is counted in it, against the lockout of all its
//! keys, where a key says so: so no key passes that does, and none that brings a value of its own.

use tpm2_protocol::data::TpmCc;

use crate::command::{Code, Command};

/// The storage root key's handle: TCG TPM v2.0 Provisioning Guidance 1.0, 7.8, table 2.
const STORAGE_ROOT_KEY: u32 = 0x8100_0001;
/// The certificate of the P-256 endorsement key: TCG EK Credential Profile 2.3, 2.2.1.4.
const ENDORSEMENT_CERTIFICATE: u32 = 0x01c0_000a;

/// `TPM_RH_ENDORSEMENT` and `TPM_RH_NULL` (Part 2, 7.4).
const ENDORSEMENT_HIERARCHY: u32 = 0x4000_000b;
const NO_HANDLE: u32 = 0x4000_0007;

/// `TPMA_OBJECT` (Part 2, 8.3).
const USER_WITH_AUTH: u32 = 1 << 6;
const ADMIN_WITH_POLICY: u32 = 1 << 7;
const NO_DA: u32 = 1 << 10;

/// The first byte of a handle (`TPM_HT`; Part 2, 7.2).
const HMAC_SESSION: u8 = 0x02;
const POLICY_SESSION: u8 = 0x03;
const TRANSIENT: u8 = 0x80;

/// What a handle has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handle {
    /// This one.
    One(u32),
    /// An object that this connection has loaded.
    Loaded,
    /// A policy session of this connection's.
    PolicySession,
    /// Anything that this connection has in the TPM, for a while.
    Temporary,
}

impl Handle {
    fn is(self, handle: u32) -> bool {
        let [kind, ..] = handle.to_be_bytes();
        match self {
            Self::One(one) => handle == one,
            Self::Loaded => kind == TRANSIENT,
            Self::PolicySession => kind == POLICY_SESSION,
            Self::Temporary => matches!(kind, TRANSIENT | HMAC_SESSION | POLICY_SESSION),
        }
    }
}

/// One command that passes.
struct Rule {
    command: TpmCc,
    /// All of its handles, in the order of Part 3's table for the command.
    handles: &'static [Handle],
    /// Whether an authorisation area may follow them.
    sessions: bool,
}

const fn rule(command: TpmCc, handles: &'static [Handle]) -> Rule {
    Rule {
        command,
        handles,
        sessions: true,
    }
}

const ROOT: Handle = Handle::One(STORAGE_ROOT_KEY);
const CERTIFICATE: Handle = Handle::One(ENDORSEMENT_CERTIFICATE);
const ENDORSEMENT: Handle = Handle::One(ENDORSEMENT_HIERARCHY);
const NULL: Handle = Handle::One(NO_HANDLE);

/// Every command that passes; sections are those of Part 3.
const RULES: &[Rule] = &[
    // 11.1: tpmKey, bind
    rule(TpmCc::StartAuthSession, &[ROOT, NULL]),
    // 12.2: parentHandle
    rule(TpmCc::Load, &[ROOT]),
    // 12.3: none. A public part, or a software key: nothing of this TPM's
    rule(TpmCc::LoadExternal, &[]),
    // 12.4: objectHandle
    rule(TpmCc::ReadPublic, &[ROOT]),
    // 12.5: activateHandle, keyHandle
    rule(TpmCc::ActivateCredential, &[Handle::Loaded, Handle::Loaded]),
    // 18.4: signHandle
    rule(TpmCc::Quote, &[Handle::Loaded]),
    // 20.1: keyHandle
    rule(TpmCc::VerifySignature, &[Handle::Loaded]),
    // 20.2: keyHandle
    rule(TpmCc::Sign, &[Handle::Loaded]),
    // 22.4: none
    rule(TpmCc::PcrRead, &[]),
    // 23.4: authHandle, policySession. The hierarchy's authorisation value is empty, and has no lockout
    // (Part 1, 19.8.2)
    rule(TpmCc::PolicySecret, &[ENDORSEMENT, Handle::PolicySession]),
    // 23.7: policySession
    rule(TpmCc::PolicyPcr, &[Handle::PolicySession]),
    // 23.16: policySession
    rule(TpmCc::PolicyAuthorize, &[Handle::PolicySession]),
    // 23.17: policySession
    rule(TpmCc::PolicyAuthValue, &[Handle::PolicySession]),
    // 23.19: policySession
    rule(TpmCc::PolicyGetDigest, &[Handle::PolicySession]),
    // 24.1: primaryHandle
    rule(TpmCc::CreatePrimary, &[ENDORSEMENT]),
    // 28.4: none; flushHandle is a parameter, and comes first, as no session is allowed
    Rule {
        command: TpmCc::FlushContext,
        handles: &[Handle::Temporary],
        sessions: false,
    },
    // 31.6: nvIndex
    rule(TpmCc::NvReadPublic, &[CERTIFICATE]),
    // 31.13: authHandle, nvIndex
    rule(TpmCc::NvRead, &[CERTIFICATE, CERTIFICATE]),
];

/// A command that does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not on the list.
    #[error("the staker needs no such command")]
    Command,
    /// It is, with other handles.
    #[error("the staker needs it for other handles")]
    Handles,
    /// It is, and ends before its handles do.
    #[error("it ends before its handles do")]
    Cut,
    /// It is, for objects that no wrong authorisation value of which is counted.
    #[error("an object by which the TPM could be locked")]
    Object,
    /// It is, without sessions.
    #[error("it takes no sessions")]
    Sessions,
}

/// Whether a command passes.
///
/// # Errors
/// [`Refused`].
pub fn check(command: &Command<'_>) -> Result<(), Refused> {
    let Code(code) = command.code();
    let rule = RULES
        .iter()
        .find(|rule| rule.command.value() == code)
        .ok_or(Refused::Command)?;
    if command.has_sessions() && !rule.sessions {
        return Err(Refused::Sessions);
    }
    let mut handles = command.words(rule.handles.len()).ok_or(Refused::Cut)?;
    let all = rule
        .handles
        .iter()
        .all(|allowed| handles.next().is_some_and(|handle| allowed.is(handle)));
    if !all {
        return Err(Refused::Handles);
    }
    let parameters = || command.parameters(rule.handles.len());
    let passes = match rule.command {
        TpmCc::CreatePrimary => parameters().is_some_and(is_lockout_proof),
        // 12.3: inPrivate; empty: a public part alone, which nothing authorises
        TpmCc::LoadExternal => parameters().is_some_and(|bytes| bytes.starts_with(&[0, 0])),
        _ => true,
    };
    if passes { Ok(()) } else { Err(Refused::Object) }
}

/// Whether an object that is to be created has no authorisation value of its own, and no wrong one counts (Part 3, 24.1;
/// Part 1, 19.8).
fn is_lockout_proof(parameters: &[u8]) -> bool {
    // inSensitive (Part 2, 11.1.15): userAuth and data, both empty. Its size is never encrypted
    let Some((&[0, 4], rest)) = parameters.split_first_chunk() else {
        return false;
    };
    // inPublic (Part 2, 12.2.4): size, type, nameAlg, objectAttributes
    let attributes = rest.get(4..).and_then(|rest| rest.get(6..)?.first_chunk());
    attributes.is_some_and(|bytes| {
        let attributes = u32::from_be_bytes(*bytes);
        let by_policy_alone =
            attributes & (USER_WITH_AUTH | ADMIN_WITH_POLICY) == ADMIN_WITH_POLICY;
        attributes & NO_DA != 0 || by_policy_alone
    })
}

#[cfg(test)]
mod tests {
    use fixtures::software_tpm::Swtpm;

    use super::*;

    fn check_one(sessions: bool, code: u32, handles: &[u32]) -> Result<(), Refused> {
        let handles: Vec<u8> = handles
            .iter()
            .flat_map(|handle| handle.to_be_bytes())
            .collect();
        // sensitive and public part of the endorsement key's template; a public part alone
        let parameters: &[u8] = match code {
            0x131 if !handles.is_empty() => {
                &[0, 4, 0, 0, 0, 0, 0, 8, 0, 0x23, 0, 0x0b, 0, 3, 0, 0xb2]
            }
            0x167 => &[0, 0],
            _ => &[],
        };
        check_bytes(sessions, code, &[&handles, parameters].concat())
    }

    fn check_bytes(sessions: bool, code: u32, body: &[u8]) -> Result<(), Refused> {
        let area: &[u8] = if sessions { &[0; 4] } else { &[] };
        let handles = match code {
            0x131 => 4,
            _ => body.len(),
        };
        let (handles, parameters) = body.split_at(handles.min(body.len()));
        let size = u32::try_from(10 + body.len() + area.len()).unwrap();
        let bytes = [
            &[0x80, if sessions { 2 } else { 1 }][..],
            &size.to_be_bytes(),
            &code.to_be_bytes(),
            handles,
            area,
            parameters,
        ]
        .concat();
        check(&Command::parse(&bytes).unwrap())
    }

    #[test]
    fn objects_that_could_lock_the_tpm_are_refused() {
        let create = |sensitive: &[u8], attributes: u32| {
            let public = [&[0, 8, 0, 0x23, 0, 0x0b][..], &attributes.to_be_bytes()].concat();
            let body = [&0x4000_000b_u32.to_be_bytes()[..], sensitive, &public].concat();
            check_bytes(true, 0x131, &body)
        };
        let empty = [0, 4, 0, 0, 0, 0];
        // the endorsement key's (EK Credential Profile, template L-2), and a signing key without a lockout
        for attributes in [0x0003_00b2, 0x0005_0472] {
            assert_eq!(create(&empty, attributes), Ok(()));
        }
        for attributes in [0x0005_0072, 0x0003_0032, 0x0003_00f2, 0] {
            assert_eq!(
                create(&empty, attributes),
                Err(Refused::Object),
                "{attributes:#x}"
            );
        }
        let own_value = [0, 5, 0, 1, 7, 0, 0];
        assert_eq!(create(&own_value, 0x0005_0472), Err(Refused::Object));
        assert_eq!(
            check_bytes(true, 0x131, &[0x40, 0, 0, 0x0b]),
            Err(Refused::Object)
        );
        for private in [&[][..], &[0], &[0, 1, 7]] {
            assert_eq!(check_bytes(false, 0x167, private), Err(Refused::Object));
        }
    }

    /// The numbers as they stand in Part 2, 6.5.2, by hand: the list above does not vouch for itself.
    const PASSING: [u32; 18] = [
        0x131, 0x147, 0x14e, 0x151, 0x157, 0x158, 0x15d, 0x165, 0x167, 0x169, 0x16a, 0x16b, 0x173,
        0x176, 0x177, 0x17e, 0x17f, 0x189,
    ];

    #[test]
    fn every_code_that_is_not_listed_is_refused() {
        let known = 0x11f..=0x19f;
        let others = [0, 1, 0x11e, 0x1a0, 0x2000_0000, 0x2000_0131, u32::MAX];
        for code in known.chain(others) {
            for sessions in [false, true] {
                let outcome = check_one(sessions, code, &[0; 8]);
                assert_eq!(
                    outcome == Err(Refused::Command),
                    !PASSING.contains(&code),
                    "{code:#x} {outcome:?}"
                );
            }
        }
        assert_eq!(RULES.len(), PASSING.len());
    }

    /// The TPM's own word on its commands: `TPMA_CC` (Part 2, 8.9) of TPM_CAP_COMMANDS (Part 3, 30.2).
    fn attributes(swtpm: &Swtpm) -> Vec<u32> {
        let request = [
            &[0x80, 1, 0, 0, 0, 22, 0, 0, 1, 0x7a, 0, 0, 0, 2][..],
            &0x11f_u32.to_be_bytes(),
            &254_u32.to_be_bytes(),
        ]
        .concat();
        let reply = swtpm.channel().transact(&request).unwrap();
        // header, moreData, capability, count
        let (words, _) = reply.get(19..).unwrap().as_chunks::<4>();
        words.iter().map(|word| u32::from_be_bytes(*word)).collect()
    }

    #[test]
    fn no_listed_command_changes_what_a_tpm_keeps() {
        const NV: u32 = 1 << 22;
        let attributes = attributes(&Swtpm::new());
        let of = |code: u32| attributes.iter().find(|found| **found & 0xffff == code);
        // those that are to be kept away do
        for code in [0x120, 0x122, 0x126, 0x129, 0x134] {
            assert_ne!(of(code).unwrap() & NV, 0, "{code:#x}");
        }
        for rule in RULES {
            let found = of(rule.command.value()).unwrap();
            assert_eq!(found & NV, 0, "{}", rule.command);
            // the flushed handle is a parameter
            let handles = match rule.command {
                TpmCc::FlushContext => 0,
                _ => rule.handles.len(),
            };
            assert_eq!(
                (found >> 25) & 7,
                u32::try_from(handles).unwrap(),
                "{}",
                rule.command
            );
        }
    }

    #[test]
    fn listed_command_passes_with_its_handles_alone() {
        let (loaded, policy, hmac) = (0x8000_0000, 0x0300_0001, 0x0200_0000);
        let (endorsement, null) = (0x4000_000b, 0x4000_0007);
        let (root, certificate) = (0x8100_0001, 0x01c0_000a);
        let strangers = [
            0x4000_0001,
            0x4000_000a,
            0x4000_000c,
            0x4000_0009,
            0x8100_0000,
            0x8101_0001,
            0x0180_daa5,
            0x0180_daa6,
            0x01c0_0002,
            0,
            11,
            u32::MAX,
        ];
        let good: [(u32, &[u32]); 18] = [
            (0x131, &[endorsement]),
            (0x147, &[loaded, loaded]),
            (0x14e, &[certificate, certificate]),
            (0x151, &[endorsement, policy]),
            (0x157, &[root]),
            (0x158, &[loaded]),
            (0x15d, &[loaded]),
            (0x165, &[policy]),
            (0x167, &[]),
            (0x169, &[certificate]),
            (0x16a, &[policy]),
            (0x16b, &[policy]),
            (0x173, &[root]),
            (0x176, &[root, null]),
            (0x177, &[loaded]),
            (0x17e, &[]),
            (0x17f, &[policy]),
            (0x189, &[policy]),
        ];
        for (code, handles) in good {
            assert_eq!(check_one(false, code, handles), Ok(()), "{code:#x}");
            for place in 0..handles.len() {
                for stranger in strangers {
                    let mut others = handles.to_vec();
                    others[place] = stranger;
                    let outcome = check_one(false, code, &others);
                    assert_eq!(outcome, Err(Refused::Handles), "{code:#x} {stranger:#x}");
                }
                let cut = check_one(false, code, &handles[..place]);
                assert_eq!(cut, Err(Refused::Cut), "{code:#x}");
            }
        }
        for temporary in [loaded, policy, hmac] {
            assert_eq!(check_one(false, 0x165, &[temporary]), Ok(()));
        }
        assert_eq!(check_one(true, 0x165, &[loaded]), Err(Refused::Sessions));
        assert_eq!(check_one(true, 0x158, &[loaded]), Ok(()));
    }
}
