//! Which Guix runs.
use std::path::PathBuf;
/// Env
#[derive(Debug, Clone, Default)]
pub struct Environment { 
    /// guile
    pub program: PathBuf,
    /// ro
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// env
    pub env: Vec<(String, String)>,
}
