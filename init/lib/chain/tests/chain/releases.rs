//! Releases: what the administrator sends, and what is read of it.

use chain::{ChainError, LaunchMeasurement, Release, ReleaseImage, Tee};
use fullnode::devnet::within;

use crate::administration::{Office, URL, abort, code, image, release, version};

/// The soonest deadline of a higher minimum, with an hour to spare.
fn in_a_day_ms() -> u64 {
    chain::now_ms() + 25 * 60 * 60 * 1000
}

#[tokio::test]
async fn a_release_is_approved_revoked_outdated_and_removed() {
    let office = Office::open().await;
    assert_eq!(office.standing(1).await, None);
    let launch = vec![
        LaunchMeasurement {
            tee: Tee::SevSnp,
            digest: [0x51; 48],
        },
        LaunchMeasurement {
            tee: Tee::Tdx,
            digest: [0x52; 48],
        },
    ];
    let measured = Release {
        images: vec![
            image(1, launch),
            ReleaseImage {
                target: "netboot".to_owned(),
                ..image(5, Vec::new())
            },
        ],
        ..release("0.1.0", 1)
    };
    office.approve(&measured).await.unwrap();
    office.approve(&release("0.2.0", 2)).await.unwrap();
    office.approve(&release("0.3.0", 3)).await.unwrap();
    let registry = office.ids.release_registry;
    let read = within(office.chain.corroborated_releases(registry))
        .await
        .unwrap();
    assert_eq!(read.minimum, version("0.0.0"));
    assert_eq!(
        read.releases,
        [measured, release("0.2.0", 2), release("0.3.0", 3)]
    );
    let (key, cap) = (office.key(), office.ids.release_cap);
    within(office.chain.revoke_release(key, cap, version("0.3.0"), 0))
        .await
        .unwrap();
    let deadline_ms = in_a_day_ms();
    within(
        office
            .chain
            .set_minimum_release(key, cap, version("0.2.0"), deadline_ms),
    )
    .await
    .unwrap();
    for (pcr11, standing) in [
        (1, Some((false, true))),
        (2, Some((false, false))),
        (3, Some((true, true))),
        (4, None),
    ] {
        assert_eq!(office.standing(pcr11).await, standing);
    }
    // below the minimum, and not gone for a day
    let remove = |text| office.chain.remove_release(key, cap, version(text));
    assert_eq!(abort(within(remove("0.1.0")).await), code("releases", 9));
    // at once by a revocation alone; above the minimum, too
    within(office.chain.revoke_release(key, cap, version("0.1.0"), 0))
        .await
        .unwrap();
    for (text, pcr11) in [("0.1.0", 1), ("0.3.0", 3)] {
        within(remove(text)).await.unwrap();
        assert_eq!(office.standing(pcr11).await, None);
    }
    assert_eq!(
        abort(office.approve(&release("0.3.0", 5)).await),
        code("releases", 4)
    );
}

#[tokio::test]
async fn what_the_contracts_refuse_of_releases_is_refused() {
    let office = Office::open().await;
    let (key, cap) = (office.key(), office.ids.release_cap);
    let zero = Release {
        images: vec![ReleaseImage {
            root_hash: [0; 32],
            ..image(1, Vec::new())
        }],
        ..release("0.1.0", 1)
    };
    assert_eq!(abort(office.approve(&zero).await), code("releases", 2));
    let unmeasured = Release {
        images: vec![image(
            1,
            vec![LaunchMeasurement {
                tee: Tee::Nitro,
                digest: [0; 48],
            }],
        )],
        ..release("0.1.0", 1)
    };
    assert_eq!(
        abort(office.approve(&unmeasured).await),
        code("releases", 3)
    );
    let overmeasured = Release {
        images: vec![image(
            1,
            vec![
                LaunchMeasurement {
                    tee: Tee::Nitro,
                    digest: [1; 48],
                };
                5
            ],
        )],
        ..release("0.1.0", 1)
    };
    assert_eq!(
        abort(office.approve(&overmeasured).await),
        code("releases", 10)
    );
    office.approve(&release("0.2.0", 2)).await.unwrap();
    assert_eq!(
        abort(office.approve(&release("0.2.0", 3)).await),
        code("releases", 4)
    );
    // what was measured once does not come back under another version
    assert_eq!(
        abort(office.approve(&release("0.4.0", 2)).await),
        code("releases", 14)
    );
    let revoke = |text| office.chain.revoke_release(key, cap, version(text), 0);
    let minimum = |text| {
        office
            .chain
            .set_minimum_release(key, cap, version(text), in_a_day_ms())
    };
    let remove = |text| office.chain.remove_release(key, cap, version(text));
    assert_eq!(abort(within(revoke("0.9.0")).await), code("releases", 5));
    let at_once = office
        .chain
        .set_minimum_release(key, cap, version("0.2.0"), 0);
    assert_eq!(abort(within(at_once).await), code("releases", 17));
    assert_eq!(abort(within(minimum("0.9.0")).await), code("releases", 7));
    assert_eq!(abort(within(remove("0.2.0")).await), code("releases", 9));
    within(minimum("0.2.0")).await.unwrap();
    assert_eq!(abort(within(minimum("0.2.0")).await), code("releases", 7));
    assert_eq!(
        abort(office.approve(&release("0.1.0", 1)).await),
        code("releases", 7)
    );
    within(revoke("0.2.0")).await.unwrap();
    assert_eq!(abort(within(revoke("0.2.0")).await), code("releases", 6));
}

#[tokio::test]
async fn an_upgraded_registry_is_read_and_not_changed() {
    let office = Office::open().await;
    office.approve(&release("0.1.0", 1)).await.unwrap();
    let enclave = office.register(0x71).await.unwrap();
    office.list(enclave, URL).await.unwrap();
    office.devnet.node.migrate(2);
    assert_eq!(office.standing(1).await, Some((false, false)));
    assert_eq!(office.masters().await.len(), 1);
    let error = office.approve(&release("0.2.0", 2)).await.unwrap_err();
    assert!(matches!(error, ChainError::Upgraded { .. }), "{error}");
    // and one of a version before the first is none
    office.devnet.node.migrate(0);
    let error = within(office.chain.corroborated_masters(office.ids.directory))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("version 1 or later"), "{error}");
}
