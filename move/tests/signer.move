/// Signs in tests with two keys that everybody knows, so that tests need no signatures made
/// beforehand over ids that they can't choose: ed25519 (RFC 8032) and ECDSA on P-256 over SHA-256.
/// Both use one fixed nonce, which would give a real key away.
#[test_only]
module k3s_daas::signer;

use std::{hash::sha2_256, unit_test::assert_eq};
use sui::{ecdsa_r1, ed25519};

/// Order of edwards25519's base point.
const L: u256 = 0x1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed;
/// The ed25519 key as a scalar, and its public key.
const A: u256 = 0x2b668c3ac5a9f953a87523642f047d4ccb92d6fdf39318f2ad465a8f9401f6a;
const PUBLIC: vector<u8> = x"cfcf1aaad550a8fd9d8c8fba81ddf26032dc808aa55158e60c2b79c4fe630a45";
/// The nonce as a scalar, and as a point.
const R: u256 = 0xe2a26d64d2792dff9b9b9a0ee4c8acecb125769d96e22cd141a5622beef51b8;
const R_POINT: vector<u8> = x"5629b6e7be5b8f583f1179a47f2fc75e00fd1b85417eb0c027612fb8556f591e";

/// Order of P-256's base point.
const N: u256 = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551;
/// The P-256 key, and its public key, compressed.
const D: u256 = 0x3d4d8241e18b25cacdf645327ca4dba159eea3ec7423df14562fb553122933db;
const P256_PUBLIC: vector<u8> =
    x"0371d75b39338316af15de7c2ace5697358b182d6afd653461f438037de4e67bf1";
/// The inverse of the nonce, and the x coordinate of its point.
const K_INVERSE: u256 = 0xa18d649874152a89835a32e8d0568f9207039e0a6befc6b4206a9260a2fbe88f;
const K_X: u256 = 0x4247eae0eecdeac7b0455179b63792fbe691517a8b2055b5491ffe21a1892143;

/// SHA-512 (FIPS 180-4), which Move lacks: the roots' fractions.
const START: vector<u64> = vector[
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
];
const ROUNDS: vector<u64> = vector[
    0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc,
    0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118,
    0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
    0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694,
    0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
    0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
    0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4,
    0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70,
    0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
    0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
    0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30,
    0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
    0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8,
    0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3,
    0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
    0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b,
    0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178,
    0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
    0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c,
    0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
];

/// The known ed25519 public key, 32 bytes.
public fun public_key(): vector<u8> { PUBLIC }

/// The known ed25519 key with its flag.
public fun flagged_key(): vector<u8> {
    let mut key = x"00";
    key.append(PUBLIC);
    key
}

/// The known P-256 key with its flag.
public fun p256_flagged_key(): vector<u8> {
    let mut key = x"02";
    key.append(P256_PUBLIC);
    key
}

/// The known P-256 public key, 33 bytes.
public fun p256_public_key(): vector<u8> { P256_PUBLIC }

/// An ed25519 signature by the known key.
public fun sign(message: &vector<u8>): vector<u8> {
    let mut hashed = R_POINT;
    hashed.append(PUBLIC);
    hashed.append(*message);
    let challenge = reduce_little_endian(sha512(hashed));
    let response = add(R, multiply(challenge, A, L), L);
    let mut signature = R_POINT;
    32u8.do!(|index| signature.push_back(((response >> (index * 8)) & 0xff) as u8));
    signature
}

/// An ECDSA signature by the known P-256 key, with a low S.
public fun p256_sign(message: &vector<u8>): vector<u8> {
    let digest = sha2_256(*message).fold!(0u256, |sum, byte| (sum << 8) | (byte as u256)) % N;
    let mut s = multiply(K_INVERSE, add(digest, multiply(K_X, D, N), N), N);
    if (s > N / 2) s = N - s;
    let mut signature = vector[];
    vector[K_X, s].do!(|number| {
        32u8.do!(|index| signature.push_back(((number >> (248 - index * 8)) & 0xff) as u8));
    });
    signature
}

