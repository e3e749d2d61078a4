//! Computes the x of a point on the curve Ed25519 from its y, modulo 2²⁵⁵ − 19, because
//! `curve25519-dalek` does not give access to it. Nothing here is secret, so the time may depend on
//! the numbers.

use fiat_crypto::curve25519_64 as fiat;

/// The number 1, least significant word first.
const ONE: [u64; 4] = [1, 0, 0, 0];
/// The constant d = −121665/121666 of the curve −x² + y² = 1 + d·x²·y².
const D: [u64; 4] =
    [0x75eb_4dca_1359_78a3, 0x0070_0a4d_4141_d8ab, 0x8cc7_4079_7779_e898, 0x5203_6cee_2b6f_fe73];
/// A square root of −1.
const ROOT: [u64; 4] =
    [0xc4ee_1b27_4a0e_a0b0, 0x2f43_1806_ad2f_e478, 0x2b4d_0099_3dfb_d7a7, 0x2b83_2480_4fc1_df0b];

/// The x of an encoded point: y, with the parity of x in the topmost bit. The point must be on the
/// curve. The least significant byte comes first.
pub(super) fn x_of(compressed: [u8; 32]) -> [u8; 32] {
    let (y, odd) = y_of(compressed);
    let square = y.times(y);
    // x² = (y² − 1) / (d·y² + 1), and its root as in section 5.1.3 of RFC 8032.
    let (u, v) = (square.minus(ONE.into()), square.times(D.into()).plus(ONE.into()));
    let cube = v.times(v).times(v);
    let seventh = cube.times(cube).times(v);
    let mut x = u.times(cube).times(to_2_252_minus_3(u.times(seventh)));
    if v.times(x.times(x)).bytes() != u.bytes() {
        x = x.times(ROOT.into());
    }
    let zero = Number::from([0; 4]);
    if x.bytes()[0] & 1 == odd { x.bytes() } else { zero.minus(x).bytes() }
}

/// The y of an encoded point, and 1 if its x is odd.
fn y_of(mut compressed: [u8; 32]) -> (Number, u8) {
    let odd = compressed[31] >> 7;
    compressed[31] &= 0x7f;
    (Number::read(&compressed), odd)
}

/// Raises `base` to the power 2²⁵² − 3, an exponent of which all bits but the last but one are set.
fn to_2_252_minus_3(base: Number) -> Number {
    let square = |number: Number| number.times(number);
    let power = (1..250).fold(base, |power, _| square(power).times(base));
    square(square(power)).times(base)
}

/// A number modulo 2²⁵⁵ − 19.
#[derive(Clone, Copy)]
struct Number(fiat::fiat_25519_tight_field_element);

impl Number {
    /// Reads 32 bytes, of which the topmost bit is not set.
    fn read(bytes: &[u8; 32]) -> Self {
        let mut number = Self::none();
        fiat::fiat_25519_from_bytes(&mut number.0, bytes);
        number
    }

    /// A placeholder that the operations of the crate write their result to.
    const fn none() -> Self {
        Self(fiat::fiat_25519_tight_field_element([0; 5]))
    }

    fn bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        fiat::fiat_25519_to_bytes(&mut bytes, &self.0);
        bytes
    }

    fn times(self, other: Self) -> Self {
        let mut product = Self::none();
        fiat::fiat_25519_carry_mul(&mut product.0, &self.loose(), &other.loose());
        product
    }

    fn plus(self, other: Self) -> Self {
        let mut sum = fiat::fiat_25519_loose_field_element([0; 5]);
        fiat::fiat_25519_add(&mut sum, &self.0, &other.0);
        Self::carried(&sum)
    }

    fn minus(self, other: Self) -> Self {
        let mut rest = fiat::fiat_25519_loose_field_element([0; 5]);
        fiat::fiat_25519_sub(&mut rest, &self.0, &other.0);
        Self::carried(&rest)
    }

    fn carried(loose: &fiat::fiat_25519_loose_field_element) -> Self {
        let mut number = Self::none();
        fiat::fiat_25519_carry(&mut number.0, loose);
        number
    }

    fn loose(self) -> fiat::fiat_25519_loose_field_element {
        let mut loose = fiat::fiat_25519_loose_field_element([0; 5]);
        fiat::fiat_25519_relax(&mut loose, &self.0);
        loose
    }
}

impl From<[u64; 4]> for Number {
    fn from(words: [u64; 4]) -> Self {
        let mut bytes = [0; 32];
        for (bytes, word) in bytes.chunks_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self::read(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::ED25519_BASEPOINT_POINT as BASE;

    use super::*;

    #[test]
    fn x_and_y_are_on_the_curve() {
        let mut point = BASE;
        for number in 0..200 {
            let compressed = point.compress().0;
            let x = Number::read(&x_of(compressed));
            let (y, odd) = y_of(compressed);
            assert_eq!(x.bytes()[0] & 1, odd, "{number}");
            let (xx, yy) = (x.times(x), y.times(y));
            let other = xx.times(yy).times(D.into()).plus(xx).plus(ONE.into());
            assert_eq!(yy.bytes(), other.bytes(), "{number}");
            point = point + point + BASE;
        }
        let base = x_of(BASE.compress().0);
        assert_eq!(base[..4], [0x1a, 0xd5, 0x25, 0x8f], "as RFC 8032 has it");
    }
}
