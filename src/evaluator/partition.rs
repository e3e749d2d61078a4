//! Deals files to workers so that few packages are lowered twice.
//!
//! A worker that lowers a package also lowers everything that the package needs. Another worker
//! that needs the same lowers it again. Two workers that lower packages in alphabetical order both
//! lower a quarter of all derivations. So the loader says what each package uses. The packages of
//! one file stay together. Files are dealt to lanes so that the lane with most to lower, including
//! what its packages need, has as little as possible.
//!
//! This is graph partitioning, approximated by simulated annealing: each lane starts with a long
//! run of neighbouring files; then files move between lanes at random, at first also when that
//! increases the cost. The same revision is always dealt in the same way. `docs/performance.md`
//! says how much work this saves.

use std::collections::BTreeMap;

use super::protocol::Uses;

/// How many deals are computed. The best one is used.
const TRIES: u64 = 4;
/// How many moves each deal tries. All tries together take a quarter of a second.
const STEPS: u32 = 60_000;
/// The initial temperature of the annealing, as a part of a lane's mean load.
const FIRST_HEAT: f64 = 1. / 300.;
/// The limit of packages that all files need, counted for each file, and of packages times lanes.
/// Beyond it, units are dealt in order. All packages of Guix need some three million.
const MOST_NEEDED: usize = 16_000_000;
/// How many packages each try may look at, roughly: if files need more, fewer moves are tried.
const MOST_LOOKS: usize = 1_000_000_000;
/// The weight of the excess of the most loaded lane over the mean.
const BALANCE: f64 = 0.4;

/// The lane of each unit, out of `lanes`. `packages` has the number of each unit's package; units
/// whose number names no package form one group. `before` are the units that are lowered before all
/// others, for all lanes. When `uses` is empty, all units are dealt in order.
pub(super) fn assign_lanes(uses: &[Uses], packages: &[usize], before: &[usize], lanes: usize) -> Vec<usize> {
    let contiguous = |unit: usize| unit * lanes / packages.len();
    if uses.is_empty() || lanes < 2 {
        return (0..packages.len()).map(contiguous).collect();
    }
    let groups = groups(uses, packages, before).filter(|_| uses.len() * lanes <= MOST_NEEDED);
    let Some(groups) = groups else { return (0..packages.len()).map(contiguous).collect() };
    let needed: usize = groups.iter().map(|group| group.needs.len()).sum();
    tracing::debug!(packages = uses.len(), files = groups.len(), needed, "units are dealt by what they use");
    let tries = (0..TRIES).map(|seed| Assignment::improved(&groups, uses.len(), lanes, seed));
    let best = tries.min_by(|one, other| one.cost().total_cmp(&other.cost()));
    let mut lane_of = vec![0; packages.len()];
    for (group, lane) in groups.iter().zip(best.iter().flat_map(|assignment| &assignment.lane_of)) {
        group.units.iter().for_each(|unit| lane_of[*unit] = *lane);
    }
    lane_of
}

/// The units of one file.
#[derive(Debug, Default)]
struct Group {
    units: Vec<usize>,
    /// The packages that lowering these units lowers, without those lowered before.
    needs: Vec<usize>,
}

/// Groups the units by file, in their order; units without a package form one group. `None` when
/// the groups need too many packages.
fn groups(uses: &[Uses], packages: &[usize], before: &[usize]) -> Option<Vec<Group>> {
    let known = |package: &usize| *package < uses.len();
    let mut by_file: BTreeMap<Option<usize>, Group> = BTreeMap::new();
    for (unit, package) in packages.iter().enumerate() {
        let package = Some(*package).filter(known);
        let group = by_file.entry(package.map(|package| uses[package].file)).or_default();
        group.units.push(unit);
        group.needs.extend(package);
    }
    let mut groups: Vec<Group> = by_file.into_values().collect();
    groups.sort_by_key(|group| group.units.first().copied());
    let before = before.iter().filter_map(|unit| packages.get(*unit).copied());
    let mut lowered_before = vec![false; uses.len()];
    reached(uses, before.filter(known).collect(), |one| !std::mem::replace(&mut lowered_before[one], true));
    // The last group in which each package was reached.
    let mut last = vec![usize::MAX; uses.len()];
    let mut room = MOST_NEEDED;
    for (number, group) in groups.iter_mut().enumerate() {
        let begin = std::mem::take(&mut group.needs);
        let enter = |one: usize| !lowered_before[one] && std::mem::replace(&mut last[one], number) != number;
        group.needs = reached(uses, begin, enter);
        group.needs.shrink_to_fit();
        room = room.checked_sub(group.needs.len())?;
    }
    Some(groups)
}

/// The packages that can be reached from `next` through what each uses. The search goes on only
/// from packages that `enter` accepts.
fn reached(uses: &[Uses], mut next: Vec<usize>, mut enter: impl FnMut(usize) -> bool) -> Vec<usize> {
    let mut reached = Vec::new();
    while let Some(one) = next.pop() {
        if enter(one) {
            reached.push(one);
            next.extend(uses[one].used.iter().filter(|used| **used < uses.len()));
        }
    }
    reached
}

/// Which lane has which group.
struct Assignment<'a> {
    groups: &'a [Group],
    lane_of: Vec<usize>,
    /// For each lane, how many of its groups need each package.
    users: Vec<Vec<u32>>,
    /// How much each lane has to lower.
    loads: Vec<f64>,
    seed: u64,
}

