//! Counts how many derivations of a graph depend on others.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Targets that are followed at once: one bit each.
const AT_ONCE: usize = u64::BITS as usize;

/// Derivations and their inputs, by number. An input has a smaller number than the derivation that
/// needs it.
pub type Graph = BTreeMap<i64, Vec<i64>>;

/// For each target, how many of `counted` need it, directly or not. A target counts as needing
/// itself.
pub fn count_dependents(graph: &Graph, targets: &[i64], counted: &BTreeSet<i64>) -> Vec<usize> {
    targets.chunks(AT_ONCE).flat_map(|targets| count_chunk(graph, targets, counted)).collect()
}

fn count_chunk(graph: &Graph, targets: &[i64], counted: &BTreeSet<i64>) -> Vec<usize> {
    let mut reached: HashMap<i64, u64> = targets.iter().zip(0..).map(|(&id, bit)| (id, 1 << bit)).collect();
    // The graph is in ascending order, so inputs come before the derivations that need them.
    for (&id, inputs) in graph {
        let bits = inputs.iter().filter_map(|input| reached.get(input)).fold(0, |all, bits| all | bits);
        if bits != 0 {
            *reached.entry(id).or_default() |= bits;
        }
    }
    let bits: Vec<u64> = counted.iter().filter_map(|id| reached.get(id).copied()).collect();
    (0..targets.len()).map(|bit| bits.iter().filter(|bits| *bits >> bit & 1 == 1).count()).collect()
}

/// The members of `changed` that need no other member, sorted.
pub fn independent(graph: &Graph, changed: &BTreeSet<i64>) -> Vec<i64> {
    let mut above: HashSet<i64> = HashSet::new();
    for (&id, inputs) in graph {
        if inputs.iter().any(|input| changed.contains(input) || above.contains(input)) {
            above.insert(id);
        }
    }
    changed.iter().copied().filter(|id| !above.contains(id)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any graph whose edges lead to smaller numbers.
    fn graph() -> impl Strategy<Value = Graph> {
        prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..120).prop_map(
            |nodes| {
                let inputs = |(id, inputs): (usize, Vec<prop::sample::Index>)| {
                    let input = |input: prop::sample::Index| i64::try_from(input.index(id)).unwrap();
                    (i64::try_from(id).unwrap(), inputs.into_iter().filter(|_| id > 0).map(input).collect())
                };
                nodes.into_iter().enumerate().map(inputs).collect()
            },
        )
    }

    /// Whether `from` needs `to`, or is `to`: a literal form of the definition.
    fn needs(graph: &Graph, from: i64, to: i64) -> bool {
        from == to || graph[&from].iter().any(|&input| needs(graph, input, to))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn counts_are_what_the_definition_says(graph in graph(), chosen in prop::collection::vec(any::<bool>(), 120)) {
            let chosen = graph.keys().zip(&chosen).filter(|(_, is_chosen)| **is_chosen);
            let chosen: Vec<i64> = chosen.map(|(id, _)| *id).collect();
            let counted: BTreeSet<i64> = graph.keys().copied().filter(|id| id % 3 != 0).collect();
            let expected: Vec<usize> = chosen
                .iter()
                .map(|&target| counted.iter().filter(|&&id| needs(&graph, id, target)).count())
                .collect();
            prop_assert_eq!(count_dependents(&graph, &chosen, &counted), expected);
            let changed: BTreeSet<i64> = chosen.iter().copied().collect();
            let expected: Vec<i64> = chosen
                .iter()
                .copied()
                .filter(|&id| !changed.iter().any(|&other| other != id && needs(&graph, id, other)))
                .collect();
            prop_assert_eq!(independent(&graph, &changed), expected);
        }
    }
}
