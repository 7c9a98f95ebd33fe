//! Counters of a real TPM: who increments them, and what becomes of those that somebody else made.

use fixtures::software_tpm::{Publisher, STUB, Swtpm, enter, workshop};
use seal::release::{Phase, ReleasePolicies};
use seal::tpm::clear::Clear;
use seal::tpm::error::Error;
use seal::tpm::nv::{COUNTER, STATE_COUNTER};
use seal::tpm::policy::Unsatisfied;
use seal::tpm::{Loaded, Tpm};

const SECRET: &[u8] = b"secret";
/// As images before the write policy made it: OWNERWRITE, COUNTER, OWNERREAD, AUTHREAD, NO_DA.
const FORMER: &str = "tpm2_nvdefine 0x0180daa5 --hierarchy o --size 8 --attributes \
                      ownerwrite|nt=counter|ownerread|authread|no_da";

struct Scene {
    swtpm: Swtpm,
    tpm: Tpm,
    root: Loaded,
    publisher: Publisher,
    releases: ReleasePolicies,
}

impl Scene {
    fn new() -> Self {
        let (swtpm, mut tpm) = Swtpm::booted();
        let root = tpm.storage_root_key().expect("a root key");
        let publisher = Publisher::new();
        let releases = publisher.release(&STUB, 0);
        Self {
            swtpm,
            tpm,
            root,
            publisher,
            releases,
        }
    }

    fn tool(&self, command: &str) -> bool {
        let (_kept, at) = workshop();
        self.swtpm.try_tool(&at, command).status.success()
    }

    fn boot_again(&mut self) {
        self.swtpm.power_cycle();
        self.tpm = self.swtpm.boot(&STUB);
    }
}

#[test]
fn counter_goes_on_in_the_boot_phase_alone() {
    let mut scene = Scene::new();
    let made = scene
        .tpm
        .ensure_counter(&scene.root, COUNTER, &scene.releases)
        .expect("made");
    let raised = scene
        .tpm
        .increment_counter(&scene.root, COUNTER, &scene.releases)
        .expect("incremented");
    assert_eq!(raised.count, made.count + 1);
    // by the owner's password, or the index's own
    assert!(!scene.tool("tpm2_nvincrement 0x0180daa5 --hierarchy o"));
    assert!(!scene.tool("tpm2_nvincrement 0x0180daa5 --hierarchy 0x0180daa5"));

    enter(&mut scene.tpm, Phase::Run);
    let error = scene
        .tpm
        .increment_counter(&scene.root, COUNTER, &scene.releases)
        .expect_err("the phase is over");
    assert!(matches!(error, Unsatisfied::NotReleased { .. }), "{error}");
    // what is there is read, what is not is not made
    let found = scene
        .tpm
        .ensure_counter(&scene.root, COUNTER, &scene.releases)
        .expect("found");
    assert_eq!(found, raised);
    let error = scene
        .tpm
        .ensure_counter(&scene.root, STATE_COUNTER, &scene.releases)
        .expect_err("the phase is over");
    assert!(matches!(error, Unsatisfied::NotReleased { .. }), "{error}");
    let none = scene.tpm.counter(&scene.root, STATE_COUNTER);
    assert_eq!(none.expect("read"), None);

    scene.boot_again();
    scene
        .tpm
        .increment_counter(&scene.root, COUNTER, &scene.releases)
        .expect("incremented in the next boot");
}

#[test]
fn counter_of_an_earlier_image_is_kept_until_nothing_needs_it() {
    let mut scene = Scene::new();
    assert!(scene.tool(FORMER));
    assert!(scene.tool("tpm2_nvincrement 0x0180daa5 --hierarchy o"));
    let former = scene
        .tpm
        .ensure_counter(&scene.root, COUNTER, &scene.releases)
        .expect("taken");
    let policy = scene
        .publisher
        .policy_with_counter(0, None, former.after_increment());
    let sealed = scene
        .tpm
        .seal(&scene.root, SECRET, &policy)
        .expect("sealed");
    let raised = scene
        .tpm
        .increment_counter(&scene.root, COUNTER, &scene.releases)
        .expect("incremented");
    assert_eq!((raised.count, raised.name), (former.count + 1, former.name));
    scene
        .tpm
        .unseal(&scene.root, &sealed, &policy, &scene.releases)
        .expect("opened");

    let renewed = scene
        .tpm
        .renew_counter(&scene.root, COUNTER, &scene.releases)
        .expect("replaced");
    assert!(renewed.count > raised.count && renewed.name != raised.name);
    assert!(!scene.tool("tpm2_nvincrement 0x0180daa5 --hierarchy o"));
    let again = scene
        .tpm
        .renew_counter(&scene.root, COUNTER, &scene.releases);
    assert_eq!(again.expect("kept"), renewed);
}

