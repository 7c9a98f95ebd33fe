mod network;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use node_settings::{Ipv4Method, NetworkConfig};

use super::*;

const KEY: &str = "suiprivkey1qqrswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswxzszc4";

const TEMPLATE: &str = r#"version = 1
[node]
id = "edge-0001"
[network]
method = "static"
address = "10.0.2.15/24"
gateway = "10.0.2.2"
dns = ["10.0.2.3"]
[time]
servers = ["10.0.2.2:1123", "time.example.org"]
[chain]
chain_id = "4btiuiMPvEENsttpZC7CZ53DruC3MAgfznDbASZ7DR6S"
fullnodes = ["https://10.0.2.2:9000"]
package = "0xa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
pool = "0xb2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"
stake_mist = 1000000000
[identity]
sui_key = "suiprivkey1qqrswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswxzszc4"
[master]
url = "https://10.0.2.2:8443"
root_certificate = """
CERTIFICATE"""
"#;

static GOOD: LazyLock<String> =
    LazyLock::new(|| TEMPLATE.replace("CERTIFICATE", fixtures::documents::ROOT));

fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}

/// The only problem of a document, as it is shown.
fn problem(text: &str) -> String {
    let error = NodeConfig::parse("node.toml", text).expect_err("a problem");
    assert_eq!(error.problems.len(), 1, "{error}");
    error.to_string()
}

#[test]
fn secrets_are_sealed_unless_the_document_says_otherwise() {
    let config = NodeConfig::parse("node.toml", &GOOD).expect("good");
    assert_eq!(config.public.seal, SealMethod::Tpm);
    assert!(!config.public.recovery_key);
    let said = with("version = 1\n", "version = 1\nseal = \"none\"\n");
    let config = NodeConfig::parse("node.toml", &said).expect("good");
    assert_eq!(config.public.seal, SealMethod::None);
    let kept = with(
        "version = 1\n",
        "version = 1\nseal = \"tpm\"\nrecovery_key = true\n",
    );
    let config = NodeConfig::parse("node.toml", &kept).expect("good");
    assert!(config.public.recovery_key);
}

#[test]
fn a_key_can_be_the_tpms_where_the_configuration_is_sealed() {
    let text = with(KEY, "tpm");
    let config = NodeConfig::parse("node.toml", &text).expect("good");
    assert!(config.identity.is_in_tpm());
    let shown = problem(&text.replace("version = 1\n", "version = 1\nseal = \"none\"\n"));
    assert!(shown.contains("identity.sui_key"), "{shown}");
    let shown = problem(&with(
        "version = 1\n",
        "version = 1\nseal = \"none\"\nrecovery_key = true\n",
    ));
    assert!(shown.contains("recovery_key"), "{shown}");
    let shown = problem(&with("version = 1\n", "version = 1\nseal = \"yes\"\n"));
    assert!(
        shown.contains("seal") && shown.contains("\"tpm\" or \"none\""),
        "{shown}"
    );
}

#[test]
fn the_whole_document() {
    let config = NodeConfig::parse("node.toml", &GOOD).expect("good");
    assert_eq!(config.public.node_id.as_str(), "edge-0001");
    assert_eq!(config.public.time_servers[1].port, 123);
    assert_eq!(config.public.status_listen.port(), 8090);
    assert_eq!(config.identity.sui_key.expose(), KEY);
    assert!(matches!(
        config.public.network.links[0].ipv4,
        Ipv4Method::Static { .. }
    ));
    assert!(!format!("{config:?}").contains("suiprivkey"));
}

/// What PID 1 compares, and what everybody on the node may read.
#[test]
fn public_part_holds_no_secret() {
    let config = NodeConfig::parse("node.toml", &GOOD).expect("good");
    let public = serde_json::to_string(&config.public).expect("JSON");
    assert!(public.contains("\"node_id\":\"edge-0001\""), "{public}");
    let netd = serde_json::to_string(&config.netd()).expect("JSON");
    for text in [public, netd] {
        assert!(!text.contains("suiprivkey") && !text.contains("identity"));
    }
    let staker = serde_json::to_string(&config.staker()).expect("JSON");
    assert!(staker.contains(KEY));
}

