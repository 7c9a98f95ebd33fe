//! The node's configuration. The public part of what is taken is taken again.
#![no_main]

use config::{NodeConfig, PublicConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = PublicConfig::parse("fuzz", text);
    match NodeConfig::parse("fuzz", text) {
        Ok(config) => {
            let public = &config.public_toml;
            assert!(PublicConfig::parse("public", public).is_ok(), "{public}");
        }
        Err(error) => drop(error.to_string()),
    }
});
