//! ECDSA over the curve Ed25519. libgcrypt signs this way with the keys that Guix makes; this is
//! ten times as fast. Nonces follow RFC 6979, so that signatures equal those of libgcrypt, bit for
//! bit.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::field::x_of;

/// How many bits a hash is longer than the order of the curve: 256 − 253.
const TOO_MANY: u32 = 3;

/// A public key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Public(EdwardsPoint);

/// A secret key: a number below 2²⁵⁶, most significant byte first. It may exceed the order of the
/// curve.
pub(super) struct Secret([u8; 32]);

/// A signature: two numbers, each at least 1 and below the order of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature {
    r: Scalar,
    s: Scalar,
}

impl Public {
    /// Reads the encoding of a point, which is that of RFC 8032.
    pub(super) fn read(point: &[u8]) -> Option<Self> {
        CompressedEdwardsY::from_slice(point).ok()?.decompress().map(Self)
    }

    /// Whether `signature` is valid for a text with the SHA-256 `hash`.
    pub(super) fn verify(&self, signature: &Signature, hash: [u8; 32]) -> bool {
        let inverse = signature.s.invert();
        let (of_base, of_key) = (number(hash) * inverse, signature.r * inverse);
        let point = EdwardsPoint::vartime_double_scalar_mul_basepoint(&of_key, &self.0, &of_base);
        x_mod_order(&point) == signature.r
    }
}

impl Secret {
    /// Reads a number, most significant byte first.
    pub(super) fn read(number: &[u8]) -> Option<Self> {
        padded(number).map(Self)
    }

    /// Signs a text with the SHA-256 `hash`.
    pub(super) fn sign(&self, hash: [u8; 32]) -> Signature {
        let mut nonces = Nonces::new(&self.0, hash);
        let secret = Scalar::from_bytes_mod_order(reversed(self.0));
        loop {
            let nonce = nonces.next();
            let r = x_mod_order(&EdwardsPoint::mul_base(&nonce));
            let s = nonce.invert() * (number(hash) + r * secret);
            if r != Scalar::ZERO && s != Scalar::ZERO {
                return Signature { r, s };
            }
        }
    }
}

impl Signature {
    /// Reads both numbers, most significant byte first.
    pub(super) fn read(r: &[u8], s: &[u8]) -> Option<Self> {
        Some(Self { r: read(r)?, s: read(s)? })
    }

    /// Both numbers in the encoding of libgcrypt: as few bytes as possible.
    pub(super) fn numbers(&self) -> [Vec<u8>; 2] {
        [self.r, self.s].map(|number| {
            let bytes = reversed(number.to_bytes());
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes[zeros..].to_vec()
        })
    }
}

/// Reads a number that is at least 1 and below the order of the curve, most significant byte first.
fn read(number: &[u8]) -> Option<Scalar> {
    let scalar = Scalar::from_canonical_bytes(reversed(padded(number)?));
    Option::from(scalar).filter(|scalar| *scalar != Scalar::ZERO)
}

/// Pads a number to 32 bytes; `None` if it has more.
fn padded(number: &[u8]) -> Option<[u8; 32]> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = &number[zeros..];
    let mut bytes = [0; 32];
    bytes[32_usize.checked_sub(digits.len())?..].copy_from_slice(digits);
    Some(bytes)
}

fn reversed(mut bytes: [u8; 32]) -> [u8; 32] {
    bytes.reverse();
    bytes
}

/// The leading bits of a hash, as many as the order has.
fn foremost(hash: [u8; 32]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (place, byte) in bytes.iter_mut().enumerate() {
        let above = place.checked_sub(1).map_or(0, |above| hash[above]);
        let both = u16::from(above) << 8 | u16::from(hash[place]);
        *byte = (both >> TOO_MANY).to_le_bytes()[0];
    }
    reversed(bytes)
}

/// Converts a hash to a number.
fn number(hash: [u8; 32]) -> Scalar {
    Scalar::from_bytes_mod_order(foremost(hash))
}

fn x_mod_order(point: &EdwardsPoint) -> Scalar {
    Scalar::from_bytes_mod_order(x_of(point.compress().0))
}

/// Generates nonces for a secret key and a hash, as section 3.2 of RFC 6979 says.
struct Nonces {
    k: [u8; 32],
    v: [u8; 32],
}

impl Nonces {
    fn new(secret: &[u8; 32], hash: [u8; 32]) -> Self {
        let hash = reversed(number(hash).to_bytes());
        let mut nonces = Self { k: [0; 32], v: [1; 32] };
        for round in [0, 1] {
            nonces.k = mac(&nonces.k, &[&nonces.v, &[round], secret, &hash]);
            nonces.v = mac(&nonces.k, &[&nonces.v]);
        }
        nonces
    }

    fn next(&mut self) -> Scalar {
        loop {
            self.v = mac(&self.k, &[&self.v]);
            let found = Option::from(Scalar::from_canonical_bytes(foremost(self.v)));
            // If this nonce is not usable, the next one differs.
            self.k = mac(&self.k, &[&self.v, &[0]]);
            self.v = mac(&self.k, &[&self.v]);
            if let Some(nonce) = found.filter(|nonce| *nonce != Scalar::ZERO) {
                return nonce;
            }
        }
    }
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
