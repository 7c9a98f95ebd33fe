//! The client and tpm2-tools against the same TPM: each takes what the other makes.

use std::{fs, path::Path};

use fixtures::software_tpm::{Publisher, STUB, Swtpm, workshop};
use seal::tpm::{
    SealedObject, Tpm,
    attest::{Credential, Quote},
    crypto::sha256,
    nv::COUNTER,
    pcr,
    policy::{Policy, release_key_name, release_key_public},
    policy_digest::PolicyDigest,
};

const SECRET: &[u8] = b"the key of the envelope: 32 byte";

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("short");
    [length.to_be_bytes().as_slice(), bytes].concat()
}

/// Writes everything that tpm2-tools need to satisfy the policy of a sealed object.
fn write_inputs(
    at: &Path,
    tpm: &mut Tpm,
    object: &SealedObject,
    policy: &Policy,
    publisher: &Publisher,
) {
    let write = |name: &str, bytes: &[u8]| fs::write(at.join(name), bytes).expect("written");
    write("object.pub", &object.public);
    write("object.priv", &sized(&object.private));
    let key = release_key_public(&publisher.point()).expect("a key");
    write("release.pub", &key.to_bytes().expect("bytes"));
    let measured = tpm.read_pcr(pcr::KERNEL).expect("PCR 11");
    let approved = PolicyDigest::new()
        .pcrs(&[(pcr::KERNEL, &measured), (pcr::OVERRIDES, &pcr::UNTOUCHED)])
        .expect("a policy")
        .digest();
    let reference = format!("k3s-daas/boot/{}", policy.floor);
    write("approved.policy", &approved);
    write("reference", reference.as_bytes());
    write(
        "message",
        &[approved.as_slice(), reference.as_bytes()].concat(),
    );
    let releases = publisher.release(&STUB, policy.floor);
    let signed = releases
        .find(policy.phase, policy.floor, &measured)
        .expect("a signed policy");
    // TPMT_SIGNATURE: ECDSA (0x0018) with SHA-256 (0x000b), r, s
    let (r, s) = signed.signature.split_at(32);
    write(
        "signature",
        &[&[0, 0x18, 0, 0x0b], sized(r).as_slice(), &sized(s)].concat(),
    );
    let limit = policy.counter.expect("a counter").limit;
    write("limit", &limit.to_be_bytes());
}

#[test]
fn tpm2_unseal_opens_what_was_sealed_here() {
    let (swtpm, mut tpm) = Swtpm::booted();
    let (_kept, at) = workshop();
    let publisher = Publisher::new();
    let root = tpm.storage_root_key().expect("a root key");
    let secure_boot = tpm.read_pcr(pcr::SECURE_BOOT).expect("PCR 7");
    let counter = tpm
        .ensure_counter(&root, COUNTER, &publisher.release(&STUB, 0))
        .expect("a counter");
    let policy = publisher.policy_with_counter(3, Some(secure_boot), counter.as_it_stands());
    let sealed = tpm.seal(&root, SECRET, &policy).expect("sealed");
    write_inputs(&at, &mut tpm, &sealed, &policy, &publisher);

    let run = |command: &str| {
        let output = swtpm.tool(&at, command);
        swtpm.tool(&at, "tpm2_flushcontext --transient-object");
        output
    };
    run(
        "tpm2_loadexternal --hierarchy o --public release.pub --key-context release.ctx --name release.name",
    );
    let name = release_key_name(&publisher.point())
        .expect("a name")
        .to_bytes();
    assert_eq!(fs::read(at.join("release.name")).expect("read"), name);
    run(
        "tpm2_verifysignature --key-context release.ctx --hash-algorithm sha256 --message message --signature signature --ticket ticket",
    );
    run("tpm2_startauthsession --policy-session --session session.ctx");
    run("tpm2_policypcr --session session.ctx --pcr-list sha256:11,12");
    run(
        "tpm2_policyauthorize --session session.ctx --input approved.policy --qualification reference --name release.name --ticket ticket",
    );
    run("tpm2_policypcr --session session.ctx --pcr-list sha256:7");
    run(
        "tpm2_policynv --session session.ctx --hierarchy 0x0180daa5 --input limit 0x0180daa5 ule --policy policy",
    );
    assert_eq!(
        fs::read(at.join("policy")).expect("read"),
        policy.digest().expect("a digest"),
        "the policy that is computed in software is the TPM's"
    );
    run(
        "tpm2_load --parent-context 0x81000001 --public object.pub --private object.priv --key-context object.ctx",
    );
    let opened = run("tpm2_unseal --object-context object.ctx --auth session:session.ctx");
    assert_eq!(opened, SECRET);
    run("tpm2_flushcontext session.ctx");

    // without the policy, nothing
    let output = swtpm.try_tool(&at, "tpm2_unseal --object-context object.ctx");
    assert!(!output.status.success(), "an empty password opens nothing");
}

