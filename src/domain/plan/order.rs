//! Which builds are needed, and the best order to build them in.
//!
//! The coordinator is told the order as one whole number; larger is sooner. The order must stay
//! good without frequent updates. Positions in a queue would not, because they change with every
//! finished build. The number consists of these parts, from the most significant:
//!
//! 1. the spec's priority, and the place of the system among those of the spec: `band`;
//! 2. the *round*: each spec of one band gets builds of a round in proportion to its share, and
//!    each round has four times as many builds as the one before it; the first has 8 for each
//!    share;
//! 3. the length of the longest chain of builds that begins with this one, estimated from the
//!    build times of earlier builds of the same packages.
//!
//! The rounds bound how long a build waits: a build with *n* builds of its own spec before it waits
//! for at most 4*n* + 8 builds of any other spec with the same share. During a whole rebuild, the
//! coordinator rarely has to be told new numbers.
//!
//! A build that several specs need gets the best number that it would get for any of them. An input
//! gets at least the number of the builds that need it. `docs/performance.md` measures the benefit
//! of the order.

use std::collections::BTreeMap;

/// Builds of a spec in the first round, for each of its shares.
const FIRST_ROUND: usize = 8;
/// Growth factor of rounds.
const GROWTH: usize = 4;
/// The last round, which has all remaining builds.
const LAST_ROUND: i64 = 9;
/// Number of chain lengths that are distinguished. Neighbouring lengths differ by about two per
/// cent.
const LENGTHS: i64 = 1000;
/// Base-2 logarithm of the longest distinguished chain, in seconds.
const LONGEST: f64 = 23.0;

/// A spec's claim to a build. Of several, the least counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The spec's priority: 0 first.
    pub priority: u8,
    /// The system's place among those of the spec: 0 first.
    pub place: u8,
    /// The number of the spec.
    pub spec: i64,
    /// How many builds the spec gets for each one of a spec with one share.
    pub share: u32,
}

/// The missing derivations, inputs before the derivations that need them.
#[derive(Debug, Default)]
pub struct Graph {
    /// The derivations.
    pub nodes: Vec<Node>,
    /// The builds, each as the index of its derivation in `nodes`.
    pub builds: Vec<usize>,
}

/// A derivation.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Indexes of those inputs that are missing.
    pub inputs: Vec<usize>,
    /// Index of the build that makes its outputs, perhaps from another derivation; `None` if no
    /// open build makes them.
    pub build: Option<usize>,
    /// How long it takes to build, or would take.
    pub seconds: u32,
}

/// The rank of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    /// The claim that decided the rank.
    pub claim: Claim,
    /// Seconds from the start of the build to the end of the longest chain of builds that begins
    /// with it.
    pub chain: u64,
    /// The priority that the coordinator is told: larger is sooner.
    pub urgency: i64,
}

/// The lowest urgency for a spec's priority and a system's place, both 0 first.
fn band(priority: u8, place: u8) -> i64 {
    let (priority, place) = (i64::from(priority.min(9)), i64::from(place.min(9)));
    ((9 - priority) * 10 + (9 - place)) * (LAST_ROUND + 1) * LENGTHS
}

/// The urgency of a build whose place in the graph is not known yet. It is in the first round,
/// because what an evaluation finds first is what a commit changed.
pub fn unranked(priority: u8, place: u8) -> i64 {
    band(priority, place) + LAST_ROUND * LENGTHS
}

/// Ranks the builds. `claims` holds for each build the claim of the specs that want it as a job,
/// not as an input. A build without a rank is needed by no spec.
pub fn ranks(graph: &Graph, claims: &[Option<Claim>]) -> Vec<Option<Rank>> {
    let (claims, chains) = propagate(graph, claims);
    let mut of_spec: BTreeMap<(u8, u8, i64), Vec<usize>> = BTreeMap::new();
    for (build, claim) in claims.iter().enumerate() {
        if let Some(claim) = claim {
            of_spec.entry((claim.priority, claim.place, claim.spec)).or_default().push(build);
        }
    }
    let mut ranks = vec![None; graph.builds.len()];
    for mut builds in of_spec.into_values() {
        builds.sort_by_key(|build| (std::cmp::Reverse(chains[*build]), graph.builds[*build]));
        for (before, build) in builds.into_iter().enumerate() {
            let Some(claim) = claims[build] else { continue };
            let urgency =
                band(claim.priority, claim.place) + (LAST_ROUND - round(before, claim.share)) * LENGTHS;
            let chain = chains[build];
            ranks[build] = Some(Rank { claim, chain, urgency: urgency + length(chain) });
        }
    }
    raise_inputs(graph, &mut ranks);
    ranks
}

