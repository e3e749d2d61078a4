//! Tells whether a token is a number, and whether it is the exact 0.

use super::Value;

/// The value of a token, if it is a number.
pub(super) fn parse(token: &str) -> Option<Value> {
    let lower = token.to_ascii_lowercase();
    let (mut rest, mut radix, mut exact) = (lower.as_str(), None, None);
    while let Some(after) = rest.strip_prefix('#') {
        let letter = after.chars().next()?;
        match letter {
            'e' | 'i' if exact.is_none() => exact = Some(letter == 'e'),
            'b' | 'o' | 'd' | 'x' if radix.is_none() => radix = Some(letter),
            _ => return None,
        }
        rest = &after[1..];
    }
    let radix = match radix {
        Some('b') => 2,
        Some('o') => 8,
        Some('x') => 16,
        _ => 10,
    };
    let zero = complex(rest, radix, exact == Some(true))?;
    Some(if zero && exact != Some(false) { Value::Zero } else { Value::Number })
}

/// Whether a number is the exact 0; `None` if the text is not a number. With `exact`, the number is
/// exact whatever its notation.
fn complex(text: &str, radix: u32, exact: bool) -> Option<bool> {
    if text.is_empty() {
        return None;
    }
    let signed = text.starts_with(['+', '-']);
    let sign = usize::from(signed);
    // `+i`, `-i`
    if signed && &text[1..] == "i" {
        return Some(false);
    }
    let (zero, length) = unsigned(&text[sign..], radix, exact, signed)?;
    let rest = &text[sign + length..];
    match rest.chars().next() {
        None => Some(zero),
        Some('i') if signed && rest.len() == 1 => Some(zero),
        Some('@') => {
            let angle = &rest[1..];
            let signed = angle.starts_with(['+', '-']);
            let angle = &angle[usize::from(signed)..];
            let (angle_is_zero, length) = unsigned(angle, radix, exact, signed)?;
            (length == angle.len()).then_some(zero && angle_is_zero)
        }
        Some('+' | '-') => {
            let imaginary = &rest[1..];
            if imaginary == "i" {
                return Some(false);
            }
            let (also_zero, length) = unsigned(imaginary, radix, exact, true)?;
            (&imaginary[length..] == "i").then_some(zero && also_zero)
        }
        Some(_) => None,
    }
}

/// Reads an unsigned real number at the beginning of a text: whether it is an exact 0, and its
/// length.
fn unsigned(text: &str, radix: u32, exact: bool, signed: bool) -> Option<(bool, usize)> {
    // `nan.` may have a payload.
    if signed && (text.starts_with("inf.0") || text.starts_with("nan.0")) {
        return (!exact).then_some((false, 5));
    }
    let whole = digits(text, radix);
    let mut end = whole.0;
    let mut zero = whole.1;
    let mut plain = !whole.2;
    match text[end..].chars().next() {
        Some('/') if end > 0 => {
            let (length, denominator_is_zero, marked) = digits(&text[end + 1..], radix);
            if length == 0 || denominator_is_zero {
                return None;
            }
            return Some((zero && (exact || plain && !marked), end + 1 + length));
        }
        Some('.') if radix == 10 => {
            let (length, fraction_is_zero, _) = fraction(&text[end + 1..], whole.2);
            // `.#` has no digits.
            if end == 0 && !text[1..].starts_with(|c: char| c.is_ascii_digit()) {
                return None;
            }
            end += 1 + length;
            zero &= fraction_is_zero;
            plain = false;
        }
        _ if end == 0 => return None,
        _ => {}
    }
    if radix == 10 && text[end..].starts_with(['e', 's', 'f', 'd', 'l']) {
        let after = &text[end + 1..];
        let sign = usize::from(after.starts_with(['+', '-']));
        let length = after[sign..].bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 {
            return None;
        }
        end += 1 + sign + length;
        plain = false;
    }
    Some((zero && (exact || plain), end))
}

/// Counts digits at the beginning of a text, and any `#` after the first digit: their number,
/// whether all digits are 0, and whether there is a `#`.
fn digits(text: &str, radix: u32) -> (usize, bool, bool) {
    let length = text.chars().take_while(|c| c.is_digit(radix)).count();
    let zero = text[..length].bytes().all(|byte| byte == b'0');
    let marks = if length == 0 { 0 } else { text[length..].bytes().take_while(|byte| *byte == b'#').count() };
    (length + marks, zero, marks > 0)
}

/// The same after a `.`. After a `#`, only more `#` may follow.
fn fraction(text: &str, marked: bool) -> (usize, bool, bool) {
    if marked {
        let marks = text.bytes().take_while(|byte| *byte == b'#').count();
        return (marks, true, true);
    }
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let zero = text[..length].bytes().all(|byte| byte == b'0');
    let marks = text[length..].bytes().take_while(|byte| *byte == b'#').count();
    (length + marks, zero, marks > 0)
}
