use std::fs;

use seal::envelope::Sealing;
use seal::tpm::crypto::Digest;
use seal::tpm::pcr;
use tempfile::TempDir;

use super::*;
use crate::configure::document::Origin;
use crate::system_partition::DIRECTORY;
use fixtures::documents::{KEY, document};
use fixtures::software_tpm::{Publisher, STUB, Swtpm, enter};

/// A machine, the publisher of its images, and its EFI system partition.
struct Node {
    swtpm: Swtpm,
    publisher: Publisher,
    folder: TempDir,
}

impl Node {
    fn new() -> Self {
        Self {
            swtpm: Swtpm::new(),
            publisher: Publisher::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn place(&self) -> Place {
        Place::Folder(self.folder.path().to_owned())
    }

    /// Starts the machine with an image of this hash and security version.
    fn boot(&mut self, stub: &Digest, version: u32) -> Sealer {
        self.swtpm.power_cycle();
        Sealer {
            tpm: self.swtpm.boot(stub),
            releases: self.publisher.release(stub, version),
        }
    }

    /// Starts it with other firmware.
    fn boot_changed(&mut self) -> Sealer {
        self.swtpm.power_cycle();
        let mut tpm = self.swtpm.open();
        tpm.extend_pcr(pcr::SECURE_BOOT, &[8; 32]).unwrap();
        tpm.extend_pcr(pcr::KERNEL, &STUB).unwrap();
        enter(&mut tpm, Phase::Boot);
        Sealer {
            tpm,
            releases: self.publisher.release(&STUB, 0),
        }
    }

    /// Seals a document, with a recovery key that opens it, too.
    fn provision(&mut self, text: &str, key: &RecoveryKey) {
        let mut sealer = self.boot(&STUB, 0);
        let policy = sealer.policy(nv::COUNTER).unwrap();
        let sui_key = match parse("node.toml", text).unwrap().identity.is_in_tpm() {
            true => Some(make_key(&mut sealer).unwrap()),
            false => None,
        };
        let content = Content {
            document: Zeroizing::new(text.to_owned()),
            sui_key,
        };
        let content = content.to_bytes().unwrap();
        let sealed = sealer.seal(LABEL, policy, Some(key.public()), &content);
        self.place().write(&sealed.unwrap()).unwrap();
    }

    fn recover(&self, sealer: &mut Sealer, key: Option<&RecoveryKey>) -> Result<Opened, KeepError> {
        let find = || key.map(|key| RecoveryKey::from_text(&key.to_text()).unwrap());
        open_or(sealer, &self.kept(), &self.place().name(), find)
    }

    fn take(&self, sealer: &mut Sealer, text: &str) -> Result<Taken, KeepError> {
        let document = Document {
            origin: Origin::Firmware,
            source: "node.toml".to_owned(),
            text: Zeroizing::new(text.to_owned()),
        };
        let config = parse(&document.source, text)?;
        seal_at(sealer, &self.place(), &document, config)
    }

    fn kept(&self) -> Envelope {
        self.place().read().unwrap().unwrap()
    }

    fn unseal(&self, sealer: &mut Sealer) -> Result<Taken, KeepError> {
        unseal_at(sealer, &self.place(), &self.kept())
    }

    fn files(&self) -> Vec<String> {
        let folder = self.folder.path().join(DIRECTORY);
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn chain(error: &KeepError) -> String {
    log::chain(error)
}

#[test]
fn a_document_comes_back_at_the_next_boot_and_nothing_of_it_lies_in_the_plain() {
    let mut node = Node::new();
    let text = document(KEY);
    let mut sealer = node.boot(&STUB, 0);
    let taken = node.take(&mut sealer, &text).unwrap();
    assert_eq!(*taken.content.document, text);
    let bytes = node.kept().to_bytes();
    assert!(
        !bytes
            .windows(16)
            .any(|part| text.as_bytes().windows(16).any(|known| known == part))
    );
    assert_eq!(node.files(), ["node.sealed"]);

    let mut sealer = node.boot(&STUB, 0);
    let opened = node.unseal(&mut sealer).unwrap();
    assert_eq!(*opened.content.document, text);
    assert_eq!(node.kept().to_bytes(), bytes, "it was sealed anew");
    // found once more in the plain: it is the same
    node.take(&mut sealer, &text).unwrap();
    assert_eq!(node.kept().to_bytes(), bytes, "it was sealed anew");
}

#[test]
fn a_higher_release_outdates_what_was_sealed_whenever_the_power_fails() {
    let mut node = Node::new();
    let mut sealer = node.boot(&STUB, 0);
    node.take(&mut sealer, &document(KEY)).unwrap();
    let former = node.kept();

    // the new file is written, and the power fails before the counter goes on
    let newer = [0x77; 32];
    let mut sealer = node.boot(&newer, 1);
    let opened = open(&mut sealer, &former, &node.place().name()).unwrap();
    let policy = sealer.outdating_policy(nv::COUNTER).unwrap();
    let sealed = sealer
        .seal(LABEL, policy, None, &opened.content.to_bytes().unwrap())
        .unwrap();
    node.place().write(&sealed).unwrap();
    open(&mut sealer, &former, &node.place().name()).unwrap();

    let mut sealer = node.boot(&newer, 1);
    node.unseal(&mut sealer).unwrap();
    assert_eq!(node.kept().to_bytes(), sealed.to_bytes());
    let error = open(&mut sealer, &former, &node.place().name()).unwrap_err();
    assert!(chain(&error).contains("it is an older copy"), "{error:?}");

    // and the older release gets it no more
    let mut sealer = node.boot(&STUB, 0);
    let error = node.unseal(&mut sealer).unwrap_err();
    assert!(chain(&error).contains("at the floor 1"), "{error:?}");
}

#[test]
fn what_was_sealed_from_afar_is_sealed_to_the_machine_at_its_first_boot() {
    let mut node = Node::new();
    let mut sealer = node.boot(&STUB, 0);
    let root = sealer.tpm.storage_root_key().unwrap();
    let sealing = Sealing {
        label: DOCUMENT_LABEL,
        policy: node.publisher.policy(0, None),
        recovery: None,
    };
    let text = document("tpm");
    let afar = Envelope::seal_for(root.public(), &sealing, text.as_bytes()).unwrap();
    node.place().write(&afar).unwrap();
    let taken = node.unseal(&mut sealer).unwrap();
    let address = tpm_address::of(taken.content.sui_key.as_ref().unwrap()).unwrap();
    let key = taken.content.sui_key.unwrap().to_bytes().unwrap();
    // for a reset to name it
    let noted = node.folder.path().join(DIRECTORY).join(tpm_address::FILE);
    assert_eq!(fs::read_to_string(noted).unwrap(), format!("{address}\n"));
    let kept = node.kept();
    assert!(!kept.is_from_afar() && kept.policy().secure_boot.is_some());

    // the key is the same from then on
    let mut sealer = node.boot(&STUB, 0);
    let again = node.unseal(&mut sealer).unwrap();
    assert_eq!(again.content.sui_key.unwrap().to_bytes().unwrap(), key);
}

#[test]
fn only_the_keys_holder_puts_another_document_in_its_place() {
    let mut node = Node::new();
    let mut sealer = node.boot(&STUB, 0);
    node.take(&mut sealer, &document("tpm")).unwrap();
    let before = node.kept().to_bytes();
    for (from, to) in [("10.0.2.2:8443", "192.0.2.1:8443"), ("\"tpm\"", KEY)] {
        let to = match from {
            "\"tpm\"" => format!("\"{to}\""),
            _ => to.to_owned(),
        };
        let other = document("tpm").replace(from, &to);
        let error = node.take(&mut sealer, &other).unwrap_err();
        assert!(matches!(error, KeepError::OfAnother(_)), "{error:?}");
        assert_eq!(node.kept().to_bytes(), before);
    }
    // what changes no duty of the key is taken, and the key stays
    let key = |taken: &Taken| taken.content.sui_key.as_ref().unwrap().to_bytes().unwrap();
    let former = node.unseal(&mut sealer).unwrap();
    let network = document("tpm") + "[network]\ndns = [\"192.0.2.53\"]\n";
    let taken = node.take(&mut sealer, &network).unwrap();
    assert_eq!(key(&taken), key(&former));
    assert_ne!(node.kept().to_bytes(), before);
    // and what it took the place of opens no more
    let before = Envelope::from_bytes(&before).unwrap();
    let error = open(&mut sealer, &before, &node.place().name()).unwrap_err();
    assert!(chain(&error).contains("it is an older copy"), "{error:?}");
    node.unseal(&mut sealer).unwrap();
}

#[test]
fn what_never_opens_again_is_set_aside_and_what_may_is_left() {
    let mut node = Node::new();
    let mut sealer = node.boot(&STUB, 0);
    node.take(&mut sealer, &document(KEY)).unwrap();
    // another image: that can be undone
    let other = Publisher::new();
    let mut foreign = Sealer {
        tpm: node.swtpm.open(),
        releases: other.release(&STUB, 0),
    };
    let error = node.take(&mut foreign, &document(KEY)).unwrap_err();
    assert!(matches!(error, KeepError::Locked { .. }), "{error:?}");
    assert_eq!(node.files(), ["node.sealed"]);

    // another machine's TPM: three files are kept, and then none is lost
    for number in 0..4 {
        node.swtpm = Swtpm::new();
        let mut sealer = node.boot(&STUB, 0);
        let taken = node.take(&mut sealer, &document(KEY));
        match number {
            3 => assert!(
                chain(&taken.unwrap_err()).contains("take them away"),
                "a fourth"
            ),
            _ => {
                taken.unwrap();
            }
        }
    }
    assert_eq!(
        node.files(),
        [
            "node.sealed",
            "node.sealed.old",
            "node.sealed.old2",
            "node.sealed.old3"
        ]
    );
}

#[test]
fn a_recovery_key_opens_what_a_change_of_the_firmware_shut_out_and_it_stays_open() {
    let key = RecoveryKey::generate().unwrap();
    let mut node = Node::new();
    for text in [document(KEY), document("tpm")] {
        node.provision(&text, &key);
        let mut sealer = node.boot_changed();
        let error = node.recover(&mut sealer, None).unwrap_err();
        assert!(chain(&error).contains("daas/recovery.key"), "{error:?}");
        let wrong = RecoveryKey::generate().unwrap();
        assert!(node.recover(&mut sealer, Some(&wrong)).is_err());

        let opened = node.recover(&mut sealer, Some(&key)).unwrap();
        assert!(opened.recovered);
        let config = parse("node.toml", &text).unwrap();
        let former = node.kept();
        bring_up_to_date(&mut sealer, &node.place(), &former, config, opened).unwrap();

        let mut sealer = node.boot_changed();
        let opened = node.recover(&mut sealer, None).unwrap();
        assert!(!opened.recovered);
        assert_eq!(*opened.content.document, text);
        assert_eq!(node.kept().recovery(), Some(key.public()));
    }
}

#[test]
fn a_recovery_key_moves_a_configuration_to_another_machine_but_not_a_key_of_its_tpm() {
    let key = RecoveryKey::generate().unwrap();
    for (text, moves) in [(document(KEY), true), (document("tpm"), false)] {
        let mut node = Node::new();
        node.provision(&text, &key);
        node.swtpm = Swtpm::new();
        let mut sealer = node.boot(&STUB, 0);
        match node.recover(&mut sealer, Some(&key)) {
            Ok(opened) => assert!(moves && *opened.content.document == text),
            Err(error) => assert!(
                !moves && matches!(error, KeepError::KeyIsLost(_)),
                "{error:?}"
            ),
        }
    }
}
