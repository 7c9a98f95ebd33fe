//! A TPM that answers anything: a typed error comes of it, never a panic.

use std::sync::{Arc, Mutex};

use fixtures::software_tpm::{Publisher, STUB, Swtpm};
use proptest::prelude::*;
use seal::{
    release::{Phase, ReleasePolicies},
    tpm::{
        Public, SealedObject, Tpm,
        attest::Quote,
        crypto::{Point, random_scalar},
        error::Error,
        policy::Policy,
        transport::Transport,
    },
};
use zeroize::Zeroizing;

/// Gives prepared replies, then silence.
struct Prepared(Vec<Vec<u8>>);

impl Transport for Prepared {
    fn transact(&mut self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.0
            .pop()
            .map(Zeroizing::new)
            .ok_or_else(|| Error::Channel(std::io::ErrorKind::UnexpectedEof.into()))
    }
}

/// Passes through to a real TPM and changes one byte of the reply of a certain number.
struct Meddler {
    inner: Box<dyn Transport>,
    replies: Arc<Mutex<usize>>,
    at: usize,
    byte: usize,
    by: u8,
}

impl Transport for Meddler {
    fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut reply = self.inner.transact(command)?;
        let mut count = self.replies.lock().expect("not poisoned");
        if *count == self.at {
            let length = reply.len();
            if let Some(byte) = reply.get_mut(self.byte % length) {
                *byte ^= self.by;
            }
        }
        *count += 1;
        Ok(reply)
    }
}

/// A reply with a header that fits it, so that what follows is read.
fn reply() -> impl Strategy<Value = Vec<u8>> {
    (
        prop_oneof![Just([0x80, 1]), Just([0x80, 2])],
        prop::collection::vec(any::<u8>(), 0..512),
    )
        .prop_map(|(tag, body)| {
            let size = u32::try_from(body.len() + 10).expect("short");
            [tag.as_slice(), &size.to_be_bytes(), &[0; 4], &body].concat()
        })
}

fn exercise(tpm: &mut Tpm, policy: &Policy, releases: &ReleasePolicies) -> Result<(), String> {
    let text = |error: Error| error.to_string();
    tpm.read_pcr(11).map_err(text)?;
    let root = tpm.storage_root_key().map_err(text)?;
    let counter = tpm
        .ensure_counter(&root, seal::tpm::nv::COUNTER, releases)
        .map_err(|error| error.to_string())?;
    let policy = Policy {
        counter: Some(counter.as_it_stands()),
        ..policy.clone()
    };
    let sealed = tpm.seal(&root, b"secret", &policy).map_err(text)?;
    let opened = tpm
        .unseal(&root, &sealed, &policy, releases)
        .map_err(|error| error.to_string())?;
    if opened.as_slice() == b"secret" {
        Ok(())
    } else {
        Err("another secret".to_owned())
    }
}

fn policy(key: Point) -> Policy {
    Policy {
        release_key: key,
        phase: Phase::Boot,
        floor: 0,
        secure_boot: None,
        counter: None,
        auth_value: false,
    }
}

#[test]
fn whatever_one_byte_of_a_reply_becomes_no_other_secret_comes_out() {
    let swtpm = Swtpm::new();
    let publisher = Publisher::new();
    let releases = publisher.release(&STUB, 0);
    let policy = publisher.policy(0, None);
    let mut honest = swtpm.boot(&STUB);
    exercise(&mut honest, &policy, &releases).expect("an honest TPM");
    let mut refused = 0;
    // every reply of the exercise, at bytes spread over it
    for at in 0..64 {
        for byte in [1, 7, 10, 13, 17, 30, 61, 90, 333] {
            let replies = Arc::new(Mutex::new(0));
            let meddler = Meddler {
                inner: swtpm.channel(),
                replies: replies.clone(),
                at,
                byte,
                by: 0x21,
            };
            let mut tpm = Tpm::new(Box::new(meddler));
            match exercise(&mut tpm, &policy, &releases) {
                Ok(()) => {}
                Err(error) => {
                    assert_ne!(error, "another secret", "reply {at}, byte {byte}");
                    refused += 1;
                }
            }
            // what an exercise that broke off has left behind would fill the next one's TPM
            swtpm.flush_all();
            if *replies.lock().expect("not poisoned") <= at {
                assert!(
                    refused > at,
                    "most changes are noticed: {refused} of {at} replies"
                );
                return;
            }
        }
    }
    panic!("the exercise has more replies than were tried");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_reply_is_survived(replies in prop::collection::vec(reply(), 1..8)) {
        let mut tpm = Tpm::new(Box::new(Prepared(replies.clone())));
        let _ = tpm.read_pcr(11);
        let mut tpm = Tpm::new(Box::new(Prepared(replies.clone())));
        let _ = tpm.storage_root_key();
        let mut tpm = Tpm::new(Box::new(Prepared(replies.clone())));
        let _ = tpm.endorsement_public();
        let mut tpm = Tpm::new(Box::new(Prepared(replies)));
        let _ = tpm.quote(&[0; 32], &[7]);
    }

    #[test]
    fn any_bytes_are_survived_as_a_reply(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
        let mut tpm = Tpm::new(Box::new(Prepared(vec![bytes])));
        prop_assert!(tpm.read_pcr(11).is_err());
    }

    #[test]
    fn any_public_area_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
        if let Ok(public) = Public::from_bytes(&bytes) {
            prop_assert_eq!(public.to_bytes().expect("bytes"), bytes);
        }
    }

    #[test]
    fn any_quote_is_refused(
        message in prop::collection::vec(any::<u8>(), 0..200),
        signature in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let key = Point::from_public_key(&random_scalar().expect("a key").public_key());
        let quote = Quote { message, signature };
        prop_assert!(quote.verify(&key, &[0; 32], &[7]).is_err());
    }

    #[test]
    fn any_object_is_survived(public in prop::collection::vec(any::<u8>(), 0..128)) {
        let object = SealedObject { private: vec![], public };
        let key = Point::from_public_key(&random_scalar().expect("a key").public_key());
        let _ = object.is_under(&policy(key));
    }

    #[test]
    fn any_file_of_signed_policies_is_survived(text in "\\PC{0,256}") {
        prop_assert!(ReleasePolicies::from_json(text.as_bytes()).is_err());
    }
}
