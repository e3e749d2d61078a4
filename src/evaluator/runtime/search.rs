//! Finds nodes that reach each other.

use super::hash::Hash;

/// Tarjan's search for strongly connected components, with its stack on the heap.
#[derive(Default)]
pub struct Search {
    order: Vec<u32>,
    low: Vec<u32>,
    is_open: Vec<bool>,
    open: Vec<u32>,
    visits: Vec<Visit>,
    entered: u32,
    /// The own hash of each node.
    own: Vec<Hash>,
    /// What each node reaches in components that are complete.
    below: Vec<Vec<u32>>,
}

/// Where the search stands at one node.
struct Visit {
    node: u32,
    edges: Vec<u32>,
    next: usize,
}

/// What to do next.
pub enum Step {
    /// Enter this node.
    Enter(u32),
    /// These nodes reach each other, and everything else that they reach is complete.
    Complete(Vec<u32>),
    /// Take another step.
    Again,
    /// No visit is open.
    Done,
}

/// The number of no node.
pub const UNSEEN: u32 = u32::MAX;

impl Search {
    /// A search of nodes with numbers below `count`.
    pub fn new(count: usize) -> Self {
        Self {
            order: vec![UNSEEN; count],
            low: vec![0; count],
            is_open: vec![false; count],
            open: Vec::new(),
            visits: Vec::new(),
            entered: 0,
            own: vec![Hash::default(); count],
            below: vec![Vec::new(); count],
        }
    }

    /// Whether a node was never entered.
    pub fn is_new(&self, node: u32) -> bool {
        self.order[node as usize] == UNSEEN
    }

    /// What a node reaches in components that are complete.
    pub fn below(&self, node: u32) -> &[u32] {
        &self.below[node as usize]
    }

    /// The own hash of a node.
    pub fn own(&self, node: u32) -> Hash {
        self.own[node as usize]
    }

    /// Enters a node with these outgoing `edges`.
    pub fn enter(&mut self, node: u32, edges: Vec<u32>, own: Hash) {
        let at = node as usize;
        (self.order[at], self.low[at], self.is_open[at]) = (self.entered, self.entered, true);
        self.entered += 1;
        self.own[at] = own;
        self.open.push(node);
        self.visits.push(Visit { node, edges, next: 0 });
    }

    /// Follows the next edge.
    pub fn step(&mut self) -> Step {
        let Some(visit) = self.visits.last_mut() else { return Step::Done };
        let (node, at) = (visit.node, visit.node as usize);
        if let Some(edge) = visit.edges.get(visit.next).copied() {
            visit.next += 1;
            let order = self.order[edge as usize];
            if order == UNSEEN {
                return Step::Enter(edge);
            } else if self.is_open[edge as usize] {
                self.low[at] = self.low[at].min(order);
            } else {
                self.below[at].push(edge);
            }
            return Step::Again;
        }
        self.visits.pop();
        let complete = self.low[at] == self.order[at];
        if let Some(parent) = self.visits.last().map(|parent| parent.node as usize) {
            if complete {
                self.below[parent].push(node);
            } else {
                self.low[parent] = self.low[parent].min(self.low[at]);
            }
        }
        if complete { Step::Complete(self.take(node)) } else { Step::Again }
    }

    /// Takes the open nodes down to `last`, which all reach each other.
    fn take(&mut self, last: u32) -> Vec<u32> {
        let from = self.open.iter().rposition(|node| *node == last).unwrap_or(0);
        let members = self.open.split_off(from);
        for member in &members {
            self.is_open[*member as usize] = false;
        }
        members
    }
}
