//! Which files each file reaches by imports.

use std::collections::HashSet;

use super::hash::Hash;
use super::key_limits::{LimitExceeded, Meter};
use super::search::{Search, Step, UNSEEN};

/// What every file reaches: its imports, their imports, and so on, and itself. Files that reach each other
/// reach the same ones and share one set.
#[derive(Debug, Default)]
pub struct Reach {
    /// By file.
    components: Vec<u32>,
    /// By component: a set of bits.
    sets: Vec<Vec<u64>>,
}

impl Reach {
    /// Follows `imports`, by file.
    pub fn new(imports: &[&HashSet<u32>], meter: &Meter<'_>) -> Result<Self, LimitExceeded> {
        let words = imports.len().div_ceil(64);
        let mut reach = Self { components: vec![UNSEEN; imports.len()], sets: Vec::new() };
        let mut search = Search::new(imports.len());
        for root in (0..).take(imports.len()) {
            let mut enter = search.is_new(root).then_some(root);
            loop {
                if let Some(file) = enter.take() {
                    let edges = &imports[file as usize];
                    meter.steps(edges.len())?;
                    search.enter(file, edges.iter().copied().collect(), Hash::default());
                }
                match search.step() {
                    Step::Enter(file) => enter = Some(file),
                    Step::Complete(members) => {
                        meter.bytes(words * 8)?;
                        reach.add(&members, &search, words, meter)?;
                    }
                    Step::Again => {}
                    Step::Done => break,
                }
            }
        }
        Ok(reach)
    }

    fn add(
        &mut self,
        members: &[u32],
        search: &Search,
        words: usize,
        meter: &Meter<'_>,
    ) -> Result<(), LimitExceeded> {
        let mut set = vec![0; words];
        let component = u32::try_from(self.sets.len()).unwrap_or(UNSEEN);
        let mut below = HashSet::new();
        for member in members {
            set[*member as usize / 64] |= 1 << (member % 64);
            self.components[*member as usize] = component;
            below.extend(search.below(*member).iter().map(|file| self.components[*file as usize]));
        }
        for other in below {
            meter.steps(words)?;
            for (word, more) in set.iter_mut().zip(&self.sets[other as usize]) {
                *word |= more;
            }
        }
        self.sets.push(set);
        Ok(())
    }

    /// The component of `file`.
    pub fn component(&self, file: u32) -> u32 {
        self.components[file as usize]
    }

    /// Whether `file` reaches `other`.
    pub fn reaches(&self, file: u32, other: u32) -> bool {
        self.sets[self.component(file) as usize][other as usize / 64] >> (other % 64) & 1 == 1
    }

    /// What the files of `component` reach, in order.
    pub fn files(&self, component: u32) -> impl Iterator<Item = u32> {
        let words = self.sets[component as usize].iter().zip(0_u32..).filter(|(word, _)| **word != 0);
        words.flat_map(|(word, at)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        })
    }

    /// How many words there are in a set.
    pub fn words(&self) -> usize {
        self.components.len().div_ceil(64)
    }
}
