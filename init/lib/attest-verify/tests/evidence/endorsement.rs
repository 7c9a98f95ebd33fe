//! Endorsement keys: with a certificate that counts, and those that an operator admits without one.

use attest_verify::{AdmittedKey, Policy};
use fixtures::machine::{Firmware, Flaw, Manufacturer, install};
use fixtures::software_tpm::Swtpm;
use master_api::RefusalCode;

use super::{MAKER, Machine, NOW, claim, policy, refused};

#[test]
fn endorsement_certificates_are_checked() {
    let claim = claim();
    for (flaw, code) in [
        (Flaw::Expired, RefusalCode::EndorsementExpired),
        (Flaw::Purpose, RefusalCode::EndorsementUntrusted),
    ] {
        let swtpm = Swtpm::new();
        MAKER.provision(&swtpm, flaw);
        let mut machine = Machine::boot(swtpm, Firmware::default());
        refused(&machine.evidence(), &claim, &policy(), code);
    }
    let mut bare = Machine::boot(Swtpm::new(), Firmware::default());
    refused(
        &bare.evidence(),
        &claim,
        &policy(),
        RefusalCode::EndorsementMissing,
    );
    // of another manufacturer
    install(
        &bare.swtpm,
        &Manufacturer::new().certificate(&mut bare.tpm, Flaw::None),
    );
    refused(
        &bare.evidence(),
        &claim,
        &policy(),
        RefusalCode::EndorsementUntrusted,
    );
    let mut edited = bare.evidence();
    edited.endorsement_certificate = Some(vec![0x30; 200]);
    refused(
        &edited,
        &claim,
        &policy(),
        RefusalCode::EndorsementUntrusted,
    );
}

#[test]
fn admitted_endorsement_key_needs_no_certificate() {
    let mut bare = Machine::boot(Swtpm::new(), Firmware::default());
    let evidence = bare.evidence();
    let refusal = policy().check(&evidence, &claim(), NOW).unwrap_err();
    // the refusal says by which name the operator admits it
    let message = refusal.to_string();
    let name = message
        .split_whitespace()
        .find(|word| word.starts_with("000b"));
    let name = name.expect("a name").trim_end_matches(',').to_owned();
    let admitting = |name: &str| Policy {
        admitted_keys: vec![AdmittedKey {
            name: name.to_owned(),
            reason: "a firmware TPM".to_owned(),
        }],
        ..policy()
    };
    let verified = admitting(&name).check(&evidence, &claim(), NOW);
    let verified = verified.expect("verified");
    assert_eq!(verified.admitted_because.as_deref(), Some("a firmware TPM"));
    // another machine's key admits nobody else
    let mut other = Machine::boot(Swtpm::new(), Firmware::default());
    refused(
        &other.evidence(),
        &claim(),
        &admitting(&name),
        RefusalCode::EndorsementMissing,
    );
    // and the rest is asked all the same
    let mut changed = evidence;
    changed.registers[0] = [0xff; 32];
    refused(
        &changed,
        &claim(),
        &admitting(&name),
        RefusalCode::RegistersMismatch,
    );
}
