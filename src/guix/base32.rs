//! The base-32 notation of store paths: its own alphabet, most significant digit first.

use std::fmt;

const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// A text that is not base-32 of the expected length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a base-32 number of {0} bytes")]
pub struct NotBase32(pub usize);

/// Prints `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let digits = (bytes.len() * 8).div_ceil(5);
    let mut text = String::with_capacity(digits);
    for digit in (0..digits).rev() {
        let (byte, shift) = (digit * 5 / 8, digit * 5 % 8);
        let low = u16::from(bytes[byte]) >> shift;
        let high = bytes.get(byte + 1).map_or(0, |next| u16::from(*next) << (8 - shift));
        text.push(ALPHABET[usize::from((low | high) & 0x1f)] as char);
    }
    text
}

/// Decodes `N` bytes.
pub fn decode<const N: usize>(text: &[u8]) -> Result<[u8; N], NotBase32> {
    let mut bytes = [0_u8; N];
    if text.len() != (N * 8).div_ceil(5) {
        return Err(NotBase32(N));
    }
    for (digit, character) in text.iter().rev().enumerate() {
        let value = VALUES[usize::from(*character)];
        if value == 0xff {
            return Err(NotBase32(N));
        }
        let (byte, shift) = (digit * 5 / 8, digit * 5 % 8);
        let [low, carry] = (u16::from(value) << shift).to_le_bytes();
        bytes[byte] |= low;
        match bytes.get_mut(byte + 1) {
            Some(next) => *next |= carry,
            None if carry != 0 => return Err(NotBase32(N)),
            None => {}
        }
    }
    Ok(bytes)
}

/// The value of each character; 0xff if it is not a digit.
const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut value = 0;
    while value < 32 {
        values[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// Displays bytes in base-32.
pub struct Base32<'a>(pub &'a [u8]);

impl fmt::Display for Base32<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bytes: [u8; 20], long: [u8; 32]) {
            prop_assert_eq!(decode::<20>(encode(&bytes).as_bytes()), Ok(bytes));
            prop_assert_eq!(decode::<32>(encode(&long).as_bytes()), Ok(long));
        }

        #[test]
        fn every_text_has_one_reading(text in "[0-9a-z]{52}") {
            if let Ok(bytes) = decode::<32>(text.as_bytes()) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }

    #[test]
    fn letters_outside_the_alphabet_are_refused() {
        assert_eq!(decode::<20>(b"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"), Err(NotBase32(20)));
        assert_eq!(decode::<20>(b"000"), Err(NotBase32(20)));
    }
}
