use seal::envelope::RecoveryKey;
use seal::release::Phase;
use seal::tpm::Tpm;
use seal::tpm::crypto::Digest;

use super::*;
use fixtures::software_tpm::{Publisher, STUB, Swtpm, enter, workshop};

fn sealer(tpm: Tpm, publisher: &Publisher) -> Sealer {
    sealer_of(tpm, publisher, &STUB, 0)
}

fn sealer_of(tpm: Tpm, publisher: &Publisher, stub: &Digest, version: u32) -> Sealer {
    Sealer {
        tpm,
        releases: publisher.release(stub, version),
    }
}

fn refused(sealer: &mut Sealer, envelope: &Envelope) -> Refusal {
    match open(sealer, envelope) {
        Ok(_) => panic!("it opens"),
        Err(error) => refusal(error).unwrap(),
    }
}

#[test]
fn a_key_comes_back_in_the_boot_of_an_image_of_the_same_publisher() {
    let (mut swtpm, tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let volume = Volume::generate(4096).unwrap();
    let envelope = seal(&mut sealer(tpm, &publisher), &volume, None).unwrap();
    let bytes = envelope.to_bytes();
    assert!(bytes.len() < 4096, "{} bytes", bytes.len());
    let key = volume.key();
    assert!(!bytes.windows(16).any(|part| part == &key[..16]));

    swtpm.power_cycle();
    let mut same = sealer(swtpm.boot(&STUB), &publisher);
    let opened = open(&mut same, &envelope).unwrap();
    assert_eq!((opened.sector_size, opened.key()), (4096, key));
    // an update: another image, measured otherwise, of a higher version
    swtpm.power_cycle();
    let update = [0x77; 32];
    let tpm = swtpm.boot(&update);
    let mut updated = sealer_of(tpm, &publisher, &update, 3);
    let opened = open(&mut updated, &envelope).unwrap();
    assert_eq!(opened.key(), key);
}

#[test]
fn each_way_in_that_is_none_has_its_refusal() {
    let (mut swtpm, tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let volume = Volume::generate(512).unwrap();
    let envelope = seal(&mut sealer(tpm, &publisher), &volume, None).unwrap();

    let (_other, tpm) = Swtpm::booted();
    let refusal = refused(&mut sealer(tpm, &publisher), &envelope);
    assert_eq!(refusal, Refusal::OtherTpm);

    let stranger = refused(&mut sealer(swtpm.open(), &Publisher::new()), &envelope);
    assert_eq!(stranger, Refusal::OtherPublisher);

    swtpm.power_cycle();
    let tpm = swtpm.boot(&[0x99; 32]);
    let changed_image = refused(&mut sealer(tpm, &publisher), &envelope);
    assert_eq!(changed_image, Refusal::NotReleased { floor: 0 });

    swtpm.power_cycle();
    let mut tpm = swtpm.boot(&STUB);
    enter(&mut tpm, Phase::Run);
    let booted = refused(&mut sealer(tpm, &publisher), &envelope);
    assert_eq!(booted, Refusal::NotReleased { floor: 0 });

    swtpm.power_cycle();
    let mut tpm = swtpm.boot(&STUB);
    tpm.extend_pcr(pcr::SECURE_BOOT, &[1; 32]).unwrap();
    let other_keys = refused(&mut sealer(tpm, &publisher), &envelope);
    assert_eq!(other_keys, Refusal::SecureBoot);

    swtpm.power_cycle();
    let mut tpm = swtpm.boot(&STUB);
    let root = tpm.storage_root_key().unwrap();
    tpm.increment_counter(&root, nv::STATE_COUNTER, &publisher.release(&STUB, 0))
        .unwrap();
    let reset = refused(&mut sealer(tpm, &publisher), &envelope);
    assert_eq!(reset, Refusal::RolledBack);
}

#[test]
fn a_cleared_tpm_is_told_from_another_one() {
    let (swtpm, tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let volume = Volume::generate(512).unwrap();
    let envelope = seal(&mut sealer(tpm, &publisher), &volume, None).unwrap();
    let (_directory, path) = workshop();
    swtpm.tool(&path, "tpm2_clear -c platform");
    let refusal = refused(&mut sealer(swtpm.open(), &publisher), &envelope);
    assert_eq!(refusal, Refusal::Cleared);
}

/// Nothing is encrypted by a key that the next boot would not get.
#[test]
fn an_image_that_nothing_was_signed_for_seals_nothing() {
    let (swtpm, _) = Swtpm::booted();
    let publisher = Publisher::new();
    let volume = Volume::generate(512).unwrap();
    let mut sealer = sealer_of(swtpm.open(), &publisher, &[0x99; 32], 0);
    let error = seal(&mut sealer, &volume, None).unwrap_err();
    assert_eq!(refusal(error).unwrap(), Refusal::NotReleased { floor: 0 });
}

#[test]
fn a_recovery_key_opens_what_the_tpm_does_not() {
    let (_swtpm, tpm) = Swtpm::booted();
    let recovery = RecoveryKey::generate().unwrap();
    let volume = Volume::generate(512).unwrap();
    let mut sealer = sealer(tpm, &Publisher::new());
    let envelope = seal(&mut sealer, &volume, Some(recovery.public())).unwrap();
    assert_eq!(envelope.recovery(), Some(recovery.public()));
    let content = envelope.recover(LABEL, &recovery).unwrap();
    let recovered = Volume::from_content(&content).unwrap();
    assert_eq!(recovered.key(), volume.key());
}

#[test]
fn what_is_sealed_is_checked() {
    let volume = Volume::generate(4096).unwrap();
    let other = Volume::generate(4096).unwrap();
    assert_ne!(volume.key(), other.key());
    let content = volume.to_content();
    let back = Volume::from_content(&content).unwrap();
    assert_eq!((back.sector_size, back.key()), (4096, volume.key()));
    let mut wrong_size = content.to_vec();
    wrong_size[2] = 0x20;
    for content in [&content[1..], &content[..67], &wrong_size, &[]] {
        assert!(Volume::from_content(content).is_none());
    }
    assert_eq!([512, 4096, 2048].map(sector_size), [512, 4096, 4096]);
}

/// The newer header is on the disk before the older one is outdated; a power cut between the two is
/// made good at the next boot.
#[test]
fn a_higher_release_keeps_lower_ones_out() {
    let (mut swtpm, tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let volume = Volume::generate(512).unwrap();
    let old = seal(&mut sealer(tpm, &publisher), &volume, None).unwrap();
    swtpm.power_cycle();
    let update = [0x77; 32];
    let mut higher = sealer_of(swtpm.boot(&update), &publisher, &update, 2);
    let new = seal_higher(&mut higher, &volume, None).unwrap();
    assert_eq!((old.policy().floor, new.policy().floor), (0, 2));
    // the power fails here: both open
    swtpm.power_cycle();
    let mut higher = sealer_of(swtpm.boot(&update), &publisher, &update, 2);
    for envelope in [&old, &new] {
        assert_eq!(open(&mut higher, envelope).unwrap().key(), volume.key());
    }
    // once or twice, it is the same
    for _ in 0..2 {
        higher.outdate_others(new.policy()).unwrap();
        assert_eq!(open(&mut higher, &new).unwrap().key(), volume.key());
        assert_eq!(refused(&mut higher, &old), Refusal::RolledBack);
    }
    swtpm.power_cycle();
    let mut lower = sealer(swtpm.boot(&STUB), &publisher);
    let below = refused(&mut lower, &new);
    assert_eq!(below, Refusal::NotReleased { floor: 2 });
}

#[test]
fn words_from_outside_the_image_open_nothing() {
    let (mut swtpm, tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let volume = Volume::generate(512).unwrap();
    let envelope = seal(&mut sealer(tpm, &publisher), &volume, None).unwrap();
    swtpm.power_cycle();
    let mut tpm = swtpm.boot(&STUB);
    tpm.extend_pcr(pcr::OVERRIDES, &[1; 32]).unwrap();
    let refusal = refused(&mut sealer(tpm, &publisher), &envelope);
    assert_eq!(refusal, Refusal::Overridden);
}