#[test]
fn a_node_leaves_where_the_document_says_so_and_pays_out_to_an_address() {
    let config = NodeConfig::parse("node.toml", &GOOD).expect("good");
    assert!(!config.public.chain.leave && config.public.chain.beneficiary.is_none());
    let address = format!("0x{}", "C3".repeat(32));
    let fields = format!("= 1000000000\nleave = true\nbeneficiary = \"{address}\"");
    let text = with("= 1000000000", &fields);
    let config = NodeConfig::parse("node.toml", &text).expect("good");
    assert!(config.public.chain.leave);
    let payout = config.public.chain.beneficiary.expect("an address");
    assert_eq!(payout.to_string(), address.to_lowercase());
    // a key that a person holds pays out where that person wants
    NodeConfig::parse(
        "node.toml",
        &with("= 1000000000", "= 1000000000\nleave = true"),
    )
    .expect("good");
    for wrong in ["", "0x1", &address[2..], &format!("0x{}", "00".repeat(32))] {
        let fields = format!("= 1000000000\nbeneficiary = \"{wrong}\"");
        let shown = problem(&with("= 1000000000", &fields));
        assert!(shown.contains("17: chain.beneficiary: "), "{shown}");
        assert!(shown.contains("a Sui address"), "{shown}");
    }
}

#[test]
fn former_name_of_the_beneficiary_is_refused() {
    let address = format!("0x{}", "c3".repeat(32));
    let shown = problem(&with(
        "= 1000000000",
        &format!("= 1000000000\npayout = \"{address}\""),
    ));
    assert!(shown.contains("17: chain.payout: "), "{shown}");
    assert!(shown.contains("chain.beneficiary, its new name"), "{shown}");
}

#[test]
fn a_key_in_the_tpm_does_not_leave_with_coins_that_nobody_can_send_on() {
    let in_tpm =
        |fields: &str| with("= 1000000000", &format!("= 1000000000\n{fields}")).replace(KEY, "tpm");
    let shown = problem(&in_tpm("leave = true"));
    assert!(shown.contains("17: chain.leave: "), "{shown}");
    assert!(shown.contains("chain.beneficiary"), "{shown}");
    let payout = format!("beneficiary = \"0x{}\"", "c3".repeat(32));
    for good in ["leave = false", &payout, &format!("{payout}\nleave = true")] {
        NodeConfig::parse("node.toml", &in_tpm(good)).expect("good");
    }
}

#[test]
fn a_withdrawn_stake_is_made_anew_only_where_the_document_says_so() {
    let config = NodeConfig::parse("node.toml", &GOOD).expect("good");
    assert!(!config.public.chain.restake);
    let text = with("= 1000000000", "= 1000000000\nrestake = true");
    let config = NodeConfig::parse("node.toml", &text).expect("good");
    assert!(config.public.chain.restake);
    let shown = problem(&with("= 1000000000", "= 1000000000\nrestake = \"yes\""));
    assert!(
        shown.starts_with("node.toml:17: chain.restake: "),
        "{shown}"
    );
}

#[test]
fn the_masters_directory_is_an_object_of_the_chain() {
    let config = NodeConfig::parse("node.toml", &GOOD).expect("good");
    assert_eq!(config.public.master.directory, None);
    let id = format!("0x{}", "c3".repeat(32));
    let given = |id: &str| {
        with(
            "\"https://10.0.2.2:8443\"",
            &format!("\"https://10.0.2.2:8443\"\ndirectory = \"{id}\""),
        )
    };
    let config = NodeConfig::parse("node.toml", &given(&id)).expect("good");
    let directory = config.public.master.directory.expect("an id");
    assert_eq!(directory.to_string(), id);
    let shown = problem(&given("0xc3"));
    assert!(
        shown.starts_with("node.toml:21: master.directory: \"0xc3\"; expected \"0x\" and 64 "),
        "{shown}"
    );
}

#[test]
fn dhcp_is_the_default() {
    let start = GOOD.find("[network]").expect("there");
    let end = GOOD.find("[time]").expect("there");
    let text = format!("{}{}", &GOOD[..start], &GOOD[end..]);
    let config = NodeConfig::parse("node.toml", &text).expect("good");
    assert_eq!(config.public.network, NetworkConfig::automatic());
}

#[test]
fn problems_name_file_line_field_expectation_and_hint() {
    let shown = problem(&with("\"edge-0001\"", "\"Edge 1\""));
    assert!(
        shown.starts_with("node.toml:3: node.id: \"Edge 1\"; expected 1 to 63 "),
        "{shown}"
    );
    assert!(shown.ends_with(')'), "{shown}");
}

