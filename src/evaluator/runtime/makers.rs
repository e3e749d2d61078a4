//! Finds the forms that may make a name: macros make names out of the names that they are about.

use std::collections::HashMap;

use super::key_limits::{LimitExceeded, Meter};
use super::reader::Symbol;

/// Forms in groups, by the words of the name that they are about.
#[derive(Default)]
pub struct Makers {
    numbers: HashMap<Vec<u8>, u32>,
    /// By number.
    pub groups: Vec<Vec<u32>>,
}

/// How many words of a name count.
const MAX_WORDS: usize = 12;

/// The words of a name: its parts of ASCII letters and digits.
fn words(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

impl Makers {
    /// Adds a form that is about `name`.
    pub fn add(&mut self, name: &[u8], definition: u32) {
        let words: Vec<&[u8]> = words(name).collect();
        if !words.is_empty() {
            let next = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
            let group = *self.numbers.entry(words.join(&b' ')).or_insert(next);
            if group == next {
                self.groups.push(Vec::new());
            }
            self.groups[group as usize].push(definition);
        }
    }

    /// By symbol: the groups whose words are in its name, one after the other.
    pub fn find(
        &self,
        names: &HashMap<Box<[u8]>, Symbol>,
        meter: &Meter<'_>,
    ) -> Result<Vec<Vec<u32>>, LimitExceeded> {
        let mut found = vec![Vec::new(); names.len()];
        for (name, symbol) in names {
            let words: Vec<&[u8]> = words(name).take(MAX_WORDS).collect();
            meter.steps(words.len() * name.len() / 8)?;
            for start in 0..words.len() {
                for end in start + 1..=words.len() {
                    if let Some(group) = self.numbers.get(words[start..end].join(&b' ').as_slice()) {
                        found[*symbol as usize].push(*group);
                    }
                }
            }
        }
        Ok(found)
    }
}
