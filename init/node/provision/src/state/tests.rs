use super::*;

const SIZE: u64 = 64 << 20;

fn device() -> &'static Path {
    Path::new("/dev/vda6")
}

fn whole() -> Found {
    Found::Whole {
        header: Header {
            generation: 1,
            envelope: b"sealed".to_vec(),
        },
        slot: Slot::First,
        other: None,
    }
}

fn foreign() -> Content {
    Content::Foreign {
        description: "an XFS file system".to_owned(),
    }
}

const ABILITIES: [Result<(), Unable>; 3] = [Ok(()), Err(Unable::NoTpm), Err(Unable::NotMeasured)];

#[test]
fn only_an_empty_partition_gets_a_new_state() {
    for ability in ABILITIES {
        let action = plan(Content::Empty, ability, device()).unwrap();
        assert_eq!(action, Action::Create);
        for content in [
            foreign(),
            Content::Ours { size: SIZE },
            Content::Sealed(whole()),
            Content::Sealed(Found::Damaged),
            Content::Sealed(Found::Newer(2)),
            Content::Sealed(Found::Nothing),
        ] {
            let planned = plan(content, ability, device());
            assert!(!matches!(planned, Ok(Action::Create)), "{planned:?}");
        }
    }
}

#[test]
fn what_can_be_sealed_is_never_taken_in_the_open() {
    let status = |content, ability| plan(content, ability, device()).unwrap_err().status();
    let ours = || Content::Ours { size: SIZE };
    assert_eq!(status(ours(), Ok(())), 18);
    let plain = plan(ours(), Err(Unable::NoTpm), device()).unwrap();
    assert_eq!(plain, Action::OpenPlain { size: SIZE });
    assert_eq!(status(Content::Sealed(whole()), Err(Unable::NoTpm)), 16);
    let not_measured = Err(Unable::NotMeasured);
    assert_eq!(status(Content::Sealed(whole()), not_measured), 17);
}

#[test]
fn what_is_damaged_newer_or_foreign_is_told_as_such_everywhere() {
    for ability in ABILITIES {
        let status = |content| plan(content, ability, device()).unwrap_err().status();
        assert_eq!(status(foreign()), 12);
        assert_eq!(status(Content::Sealed(Found::Damaged)), 15);
        assert_eq!(status(Content::Sealed(Found::Newer(2))), 13);
    }
}

#[test]
fn a_header_on_a_partition_leads_to_its_volume() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(SIZE).unwrap();
    content::clear(&file, SIZE).unwrap();
    for (slot, generation) in [(Slot::First, 1), (Slot::Second, 2)] {
        let envelope = b"sealed".to_vec();
        let header = Header {
            generation,
            envelope,
        };
        header::write(&file, slot, &header).unwrap();
    }
    let content = content::inspect(&file, SIZE).unwrap();
    let Ok(Action::OpenSealed(sealed)) = plan(content, Ok(()), device()) else {
        panic!("a header leads to its volume");
    };
    assert_eq!((sealed.header.generation, sealed.other), (2, None));
    assert_eq!(sealed.slot, Slot::Second);
}
