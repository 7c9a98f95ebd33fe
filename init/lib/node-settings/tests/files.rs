//! The files on tmpfs: their bytes, and what is refused.

use std::fs;

use chain_types::{Address, ChainId, Mist, ObjectId};
use node_settings::{
    BondConfig, BondMode, ChainConfig, IdentityConfig, Ipv4Method, LinkConfig, MAXIMUM_LENGTH,
    MasterConfig, NetdSettings, NetworkConfig, StakerSettings, VlanConfig, read, to_json,
};
use wire::Secret;

fn netd() -> NetdSettings {
    NetdSettings {
        node_name: "edge-0001".parse().expect("a name"),
        network: NetworkConfig {
            links: vec![LinkConfig {
                ipv4: Ipv4Method::Static {
                    address: "10.0.2.15/24".parse().expect("an address"),
                    gateway: Some([10, 0, 2, 2].into()),
                },
                ..LinkConfig::automatic(Some("52:54:00:12:34:56".parse().expect("an address")))
            }],
            vlans: vec![VlanConfig {
                name: "vlan5".to_owned(),
                link: "path:0000:00:03.0".parse().expect("a path"),
                id: 5,
            }],
            bonds: vec![BondConfig {
                name: "bond0".to_owned(),
                links: vec!["eth0".parse().expect("a name")],
                mode: BondMode::Lacp,
            }],
            dns: vec![[10, 0, 2, 3].into()],
            search: Vec::new(),
        },
        time_servers: vec!["time.example.org".parse().expect("a server")],
        master: "https://10.0.2.2:8443".parse().expect("a URL"),
    }
}

fn staker() -> StakerSettings {
    StakerSettings {
        node_name: "edge-0001".parse().expect("a name"),
        chain: ChainConfig {
            chain_id: ChainId::from_bytes([7; 32]),
            fullnodes: vec!["https://10.0.2.2:9000".parse().expect("a URL")],
            root_certificate: None,
            package: ObjectId::from_bytes([0xa1; 32]),
            pool: ObjectId::from_bytes([0xb2; 32]),
            stake: Mist(1_000_000_000),
            restake: false,
            beneficiary: Some(Address::from_bytes([0xc3; 32])),
            leave: true,
        },
        master: MasterConfig {
            url: "https://10.0.2.2:8443".parse().expect("a URL"),
            root_certificate: "-----BEGIN\n".to_owned(),
            directory: None,
        },
        status_listen: ([0, 0, 0, 0], 8090).into(),
        identity: IdentityConfig {
            sui_key: Secret::new("suiprivkey1x".to_owned()),
        },
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("JSON is UTF-8")
}

#[test]
fn netd_settings_have_these_bytes() {
    let json = to_json(&netd()).expect("JSON");
    assert_eq!(
        text(&json),
        concat!(
            r#"{"node_name":"edge-0001","network":{"links":[{"interface":"52:54:00:12:34:56","#,
            r#""ipv4":{"static":{"address":"10.0.2.15/24","gateway":"10.0.2.2"}},"ipv6":"auto","#,
            r#""routes":[],"dns":[],"mtu":null,"metric":null}],"#,
            r#""vlans":[{"name":"vlan5","link":"path:0000:00:03.0","id":5}],"#,
            r#""bonds":[{"name":"bond0","links":["eth0"],"mode":"802.3ad"}],"#,
            r#""dns":["10.0.2.3"],"search":[]},"#,
            r#""time_servers":["time.example.org:123"],"master":"https://10.0.2.2:8443"}"#,
        )
    );
    let dhcp = serde_json::to_string(&Ipv4Method::Dhcp).expect("JSON");
    assert_eq!(dhcp, "\"dhcp\"");
}

#[test]
fn staker_settings_have_these_bytes() {
    let json = to_json(&staker()).expect("JSON");
    let ids = [0xa1_u8, 0xb2, 0xc3].map(|byte| format!("0x{}", format!("{byte:02x}").repeat(32)));
    let [package, pool, payout] = &ids;
    assert_eq!(
        text(&json),
        format!(
            r#"{{"node_name":"edge-0001","chain":{{"chain_id":"{}","fullnodes":["https://10.0.2.2:9000"],"root_certificate":null,"package":"{package}","pool":"{pool}","stake_mist":1000000000,"restake":false,"beneficiary":"{payout}","leave":true}},"master":{{"url":"https://10.0.2.2:8443","root_certificate":"-----BEGIN\n","directory":null}},"status_listen":"0.0.0.0:8090","identity":{{"sui_key":"suiprivkey1x"}}}}"#,
            ChainId::from_bytes([7; 32])
        )
    );
    assert!(!format!("{:?}", staker()).contains("suiprivkey"));
}

#[test]
fn settings_read_back_and_anything_else_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("settings.json");
    let missing = read::<StakerSettings>(&path).expect_err("no file");
    assert!(missing.is_not_found());
    let json = to_json(&staker()).expect("JSON");
    fs::write(&path, json.as_slice()).expect("written");
    assert_eq!(read::<StakerSettings>(&path).expect("the same"), staker());
    assert!(read::<NetdSettings>(&path).is_err());
    for (from, to) in [
        ("\"edge-0001\"", "\"Edge 1\""),
        ("https://10.0.2.2:8443", "http://10.0.2.2:8443"),
        ("https://10.0.2.2:9000", "https://10.0.2.2:9000 --x"),
        ("0xb2", "0xb"),
        ("\"restake\":false", "\"restake\":false,\"more\":1"),
        ("\"leave\":true", "\"leave\":\"suiprivkey1y\""),
        ("1000000000", "-1"),
    ] {
        let changed = text(&json).replace(from, to);
        assert_ne!(changed, text(&json), "{from}");
        fs::write(&path, changed).expect("written");
        let error = read::<StakerSettings>(&path).expect_err(to);
        assert!(!error.is_not_found() && !error.to_string().contains("suiprivkey"));
    }
    fs::write(&path, vec![b' '; MAXIMUM_LENGTH + 1]).expect("written");
    let error = read::<NetdSettings>(&path).expect_err("too long");
    assert!(error.to_string().contains("longer"), "{error}");
}
