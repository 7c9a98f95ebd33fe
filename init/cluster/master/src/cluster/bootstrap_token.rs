//! Bootstrap tokens, and the hash of the cluster's authority that they are handed out with.
//!
//! Source: Kubernetes' bootstrap tokens (`[a-z0-9]{6}.[a-z0-9]{16}`), and k3s,
//! `pkg/clientaccess/token.go`, `hashCA`.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use wire::{InvalidName, JoinToken, Secret};

/// The length of a token's public part.
const ID: usize = 6;
/// The length of its secret part: 82 bits.
const SECRET: usize = 16;
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// Random bytes from here on are thrown away, so that every letter is as likely as the others.
const FAIR: u8 = 252;
/// The most certificates of a bundle.
const MOST_CERTIFICATES: usize = 16;

/// A bootstrap token.
pub(super) struct BootstrapToken {
    /// Not secret: it names the token's Secret.
    pub(super) id: String,
    pub(super) secret: Zeroizing<String>,
}

impl BootstrapToken {
    /// From the system's random numbers.
    pub(super) fn generate() -> Result<Self, ring::error::Unspecified> {
        let random = SystemRandom::new();
        let mut letters = Zeroizing::new(String::with_capacity(ID + SECRET));
        let mut bytes = Zeroizing::new([0u8; 64]);
        while letters.len() < ID + SECRET {
            random.fill(bytes.as_mut_slice())?;
            let fair = bytes.iter().filter(|byte| **byte < FAIR);
            let some = fair.filter_map(|byte| ALPHABET.get(usize::from(*byte) % ALPHABET.len()));
            let missing = ID + SECRET - letters.len();
            letters.extend(some.take(missing).map(|letter| char::from(*letter)));
        }
        let (id, secret) = letters.split_at(ID);
        Ok(Self {
            id: id.to_owned(),
            secret: Zeroizing::new(secret.to_owned()),
        })
    }

    /// What `k3s agent` takes: `K10<hash>::<id>.<secret>`.
    pub(super) fn joined(&self, authority: &str) -> Result<JoinToken, InvalidName> {
        let token = format!("K10{authority}::{}.{}", self.id, *self.secret);
        JoinToken::new(Secret::new(token))
    }
}

/// The hash of a bundle of authorities, as k3s makes it: of the file itself where it holds one
/// certificate, else of the root that the first one leads to. `None` where it holds none.
pub(super) fn authority_hash(bundle: &[u8]) -> Option<String> {
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(bundle)
        .take(MOST_CERTIFICATES + 1)
        .collect::<Result<_, _>>()
        .ok()?;
    let hashed: &[u8] = match certificates.as_slice() {
        [] => return None,
        [_] => bundle,
        chain if chain.len() > MOST_CERTIFICATES => return None,
        // one that leads to no root is hashed as it stands
        chain => root_of(chain).unwrap_or(bundle),
    };
    Some(hex::encode(digest(&SHA256, hashed)))
}

/// Roots are looked for behind the first certificate alone, as k3s does.
fn root_of<'a>(chain: &'a [CertificateDer<'_>]) -> Option<&'a [u8]> {
    let parsed: Vec<(&[u8], X509Certificate<'_>)> = chain
        .iter()
        .map(|der| Some((der.as_ref(), X509Certificate::from_der(der).ok()?.1)))
        .collect::<Option<_>>()?;
    let (first, others) = parsed.split_first()?;
    let mut current = &first.1;
    // no path is longer than the bundle
    for _ in 0..others.len() {
        let signed = |(_, issuer): &&(&[u8], X509Certificate<'_>)| {
            issuer.subject() == current.issuer()
                && current.verify_signature(Some(issuer.public_key())).is_ok()
        };
        if let Some((der, _)) = others.iter().filter(|one| is_root(&one.1)).find(signed) {
            return Some(der);
        }
        current = &others.iter().filter(|one| !is_root(&one.1)).find(signed)?.1;
    }
    None
}

/// No key identifier of an authority, or its own.
fn is_root(certificate: &X509Certificate<'_>) -> bool {
    let (mut own, mut authority) = (None, None);
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => own = Some(id.0),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                authority = id.key_identifier.as_ref().map(|id| id.0);
            }
            _ => {}
        }
    }
    authority.is_none() || authority == own
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    #[test]
    fn tokens_are_of_the_form_and_every_letter_comes_up() {
        let (mut ids, mut letters) = (HashSet::new(), HashSet::new());
        for _ in 0..200 {
            let token = BootstrapToken::generate().unwrap();
            let text = token.joined(&"ca".repeat(32)).unwrap();
            let parsed = k3s_double::join_token::JoinToken::parse(text.expose()).unwrap();
            assert!(matches!(
                parsed.credentials,
                k3s_double::join_token::Credentials::Bootstrap(_)
            ));
            letters.extend(token.secret.bytes());
            ids.insert(token.id);
        }
        assert_eq!(letters.len(), ALPHABET.len());
        assert!(ids.len() > 190);
        assert_eq!(usize::from(FAIR) % ALPHABET.len(), 0);
    }

    #[test]
    fn authorities_are_hashed_as_the_server_hashes_them() {
        let parameters = |name: &str| {
            let mut parameters = CertificateParams::default();
            parameters.distinguished_name.push(DnType::CommonName, name);
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters.use_authority_key_identifier_extension = name != "root";
            parameters
        };
        let signed = |name: &str, key: &KeyPair, by: &str, issuer: &KeyPair| {
            let by = parameters(by);
            let issuer = Issuer::from_params(&by, issuer);
            parameters(name).signed_by(key, &issuer).unwrap()
        };
        let keys: Vec<KeyPair> = (0..3).map(|_| KeyPair::generate().unwrap()).collect();
        let root = parameters("root").self_signed(&keys[0]).unwrap();
        let middle = signed("middle", &keys[1], "root", &keys[0]);
        let leaf = signed("leaf", &keys[2], "middle", &keys[1]);
        let hash = |bytes: &[u8]| Some(hex::encode(digest(&SHA256, bytes)));

        let one = root.pem();
        assert_eq!(authority_hash(one.as_bytes()), hash(one.as_bytes()));
        for chain in [
            format!("{}{}", middle.pem(), root.pem()),
            format!("{}{}{}", leaf.pem(), root.pem(), middle.pem()),
        ] {
            let expected = hash(root.der());
            assert_eq!(authority_hash(chain.as_bytes()), expected);
            let double = k3s_double::join_token::ca_hash(chain.as_bytes()).unwrap();
            assert_eq!(Some(double), expected);
        }
        let loose = format!("{}{}", leaf.pem(), root.pem());
        assert_eq!(authority_hash(loose.as_bytes()), hash(loose.as_bytes()));
        assert_eq!(authority_hash(b"no certificate"), None);
        assert_eq!(authority_hash(one.repeat(17).as_bytes()), None);
    }
}
