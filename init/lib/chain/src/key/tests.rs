use super::*;

/// A key as the Sui CLI exports it.
const TEXT: &str = "suiprivkey1qzwant3kaegmjy4qxex93s0jzvemekkjmyv3r2sjwgnv2y479pgsywhveae";

#[test]
fn text_is_read_and_written() {
    let key = NodeKey::from_suiprivkey(TEXT).unwrap();
    assert_eq!(key.to_suiprivkey().unwrap().as_str(), TEXT);
    let generated = NodeKey::generate().unwrap();
    let again = NodeKey::from_suiprivkey(&generated.to_suiprivkey().unwrap()).unwrap();
    assert_eq!(generated.address(), again.address());
}

#[test]
fn debug_does_not_show_the_secret() {
    let key = NodeKey::from_suiprivkey(TEXT).unwrap();
    let shown = format!("{key:?}");
    assert!(
        shown.contains("<redacted>") && !shown.contains("suiprivkey"),
        "{shown}"
    );
}

#[test]
fn wrong_texts_are_told_apart_without_showing_them() {
    let flipped = format!("{}q", &TEXT[..TEXT.len() - 1]);
    for (text, expected) in [
        ("", "suiprivkey"),
        ("suiprivkey1abc", "70 characters"),
        (flipped.as_str(), "checksum"),
    ] {
        let error = NodeKey::from_suiprivkey(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn signatures_hold_for_one_message_and_one_key() {
    let (key, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    let signature = key.sign_message(b"hello").unwrap();
    assert_eq!(
        MessageSignature::from_bytes(&signature.to_bytes()).unwrap(),
        signature
    );
    assert!(MessageSignature::from_bytes(&signature.to_bytes()[1..]).is_err());
    let signature: MessageSignature = signature.to_string().parse().unwrap();
    key.public().verify_message(b"hello", &signature).unwrap();
    assert!(matches!(
        key.public().verify_message(b"hullo", &signature),
        Err(KeyError::BadSignature)
    ));
    assert!(matches!(
        other.public().verify_message(b"hello", &signature),
        Err(KeyError::WrongSigner)
    ));
}

#[test]
fn public_keys_go_through_their_flagged_form() {
    let key = NodeKey::generate().unwrap().public();
    assert_eq!(
        PublicKey::from_flagged_bytes(&key.to_flagged_bytes()).unwrap(),
        key
    );
    assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
    let mut flagged = key.to_flagged_bytes();
    flagged[0] = 1;
    assert!(matches!(
        PublicKey::from_flagged_bytes(&flagged),
        Err(KeyError::Scheme { flag: 1 })
    ));
    assert!(PublicKey::from_flagged_bytes(&flagged[..10]).is_err());
    assert!("0xé".parse::<PublicKey>().is_err());
}

/// The fixture of sui-crypto's own tests: a secret, and its signature over `hello`.
const P256_SECRET: [u8; 32] = [
    167, 44, 116, 0, 51, 221, 254, 179, 210, 44, 93, 196, 125, 155, 85, 94, 29, 41, 13, 60, 59,
    132, 69, 84, 176, 217, 77, 49, 25, 113, 118, 125,
];
const P256_SIGNATURE: &str = "AlqWPdkIE2bZAUquKv2Tdh9i+Ih+rVSQXH/YsgvwkmeOJR0YLjL/kadivoPtiQkvZBQ1ZI8eDZxe8SaLniwoT88Dh+/vAuGf1UrouFTdefpBEWn3apy8x3EexN5c5ESzGDc=";

fn p256() -> NodeKey {
    NodeKey::from_payload(&import::Payload::new(Secp256r1::FLAG, &P256_SECRET)).unwrap()
}

#[test]
fn secp256r1_signs_as_sui_does() {
    let key = p256();
    let signature = key.sign_message(b"hello").unwrap();
    assert_eq!(signature.to_string(), P256_SIGNATURE);
    key.public().verify_message(b"hello", &signature).unwrap();
    assert_eq!(key.public().to_flagged_bytes().len(), PublicKey::LONGEST);
    assert_eq!(
        key.public().to_string().parse::<PublicKey>().unwrap(),
        key.public()
    );
    let again = NodeKey::from_suiprivkey(&key.to_suiprivkey().unwrap()).unwrap();
    assert_eq!(again.address(), key.address());
}

/// Signs like the wrapped key, but always with the greater s, and shows no secret.
struct High(NodeKey);

impl Signer for High {
    fn public(&self) -> PublicKey {
        self.0.public()
    }

    fn sign(&self, message: &[u8]) -> Result<SignatureBytes, KeyError> {
        let low = self.0.signer.sign(message)?;
        let low = p256::ecdsa::Signature::from_slice(&low).unwrap();
        let low = low.normalize_s().unwrap_or(low);
        let high = p256::ecdsa::Signature::from_scalars(low.r(), -low.s()).unwrap();
        assert!(high.normalize_s().is_some());
        Ok(high.to_bytes().into())
    }
}

#[test]
fn a_high_s_is_made_low_whoever_signs() {
    let key = NodeKey::from_signer(Arc::new(High(p256())));
    assert_eq!(
        key.sign_message(b"hello").unwrap().to_string(),
        P256_SIGNATURE
    );
    assert!(matches!(key.to_suiprivkey(), Err(KeyError::NotExportable)));
}

#[test]
fn keys_of_the_keystore_are_read() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    for key in [NodeKey::from_suiprivkey(TEXT).unwrap(), p256()] {
        let payload = key.signer.export().unwrap();
        let (flag, secret) = payload.parts();
        let entry = STANDARD.encode([&[flag][..], secret].concat());
        for text in [entry.clone(), format!("\"{entry}\"\n")] {
            assert_eq!(NodeKey::import(&text).unwrap().address(), key.address());
        }
        let text = key.to_suiprivkey().unwrap();
        assert_eq!(NodeKey::import(&text).unwrap().address(), key.address());
        let foreign = STANDARD.encode([&[1][..], secret].concat());
        assert!(matches!(
            NodeKey::import(&foreign),
            Err(KeyError::Scheme { flag: 1 })
        ));
        assert!(matches!(
            NodeKey::import(&entry[1..]),
            Err(KeyError::Prefix)
        ));
    }
    let zero = STANDARD.encode([&[2][..], &[0; 32]].concat());
    assert!(matches!(NodeKey::import(&zero), Err(KeyError::Secret)));
}

/// A signer that waits, as one in a TPM does, until it is let on.
struct Waiting {
    key: NodeKey,
    gate: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Signer for Waiting {
    fn public(&self) -> PublicKey {
        self.key.public()
    }

    fn waits(&self) -> bool {
        true
    }

    fn sign(&self, message: &[u8]) -> Result<SignatureBytes, KeyError> {
        let _ = self.gate.lock().map(|gate| gate.recv());
        self.key.signer.sign(message)
    }
}

fn waiting() -> (NodeKey, std::sync::mpsc::Sender<()>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let signer = Waiting {
        key: NodeKey::generate().unwrap(),
        gate: std::sync::Mutex::new(receiver),
    };
    (NodeKey::from_signer(Arc::new(signer)), sender)
}

/// On one thread, as the staker runs: what lets the signer on comes after it began to wait.
#[tokio::test]
async fn a_signer_that_waits_does_not_keep_others_from_their_work() {
    let (key, gate) = waiting();
    let others = async {
        for _ in 0..2 {
            tokio::task::yield_now().await;
            gate.send(()).unwrap();
        }
    };
    let sign = key.sign_message_aside(b"m");
    let ((), signature, again) = tokio::join!(others, sign, key.sign_message_aside(b"n"));
    key.public()
        .verify_message(b"m", &signature.unwrap())
        .unwrap();
    key.public().verify_message(b"n", &again.unwrap()).unwrap();
}

/// The one that hangs holds its thread; whoever comes after it waits for its turn in vain, and no
/// further thread is taken.
#[tokio::test(start_paused = true)]
async fn a_signer_that_hangs_is_given_up() {
    let (key, gate) = waiting();
    for _ in 0..2 {
        let late = async {
            tokio::task::yield_now().await;
            tokio::time::advance(SIGNING_LIMIT).await;
        };
        let (signature, ()) = tokio::join!(key.sign_message_aside(b"m"), late);
        assert!(matches!(signature, Err(KeyError::Slow)));
    }
    assert_eq!(key.turn.available_permits(), 0);
    drop(gate);
}