#[test]
fn counter_of_another_publisher_is_replaced() {
    let mut scene = Scene::new();
    let first = scene
        .tpm
        .ensure_counter(&scene.root, COUNTER, &scene.releases)
        .expect("made");
    // the machine is flashed with another publisher's image, and its disk is new
    let clear = scene.tpm.switch_clear_off().expect("switched off");
    assert_eq!(clear, Clear::Off);
    let other = Publisher::new();
    let releases = other.release(&STUB, 0);
    let error = scene
        .tpm
        .increment_counter(&scene.root, COUNTER, &releases)
        .expect_err("not its counter");
    assert!(
        matches!(error, Unsatisfied::Tpm(Error::ForeignCounter(..))),
        "{error}"
    );
    let counter = scene
        .tpm
        .ensure_counter(&scene.root, COUNTER, &releases)
        .expect("made anew");
    assert!(counter.count > first.count && counter.name != first.name);
    let policy = other.policy_with_counter(0, None, counter.as_it_stands());
    let sealed = scene
        .tpm
        .seal(&scene.root, SECRET, &policy)
        .expect("sealed");
    scene.boot_again();
    scene
        .tpm
        .unseal(&scene.root, &sealed, &policy, &releases)
        .expect("opened");
}

#[test]
fn retired_counter_leaves_no_copy_that_opens() {
    let mut scene = Scene::new();
    let before = scene
        .tpm
        .ensure_counter(&scene.root, COUNTER, &scene.releases)
        .expect("made");
    // cut off before it outdated another: it admits one more
    let policy = scene
        .publisher
        .policy_with_counter(0, None, before.after_increment());
    let sealed = scene
        .tpm
        .seal(&scene.root, SECRET, &policy)
        .expect("sealed");
    // the image's other profile, which the publisher has signed nothing for
    scene.swtpm.power_cycle();
    let mut reset = scene.swtpm.boot(&[0x0d; 32]);
    reset.retire_counter(COUNTER).expect("retired");
    assert_eq!(reset.counter(&scene.root, COUNTER).expect("read"), None);

    scene.boot_again();
    let error = scene
        .tpm
        .unseal(&scene.root, &sealed, &policy, &scene.releases)
        .expect_err("no counter");
    assert!(matches!(error, Unsatisfied::OtherCounter), "{error}");
    let after = scene
        .tpm
        .ensure_counter(&scene.root, COUNTER, &scene.releases)
        .expect("made");
    assert_eq!(after.name, before.name);
    let error = scene
        .tpm
        .unseal(&scene.root, &sealed, &policy, &scene.releases)
        .expect_err("outdated");
    assert!(matches!(error, Unsatisfied::RolledBack { .. }), "{error}");
}

#[test]
fn clear_is_the_firmware_s_alone_once_it_is_off() {
    let mut scene = Scene::new();
    assert_eq!(scene.tpm.switch_clear_off().expect("off"), Clear::Off);
    assert_eq!(scene.tpm.switch_clear_off().expect("off"), Clear::WasOff);
    assert!(!scene.tool("tpm2_clear --auth-hierarchy l"));
    // by the owner's machine itself: the key is the same
    scene.boot_again();
    assert_eq!(scene.tpm.switch_clear_off().expect("off"), Clear::WasOff);
    let found = scene.tpm.existing_storage_root_key().expect("kept");
    assert_eq!(found.name(), scene.root.name());
    // the firmware switches it on again, and clears
    assert!(scene.tool("tpm2_clearcontrol --hierarchy p c"));
    assert!(scene.tool("tpm2_clear --auth-hierarchy p"));
    let root = scene.tpm.storage_root_key().expect("a new one");
    assert_ne!(root.name(), scene.root.name());
}

#[test]
fn clear_is_left_to_who_has_set_its_password() {
    let mut scene = Scene::new();
    assert!(scene.tool("tpm2_changeauth --object-context lockout secret"));
    let clear = scene.tpm.switch_clear_off().expect("looked at");
    assert_eq!(clear, Clear::HasPassword);
    // nothing was tried: the password still counts
    assert!(scene.tool("tpm2_clear --auth-hierarchy l secret"));
}
