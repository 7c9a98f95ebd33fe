use std::fs::File;

use seal::release::Phase;
use seal::tpm::pcr;
use tempfile::NamedTempFile;

use super::super::header::Found;
use super::super::volume::Refusal;
use super::*;
use fixtures::software_tpm::{Publisher, STUB, Swtpm, enter};

/// A machine, the publisher of its image, and its state partition.
struct Node {
    swtpm: Swtpm,
    publisher: Publisher,
    partition: NamedTempFile,
    volume: Volume,
}

impl Node {
    /// A node with a state, at its first boot.
    fn new(recovery: Option<Point>) -> Self {
        let partition = NamedTempFile::new().unwrap();
        partition.as_file().set_len(1 << 20).unwrap();
        let mut node = Self {
            swtpm: Swtpm::new(),
            publisher: Publisher::new(),
            partition,
            volume: Volume::generate(4096).unwrap(),
        };
        let mut sealer = node.boot(7);
        let envelope = volume::seal(&mut sealer, &node.volume, recovery).unwrap();
        for (slot, generation) in [(Slot::First, 1), (Slot::Second, 2)] {
            let envelope = envelope.to_bytes();
            let header = Header {
                generation,
                envelope,
            };
            header::write(node.partition.as_file(), slot, &header).unwrap();
        }
        node
    }

    /// Starts the machine in a state of Secure Boot.
    fn boot(&mut self, secure_boot: u8) -> Sealer {
        self.swtpm.power_cycle();
        let mut tpm = self.swtpm.open();
        tpm.extend_pcr(pcr::SECURE_BOOT, &[secure_boot; 32])
            .unwrap();
        tpm.extend_pcr(pcr::KERNEL, &STUB).unwrap();
        enter(&mut tpm, Phase::Boot);
        Sealer {
            tpm,
            releases: self.publisher.release(&STUB, 0),
        }
    }

    fn device(&self) -> &Path {
        self.partition.path()
    }

    fn sealed(&self) -> Sealed {
        match header::read(&File::open(self.device()).unwrap()).unwrap() {
            Found::Whole {
                header,
                slot,
                other,
            } => Sealed {
                header,
                slot,
                other,
            },
            other => panic!("{other:?}"),
        }
    }

    fn open(
        &self,
        sealer: &mut Sealer,
        key: Option<&RecoveryKey>,
    ) -> Result<Opened, (Refusal, bool)> {
        let find = || key.map(|key| RecoveryKey::from_text(&key.to_text()).unwrap());
        self.sealed()
            .open(self.device(), sealer, find)
            .map_err(|error| match error {
                StateError::Refused {
                    refusal,
                    recoverable,
                    ..
                } => (refusal, recoverable),
                other => panic!("{other}"),
            })
    }
}

#[test]
fn a_recovery_key_opens_the_state_of_a_machine_that_changed_and_it_stays_open() {
    let key = RecoveryKey::generate().unwrap();
    let mut node = Node::new(Some(key.public()));
    let former = node.sealed();
    let mut sealer = node.boot(8);
    let refused = Err((Refusal::SecureBoot, true));
    assert_eq!(node.open(&mut sealer, None).map(|_| ()), refused);
    let wrong = RecoveryKey::generate().unwrap();
    assert_eq!(node.open(&mut sealer, Some(&wrong)).map(|_| ()), refused);
    assert_eq!(node.sealed(), former, "a refusal writes nothing");

    let opened = node.open(&mut sealer, Some(&key)).unwrap();
    assert_eq!(opened.volume.key(), node.volume.key());
    node.sealed()
        .keep(node.device(), &mut sealer, &opened)
        .unwrap();
    assert_eq!(node.sealed().other, None, "both places are alike");

    // from then on it is this machine's, with no key on paper, and the former header is outdated
    let mut sealer = node.boot(8);
    let opened = node.open(&mut sealer, None).unwrap();
    assert_eq!(opened.volume.key(), node.volume.key());
    assert_eq!(opened.envelope.recovery(), Some(key.public()));
    former.write(node.device()).unwrap();
    let file = File::options().write(true).open(node.device()).unwrap();
    header::write(&file, former.slot.other(), &former.header).unwrap();
    let mut sealer = node.boot(7);
    let refused = node.open(&mut sealer, Some(&key)).map(|_| ());
    assert_eq!(refused, Err((Refusal::RolledBack, false)));
}

#[test]
fn a_recovery_key_lets_in_no_image_that_the_publisher_did_not_sign() {
    let key = RecoveryKey::generate().unwrap();
    let mut node = Node::new(Some(key.public()));
    let mut sealer = node.boot(7);
    sealer.releases = Publisher::new().release(&STUB, 0);
    let refused = node.open(&mut sealer, Some(&key)).map(|_| ());
    assert_eq!(refused, Err((Refusal::OtherPublisher, false)));
    sealer.releases = node.publisher.release(&[1; 32], 0);
    let refused = node.open(&mut sealer, Some(&key)).map(|_| ());
    assert_eq!(refused, Err((Refusal::NotReleased { floor: 0 }, false)));
}

#[test]
fn a_state_learns_the_configurations_recovery_key_once() {
    let key = RecoveryKey::generate().unwrap();
    let mut node = Node::new(None);
    let mut sealer = node.boot(7);
    node.sealed()
        .adopt(node.device(), &mut sealer, &key.public())
        .unwrap();
    let adopted = node.sealed();
    assert_eq!(adopted.other, None, "both places are alike");
    node.sealed()
        .adopt(node.device(), &mut sealer, &key.public())
        .unwrap();
    assert_eq!(node.sealed(), adopted);
    let mut sealer = node.boot(7);
    assert!(!node.open(&mut sealer, None).unwrap().recovered);
    let mut sealer = node.boot(8);
    assert!(node.open(&mut sealer, Some(&key)).unwrap().recovered);
}

#[test]
fn a_state_that_was_sealed_elsewhere_is_somebody_elses() {
    let mut node = Node::new(None);
    let mut sealer = node.boot(7);
    let root = sealer.tpm.storage_root_key().unwrap();
    let sealing = envelope::Sealing {
        label: "state",
        policy: node.publisher.policy(0, None),
        recovery: None,
    };
    let content = [&4096_u32.to_be_bytes()[..], node.volume.key()].concat();
    let planted = Envelope::seal_for(root.public(), &sealing, &content).unwrap();
    node.sealed()
        .followed_by(planted.to_bytes())
        .write(node.device())
        .unwrap();
    let refused = node.open(&mut sealer, None).map(|_| ());
    assert_eq!(refused, Err((Refusal::Edited, false)));
}
