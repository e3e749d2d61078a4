//! The queue of units: which worker lowers which unit. Pure, without I/O.
//!
//! # Guarantees
//!
//! * Each unit gets one result. A unit that has a result keeps it, whichever process dies later.
//! * A unit in flight when its worker dies is retried once, alone in a new worker, and given up
//!   when that dies too. Everything else that the worker held is handed out again.
//! * Only the worker that holds a unit can finish it.
//!
//! # Design
//!
//! Every worker has a lane: a long range of units whose inputs overlap much. It takes small pieces
//! from the front of its lane. A worker with an empty lane takes the second half of the last range
//! of the longest lane. Units of packages that the commit likely changed come first.
//!
//! When several processes die and any of them may be the cause, their units are retried one at a
//! time, with no other worker running. A new loader may list the units in another order, so units
//! are matched by their labels. Every loss is logged with unit and process: `tests/it/torture.rs`
//! kills processes from outside and compares.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// How many units a worker gets at a time: enough that it never waits, few enough that other
/// workers can still take units from its lane.
const UNITS_PER_REQUEST: usize = 24;

/// All units, and which worker holds which.
#[derive(Debug)]
pub(super) struct WorkQueue {
    order: Vec<usize>,
    lanes: Vec<VecDeque<Range<usize>>>,
    suspects: VecDeque<usize>,
    in_progress: BTreeMap<usize, InProgress>,
    finished: Vec<bool>,
    open: usize,
}

#[derive(Debug, Default)]
struct InProgress {
    units: VecDeque<usize>,
    /// Units that were begun and have no result yet, as results arrive several at a time. The last
    /// one is in flight.
    begun: Vec<usize>,
    retried_alone: bool,
}

/// What the death of a worker means for the unit that it had in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// No unit was in flight.
    NoUnit,
    /// This unit is retried, alone.
    Retry(usize),
    /// This unit killed two workers, so its result is an error.
    GiveUp(usize),
}

impl WorkQueue {
    /// Creates the queue for `lanes` workers. `lane_of` gives the lane of each unit. Units for
    /// which `first` holds come first; they are spread over all lanes.
    pub(super) fn new(lane_of: &[usize], lanes: usize, first: impl Fn(usize) -> bool) -> Self {
        let total = lane_of.len();
        let (early, mut late): (Vec<usize>, Vec<usize>) = (0..total).partition(|unit| first(*unit));
        late.sort_by_key(|unit| lane_of[*unit]);
        let boundary = early.len();
        let cut_early = |lane: usize| boundary * lane / lanes;
        let cut_late = |lane: usize| boundary + late.partition_point(|unit| lane_of[*unit] < lane);
        let ranges = |lane| [cut_early(lane)..cut_early(lane + 1), cut_late(lane)..cut_late(lane + 1)];
        let lanes =
            (0..lanes).map(|lane| ranges(lane).into_iter().filter(|r| !r.is_empty()).collect()).collect();
        Self {
            order: [early, late].concat(),
            lanes,
            suspects: VecDeque::new(),
            in_progress: BTreeMap::new(),
            finished: vec![false; total],
            open: total,
        }
    }

    /// The number of units without a result.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Whether a unit waits to be retried alone.
    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Whether there are units for one more worker.
    pub(super) fn has_work(&self) -> bool {
        !self.suspects.is_empty() || self.lanes.iter().any(|lane| !lane.is_empty())
    }

    /// The units that `worker` is to lower next; empty when none are left to hand out. Only a
    /// `fresh` worker, which has lowered nothing yet, can get a suspect.
    pub(super) fn next(&mut self, worker: usize, fresh: bool) -> Vec<usize> {
        let retried_alone = if fresh { self.suspects.pop_front() } else { None };
        let units = match retried_alone {
            Some(unit) => vec![unit],
            None => self.piece(worker),
        };
        let in_progress = InProgress {
            units: units.iter().copied().collect(),
            begun: Vec::new(),
            retried_alone: retried_alone.is_some(),
        };
        self.in_progress.insert(worker, in_progress);
        units
    }

    fn piece(&mut self, worker: usize) -> Vec<usize> {
        let lane = worker % self.lanes.len();
        loop {
            if self.lanes[lane].is_empty() && !self.steal(lane) {
                return Vec::new();
            }
            let Some(range) = self.lanes[lane].front_mut() else { continue };
            let end = range.end.min(range.start + UNITS_PER_REQUEST);
            let piece = range.start..end;
            range.start = end;
            if end >= range.end {
                self.lanes[lane].pop_front();
            }
            let units: Vec<usize> =
                piece.map(|at| self.order[at]).filter(|unit| !self.finished[*unit]).collect();
            if !units.is_empty() {
                return units;
            }
        }
    }

