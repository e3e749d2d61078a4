//! A secret is `gorget_`, 43 characters for 32 random bytes, and 6 for a checksum. So a scanner
//! that looks for leaked secrets finds them without false matches.

use sha2::{Digest as _, Sha256};

const PREFIX: &str = "gorget_";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits for 32 bytes.
const BODY: usize = 43;
/// Digits for 4 bytes.
const CHECK: usize = 6;

/// Makes a secret from random bytes.
pub fn written(bytes: [u8; 32]) -> String {
    let body = digits(&bytes, BODY);
    format!("{PREFIX}{body}{}", checksum(&body))
}

/// The hash of a secret, which the database stores. A secret has 256 random bits, so a fast hash is
/// enough.
pub fn hash(secret: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(secret))
}

/// Whether a text has the form of a secret. Any other text needs no database query.
pub fn is_secret(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(PREFIX).filter(|rest| rest.is_ascii()) else { return false };
    rest.len() == BODY + CHECK && checksum(&rest[..BODY]) == rest[BODY..]
}

fn checksum(body: &str) -> String {
    digits(&Sha256::digest(body)[..4], CHECK)
}

/// Writes a big-endian number in base 62, with leading zeros.
fn digits(bytes: &[u8], length: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = vec![0; length];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0_usize;
        for byte in &mut number {
            let value = rest << 8 | usize::from(*byte);
            rest = value % 62;
            // The rest is below 62, so the quotient is below 256.
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
        }
        *digit = DIGITS[rest];
    }
    String::from_utf8_lossy(&digits).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_one_form() {
        assert_eq!(digits(&[0, 0, 1, 0], 6), "000048");
        assert_eq!(digits(&[0xff; 32], BODY).len(), BODY);
        let secret = written([7; 32]);
        assert_eq!(secret.len(), 56);
        assert!(is_secret(&secret), "{secret}");
        for (at, _) in secret.char_indices() {
            let other = if secret.as_bytes()[at] == b'x' { "y" } else { "x" };
            let mut wrong = secret.clone();
            wrong.replace_range(at..=at, other);
            assert!(!is_secret(&wrong), "{wrong}");
        }
        for wrong in ["", "gorget_", "gorget_é", &format!("{secret}0"), &secret[1..]] {
            assert!(!is_secret(wrong), "{wrong}");
        }
    }
}
