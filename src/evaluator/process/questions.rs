//! Questions to the loader and the parent.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use super::{LOADER, PARENT, ProcessGroup};

impl ProcessGroup {
    /// Asks the loader to fork a parent. Returns the number that both will name it by.
    pub(in super::super) async fn fork_parent(&mut self) -> usize {
        let (id, question) = self.new_fork_request();
        self.parent = id;
        self.send(LOADER, &question).await;
        id
    }

    /// Asks the loader how the parent ended, by its process id inside the sandbox.
    pub(in super::super) async fn reap_parent(&mut self, pid: usize) {
        self.send(LOADER, &format!("(reap {pid})")).await;
    }

    /// Asks the parent to fork a worker. Returns the worker's id.
    pub(in super::super) async fn fork(&mut self) -> usize {
        let (id, question) = self.new_fork_request();
        self.ask_parent(question).await;
        id
    }

    /// A new id, and the question that requests a process with that id.
    fn new_fork_request(&mut self) -> (usize, String) {
        let id = self.next_id;
        self.next_id += 1;
        // The keys of a new hasher are random.
        let token = format!("{:016x}", RandomState::new().build_hasher().finish());
        let question = format!("(fork {id} \"{token}\")");
        self.tokens.insert(id, token);
        (id, question)
    }

    /// Asks the parent a question once it has answered all earlier ones.
    pub(in super::super) async fn ask_parent(&mut self, question: String) {
        self.questions.push_back(question);
        self.next_question().await;
    }

    /// Records that the parent has answered the last question, and asks the next one.
    pub(in super::super) async fn parent_answered(&mut self) {
        self.asked = None;
        self.next_question().await;
    }

    /// How long the parent has owed an answer.
    pub(in super::super) fn waiting_time(&self) -> Duration {
        self.asked.map_or(Duration::ZERO, |asked| asked.elapsed())
    }

    async fn next_question(&mut self) {
        if self.asked.is_none()
            && let Some(question) = self.questions.pop_front()
        {
            self.asked = Some(Instant::now());
            self.send(PARENT, &question).await;
        }
    }
}
