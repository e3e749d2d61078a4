//! Numbers modulo 2²⁵⁵ − 19, as far as it takes to find the x of a point on the curve Ed25519. Nothing here is secret:
//! how long it takes may depend on the numbers.

/// Four words, the least first. It may be larger than the modulus.
type Number = [u64; 4];

const ONE: Number = [1, 0, 0, 0];
/// 2²⁵⁵ − 19.
const MODULUS: Number = [u64::MAX - 18, u64::MAX, u64::MAX, u64::MAX >> 1];
/// The modulus less 1, which is −1.
const MINUS_ONE: Number = [u64::MAX - 19, u64::MAX, u64::MAX, u64::MAX >> 1];
/// −121665/121666, of the curve −x² + y² = 1 + d·x²·y².
const D: Number =
    [0x75eb_4dca_1359_78a3, 0x0070_0a4d_4141_d8ab, 0x8cc7_4079_7779_e898, 0x5203_6cee_2b6f_fe73];
/// A square root of −1.
const ROOT: Number =
    [0xc4ee_1b27_4a0e_a0b0, 0x2f43_1806_ad2f_e478, 0x2b4d_0099_3dfb_d7a7, 0x2b83_2480_4fc1_df0b];

/// The x of a point as it is written down: y, and whether x is odd in the topmost bit. The point must be one. The least
/// byte comes first.
pub(super) fn x_of(compressed: [u8; 32]) -> [u8; 32] {
    let mut y = read(compressed);
    let odd = y[3] >> 63;
    y[3] &= u64::MAX >> 1;
    let square = multiply(y, y);
    // x² = (y² − 1) / (d·y² + 1), and its root as in section 5.1.3 of RFC 8032.
    let (u, v) = (add(square, MINUS_ONE), add(multiply(D, square), ONE));
    let cube = multiply(multiply(v, v), v);
    let seventh = multiply(multiply(cube, cube), v);
    let mut x = multiply(multiply(u, cube), to_2_252_minus_3(multiply(u, seventh)));
    if reduced(multiply(v, multiply(x, x))) != reduced(u) {
        x = multiply(x, ROOT);
    }
    x = reduced(x);
    if x[0] & 1 != odd {
        x = subtract(MODULUS, x);
    }
    write(x)
}

fn read(bytes: [u8; 32]) -> Number {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks(8)) {
        *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}

fn write(number: Number) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.chunks_mut(8).zip(number) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn add(a: Number, b: Number) -> Number {
    let mut sum = [0; 4];
    let mut carry = 0;
    for (place, word) in sum.iter_mut().enumerate() {
        (*word, carry) = split(u128::from(a[place]) + u128::from(b[place]) + u128::from(carry));
    }
    fold(sum, carry)
}

/// What is left of the larger number.
fn subtract(larger: Number, smaller: Number) -> Number {
    let mut rest = [0; 4];
    let mut borrowed = false;
    for (place, word) in rest.iter_mut().enumerate() {
        let (less, below) = larger[place].overflowing_sub(smaller[place]);
        let (left, too_little) = less.overflowing_sub(u64::from(borrowed));
        (*word, borrowed) = (left, below || too_little);
    }
    rest
}

fn multiply(a: Number, b: Number) -> Number {
    let mut product = [0_u64; 8];
    for (i, a) in a.into_iter().enumerate() {
        let mut carry = 0;
        for (j, b) in b.into_iter().enumerate() {
            let word = u128::from(a) * u128::from(b) + u128::from(product[i + j]) + u128::from(carry);
            (product[i + j], carry) = split(word);
        }
        product[i + 4] = carry;
    }
    let mut sum = [0; 4];
    let mut carry = 0;
    for (place, word) in sum.iter_mut().enumerate() {
        let folded = 38 * u128::from(product[place + 4]) + u128::from(product[place]) + u128::from(carry);
        (*word, carry) = split(folded);
    }
    fold(sum, carry)
}

/// Adds what is beyond 2²⁵⁶ where it belongs: 2²⁵⁶ is 38.
fn fold(mut number: Number, beyond: u64) -> Number {
    let mut carry = 38 * beyond;
    while carry > 0 {
        for word in &mut number {
            (*word, carry) = split(u128::from(*word) + u128::from(carry));
        }
        carry *= 38;
    }
    number
}

#[expect(clippy::cast_possible_truncation, reason = "it is cut in two halves")]
fn split(word: u128) -> (u64, u64) {
    (word as u64, (word >> 64) as u64)
}

/// The same number, less than the modulus.
fn reduced(mut number: Number) -> Number {
    while number.iter().rev().ge(MODULUS.iter().rev()) {
        number = subtract(number, MODULUS);
    }
    number
}

/// The power whose exponent is 2²⁵² − 3: all bits but the last but one.
fn to_2_252_minus_3(base: Number) -> Number {
    let square = |number| multiply(number, number);
    let power = (1..250).fold(base, |power, _| multiply(square(power), base));
    multiply(square(square(power)), base)
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
            let x = read(x_of(compressed));
            let mut y = read(compressed);
            assert_eq!(x[0] & 1, y[3] >> 63, "{number}");
            y[3] &= u64::MAX >> 1;
            let (xx, yy) = (multiply(x, x), multiply(y, y));
            let other = add(add(multiply(D, multiply(xx, yy)), xx), ONE);
            assert_eq!(reduced(yy), reduced(other), "{number}");
            point = point + point + BASE;
        }
        let base = x_of(BASE.compress().0);
        assert_eq!(base[..4], [0x1a, 0xd5, 0x25, 0x8f], "as RFC 8032 has it");
    }
}
