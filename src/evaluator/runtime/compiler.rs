use serde::{Deserialize, Serialize};

/// What keys depend on beside the sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompilerIdentity {
    /// Version and build of Guile, and the machine it compiles for.
    pub identity: String,
    /// The names that Guile gives every module, including its macros and primitives.
    pub core: Vec<String>,
}
