//! The node's configuration. What is taken comes back from the files that the programs get.
#![no_main]

use config::NodeConfig;
use libfuzzer_sys::fuzz_target;
use node_settings::{NetdSettings, StakerSettings, to_json};

fuzz_target!(|text: &str| match NodeConfig::parse("fuzz", text) {
    Ok(config) => {
        let netd = to_json(&config.netd()).expect("JSON");
        let read: NetdSettings = serde_json::from_slice(&netd).expect("the same");
        assert_eq!(read, config.netd());
        let staker = to_json(&config.staker()).expect("JSON");
        assert!(staker.len() <= node_settings::MAXIMUM_LENGTH);
        let read: StakerSettings = serde_json::from_slice(&staker).expect("the same");
        assert_eq!(read, config.staker());
    }
    Err(error) => drop(error.to_string()),
});