#[test]
fn every_field_is_checked() {
    for (from, to, line, field) in [
        ("\"static\"", "\"magic\"", 5, "network.method"),
        ("10.0.2.15/24", "10.0.2.15", 6, "network.address"),
        ("10.0.2.15/24", "10.0.2.15/33", 6, "network.address"),
        (
            "gateway = \"10.0.2.2\"",
            "gateway = \"10.0.3.2\"",
            7,
            "network.gateway",
        ),
        ("10.0.2.3", "name", 8, "network.dns[0]"),
        ("10.0.2.3", "0.0.0.0", 8, "network.dns[0]"),
        ("10.0.2.3", "255.255.255.255", 8, "network.dns[0]"),
        ("10.0.2.15/24", "10.0.2.0/24", 6, "network.address"),
        ("10.0.2.15/24", "10.0.2.255/24", 6, "network.address"),
        ("10.0.2.15/24", "127.0.0.5/8", 6, "network.address"),
        (
            "gateway = \"10.0.2.2\"",
            "gateway = \"10.0.2.255\"",
            7,
            "network.gateway",
        ),
        ("10.0.2.2:1123", "10.0.2.2:0", 10, "time.servers[0]"),
        ("4btiui", "0Oil", 12, "chain.chain_id"),
        // base58 of the right length, and more than 32 bytes
        ("4btiuiM", "zbtiuiM", 12, "chain.chain_id"),
        ("4btiuiM", "M", 12, "chain.chain_id"),
        ("[\"https://10.0.2.2:9000\"]", "[]", 13, "chain.fullnodes"),
        (
            "https://10.0.2.2:9000",
            "http://10.0.2.2:9000",
            13,
            "chain.fullnodes[0]",
        ),
        ("0xa1", "a1", 14, "chain.package"),
        ("b2\"\n", "b\"\n", 15, "chain.pool"),
        ("= 1000000000", "= 999999999", 16, "chain.stake_mist"),
        ("= 1000000000", "= -1", 16, "chain.stake_mist"),
        ("urswxzszc4", "urswxzszcq", 18, "identity.sui_key"),
        // right by the checksum of bech32m
        ("urswxzszc4", "urswn7qwah", 18, "identity.sui_key"),
        (
            "https://10.0.2.2:8443",
            "https://user@10.0.2.2",
            20,
            "master.url",
        ),
        (
            "https://10.0.2.2:8443",
            "https://10.0.2.2:0",
            20,
            "master.url",
        ),
        (
            "https://10.0.2.2:9000",
            "https://10.0.2.2:65536",
            13,
            "chain.fullnodes[0]",
        ),
        ("MIIBkT", "MAIBkT", 21, "master.root_certificate"),
    ] {
        let shown = problem(&with(from, to));
        let start = format!("node.toml:{line}: {field}: ");
        assert!(shown.starts_with(&start), "{start} but {shown}");
    }
}

#[test]
fn several_problems_are_told_at_once() {
    let text = with("edge-0001", "-").replace("= 1000000000", "= 5");
    let error = NodeConfig::parse("node.toml", &text).expect_err("two problems");
    assert_eq!(error.problems.len(), 2, "{error}");
    assert_eq!(error.to_string().lines().count(), 2);
}

#[test]
fn unknown_and_missing_fields_and_wrong_types() {
    let shown = problem(&with("[time]", "[time]\nserver = \"x\""));
    assert!(shown.starts_with("node.toml:10: time"), "{shown}");
    assert!(shown.contains("unknown field `server`"), "{shown}");
    let shown = problem(&with("id = \"edge-0001\"", ""));
    assert!(shown.contains("missing field `id`"), "{shown}");
    let shown = problem(&with("\"10.0.2.15/24\"", "7"));
    assert!(
        shown.starts_with("node.toml:6: network.address: "),
        "{shown}"
    );
}

/// A key of a scheme, in both forms of `sui keytool`.
fn forms(flag: u8, secret: [u8; 32]) -> [String; 2] {
    let bytes = [&[flag][..], &secret].concat();
    let prefix = bech32::Hrp::parse("suiprivkey").expect("a prefix");
    [
        bech32::encode::<bech32::Bech32>(prefix, &bytes).expect("33 bytes"),
        STANDARD.encode(&bytes),
    ]
}

