//! What the fuzzer calls: see `fuzz/`.

use super::connection::serve;
use super::recording::{MOST_ARRIVING, Recording};

/// Serves a client that says all of `said` and leaves; gives what it is answered.
pub fn answers(memory: &Recording, said: &[u8]) -> Vec<u8> {
    let mut answers = Vec::new();
    // Who breaks the protocol is cut off.
    let _ = serve(said, &mut answers, memory);
    assert!(memory.register(MOST_ARRIVING), "something of its requests is still counted");
    answers
}
