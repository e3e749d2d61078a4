//! Entry points for the fuzzer: see `fuzz/`.

use super::connection::serve;
use super::recording::{MOST_ARRIVING, Recording};

/// Serves a client that sends all of `said` and disconnects; returns the answers.
pub fn answers(recording: &Recording, said: &[u8]) -> Vec<u8> {
    let mut answers = Vec::new();
    // A client that breaks the protocol is disconnected.
    let _ = serve(said, &mut answers, recording);
    assert!(recording.reserve_bytes(MOST_ARRIVING), "something of its requests is still counted");
    answers
}