#[test]
fn a_key_is_taken_in_every_form_that_it_is_imported_from() {
    for flag in [0, 2] {
        for key in forms(flag, [7; 32]) {
            let config = NodeConfig::parse("node.toml", &with(KEY, &key)).expect("good");
            assert_eq!(config.identity.sui_key.expose(), key);
            let public = serde_json::to_string(&config.public).expect("JSON");
            assert!(!public.contains(&key));
        }
    }
    // any number is a secret of ed25519; of P-256 those below its order alone, and not zero
    for key in forms(0, [0xff; 32]) {
        NodeConfig::parse("node.toml", &with(KEY, &key)).expect("good");
    }
    let mut order: [u8; 32] = [0; 32];
    let digits = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    for (place, index) in order.iter_mut().zip(0..) {
        *place = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).expect("digits");
    }
    let mut last = order;
    last[31] -= 1;
    for key in forms(2, last) {
        NodeConfig::parse("node.toml", &with(KEY, &key)).expect("good");
    }
    let [good, entry] = forms(2, [7; 32]);
    let mut wrong = vec![
        entry[1..].to_owned(),
        format!("{entry}="),
        entry.replace('B', "*"),
        good.to_uppercase(),
        format!("{good}q"),
        "7".repeat(64),
        String::new(),
    ];
    for (flag, secret) in [
        (1, [7; 32]),
        (3, [7; 32]),
        (2, [0; 32]),
        (2, [0xff; 32]),
        (2, order),
    ] {
        wrong.extend(forms(flag, secret));
    }
    for key in wrong {
        let shown = problem(&with(KEY, &key));
        let start = "node.toml:18: identity.sui_key: not a usable key; expected an ed25519 or ";
        assert!(shown.starts_with(start), "{shown}");
        assert!(key.is_empty() || !shown.contains(&key), "{shown}");
    }
}

#[test]
fn the_value_of_a_secret_is_never_repeated() {
    for text in [
        with("urswxzszc4", "urswxzszcq"),
        with(&format!("\"{KEY}\""), "4711"),
        with(&format!("\"{KEY}\""), &format!("\"{KEY}")),
        with(
            &format!("sui_key = \"{KEY}\""),
            &format!("sui_keys = \"{KEY}\""),
        ),
        with(&format!("sui_key = \"{KEY}\""), &format!("{KEY} = 1")),
        with("sui_key", "sui_key.value"),
        with(
            &format!("[identity]\nsui_key = \"{KEY}\""),
            &format!("[[identity]]\nsui_key = \"{KEY}\""),
        ),
        {
            let table = format!("[identity]\nsui_key = \"{KEY}\"");
            with(&table, "").replace("[node]", &format!("identity = \"{KEY}\"\n[node]"))
        },
    ] {
        let shown = problem(&text);
        assert!(
            !shown.contains("qqrswpc8") && !shown.contains("4711"),
            "{shown}"
        );
    }
}

/// Whoever pastes a key into the wrong line must not find it in the log.
#[test]
fn a_key_in_the_wrong_field_is_not_repeated() {
    let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";
    for key in [KEY, base64, &KEY.to_uppercase()] {
        for text in [
            with("edge-0001", key),
            with("\"edge-0001\"", &format!("[\"{key}\"]")),
            with("id = ", &format!("{key} = ")),
            with("\"static\"", &format!("\"  {key}\"")),
            with("= 1000000000", &format!("= \"{key}\"")),
            with("version = 1", &format!("version = \"{key}\"")),
            with("[node]", &format!("{key} = 7\n[node]")),
            with("4btiuiMPvEENsttpZC7CZ53DruC3MAgfznDbASZ7DR6S", key),
            with("https://10.0.2.2:9000", key),
        ] {
            let error = NodeConfig::parse("node.toml", &text).expect_err("a problem");
            let shown = error.to_string();
            for part in [&key[12..24], &key[30..40]] {
                assert!(!shown.contains(part), "{part} is in {shown}");
            }
        }
    }
}

#[test]
fn the_version_comes_first() {
    let shown = problem(&with("version = 1", "version = 2\nshape = \"unheard of\""));
    assert!(
        shown.starts_with("node.toml:1: version: \"2\"; expected 1"),
        "{shown}"
    );
    let shown = problem(&with("version = 1\n", ""));
    assert!(
        shown.starts_with("node.toml: version: missing; expected 1"),
        "{shown}"
    );
}

#[test]
fn no_toml_and_too_long() {
    let shown = problem("version = 1\n[node\n");
    assert!(shown.starts_with("node.toml:2: not TOML: "), "{shown}");
    assert!(problem(&"#".repeat(MAXIMUM_LENGTH + 1)).contains("65537 bytes"));
}

#[test]
fn dhcp_with_an_address_is_refused() {
    let error =
        NodeConfig::parse("node.toml", &with("\"static\"", "\"dhcp\"")).expect_err("refused");
    assert_eq!(error.problems.len(), 2, "{error}");
}

#[test]
fn the_status_page_keeps_off_other_ports() {
    for port in [10250, 6443, 80] {
        let text = format!("{}[status]\nlisten = \"0.0.0.0:{port}\"\n", *GOOD);
        assert!(problem(&text).contains("status.listen"), "{port}");
    }
}
