//! What loader and parent are asked to do.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use super::{LOADER, PARENT, ProcessGroup};

impl ProcessGroup {
    /// Has the loader fork a parent, which is to join and to be announced by this number.
    pub(in super::super) async fn fork_parent(&mut self) -> usize {
        let (id, question) = self.birth();
        self.parent = id;
        self.tell(LOADER, &question).await;
        id
    }

    /// Has the loader say how the parent ended, given its process id inside of the sandbox.
    pub(in super::super) async fn reap_parent(&mut self, pid: usize) {
        self.tell(LOADER, &format!("(reap {pid})")).await;
    }

    /// Has the parent fork a worker of this number.
    pub(in super::super) async fn fork(&mut self) -> usize {
        let (id, question) = self.birth();
        self.ask_parent(question).await;
        id
    }

    /// A number for one more process, and what to say for it to be forked.
    fn birth(&mut self) -> (usize, String) {
        let id = self.next_id;
        self.next_id += 1;
        // The keys of a new hasher are random.
        let token = format!("{:016x}", RandomState::new().build_hasher().finish());
        let question = format!("(fork {id} \"{token}\")");
        self.tokens.insert(id, token);
        (id, question)
    }

    /// Asks the parent as soon as it has answered everything else.
    pub(in super::super) async fn ask_parent(&mut self, question: String) {
        self.questions.push_back(question);
        self.next_question().await;
    }

    /// The parent's answer to the last question is there.
    pub(in super::super) async fn parent_answered(&mut self) {
        self.asked = None;
        self.next_question().await;
    }

    /// For how long the parent has owed an answer.
    pub(in super::super) fn unanswered(&self) -> Duration {
        self.asked.map_or(Duration::ZERO, |asked| asked.elapsed())
    }

    async fn next_question(&mut self) {
        if self.asked.is_none()
            && let Some(question) = self.questions.pop_front()
        {
            self.asked = Some(Instant::now());
            self.tell(PARENT, &question).await;
        }
    }
}
