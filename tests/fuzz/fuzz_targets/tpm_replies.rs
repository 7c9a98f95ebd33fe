//! What a TPM answers. A double answers with the fuzzer's bytes; half the time with a header that
//! fits them, which no fuzzer would guess for every reply of a command that takes several.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use p256::ecdsa::SigningKey;
use seal::release::ReleasePolicies;
use seal::tpm::Tpm;
use seal::tpm::error::Error;
use seal::tpm::transport::Transport;
use zeroize::Zeroizing;

/// Codes that make the client wait and ask again: `TPM_RC_YIELDED`, `TESTING`, `NV_RATE`, `RETRY`.
const BUSY: [u32; 4] = [0x908, 0x90a, 0x920, 0x922];

fn releases() -> &'static ReleasePolicies {
    static RELEASES: LazyLock<ReleasePolicies> = LazyLock::new(|| {
        let key = SigningKey::from_slice(&[1; 32]).expect("a key");
        ReleasePolicies::sign(&key, &[0; 32], 0).expect("signed")
    });
    &RELEASES
}

/// A double of a TPM: replies are cut out of the input by lengths in it, until it is used up.
struct Replies {
    rest: Vec<u8>,
    framed: bool,
}

impl Transport for Replies {
    fn transact(&mut self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let over = || Error::Channel(std::io::ErrorKind::UnexpectedEof.into());
        if self.rest.len() < 2 {
            return Err(over());
        }
        let head: Vec<_> = self.rest.drain(..2).collect();
        let length = usize::from(u16::from_be_bytes([head[0] & 0x0f, head[1]]));
        let body: Vec<_> = self.rest.drain(..length.min(self.rest.len())).collect();
        let reply = if self.framed {
            // the tag says whether there are sessions, the high bits of the length choose it
            let tag = if head[0] & 0x80 == 0 {
                0x8001u16
            } else {
                0x8002
            };
            let size = u32::try_from(body.len() + 10).expect("a short body");
            let code = u32::from(head[0] & 0x40 != 0) * 0x18b;
            let parts = [
                &tag.to_be_bytes()[..],
                &size.to_be_bytes(),
                &code.to_be_bytes(),
                &body,
            ];
            parts.concat()
        } else {
            body
        };
        let code = reply
            .get(6..10)
            .map(|code| u32::from_be_bytes(code.try_into().unwrap()));
        // waiting finds nothing
        if code.is_some_and(|code| BUSY.contains(&code)) {
            return Err(over());
        }
        Ok(Zeroizing::new(reply))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else {
        return;
    };
    let mut tpm = Tpm::new(Box::new(Replies {
        rest: rest.to_vec(),
        framed: choice & 0x80 != 0,
    }));
    match choice & 0x7f {
        0 => drop(tpm.read_pcr(11)),
        1 => drop(tpm.extend_pcr(11, &[1; 32])),
        2 => drop(tpm.endorsement_public()),
        3 => drop(tpm.attestation_public()),
        4 => drop(tpm.quote(&[1; 32], &[0, 7, 11])),
        5 => drop(tpm.delete_counter(0x0180_0001)),
        _ => {
            if let Ok(root) = tpm.existing_storage_root_key() {
                drop(tpm.counter(&root, 0x0180_0001));
                drop(tpm.endorsement_certificate(&root));
            }
            if let Ok(root) = tpm.storage_root_key() {
                drop(tpm.increment_counter(&root, 0x0180_0001, releases()));
                drop(tpm.switch_clear_off());
            }
        }
    }
});