/// Propagates claims and chain lengths from each derivation to its inputs. Returns both for each
/// build.
///
/// One pass is enough, unless outputs are made by another derivation than the one that is needed.
/// Then the next pass reaches the inputs of that other derivation.
fn propagate(graph: &Graph, claims: &[Option<Claim>]) -> (Vec<Option<Claim>>, Vec<u64>) {
    let mut claims = claims.to_vec();
    let mut of_node: Vec<Option<Claim>> = vec![None; graph.nodes.len()];
    let mut chains = vec![0; graph.nodes.len()];
    loop {
        for (place, claim) in graph.builds.iter().zip(&claims) {
            of_node[*place] = higher(of_node[*place], *claim);
        }
        chains.fill(0);
        for (place, node) in graph.nodes.iter().enumerate().rev() {
            chains[place] += u64::from(node.seconds);
            for input in &node.inputs {
                of_node[*input] = higher(of_node[*input], of_node[place]);
                if of_node[place].is_some() {
                    chains[*input] = chains[*input].max(chains[place]);
                }
            }
        }
        for (node, claim) in graph.nodes.iter().zip(&of_node) {
            if let Some(build) = node.build {
                claims[build] = higher(claims[build], *claim);
            }
        }
        let mut claimed = graph.builds.iter().zip(&claims);
        let settled = claimed.all(|(place, claim)| higher(of_node[*place], *claim) == of_node[*place]);
        if settled {
            break;
        }
    }
    let mut of_build = vec![0; graph.builds.len()];
    for (node, chain) in graph.nodes.iter().zip(chains) {
        if let Some(build) = node.build {
            of_build[build] = chain.max(of_build[build]);
        }
    }
    (claims, of_build)
}

fn higher(one: Option<Claim>, other: Option<Claim>) -> Option<Claim> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The round of a build that has `before` builds of the same spec before it.
fn round(before: usize, share: u32) -> i64 {
    let share = usize::try_from(share.max(1)).unwrap_or(usize::MAX);
    let (mut round, mut size) = (0, FIRST_ROUND.saturating_mul(share));
    let mut end = size;
    while before >= end && round < LAST_ROUND {
        round += 1;
        size = size.saturating_mul(GROWTH);
        end = end.saturating_add(size);
    }
    round
}

/// The length of a chain on a logarithmic scale, from 0 to below [`LENGTHS`].
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "it is a coarse figure")]
fn length(chain: u64) -> i64 {
    let share = (chain.max(1) as f64).log2() / LONGEST;
    ((share * LENGTHS as f64) as i64).clamp(0, LENGTHS - 1)
}

