//! A TPM in which the kernel measures modules while policies are checked, as it does with Secure Boot on.

use fixtures::software_tpm::{Publisher, STUB, Swtpm, enter};
use seal::release::Phase;
use seal::tpm::crypto::sha256;
use seal::tpm::error::Error;
use seal::tpm::policy::{Policy, Unsatisfied};
use seal::tpm::transport::Transport;
use seal::tpm::{Tpm, pcr};
use tpm2_protocol::data::{TpmCc, TpmRcBase};
use zeroize::Zeroizing;

/// Where IMA measures to (security/integrity/ima/Kconfig, `IMA_MEASURE_PCR_IDX`).
const IMA: u8 = 10;
/// Modules that are measured while a policy is checked; more than any one command meets in a boot.
const MODULES: u32 = 5;

/// Extends a PCR just before each of some commands, as long as there are modules.
struct Busy {
    channel: Box<dyn Transport>,
    kernel: Tpm,
    before: TpmCc,
    modules: u32,
}

impl Transport for Busy {
    fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        // Part 3, 4.4: a tag, the size, the command
        let code = self.before.value().to_be_bytes();
        if command.get(6..10) == Some(&code) && self.modules > 0 {
            self.modules -= 1;
            self.kernel.extend_pcr(IMA, &[1; 32])?;
        }
        self.channel.transact(command)
    }
}

/// A TPM in its boot phase that is busy before this command.
fn busy(swtpm: &Swtpm, before: TpmCc, modules: u32) -> Tpm {
    Tpm::new(Box::new(Busy {
        channel: swtpm.channel(),
        kernel: swtpm.open(),
        before,
        modules,
    }))
}

#[test]
fn unseal_while_modules_are_measured_opens() {
    for before in [TpmCc::PolicyAuthorize, TpmCc::PolicyPcr, TpmCc::Unseal] {
        let (swtpm, _) = Swtpm::booted();
        let publisher = Publisher::new();
        let mut tpm = busy(&swtpm, before, MODULES);
        let root = tpm.storage_root_key().expect("a root key");
        let policy = publisher.policy(0, Some(tpm.read_pcr(pcr::SECURE_BOOT).expect("read")));
        let sealed = tpm.seal(&root, b"secret", &policy).expect("sealed");
        let releases = publisher.release(&STUB, 0);
        let opened = tpm
            .unseal(&root, &sealed, &policy, &releases)
            .expect("opened");
        assert_eq!(opened.as_slice(), b"secret", "{before}");
    }
}

#[test]
fn sign_while_modules_are_measured_signs() {
    let (swtpm, _) = Swtpm::booted();
    let publisher = Publisher::new();
    let mut tpm = busy(&swtpm, TpmCc::Sign, MODULES);
    let root = tpm.storage_root_key().expect("a root key");
    let policy = Policy {
        phase: Phase::Run,
        auth_value: true,
        ..publisher.policy(0, None)
    };
    let key = tpm.create_signing_key(&root, policy).expect("made");
    enter(&mut tpm, Phase::Run);
    let releases = publisher.release(&STUB, 0);
    tpm.sign(&root, &key, &releases, &sha256(&[b"a transaction"]))
        .expect("signed");
}

#[test]
fn unseal_of_a_tpm_that_never_rests_ends() {
    let (swtpm, _) = Swtpm::booted();
    let publisher = Publisher::new();
    let mut tpm = busy(&swtpm, TpmCc::Unseal, u32::MAX);
    let root = tpm.storage_root_key().expect("a root key");
    let policy = publisher.policy(0, None);
    let sealed = tpm.seal(&root, b"secret", &policy).expect("sealed");
    let error = tpm
        .unseal(&root, &sealed, &policy, &publisher.release(&STUB, 0))
        .expect_err("refused");
    let Unsatisfied::Tpm(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.response(), Some(TpmRcBase::PcrChanged), "{error}");
}
