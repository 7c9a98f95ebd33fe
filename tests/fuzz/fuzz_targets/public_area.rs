//! Public areas of a TPM's keys, as a node sends them and as they are sealed for. What is read is
//! written byte for byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seal::tpm::Public;
use seal::tpm::attest::Credential;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(public) = Public::from_bytes(bytes) {
        assert_eq!(public.to_bytes().expect("what was read"), bytes);
        let name = public.name().expect("what was read");
        let _ = public.point();
        let _ = Credential::make(&public, &name, &[1; 32]);
    }
});
