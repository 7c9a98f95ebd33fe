use std::fs;

use seal::envelope::Sealing;
use seal::tpm::crypto::Digest;
use tempfile::TempDir;

use super::*;
use crate::configure::sources::Origin;
use crate::configure::test_document::{KEY, document};
use crate::software_tpm::{Publisher, STUB, Swtpm};

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
        let folder = self.folder.path().join(crate::system_partition::DIRECTORY);
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn chain(error: &KeepError) -> String {
    crate::log::chain(error)
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
    let content = open(&mut sealer, &former, &node.place()).unwrap();
    let policy = sealer.outdating_policy(nv::COUNTER).unwrap();
    let sealed = sealer
        .seal(LABEL, policy, None, &content.to_bytes().unwrap())
        .unwrap();
    node.place().write(&sealed).unwrap();
    open(&mut sealer, &former, &node.place()).unwrap();

    let mut sealer = node.boot(&newer, 1);
    node.unseal(&mut sealer).unwrap();
    assert_eq!(node.kept().to_bytes(), sealed.to_bytes());
    let error = open(&mut sealer, &former, &node.place()).unwrap_err();
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
    let key = taken.content.sui_key.unwrap().to_bytes().unwrap();
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