#[test]
fn tpm2_checkquote_accepts_our_quote_and_no_other() {
    let (swtpm, mut tpm) = Swtpm::booted();
    let (_kept, at) = workshop();
    let nonce = sha256(&[b"the master's nonce"]);
    let quote = tpm.quote(&nonce, &[0, 7, 11]).expect("quoted");
    let key = tpm
        .attestation_public()
        .expect("a key")
        .to_bytes()
        .expect("bytes");
    fs::write(at.join("ak.pub"), key).expect("written");
    fs::write(at.join("message"), &quote.message).expect("written");
    fs::write(at.join("signature"), &quote.signature).expect("written");
    let check = |nonce: &[u8]| {
        let nonce = hex::encode(nonce);
        swtpm.try_tool(
            &at,
            &format!("tpm2_checkquote --public ak.pub --message message --signature signature --hash-algorithm sha256 --qualification {nonce}"),
        )
    };
    let output = check(&nonce);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!check(&[0; 32]).status.success(), "over another nonce");

    // and the other way round: a quote of tpm2-tools over the same key's kind
    swtpm.tool(&at, "tpm2_createprimary --hierarchy e --key-algorithm ecc256:ecdsa-sha256:null --attributes fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign --key-context ak.ctx");
    swtpm.tool(&at, "tpm2_flushcontext --transient-object");
    swtpm.tool(
        &at,
        &format!(
            "tpm2_quote --key-context ak.ctx --pcr-list sha256:0,7,11 --qualification {} --message message --signature signature --hash-algorithm sha256",
            hex::encode(nonce)
        ),
    );
    swtpm.tool(&at, "tpm2_flushcontext --transient-object");
    let theirs = Quote {
        message: fs::read(at.join("message")).expect("read"),
        signature: fs::read(at.join("signature")).expect("read"),
    };
    let key = tpm
        .attestation_public()
        .expect("a key")
        .point()
        .expect("a point");
    theirs
        .verify(&key, &nonce, &[0, 7, 11])
        .expect("the same template gives the same key");
}

#[test]
fn our_root_key_is_what_tpm2_tools_read() {
    let (swtpm, mut tpm) = Swtpm::booted();
    let (_kept, at) = workshop();
    let root = tpm.storage_root_key().expect("a root key");
    swtpm.tool(
        &at,
        "tpm2_readpublic --object-context 0x81000001 --output root.pub --name root.name",
    );
    let read = fs::read(at.join("root.pub")).expect("read");
    assert_eq!(read, root.public().to_bytes().expect("bytes"));
    assert_eq!(
        fs::read(at.join("root.name")).expect("read"),
        root.name().to_bytes()
    );
}

#[test]
fn credentials_of_tpm2_makecredential_are_opened() {
    let (swtpm, mut tpm) = Swtpm::booted();
    let (_kept, at) = workshop();
    let root = tpm.storage_root_key().expect("a root key");
    let endorsement = tpm
        .endorsement_public()
        .expect("a key")
        .to_bytes()
        .expect("bytes");
    let name = tpm
        .attestation_public()
        .expect("a key")
        .name()
        .expect("a name");
    fs::write(at.join("ek.pub"), endorsement).expect("written");
    fs::write(at.join("secret"), SECRET).expect("written");
    swtpm.tool(
        &at,
        &format!("tpm2_makecredential --public ek.pub --secret secret --name {name} --credential-blob credential"),
    );
    swtpm.tool(&at, "tpm2_flushcontext --transient-object");
    // the file: magic and version, four bytes each, then two sized buffers
    let file = fs::read(at.join("credential")).expect("read");
    let take = |from: usize| {
        let length = usize::from(u16::from_be_bytes([file[from], file[from + 1]]));
        (
            file[from + 2..from + 2 + length].to_vec(),
            from + 2 + length,
        )
    };
    let (blob, next) = take(8);
    let (seed, _) = take(next);
    let opened = tpm
        .activate_credential(&root, &Credential { blob, seed })
        .expect("opened");
    assert_eq!(opened.as_slice(), SECRET);
}

#[test]
fn a_foreign_key_at_our_handle_is_named() {
    let (swtpm, mut tpm) = Swtpm::booted();
    let (_kept, at) = workshop();
    swtpm.tool(
        &at,
        "tpm2_createprimary --hierarchy o --key-algorithm rsa2048 --key-context rsa.ctx",
    );
    swtpm.tool(
        &at,
        "tpm2_evictcontrol --hierarchy o --object-context rsa.ctx 0x81000001",
    );
    swtpm.tool(&at, "tpm2_flushcontext --transient-object");
    let error = tpm.storage_root_key().expect_err("refused");
    assert!(error.to_string().contains("not an ECC key"), "{error}");
}