    fn steal(&mut self, thief: usize) -> bool {
        let length = |lane: &VecDeque<Range<usize>>| lane.iter().map(Range::len).sum::<usize>();
        let Some(victim) = (0..self.lanes.len()).max_by_key(|lane| length(&self.lanes[*lane])) else {
            return false;
        };
        let Some(range) = self.lanes[victim].pop_back() else { return false };
        let middle = range.start + range.len() / 2;
        if middle > range.start {
            self.lanes[victim].push_back(range.start..middle);
        }
        self.lanes[thief].push_back(middle..range.end);
        true
    }

    /// Whether `worker` has finished all units that it was given.
    pub(super) fn is_idle(&self, worker: usize) -> bool {
        self.in_progress
            .get(&worker)
            .is_none_or(|in_progress| in_progress.units.is_empty() && in_progress.begun.is_empty())
    }

    /// Whether `worker` was given a unit to retry alone.
    pub(super) fn is_retried_alone(&self, worker: usize) -> bool {
        self.in_progress.get(&worker).is_some_and(|in_progress| in_progress.retried_alone)
    }

    /// Records that `worker` has begun `unit`; false when that is not the next unit it holds.
    pub(super) fn begin(&mut self, worker: usize, unit: usize) -> bool {
        let Some(in_progress) = self.in_progress.get_mut(&worker) else { return false };
        if in_progress.units.front() != Some(&unit) {
            return false;
        }
        in_progress.units.pop_front();
        in_progress.begun.push(unit);
        true
    }

    /// Whether `worker` has begun `unit` and has no result for it yet.
    pub(super) fn has_begun(&self, worker: usize, unit: usize) -> bool {
        self.in_progress.get(&worker).is_some_and(|in_progress| in_progress.begun.contains(&unit))
    }

    /// Whether `unit` has a result.
    pub(super) fn is_closed(&self, unit: usize) -> bool {
        self.finished.get(unit).is_none_or(|finished| *finished)
    }

    /// Records a result of `worker` for `unit`; false when the worker has not begun that unit.
    pub(super) fn finish(&mut self, worker: usize, unit: usize) -> bool {
        let Some(in_progress) = self.in_progress.get_mut(&worker) else { return false };
        let Some(at) = in_progress.begun.iter().position(|begun| *begun == unit) else { return false };
        in_progress.begun.remove(at);
        self.close(unit)
    }

    /// Marks `unit` as finished, also when no worker holds it, such as a unit that was lowered
    /// before forking. False when it was finished before.
    pub(super) fn close(&mut self, unit: usize) -> bool {
        match self.finished.get_mut(unit) {
            Some(finished) if !*finished => {
                *finished = true;
                self.open -= 1;
                true
            }
            _ => false,
        }
    }

    /// Renumbers the units: `place` has the new number of each. No worker may hold a unit.
    pub(super) fn renumber(&mut self, place: &[usize]) {
        let mut finished = vec![false; self.finished.len()];
        for (old, new) in place.iter().enumerate() {
            finished[*new] = self.finished[old];
        }
        self.finished = finished;
        self.order.iter_mut().chain(&mut self.suspects).for_each(|unit| *unit = place[*unit]);
    }

