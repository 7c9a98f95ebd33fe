//! A configuration for tests.

use config::NodeConfig;

const ROOT: &str = include_str!("../../../../lib/config/src/test_root.pem");
/// A key that is worth nothing.
pub(super) const KEY: &str =
    "suiprivkey1qqrswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswxzszc4";

/// A whole configuration with this key.
pub(super) fn document(key: &str) -> String {
    format!(
        r#"version = 1
[node]
id = "edge-0001"
[chain]
chain_id = "4btiuiMPvEENsttpZC7CZ53DruC3MAgfznDbASZ7DR6S"
fullnodes = ["https://10.0.2.2:9000"]
package = "0x{package}"
pool = "0x{pool}"
stake_mist = 1000000000
[identity]
sui_key = "{key}"
[master]
url = "https://10.0.2.2:8443"
root_certificate = """
{ROOT}"""
"#,
        package = "a1".repeat(32),
        pool = "b2".repeat(32),
    )
}

/// The configuration of a text.
pub(super) fn parse(text: &str) -> NodeConfig {
    NodeConfig::parse("node.toml", text).unwrap()
}
