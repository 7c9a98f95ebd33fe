//! The publisher's release key: it signs what an image measures, so that a machine lets the image open
//! what is sealed.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use p256::SecretKey;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use seal::release::{MAX_FILE, ReleasePolicies};
use seal::tpm::crypto::{Digest, Point, random_scalar};
use zeroize::Zeroizing;

use crate::progress::step;

/// The directory of the cache that holds the development key.
pub const KEYS: &str = "keys";
/// The development key in it.
const DEVELOPMENT_KEY: &str = "release-development.pem";
/// A P-256 key in PEM has 241 bytes; nobody's has more than this.
const MAX_KEY: u64 = 4096;

/// Which key signs.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A publisher's own, in a file.
    File(PathBuf),
    /// One that is made in the cache where it is needed first. Whoever can read the cache can sign with it.
    Development,
}

/// A release key and what it says about an image.
#[derive(Clone)]
pub struct Release {
    key: SigningKey,
    /// The image's security version: it opens what is sealed for this floor and those below.
    pub security_version: u16,
    /// Whether the key is a development key.
    pub is_development: bool,
}

impl std::fmt::Debug for Release {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Release")
            .field("security_version", &self.security_version)
            .field("is_development", &self.is_development)
            .finish_non_exhaustive()
    }
}

impl Release {
    /// Takes the key from where it is kept; a development key is made in `cache` unless it is there.
    ///
    /// # Errors
    /// When the key can't be read or made, or is no P-256 private key.
    pub fn open(source: &KeySource, security_version: u16, cache: &Path) -> Result<Self> {
        let release = Self::read(source, security_version, cache)?;
        if release.is_development {
            step(format!(
                "release: signing with the DEVELOPMENT key {}; name the publisher's with --release-key",
                development_key(cache).display()
            ));
        }
        Ok(release)
    }

    /// As [`Self::open`], without a word about a development key.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read(source: &KeySource, security_version: u16, cache: &Path) -> Result<Self> {
        let (path, is_development) = match source {
            KeySource::File(path) => (path.clone(), false),
            KeySource::Development => {
                let path = development_key(cache);
                make(&path)?;
                (path, true)
            }
        };
        Ok(Self {
            key: read(&path)?,
            security_version,
            is_development,
        })
    }

    /// A key of nobody's, for tests of what another publisher's image may do.
    ///
    /// # Errors
    /// When the kernel has no random numbers.
    pub fn generate(security_version: u16) -> Result<Self> {
        Ok(Self {
            key: random_scalar()?.into(),
            security_version,
            is_development: true,
        })
    }

    /// The public part as a point.
    #[must_use]
    pub fn point(&self) -> Point {
        Point::from_public_key(&self.key.verifying_key().into())
    }

    /// The public part in PEM, as `.pcrpkey` has it and `seal --policy` takes it.
    ///
    /// # Errors
    /// Never in practice.
    pub fn public_pem(&self) -> Result<String> {
        self.key
            .verifying_key()
            .to_public_key_pem(LineEnding::LF)
            .context("can't encode the release key's public part")
    }

    /// The signature over some bytes: ECDSA with SHA-256 in DER, as `openssl dgst -sha256 -verify` reads it. The same
    /// bytes and key give the same signature (RFC 6979).
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.key.sign(bytes);
        signature.as_bytes().to_vec()
    }

    /// The signed policies of an image that the stub measures as `pcr11`, as `.pcrsig` has them.
    ///
    /// # Errors
    /// When the security version needs more signatures than the node reads.
    pub fn policies(&self, pcr11: &Digest) -> Result<String> {
        let policies = ReleasePolicies::sign(&self.key, pcr11, self.security_version.into())
            .context("can't sign the image's policies")?;
        let json = policies
            .to_json()
            .context("can't encode the signed policies")?;
        ensure!(
            json.len() <= MAX_FILE,
            "the security version {} needs more signatures than a node reads ({MAX_FILE} bytes); take a lower one",
            self.security_version
        );
        Ok(json)
    }
}

fn development_key(cache: &Path) -> PathBuf {
    cache.join(KEYS).join(DEVELOPMENT_KEY)
}

/// Reads a private key.
fn read(path: &Path) -> Result<SigningKey> {
    let mut pem = Zeroizing::new(String::new());
    File::open(path)
        .and_then(|file| file.take(MAX_KEY).read_to_string(&mut pem))
        .with_context(|| format!("can't read the release key {}", path.display()))?;
    match SigningKey::from_pkcs8_pem(&pem) {
        Ok(key) => Ok(key),
        // the library's error could repeat what it read
        Err(_) => bail!(
            "{} is no P-256 private key, PKCS #8 in PEM; make one with `openssl genpkey -algorithm EC \
             -pkeyopt ec_paramgen_curve:P-256`",
            path.display()
        ),
    }
}

/// Makes a key where there is none; of several builds that want one at the same time, one makes it.
fn make(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)
        .with_context(|| format!("can't create {}", directory.display()))?;
    let key: SecretKey = random_scalar().context("can't make a release key")?;
    let pem = key
        .to_pkcs8_pem(LineEnding::LF)
        .context("can't encode a release key")?;
    // readable by its owner alone from its first moment on (tempfile makes files with 0600)
    let mut file = tempfile::NamedTempFile::new_in(directory)
        .with_context(|| format!("can't write to {}", directory.display()))?;
    file.write_all(pem.as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .context("can't write a release key")?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error).with_context(|| format!("can't name {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_development_key_is_made_once_and_is_its_owners_alone() {
        let cache = tempfile::tempdir().unwrap();
        let open = || Release::open(&KeySource::Development, 1, cache.path()).unwrap();
        let (first, second) = (open(), open());
        assert_eq!(first.point(), second.point());
        assert!(first.is_development);
        let path = cache.path().join(KEYS).join(DEVELOPMENT_KEY);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        // and as a publisher's
        let named = Release::open(&KeySource::File(path), 1, cache.path()).unwrap();
        assert_eq!(named.point(), first.point());
        assert!(!named.is_development);
    }

    #[test]
    fn the_same_key_signs_the_same_bytes_and_the_file_is_what_nodes_read() {
        let release = Release::generate(2).unwrap();
        let json = release.policies(&[7; 32]).unwrap();
        assert_eq!(release.policies(&[7; 32]).unwrap(), json);
        let read = ReleasePolicies::from_json(json.as_bytes()).unwrap();
        assert_eq!(read.key, release.point());
        assert!(release.public_pem().unwrap().contains("BEGIN PUBLIC KEY"));
    }

    #[test]
    fn a_version_beyond_what_nodes_read_is_refused() {
        let error = Release::generate(5000)
            .unwrap()
            .policies(&[7; 32])
            .unwrap_err();
        assert!(error.to_string().contains("5000"), "{error}");
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        fs::write(&path, "secret stuff").unwrap();
        let source = KeySource::File(path);
        let error = format!(
            "{:#}",
            Release::open(&source, 0, directory.path()).unwrap_err()
        );
        assert!(
            error.contains("key.pem") && !error.contains("secret"),
            "{error}"
        );
    }
}