/// 64 bytes, the least significant first, modulo L.
fun reduce_little_endian(mut bytes: vector<u8>): u256 {
    bytes.reverse();
    bytes.fold!(0u256, |mut sum, byte| {
        8u8.do!(|_| sum = add(sum, sum, L));
        add(sum, byte as u256, L)
    })
}

/// In steps that stay below 2^256, as P-256's order is close to it.
fun add(a: u256, b: u256, modulus: u256): u256 {
    if (a >= modulus - b) a - (modulus - b) else a + b
}

fun multiply(a: u256, b: u256, modulus: u256): u256 {
    let mut product = 0;
    256u16.do!(|index| {
        product = add(product, product, modulus);
        if ((b >> ((255 - index) as u8)) & 1 == 1) product = add(product, a, modulus);
    });
    product
}

fun wrapping(sum: u128): u64 { (sum & 0xffff_ffff_ffff_ffff) as u64 }

fun rotate(word: u64, by: u8): u64 { (word >> by) | (word << (64 - by)) }

fun not(word: u64): u64 { word ^ 0xffff_ffff_ffff_ffff }

fun sha512(mut message: vector<u8>): vector<u8> {
    let bits = message.length() * 8;
    message.push_back(0x80);
    while (message.length() % 128 != 120) message.push_back(0);
    8u8.do!(|index| message.push_back(((bits >> (56 - index * 8)) & 0xff) as u8));
    let mut state = START;
    (message.length() / 128).do!(|block| state = compress(state, &message, block * 128));
    let mut digest = vector[];
    state.do!(|word| 8u8.do!(|i| digest.push_back(((word >> (56 - i * 8)) & 0xff) as u8)));
    digest
}

fun compress(state: vector<u64>, message: &vector<u8>, start: u64): vector<u64> {
    let mut words = vector::tabulate!(16, |word| {
        let mut value = 0u64;
        8u64.do!(|i| value = (value << 8) | (message[start + word * 8 + i] as u64));
        value
    });
    64u64.do!(|i| {
        let w15 = words[i + 1];
        let w2 = words[i + 14];
        let s0 = rotate(w15, 1) ^ rotate(w15, 8) ^ (w15 >> 7);
        let s1 = rotate(w2, 19) ^ rotate(w2, 61) ^ (w2 >> 6);
        let sum = (words[i] as u128) + (s0 as u128) + (words[i + 9] as u128) + (s1 as u128);
        words.push_back(wrapping(sum));
    });
    let mut v = state;
    80u64.do!(|i| {
        let s1 = rotate(v[4], 14) ^ rotate(v[4], 18) ^ rotate(v[4], 41);
        let choice = (v[4] & v[5]) ^ (not(v[4]) & v[6]);
        let first =
            (v[7] as u128) + (s1 as u128) + (choice as u128) +
            (ROUNDS[i] as u128) + (words[i] as u128);
        let s0 = rotate(v[0], 28) ^ rotate(v[0], 34) ^ rotate(v[0], 39);
        let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        let second = (s0 as u128) + (majority as u128);
        v = vector[
            wrapping(first + second),
            v[0],
            v[1],
            v[2],
            wrapping((v[3] as u128) + first),
            v[4],
            v[5],
            v[6],
        ];
    });
    vector::tabulate!(8, |i| wrapping((state[i] as u128) + (v[i] as u128)))
}

#[test]
fun sha512_is_the_standards() {
    assert_eq!(
        sha512(b"abc"),
        x"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    );
}

#[test]
fun the_frameworks_verifiers_take_these_signatures() {
    let mut message = b"one";
    assert!(ed25519::ed25519_verify(&sign(&message), &PUBLIC, &message));
    assert!(ecdsa_r1::secp256r1_verify(&p256_sign(&message), &P256_PUBLIC, &message, 1));
    let signature = sign(&message);
    let p256_signature = p256_sign(&message);
    message.push_back(0);
    assert!(!ed25519::ed25519_verify(&signature, &PUBLIC, &message));
    assert!(!ecdsa_r1::secp256r1_verify(&p256_signature, &P256_PUBLIC, &message, 1));
}
