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

/// x
#[derive(Debug, Clone)]
pub struct Runtimes { root: PathBuf }
/// y
#[derive(Debug, Clone, Default)]
pub struct Prepared { 
/// env
pub environment: Environment, 
/// ch
pub channels: Vec<String> }
impl Runtimes {
    /// n
    pub fn new(root: &std::path::Path, _cache: PathBuf, _jobs: usize) -> Self { Self { root: root.to_owned() } }
    /// r
    pub fn root(&self) -> &std::path::Path { &self.root }
    /// p
    pub async fn prepare(&self, channels: &[(String, PathBuf)]) -> anyhow::Result<Prepared> {
        let mut environment = Environment { program: "/usr/bin/guile".into(), binds: vec![], env: vec![
        ("GUILE_LOAD_PATH".into(), "/usr/share/guile/site/3.0".into()), ("GUILE_LOAD_COMPILED_PATH".into(), "/usr/lib/x86_64-linux-gnu/guile/3.0/site-ccache".into())] };
        for (n, p) in channels { environment.binds.push((p.clone(), format!("/channels/{n}").into())); }
        Ok(Prepared { environment, channels: channels.iter().map(|(n, _)| format!("/channels/{n}")).collect() })
    }
}