impl<'a> Assignment<'a> {
    /// Starts with long runs of groups and improves the assignment; `seed` is the random seed.
    fn improved(groups: &'a [Group], packages: usize, lanes: usize, seed: u64) -> Self {
        let units: usize = groups.iter().map(|group| group.units.len()).sum();
        let mut assignment = Self {
            groups,
            lane_of: Vec::with_capacity(groups.len()),
            users: vec![vec![0; packages]; lanes],
            loads: vec![0.; lanes],
            seed,
        };
        let mut dealt = 0;
        for group in groups {
            let lane = dealt * lanes / units;
            assignment.loads[lane] += assignment.gained(group, lane);
            group.needs.iter().for_each(|package| assignment.users[lane][*package] += 1);
            assignment.lane_of.push(lane);
            dealt += group.units.len();
        }
        let heat = assignment.mean() * FIRST_HEAT;
        let needed: usize = groups.iter().map(|group| group.needs.len()).sum();
        let looks = needed / groups.len().max(1) + 1;
        let steps = STEPS.min(u32::try_from(MOST_LOOKS / looks).unwrap_or(STEPS));
        for step in 0..steps {
            let left = 1. - f64::from(step) / f64::from(steps);
            let (group, lane) = (assignment.below(groups.len()), assignment.below(lanes));
            assignment.try_to_move(group, lane, 1. + heat * left * left);
        }
        assignment
    }

    fn try_to_move(&mut self, group: usize, to: usize, heat: f64) {
        let from = self.lane_of[group];
        if from == to {
            return;
        }
        let moved = &self.groups[group];
        let before = self.cost();
        let (lost, gained) = (self.lost(moved, from), self.gained(moved, to));
        self.loads[from] -= lost;
        self.loads[to] += gained;
        let worse = self.cost() - before;
        if worse > 0. && self.part() >= (-worse / heat).exp() {
            self.loads[from] += lost;
            self.loads[to] -= gained;
            return;
        }
        for package in &moved.needs {
            self.users[from][*package] -= 1;
            self.users[to][*package] += 1;
        }
        self.lane_of[group] = to;
    }

    /// How much less `lane`, which has this group, would have to lower without it.
    fn lost(&self, group: &Group, lane: usize) -> f64 {
        let only = group.needs.iter().filter(|package| self.users[lane][**package] == 1);
        weight(group, only.count())
    }

    /// How much more `lane` would have to lower with this group.
    fn gained(&self, group: &Group, lane: usize) -> f64 {
        let new = group.needs.iter().filter(|package| self.users[lane][**package] == 0);
        weight(group, new.count())
    }

    fn cost(&self) -> f64 {
        let most = self.loads.iter().copied().fold(0., f64::max);
        self.mean() + BALANCE * (most - self.mean())
    }

    #[expect(clippy::cast_precision_loss, reason = "lanes are few")]
    fn mean(&self) -> f64 {
        self.loads.iter().sum::<f64>() / self.loads.len() as f64
    }

    /// The next random number of `SplitMix64`: the sequence is the same in each run.
    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.draw() % limit as u64).unwrap_or(0)
    }

    /// A random number from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "32 bits are exact")]
    fn part(&mut self) -> f64 {
        (self.draw() >> 32) as f64 / (1_u64 << 32) as f64
    }
}

/// The number of packages needed; for a group that needs none, its number of units.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn weight(group: &Group, needed: usize) -> f64 {
    let own = if group.needs.is_empty() { group.units.len() } else { 0 };
    (own + needed) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eighty files of five packages each. The packages of a file use a tenth of one of two
    /// libraries, which alternate from file to file.
    #[test]
    fn files_that_use_the_same_are_lowered_by_the_same_worker() {
        let mut uses = vec![Uses { file: 100, used: Vec::new() }; 600];
        for file in 0..80 {
            let library = |n: usize| 300 * (file % 2) + (file * 7 + n) % 300;
            uses.extend(
                (0..5).map(|_| Uses { file, used: (0..30).map(library).chain([7_000_000]).collect() }),
            );
        }
        let mut packages: Vec<usize> = (600..1000).collect();
        packages.extend([usize::MAX, 8_000_000]);
        let lanes = assign_lanes(&uses, &packages, &[401, 9_000_000], 2);
        assert_eq!(lanes.len(), packages.len());
        let astray = (0..400).filter(|unit| lanes[*unit] != lanes[unit % 10 / 5 * 5]).count();
        assert!(astray <= 20, "{lanes:?}");
        assert_ne!(lanes[0], lanes[5]);
        assert_eq!(assign_lanes(&uses, &packages, &[401, 9_000_000], 2), lanes);
    }

    /// Each file needs all others, so the total of what they need is quadratic.
    #[test]
    fn packages_that_need_too_much_are_dealt_as_they_come() {
        let count = 10_000;
        let uses: Vec<Uses> = (0..count)
            .map(|file| Uses { file, used: vec![(file + 1) % count, (file + 7) % count] })
            .collect();
        let packages: Vec<usize> = (0..count).collect();
        let begun = crate::clock::cpu_time();
        let dealt = assign_lanes(&uses, &packages, &[], 2);
        assert_eq!(dealt, (0..count).map(|unit| unit * 2 / count).collect::<Vec<_>>());
        assert!(crate::clock::cpu_time() < begun + std::time::Duration::from_secs(5));
    }

    #[test]
    fn units_of_which_nothing_is_known_are_dealt_as_they_come() {
        assert_eq!(assign_lanes(&[], &[0, 3, 1, 2], &[], 2), [0, 0, 1, 1]);
        assert!(assign_lanes(&[], &[], &[], 2).is_empty());
        assert_eq!(assign_lanes(&[Uses::default()], &[9, 0, 0], &[], 1), [0, 0, 0]);
    }
}
