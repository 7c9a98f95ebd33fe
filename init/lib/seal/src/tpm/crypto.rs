//! The key derivations and wrappings of TPM 2.0 Library Part 1 that the caller's side has to do.

use aes::Aes128;
use cfb_mode::cipher::KeyIvInit;
use hmac::{Hmac, KeyInit, Mac};
use p256::{PublicKey, SecretKey, elliptic_curve::sec1::ToSec1Point};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

pub use ::tpm::{Digest, sha256};

use super::error::Error;

/// AES-128 in CFB mode takes a key and an initial vector of 16 bytes each.
const AES_128: usize = 16;

/// HMAC-SHA-256 over the parts, one after the other.
#[must_use]
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Digest {
    // HMAC takes a key of any length; the other arm cannot be reached, and gives no valid code
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Whether two byte strings are the same, in a time that does not depend on where they differ.
#[must_use]
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// `KDFa` of Part 1, 11.4.10.2, with SHA-256: `LENGTH` bytes.
pub(crate) fn kdfa<const LENGTH: usize>(
    key: &[u8],
    label: &str,
    context_u: &[u8],
    context_v: &[u8],
) -> Zeroizing<[u8; LENGTH]> {
    let bits = u32::try_from(LENGTH * 8).unwrap_or(u32::MAX).to_be_bytes();
    let mut out = Zeroizing::new([0; LENGTH]);
    for (counter, block) in (1_u32..).zip(out.chunks_mut(32)) {
        let mut digest = hmac_sha256(
            key,
            &[
                &counter.to_be_bytes(),
                label.as_bytes(),
                &[0],
                context_u,
                context_v,
                &bits,
            ],
        );
        block
            .iter_mut()
            .zip(digest)
            .for_each(|(to, from)| *to = from);
        digest.zeroize();
    }
    out
}

/// `KDFe` of Part 1, 11.4.10.3, with SHA-256: one block, 32 bytes. `z`, `party_u` and `party_v` are
/// x-coordinates.
fn kdfe(z: &[u8], label: &str, party_u: &[u8], party_v: &[u8]) -> Zeroizing<Digest> {
    Zeroizing::new(sha256(&[
        &1_u32.to_be_bytes(),
        z,
        label.as_bytes(),
        &[0],
        party_u,
        party_v,
    ]))
}

/// A key and an initial vector, one after the other.
fn split(key_and_iv: &[u8; 2 * AES_128]) -> (Zeroizing<[u8; AES_128]>, [u8; AES_128]) {
    let (mut key, mut iv) = (Zeroizing::new([0; AES_128]), [0; AES_128]);
    let (first, second) = key_and_iv.split_at(AES_128);
    key.copy_from_slice(first);
    iv.copy_from_slice(second);
    (key, iv)
}

/// Encrypts in place by AES-128-CFB; `key_and_iv` holds the key, then the initial vector.
pub(crate) fn encrypt(key_and_iv: &[u8; 2 * AES_128], data: &mut [u8]) {
    let (key, iv) = split(key_and_iv);
    cfb_mode::Encryptor::<Aes128>::new((&*key).into(), &iv.into()).encrypt(data);
}

/// Decrypts in place by AES-128-CFB.
pub(crate) fn decrypt(key_and_iv: &[u8; 2 * AES_128], data: &mut [u8]) {
    let (key, iv) = split(key_and_iv);
    cfb_mode::Decryptor::<Aes128>::new((&*key).into(), &iv.into()).decrypt(data);
}

/// Fills a new array from the kernel's random numbers.
///
/// # Errors
///
/// When the kernel has none.
pub(crate) fn random<const LENGTH: usize>() -> Result<Zeroizing<[u8; LENGTH]>, Error> {
    let mut bytes = Zeroizing::new([0; LENGTH]);
    getrandom::fill(bytes.as_mut()).map_err(|error| Error::Random(error.into()))?;
    Ok(bytes)
}

/// The coordinates of a P-256 point, big-endian, each padded to 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Point {
    /// The x-coordinate.
    pub x: [u8; 32],
    /// The y-coordinate.
    pub y: [u8; 32],
}

impl Point {
    /// A point of two big-endian coordinates, which may lack their leading zeros.
    ///
    /// # Errors
    ///
    /// When it is not on the curve.
    pub fn new(x: &[u8], y: &[u8]) -> Result<Self, Error> {
        let pad = |bytes: &[u8]| -> Option<[u8; 32]> {
            let mut padded = [0; 32];
            padded
                .get_mut(32_usize.checked_sub(bytes.len())?..)?
                .copy_from_slice(bytes);
            Some(padded)
        };
        let (Some(x), Some(y)) = (pad(x), pad(y)) else {
            return Err(Error::NotP256("a coordinate of more than 32 bytes"));
        };
        let point = Self { x, y };
        point.public_key().map(|_| point)
    }

