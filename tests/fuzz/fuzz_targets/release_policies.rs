//! The file of signed policies. What is read is written, and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seal::release::ReleasePolicies;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(policies) = ReleasePolicies::from_json(bytes) {
        let json = policies.to_json().expect("JSON");
        let again = ReleasePolicies::from_json(json.as_bytes()).expect("what was written");
        assert_eq!(again.to_json().expect("JSON"), json);
    }
});
