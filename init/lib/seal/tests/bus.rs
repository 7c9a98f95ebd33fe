//! What somebody learns who listens between the client and the TPM.

use std::sync::{Arc, Mutex};

use fixtures::software_tpm::{Publisher, STUB, Swtpm, enter};
use seal::{
    release::Phase,
    tpm::{Duplicate, Tpm, attest::Credential, error::Error, policy::Policy, transport::Transport},
};
use zeroize::Zeroizing;

const SECRET: &[u8] = b"the key of the envelope: 32 byte";

/// Keeps all that passes.
struct Listener {
    inner: Box<dyn Transport>,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Transport for Listener {
    fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let reply = self.inner.transact(command)?;
        let mut heard = self.heard.lock().expect("not poisoned");
        heard.extend_from_slice(command);
        heard.extend_from_slice(&reply);
        Ok(reply)
    }
}

#[test]
fn no_secret_is_heard() {
    let (swtpm, _) = Swtpm::booted();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let mut tpm = Tpm::new(Box::new(Listener {
        inner: swtpm.channel(),
        heard: heard.clone(),
    }));
    let publisher = Publisher::new();
    let releases = publisher.release(&STUB, 0);
    let policy = publisher.policy(0, None);
    let root = tpm.storage_root_key().expect("a root key");

    let sealed = tpm.seal(&root, SECRET, &policy).expect("sealed");
    assert_eq!(
        *tpm.unseal(&root, &sealed, &policy, &releases)
            .expect("opened"),
        SECRET
    );
    let duplicate = Duplicate::seal(root.public(), SECRET, &policy).expect("sealed");
    let sealed = tpm.import(&root, &duplicate).expect("imported");
    assert_eq!(
        *tpm.unseal(&root, &sealed, &policy, &releases)
            .expect("opened"),
        SECRET
    );
    let endorsement = tpm.endorsement_public().expect("a key");
    let name = tpm
        .attestation_public()
        .expect("a key")
        .name()
        .expect("a name");
    let credential = Credential::make(&endorsement, &name, SECRET).expect("made");
    assert_eq!(
        *tpm.activate_credential(&root, &credential).expect("opened"),
        SECRET
    );
    let run = Policy {
        phase: Phase::Run,
        auth_value: true,
        ..policy
    };
    let key = tpm.create_signing_key(&root, run).expect("made");
    enter(&mut tpm, Phase::Run);
    tpm.sign(&root, &key, &releases, &[1; 32]).expect("signed");

    let heard = heard.lock().expect("not poisoned");
    let is_heard = |what: &[u8]| heard.windows(what.len()).any(|part| part == what);
    assert!(
        is_heard(&sealed.public),
        "the listener hears what is not secret"
    );
    assert!(!is_heard(SECRET), "what is sealed");
    assert!(!is_heard(&SECRET[..16]), "nor a part of it");
    assert!(
        !is_heard(key.auth()),
        "the signing key's authorisation value"
    );
}
