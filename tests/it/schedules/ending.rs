use std::collections::{BTreeMap, BTreeSet};

use gorget::db::{Build, BuildState};
use gorget::farm::reconciler::run_until_idle;

use super::agents::is_going_on;
use super::world::World;
use crate::support::coordinator::Mood;

impl World<'_> {
    /// Nothing goes wrong any more: what is wanted is with the coordinator, then it is built, and that is
    /// known. Gives the states in which builds were.
    pub async fn end(mut self) -> BTreeSet<String> {
        self.settle().await;
        let builds = self.builds().await;
        self.check(&builds);
        self.check_coordinator(&builds);
        let seen = builds.values().map(|build| format!("{:?}", build.state)).collect();
        self.build_everything().await;
        seen
    }

    /// All is done that there is to do, until nothing is left; what became of builds is only asked for, and
    /// never told.
    async fn rest(&mut self) {
        for _ in 0..9 {
            self.clock.advance(8000);
            run_until_idle(&mut self.reconcile()).await.unwrap();
            let planned = run_until_idle(&mut self.schedule()).await.unwrap();
            self.tell("all is asked for and planned").await;
            if !run_until_idle(&mut self.submit()).await.unwrap() && !planned {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Both specs have one more evaluation that is complete, and all is done that there is to do.
    async fn settle(&mut self) {
        self.coordinator.restart().await;
        self.coordinator.feel(Mood::Sound);
        for spec in &mut self.specs {
            spec.active = true;
        }
        self.db.sync_specs(&self.specs).await.unwrap();
        self.rest().await;
        for which in 0..2 {
            self.evaluate_to_the_end(which).await;
        }
        self.specs[0].active = !self.lot.once_in(3);
        self.db.sync_specs(&self.specs).await.unwrap();
        self.rest().await;
    }

    fn wanted(&self) -> BTreeSet<usize> {
        let active = self.specs.iter().zip(&self.jobs).filter(|(spec, _)| spec.active);
        active.flat_map(|(_, jobs)| jobs.iter().copied()).collect()
    }

    fn check(&self, builds: &BTreeMap<usize, Build>) {
        let wanted = self.wanted();
        for number in &wanted {
            let build = builds.get(number).unwrap_or_else(|| panic!("{number} is lost"));
            let given_up = matches!(build.state, BuildState::Canceling | BuildState::Canceled);
            assert!(!given_up, "{number} was given up: {build:?}");
        }
        let needed = self.needed(&wanted);
        let all_inputs = self.specs.iter().filter(|spec| spec.active).all(|spec| spec.queue_inputs);
        for (number, build) in builds {
            if build.state == BuildState::AwaitingApproval {
                let owner = self.specs.iter().find(|spec| spec.name == build.spec);
                assert!(owner.is_some_and(|spec| spec.budget.is_some()), "{build:?}");
            }
            if !is_open(build) {
                continue;
            }
            assert!(needed.contains(number), "nobody needs {number}: {build:?}");
            for input in &self.inputs[*number] {
                let Some(other) = builds.get(input) else {
                    assert!(
                        !all_inputs || build.state == BuildState::AwaitingApproval,
                        "{input} lacks for {build:?}"
                    );
                    continue;
                };
                let sooner = other.urgency >= build.urgency;
                assert!(!is_open(other) || sooner, "{other:?} comes after {build:?}");
            }
        }
    }

    /// The coordinator has what is open and not held, once and with the right priority, and nothing else.
    fn check_coordinator(&self, builds: &BTreeMap<usize, Build>) {
        let attempts = self.attempts();
        for (number, build) in builds {
            let mut going_on = attempts.get(number).into_iter().flatten().filter(|held| is_going_on(held));
            match (build.state, going_on.next()) {
                (BuildState::Submitted | BuildState::Building, Some(held)) => {
                    assert_eq!(going_on.next(), None);
                    let told = held.priority == build.urgency || held.started;
                    assert!(told, "not told how urgent it is: {held:?} {build:?}");
                }
                (state, None) => {
                    let at_rest = !is_open(build) || state == BuildState::AwaitingApproval;
                    assert!(
                        at_rest && state != BuildState::Canceling,
                        "the coordinator has it not: {build:?}"
                    );
                }
                (_, Some(held)) => panic!("the coordinator should not have it: {held:?} {build:?}"),
            }
        }
        let unknown = attempts.keys().find(|number| !builds.contains_key(number));
        assert_eq!(unknown, None, "the coordinator has what nobody asked for");
    }

    /// What is wanted, and what that needs, also by way of what nobody has asked for. What only something needs that
    /// turned out to be built is given up with the next plan.
    fn needed(&self, wanted: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut waiting: Vec<usize> = wanted.iter().copied().collect();
        let mut needed = BTreeSet::new();
        while let Some(number) = waiting.pop() {
            if needed.insert(number) {
                waiting.extend(&self.inputs[number]);
            }
        }
        needed
    }

    /// Everything is approved and built, and known to be.
    async fn build_everything(&mut self) {
        self.approve().await;
        self.rest().await;
        for attempt in self.attempts().into_values().flatten().filter(is_going_on) {
            let name = attempt.derivation["/gnu/store/".len() + 33..].trim_end_matches(".drv");
            self.coordinator.finish(name, true);
        }
        self.clock.advance(8000);
        run_until_idle(&mut self.reconcile()).await.unwrap();
        let builds = self.builds().await;
        for number in self.wanted() {
            let over = matches!(builds[&number].state, BuildState::Succeeded | BuildState::Failed);
            assert!(over, "it was wanted: {:?}", builds[&number]);
        }
        self.assert_nothing_is_built_twice();
    }
}

fn is_open(build: &Build) -> bool {
    build.state.is_wanted()
}