    /// Returns the units of the dead `worker` to the queue, and says which unit is to blame. The
    /// death is not `conclusive` when others may have caused it: the unit in flight is then retried
    /// once more.
    pub(super) fn died(&mut self, worker: usize, conclusive: bool) -> Death {
        let Some(mut in_progress) = self.in_progress.remove(&worker) else { return Death::NoUnit };
        let in_flight = in_progress.begun.pop();
        if in_progress.retried_alone {
            // A suspect that was not begun must still be retried alone.
            self.suspects.extend(in_progress.units.drain(..));
        }
        let lane = worker % self.lanes.len();
        let base = self.order.len();
        // The units may be scattered over `order`, so they are appended to it as a new range.
        self.order.extend(in_progress.begun.iter().chain(&in_progress.units));
        if base < self.order.len() {
            self.lanes[lane].push_front(base..self.order.len());
        }
        match in_flight {
            None => Death::NoUnit,
            Some(unit) if in_progress.retried_alone && conclusive => {
                self.close(unit);
                Death::GiveUp(unit)
            }
            Some(unit) => {
                self.suspects.push_back(unit);
                Death::Retry(unit)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl WorkQueue {
        /// The number of units that `worker` holds and has not begun.
        fn holds(&self, worker: usize) -> usize {
            self.in_progress[&worker].units.len()
        }
    }

    proptest! {
        /// Workers take turns and die at random. A unit in `killers` kills each worker that lowers
        /// it.
        #[test]
        fn every_unit_gets_exactly_one_result(
            total in 0_usize..300,
            lanes in 1_usize..5,
            killers in proptest::collection::hash_set(0_usize..300, 0..5),
            likely in proptest::collection::hash_set(0_usize..300, 0..20),
            accidents in proptest::collection::vec(0_usize..40, 0..30),
            some in 1_usize..5,
        ) {
            let mut queue = WorkQueue::new(&dealt(total, lanes), lanes, |unit| likely.contains(&unit));
            let mut results = vec![0; total];
            let mut given_up = Vec::new();
            let mut accidents = accidents.into_iter().cycle().take(60);
            let mut fresh = vec![true; lanes];
            for turn in 0.. {
                prop_assert!(turn < 10_000, "it never ends");
                let worker = turn % lanes;
                let units = queue.next(worker, fresh[worker]);
                if units.is_empty() {
                    if queue.open() == 0 { break }
                    fresh[worker] = true;
                    continue;
                }
                fresh[worker] = false;
                let mut left = accidents.next().unwrap_or(usize::MAX);
                let mut unsaid = Vec::new();
                for unit in units {
                    prop_assert!(queue.begin(worker, unit));
                    if killers.contains(&unit) || left == 0 {
                        match queue.died(worker, true) {
                            Death::GiveUp(culprit) => given_up.push(culprit),
                            death => prop_assert_eq!(death, Death::Retry(unit)),
                        }
                        fresh[worker] = true;
                        break;
                    }
                    left -= 1;
                    unsaid.push(unit);
                    if unit % some == 0 || queue.holds(worker) == 0 {
                        for unit in unsaid.drain(..) {
                            results[unit] += 1;
                            prop_assert!(queue.finish(worker, unit));
                            prop_assert!(!queue.finish(worker, unit));
                        }
                    }
                }
            }
            for (unit, count) in results.into_iter().enumerate() {
                let expected = usize::from(!given_up.contains(&unit));
                prop_assert_eq!(count, expected);
                prop_assert!(!killers.contains(&unit) || given_up.contains(&unit));
            }
        }
    }

    fn dealt(total: usize, lanes: usize) -> Vec<usize> {
        (0..total).map(|unit| unit * lanes / total).collect()
    }

    #[test]
    fn what_is_likely_to_have_changed_comes_first() {
        let mut queue = WorkQueue::new(&dealt(1000, 2), 2, |unit| unit % 100 == 50);
        let first: Vec<usize> = [queue.next(0, true), queue.next(1, true)].concat();
        assert_eq!(first.len(), 10);
        assert!(first.iter().all(|unit| unit % 100 == 50));
    }

    #[test]
    fn who_dies_with_others_is_not_given_up_for_that() {
        let mut queue = WorkQueue::new(&dealt(1, 1), 1, |_| false);
        for worker in 0..5 {
            assert_eq!(queue.next(worker, true), [0]);
            assert!(queue.begin(worker, 0));
            assert_eq!(queue.died(worker, false), Death::Retry(0));
        }
        assert!(queue.has_suspects() && queue.next(5, true) == [0] && queue.begin(5, 0));
        assert_eq!((queue.died(5, true), queue.open()), (Death::GiveUp(0), 0));
    }

    #[test]
    fn units_keep_their_results_and_their_turns_when_they_are_renumbered() {
        let mut queue = WorkQueue::new(&dealt(4, 1), 1, |_| false);
        assert_eq!(queue.next(0, true), [0, 1, 2, 3]);
        assert!(queue.begin(0, 0) && queue.finish(0, 0) && queue.begin(0, 1));
        assert_eq!(queue.died(0, true), Death::Retry(1));
        queue.renumber(&[3, 2, 1, 0]);
        assert_eq!((queue.next(1, true), queue.next(2, true)), (vec![2], vec![1, 0]));
        assert!(queue.is_closed(3) && !queue.is_closed(0));
    }

    /// Regression test: `make torture` found such a suspect retried together with other units.
    #[test]
    fn a_suspect_that_was_not_begun_is_still_tried_alone() {
        let mut queue = WorkQueue::new(&dealt(10, 1), 1, |_| false);
        assert_eq!(queue.next(0, true).len(), 10);
        assert!(queue.begin(0, 0));
        assert_eq!(queue.died(0, true), Death::Retry(0));
        for worker in 1..4 {
            assert_eq!(queue.next(worker, true), [0]);
            assert_eq!(queue.died(worker, true), Death::NoUnit);
        }
        assert_eq!(queue.next(4, true), [0]);
        assert!(queue.begin(4, 0));
        assert_eq!(queue.died(4, true), Death::GiveUp(0));
        assert_eq!(queue.next(5, true).len(), 9);
    }

    #[test]
    fn an_idle_worker_takes_from_the_rear() {
        let mut queue = WorkQueue::new(&dealt(100, 2), 2, |_| false);
        for unit in 50..100 {
            queue.close(unit);
        }
        let taken = queue.next(1, false);
        assert!(taken.iter().all(|unit| (25..50).contains(unit)), "{taken:?}");
    }
}