    /// A point from SEC 1 bytes, compressed or not.
    ///
    /// # Errors
    ///
    /// When they are not a point on the curve.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, Error> {
        PublicKey::from_sec1_bytes(bytes)
            .map(|key| Self::from_public_key(&key))
            .map_err(|_| Error::NotP256("a public key"))
    }

    /// The coordinates of a public key.
    #[must_use]
    pub fn from_public_key(key: &PublicKey) -> Self {
        let encoded = key.to_sec1_point(false);
        let mut point = Self {
            x: [0; 32],
            y: [0; 32],
        };
        if let (Some(x), Some(y)) = (encoded.x(), encoded.y()) {
            point.x.copy_from_slice(x);
            point.y.copy_from_slice(y);
        }
        point
    }

    /// The public key at this point.
    ///
    /// # Errors
    ///
    /// When the point is not on the curve.
    pub fn public_key(&self) -> Result<PublicKey, Error> {
        PublicKey::from_sec1_bytes(&self.to_sec1()).map_err(|_| Error::NotP256("a public key"))
    }

    /// The point uncompressed by SEC 1: 65 bytes.
    #[must_use]
    pub fn to_sec1(&self) -> [u8; 65] {
        let mut bytes = [4; 65];
        let coordinates = self.x.iter().chain(&self.y);
        bytes
            .iter_mut()
            .skip(1)
            .zip(coordinates)
            .for_each(|(to, from)| *to = *from);
        bytes
    }

    /// The point compressed by SEC 1: 33 bytes, as Sui takes public keys.
    #[must_use]
    pub fn to_compressed(&self) -> [u8; 33] {
        let [.., last] = self.y;
        let mut bytes = [2 | (last & 1); 33];
        bytes
            .iter_mut()
            .skip(1)
            .zip(self.x)
            .for_each(|(to, from)| *to = from);
        bytes
    }

    /// The point as a `TPMS_ECC_POINT` (Part 2, 11.2.5.2).
    pub(crate) fn to_tpms(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(68);
        for coordinate in [&self.x, &self.y] {
            bytes.extend_from_slice(&32_u16.to_be_bytes());
            bytes.extend_from_slice(coordinate);
        }
        bytes
    }
}

/// A secret that only the key at `recipient` can compute too, and the ephemeral point that it computes
/// it from, as a `TPMS_ECC_POINT`: Part 1, C.6.1 (secret sharing with ECDH). `label` says what for:
/// `SECRET` (salt), `DUPLICATE` or `IDENTITY`.
pub(crate) fn share_secret(
    recipient: &Point,
    label: &str,
) -> Result<(Zeroizing<Digest>, Vec<u8>), Error> {
    let (secret, point) = share_secret_point(recipient, label)?;
    Ok((secret, point.to_tpms()))
}

/// As [`share_secret`], for a recipient that is no TPM.
pub(crate) fn share_secret_point(
    recipient: &Point,
    label: &str,
) -> Result<(Zeroizing<Digest>, Point), Error> {
    let ephemeral = random_scalar()?;
    let point = Point::from_public_key(&ephemeral.public_key());
    let shared = p256::ecdh::diffie_hellman(
        ephemeral.to_nonzero_scalar(),
        recipient.public_key()?.as_affine(),
    );
    Ok((
        kdfe(
            shared.raw_secret_bytes().as_ref(),
            label,
            &point.x,
            &recipient.x,
        ),
        point,
    ))
}

/// The other side of [`share_secret_point`].
pub(crate) fn open_secret(
    recipient: &SecretKey,
    ephemeral: &Point,
    label: &str,
) -> Result<Zeroizing<Digest>, Error> {
    let shared = p256::ecdh::diffie_hellman(
        recipient.to_nonzero_scalar(),
        ephemeral.public_key()?.as_affine(),
    );
    let point = Point::from_public_key(&recipient.public_key());
    Ok(kdfe(
        shared.raw_secret_bytes().as_ref(),
        label,
        &ephemeral.x,
        &point.x,
    ))
}

/// A new P-256 secret key.
///
/// # Errors
///
/// When the kernel has no random numbers.
pub fn random_scalar() -> Result<SecretKey, Error> {
    // a draw is no scalar once in 2^32; eight in a row are a broken generator
    for _ in 0..8 {
        if let Ok(key) = SecretKey::from_slice(random::<32>()?.as_ref()) {
            return Ok(key);
        }
    }
    Err(Error::NotP256("what the random number generator gives"))
}

/// The outer wrap that `TPM2_Import` and `TPM2_ActivateCredential` open: Part 1, 23.3.2.3 and 24.4.
/// Gives the integrity code and the encrypted data.
pub(crate) fn outer_wrap(seed: &Digest, name: &[u8], mut data: Vec<u8>) -> (Digest, Vec<u8>) {
    let symmetric = kdfa::<AES_128>(seed, "STORAGE", name, &[]);
    let mut key_and_iv = Zeroizing::new([0; 2 * AES_128]);
    key_and_iv
        .iter_mut()
        .zip(symmetric.iter())
        .for_each(|(to, from)| *to = *from);
    encrypt(&key_and_iv, &mut data);
    let integrity = kdfa::<32>(seed, "INTEGRITY", &[], &[]);
    (hmac_sha256(integrity.as_ref(), &[&data, name]), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cfb_goes_there_and_back_and_matches_a_known_answer() {
        // NIST SP 800-38A, F.3.13: CFB128-AES128.Encrypt, first block
        let mut key_and_iv = [0; 32];
        hex::decode_to_slice(
            "2b7e151628aed2a6abf7158809cf4f3c000102030405060708090a0b0c0d0e0f",
            &mut key_and_iv,
        )
        .expect("hexadecimal");
        let plain = hex::decode("6bc1bee22e409f96e93d7e117393172a").expect("hexadecimal");
        let mut data = plain.clone();
        encrypt(&key_and_iv, &mut data);
        assert_eq!(hex::encode(&data), "3b3fd92eb72dad20333449f8e83cfb4a");
        decrypt(&key_and_iv, &mut data);
        assert_eq!(data, plain);
    }

    #[test]
    fn a_point_survives_both_encodings() {
        let point = Point::from_public_key(&random_scalar().expect("a key").public_key());
        assert_eq!(Point::from_sec1(&point.to_sec1()).expect("a point"), point);
        assert_eq!(
            Point::from_sec1(&point.to_compressed()).expect("a point"),
            point
        );
        assert!(Point::new(&point.x, &[7]).is_err());
        assert!(Point::new(&[1; 33], &point.y).is_err());
    }
}