/// Raises inputs to at least the urgency of the builds that need them.
fn raise_inputs(graph: &Graph, ranks: &mut [Option<Rank>]) {
    let mut least = vec![0; graph.nodes.len()];
    for (place, node) in graph.nodes.iter().enumerate().rev() {
        if let Some(rank) = node.build.and_then(|build| ranks[build].as_mut()) {
            rank.urgency = rank.urgency.max(least[place]);
            least[place] = rank.urgency;
        }
        for input in &node.inputs {
            least[*input] = least[*input].max(least[place]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: Claim = Claim { priority: 5, place: 0, spec: 1, share: 1 };

    /// A graph in which every derivation is a build of one minute.
    fn graph(inputs: &[Vec<usize>]) -> Graph {
        let node = |(place, inputs): (usize, &Vec<usize>)| Node {
            inputs: inputs.clone(),
            build: Some(place),
            seconds: 60,
        };
        Graph { nodes: inputs.iter().enumerate().map(node).collect(), builds: (0..inputs.len()).collect() }
    }

    fn urgencies(graph: &Graph, claims: &[Option<Claim>]) -> Vec<i64> {
        ranks(graph, claims).into_iter().map(|rank| rank.map_or(-1, |rank| rank.urgency)).collect()
    }

    #[test]
    fn the_longest_chain_comes_first_and_better_specs_before_all_of_it() {
        // 3 needs 2 needs 0; 4 needs 1.
        let chain = graph(&[vec![], vec![], vec![0], vec![2], vec![1]]);
        let all = urgencies(&chain, &[Some(ONE); 5]);
        assert!(all[0] > all[1] && all[1] == all[2] && all[2] > all[3] && all[3] == all[4], "{all:?}");

        let urgent = Claim { priority: 4, spec: 2, ..ONE };
        let later_system = Claim { place: 1, ..ONE };
        let mixed = [None, None, Some(ONE), Some(later_system), Some(urgent)];
        let order = urgencies(&chain, &mixed);
        assert!(
            order[1] >= order[4] && order[4] > order[0],
            "an input is claimed by who needs it: {order:?}"
        );
        assert!(order[0] > order[2] && order[2] > order[3], "{order:?}");
    }

    #[test]
    fn what_nobody_needs_has_no_rank() {
        let chain = graph(&[vec![], vec![0], vec![0], vec![2]]);
        let needed: Vec<bool> =
            ranks(&chain, &[None, Some(ONE), None, None]).iter().map(Option::is_some).collect();
        assert_eq!(needed, [true, true, false, false]);
    }

    #[test]
    fn what_another_derivation_makes_is_needed_with_its_own_inputs() {
        // 2 needs 1, whose outputs the build of 4 makes, which needs 3.
        let mut odd = graph(&[vec![], vec![0], vec![1], vec![], vec![3]]);
        odd.nodes[1].build = Some(4);
        odd.builds = vec![0, 4, 2, 3, 4];
        let ranks = ranks(&odd, &[None, None, Some(ONE), None, None]);
        assert!(ranks[4].is_some() && ranks[3].is_some(), "{ranks:?}");
    }

    #[test]
    fn specs_of_one_priority_take_turns_by_their_shares() {
        let many = graph(&vec![vec![]; 1000]);
        let small = Claim { spec: 2, share: 2, ..ONE };
        let claims: Vec<_> = (0..1000).map(|place| Some(if place < 900 { ONE } else { small })).collect();
        let order = urgencies(&many, &claims);
        let before =
            |urgency: i64, spec: std::ops::Range<usize>| spec.filter(|at| order[*at] >= urgency).count();
        for (behind, at) in (900..1000).enumerate() {
            // A build with `behind` builds of its own spec before it waits for at most four times
            // as many builds of the other spec, scaled by the shares, plus that spec's first round.
            let bound = GROWTH * behind / 2 + FIRST_ROUND;
            assert!(before(order[at], 0..900) <= bound, "{behind}: {}", before(order[at], 0..900));
        }
    }

    proptest! {
        #[test]
        fn inputs_are_no_later_than_what_needs_them(
            edges in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..60),
            wants in prop::collection::vec(prop::option::of((0_u8..3, 0_u8..2, 0_i64..4)), 60),
        ) {
            let inputs: Vec<Vec<usize>> = edges.iter().enumerate().map(|(place, inputs)| {
                if place == 0 { Vec::new() } else { inputs.iter().map(|input| input.index(place)).collect() }
            }).collect();
            let graph = graph(&inputs);
            let claims: Vec<_> = wants[..inputs.len()].iter().map(|want| {
                want.map(|(priority, place, spec)| Claim { priority, place, spec, share: 1 })
            }).collect();
            let ranks = ranks(&graph, &claims);
            for (place, inputs) in inputs.iter().enumerate() {
                let Some(rank) = ranks[place] else {
                    prop_assert_eq!(claims[place], None);
                    continue;
                };
                for input in inputs {
                    let needed = ranks[*input];
                    prop_assert!(needed.is_some_and(|needed| needed.urgency >= rank.urgency && needed.chain > rank.chain));
                }
            }
        }
    }
}
