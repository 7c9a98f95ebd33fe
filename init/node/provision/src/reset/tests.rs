use std::fs;

use seal::envelope::{Envelope, Error, Sealing};
use seal::tpm::policy::{Policy, Unsatisfied};

use super::*;
use fixtures::software_tpm::{Publisher, STUB, Swtpm};

fn steps(act: impl FnOnce(&mut dyn FnMut(Step))) -> Vec<Step> {
    let mut steps = Vec::new();
    act(&mut |step| steps.push(step));
    steps
}

fn done(steps: &[Step]) -> Vec<&str> {
    let mut texts = Vec::new();
    for step in steps {
        match step {
            Step::Done(text) => texts.push(text.as_str()),
            Step::NotDone(text) => panic!("{text}"),
        }
    }
    texts
}

#[test]
fn every_form_of_the_configuration_goes_and_the_boot_loader_s_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join(DIRECTORY);
    fs::create_dir(&place).unwrap();
    let gone = [
        "node.sealed",
        "node.sealed.new",
        "node.sealed.old",
        "node.toml",
        "node.toml.new",
        "recovery.key",
        "sui-address",
        "reset-confirmed",
    ];
    for name in gone.iter().chain(&["srk.pub"]) {
        fs::write(place.join(name), b"secret").unwrap();
    }
    fs::write(folder.path().join("node.toml"), b"another's").unwrap();
    let open = fs::File::open(place.join("node.sealed")).unwrap();
    let partition = SystemPartition::folder(folder.path());
    let first = steps(|say| forget_configuration(&partition, "/dev/vda1", say));
    assert_eq!(done(&first).len(), gone.len());
    assert!(done(&first).contains(&"/dev/vda1:daas/node.toml is overwritten and removed"));
    assert_eq!(std::io::read_to_string(open).unwrap(), "\0\0\0\0\0\0");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    assert!(folder.path().join("node.toml").exists());
    // again, as after a power cut
    let second = steps(|say| forget_configuration(&partition, "/dev/vda1", say));
    assert_eq!(done(&second), ["/dev/vda1: there was no configuration"]);
}

#[test]
fn what_cannot_be_removed_is_told_and_the_others_go() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join(DIRECTORY);
    fs::create_dir_all(place.join("node.sealed")).unwrap();
    fs::write(place.join("node.toml"), b"secret").unwrap();
    let partition = SystemPartition::folder(folder.path());
    let steps = steps(|say| forget_configuration(&partition, "/dev/vda1", say));
    let [Step::NotDone(sealed), Step::Done(_)] = steps.as_slice() else {
        panic!("{steps:?}");
    };
    assert!(sealed.contains("/dev/vda1:daas/node.sealed"), "{sealed}");
    assert!(!place.join("node.toml").exists());
}

fn seal(tpm: &mut Tpm, policy: Policy) -> Envelope {
    let sealing = Sealing {
        label: "x",
        policy,
        recovery: None,
    };
    Envelope::seal(tpm, &sealing, b"secret").unwrap()
}

#[test]
fn copies_of_what_was_sealed_before_open_no_more() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let releases = publisher.release(&STUB, 0);
    let sealed = |tpm: &mut Tpm, handle| {
        let root = tpm.storage_root_key().unwrap();
        let counter = tpm.ensure_counter(&root, handle, &releases).unwrap();
        seal(
            tpm,
            publisher.policy_with_counter(0, None, counter.as_it_stands()),
        )
    };
    let state = sealed(&mut tpm, nv::STATE_COUNTER);
    let configuration = sealed(&mut tpm, nv::COUNTER);
    for envelope in [&state, &configuration] {
        envelope.open(&mut tpm, "x", &releases).unwrap();
    }
    // the second time there is nothing left to do
    for count in [2, 0] {
        assert_eq!(done(&steps(|say| outdate(&mut tpm, say))).len(), count);
        for envelope in [&state, &configuration] {
            let error = envelope.open(&mut tpm, "x", &releases).unwrap_err();
            let gone = matches!(error, Error::Policy(Unsatisfied::OtherCounter));
            assert!(gone, "{error}");
        }
    }
    // what is sealed from now on opens, and what was sealed before still does not
    let new = sealed(&mut tpm, nv::STATE_COUNTER);
    new.open(&mut tpm, "x", &releases).unwrap();
    let error = state.open(&mut tpm, "x", &releases).unwrap_err();
    let rolled_back = matches!(error, Error::Policy(Unsatisfied::RolledBack { .. }));
    assert!(rolled_back, "{error}");
}

#[test]
fn reset_cut_off_after_a_deletion_outdates_when_done_again() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let releases = publisher.release(&STUB, 0);
    let root = tpm.storage_root_key().unwrap();
    let counter = tpm.ensure_counter(&root, nv::COUNTER, &releases).unwrap();
    // what was to outdate another, and was not through with it
    let policy = publisher.policy_with_counter(0, None, counter.after_increment());
    let pending = seal(&mut tpm, policy);
    tpm.delete_counter(nv::COUNTER).unwrap();
    assert_eq!(steps(|say| outdate(&mut tpm, say)), []);
    tpm.ensure_counter(&root, nv::COUNTER, &releases).unwrap();
    let error = pending.open(&mut tpm, "x", &releases).unwrap_err();
    assert!(
        matches!(error, Error::Policy(Unsatisfied::RolledBack { .. })),
        "{error}"
    );
}

#[test]
fn a_tpm_that_holds_nothing_of_ours_is_left_alone() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let nothing = steps(|say| outdate(&mut tpm, say));
    assert_eq!(done(&nothing), ["the TPM holds nothing of this system"]);
    let root = tpm.storage_root_key().unwrap();
    assert_eq!(steps(|say| outdate(&mut tpm, say)), []);
    assert!(tpm.counter(&root, nv::COUNTER).unwrap().is_none());
}

#[test]
fn the_end_comes_whatever_hangs_or_breaks() {
    let (sender, receiver) = sync_channel(QUEUE_LENGTH);
    let step = Step::Done("one".to_owned());
    sender.send(Message::Step(step.clone())).unwrap();
    // time is up from the start, and what came before that counts
    let steps = collect(&receiver, Duration::ZERO);
    let [first, Step::NotDone(hangs)] = steps.as_slice() else {
        panic!("{steps:?}");
    };
    assert_eq!(first, &step);
    assert!(hangs.contains("hangs"), "{hangs}");

    sender.send(Message::End).unwrap();
    assert_eq!(collect(&receiver, LIMIT), []);
    drop(sender);
    let steps = collect(&receiver, LIMIT);
    assert!(matches!(steps.as_slice(), [Step::NotDone(_)]), "{steps:?}");
}
