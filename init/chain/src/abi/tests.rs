//! Golden bytes, put together by hand from the rules of BCS. The Move package's tests hold the
//! same strings.

use serde::de::DeserializeOwned;

use super::*;

fn bytes(hexadecimal: &[&str]) -> Vec<u8> {
    let digits: String = hexadecimal.concat();
    assert_eq!(digits.len() % 2, 0);
    (0..digits.len() / 2)
        .map(|index| u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).unwrap())
        .collect()
}

fn address(byte: u8) -> Address {
    Address::new([byte; 32])
}

fn holds<T>(value: &T, golden: &[&str])
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let golden = bytes(golden);
    assert_eq!(bcs::to_bytes(value).unwrap(), golden);
    assert_eq!(&bcs::from_bytes::<T>(&golden).unwrap(), value);
    let mut longer = golden.clone();
    longer.push(0);
    assert!(
        bcs::from_bytes::<T>(&longer).is_err(),
        "a byte too many is refused"
    );
    assert!(
        bcs::from_bytes::<T>(&golden[..golden.len() - 1]).is_err(),
        "a byte less too"
    );
}

/// 32 times the byte, in hexadecimal.
macro_rules! id {
    ($byte:literal) => {
        concat!(
            $byte, $byte, $byte, $byte, $byte, $byte, $byte, $byte, $byte, $byte, $byte, $byte,
            $byte, $byte, $byte, $byte, $byte, $byte, $byte, $byte, $byte, $byte, $byte, $byte,
            $byte, $byte, $byte, $byte, $byte, $byte, $byte, $byte
        )
    };
}

#[test]
fn pool() {
    holds(
        &Pool {
            id: address(0x0a),
            version: 1,
            minimum_stake: 1_000_000_000,
            unbonding_ms: 86_400_000,
            treasury: 258,
        },
        &[
            id!("0a"),
            "0100000000000000",
            "00ca9a3b00000000",
            "005c260500000000",
            "0201000000000000",
        ],
    );
}

fn record() -> StakeRecord {
    let mut node_key = vec![0];
    node_key.extend([0x11; 32]);
    StakeRecord {
        id: address(0x01),
        version: 1,
        pool: address(0x02),
        staker: address(0x03),
        node_id: "edge-0001".into(),
        node_key,
        balance: 1_500_000_000,
        status: status::ACTIVE,
        staked_at_ms: 1_700_000_000_000,
        unbonding_until_ms: None,
    }
}

#[test]
fn stake_record() {
    let head = [
        id!("01"),
        "0100000000000000",
        id!("02"),
        id!("03"),
        "09",
        "656467652d30303031",
        "21",
        "00",
        id!("11"),
        "002f685900000000",
    ];
    let active = [&head[..], &["00", "0068e5cf8b010000", "00"]].concat();
    holds(&record(), &active);

    let unbonding = StakeRecord {
        status: status::UNBONDING,
        unbonding_until_ms: Some(1_700_086_400_000),
        ..record()
    };
    let golden = [
        &head[..],
        &["01", "0068e5cf8b010000", "01", "00c40bd58b010000"],
    ]
    .concat();
    holds(&unbonding, &golden);
}

#[test]
fn capabilities() {
    let golden = [id!("05"), id!("02")];
    holds(
        &AdminCap {
            id: address(5),
            pool: address(2),
        },
        &golden,
    );
    holds(
        &SlasherCap {
            id: address(5),
            pool: address(2),
        },
        &golden,
    );
}

#[test]
fn seal_token() {
    holds(
        &SealToken {
            id: address(0x04),
            record: address(0x01),
            node_key: record().node_key,
            issued_at_ms: 1_700_000_000_000,
            expires_at_ms: u64::MAX,
        },
        &[
            id!("04"),
            id!("01"),
            "21",
            "00",
            id!("11"),
            "0068e5cf8b010000",
            "ffffffffffffffff",
        ],
    );
}

#[test]
fn framework_objects() {
    holds(
        &Coin {
            id: address(7),
            balance: 10,
        },
        &[id!("07"), "0a00000000000000"],
    );
    holds(
        &Clock {
            id: address(6),
            timestamp_ms: 1,
        },
        &[id!("06"), "0100000000000000"],
    );
}

#[test]
fn events() {
    holds(
        &Staked {
            pool: address(2),
            record: address(1),
            staker: address(3),
            node_id: "n".into(),
            amount: 1_000_000_000,
        },
        &[
            id!("02"),
            id!("01"),
            id!("03"),
            "01",
            "6e",
            "00ca9a3b00000000",
        ],
    );
    holds(
        &Slashed {
            pool: address(2),
            record: address(1),
            amount: 1_000_000_000,
            remaining: 0,
            reason: 0x0102,
        },
        &[
            id!("02"),
            id!("01"),
            "00ca9a3b00000000",
            "0000000000000000",
            "0201",
        ],
    );
    holds(
        &UnstakeRequested {
            record: address(1),
            until_ms: 1_700_086_400_000,
        },
        &[id!("01"), "00c40bd58b010000"],
    );
    holds(
        &Withdrawn {
            record: address(1),
            amount: 1,
        },
        &[id!("01"), "0100000000000000"],
    );
}

#[test]
fn types_have_their_full_names() {
    let package = address(0xa1);
    assert_eq!(
        StakeRecord::tag(package).to_string(),
        format!("0x{}::staking::StakeRecord", id!("a1"))
    );
    assert_eq!(
        SealToken::tag(package).to_string(),
        format!("0x{}::k8s_gateway::SealToken", id!("a1"))
    );
}

#[test]
fn abort_codes_are_told_apart_by_module() {
    use abort::{Abort, named};
    assert_eq!(named(STAKING, 0), Some(&Abort::BELOW_MINIMUM_STAKE));
    assert_eq!(named(GATEWAY, 0), Some(&Abort::NOT_STAKER));
    assert_eq!(named(STAKING, 99), None);
    for (index, abort) in abort::ALL.iter().enumerate() {
        for other in &abort::ALL[index + 1..] {
            assert!(
                (abort.module, abort.code) != (other.module, other.code),
                "{abort:?}"
            );
        }
    }
}

#[test]
fn authored_codes_are_taken_out_of_what_the_compiler_writes() {
    use abort::authored_code;
    assert_eq!(authored_code(7), 7);
    assert_eq!(authored_code(0xc005_ffff_ffff_ffff), 5);
    assert_eq!(authored_code(0xc0ff_0001_0002_0003), 0xc0ff_0001_0002_0003);
    assert_eq!(authored_code(0x8000_0001_0002_0003), 0x8000_0001_0002_0003);
}
