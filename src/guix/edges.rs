//! The inputs of a derivation in the format of the database: ascending ids, each encoded as its
//! difference to the one before, in groups of seven bits, the lowest first (LEB128).

/// Bytes that are not a list of ids as [`encode`] writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the list of inputs is damaged at byte {0}")]
pub struct Damaged(pub usize);

/// Encodes positive ids. Their order and duplicates are lost.
pub fn encode(ids: &[i64]) -> Vec<u8> {
    let mut sorted: Vec<u64> = ids.iter().map(|id| id.cast_unsigned()).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut bytes = Vec::with_capacity(sorted.len() * 2);
    let mut last = 0;
    for id in sorted {
        push_varint(&mut bytes, id - last);
        last = id;
    }
    bytes
}

/// Decodes ids, in ascending order. Refuses anything that [`encode`] does not write for positive
/// ids.
pub fn decode(bytes: &[u8]) -> Result<Vec<i64>, Damaged> {
    let mut ids = Vec::with_capacity(bytes.len() / 2);
    let mut last: i64 = 0;
    let mut at = 0;
    while at < bytes.len() {
        let (distance, end) = varint(bytes, at).ok_or(Damaged(at))?;
        let distance = i64::try_from(distance).ok().filter(|&d| d > 0).ok_or(Damaged(at))?;
        last = last.checked_add(distance).ok_or(Damaged(at))?;
        ids.push(last);
        at = end;
    }
    Ok(ids)
}

fn push_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Decodes the number at `start`; returns it and its end. Only the shortest encoding is valid.
fn varint(bytes: &[u8], start: usize) -> Option<(u64, usize)> {
    let mut number: u64 = 0;
    for (place, &byte) in bytes.get(start..)?.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * u32::try_from(place).ok()?;
        if bits.leading_zeros() < shift {
            return None;
        }
        number |= bits << shift;
        if byte < 0x80 {
            let shortest = byte != 0 || place == 0;
            return shortest.then_some((number, start + place + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_come_back_sorted(ids in btree_set(1..=i64::MAX, 0..50), seed in any::<usize>()) {
            let sorted: Vec<i64> = ids.into_iter().collect();
            let mut shuffled = sorted.clone();
            if !shuffled.is_empty() {
                let middle = seed % shuffled.len();
                shuffled.rotate_left(middle);
                shuffled.push(shuffled[0]);
            }
            prop_assert_eq!(decode(&encode(&shuffled)), Ok(sorted));
        }

        #[test]
        fn what_can_be_read_is_what_would_be_written(bytes in vec(any::<u8>(), 0..40)) {
            if let Ok(ids) = decode(&bytes) {
                prop_assert_eq!(encode(&ids), bytes);
            }
        }
    }

    #[test]
    fn neighbours_take_a_byte_each() {
        assert_eq!(encode(&[1000, 1001, 1003]), [0xe8, 0x07, 1, 2]);
    }

    #[test]
    fn damage_is_found_where_it_is() {
        assert_eq!(decode(&[5, 0x80]), Err(Damaged(1)), "ends in the middle of a number");
        assert_eq!(decode(&[5, 0]), Err(Damaged(1)), "the same id twice");
        assert_eq!(decode(&[5, 0x81, 0]), Err(Damaged(1)), "not the shortest form");
        assert_eq!(decode(&[0xff; 11]), Err(Damaged(0)), "larger than any id");
    }
}
