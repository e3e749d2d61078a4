//! temp
use gorget::evaluate::*;
use gorget::spec::*;
#[tokio::main]
async fn main() {
    let a: Vec<String> = std::env::args().collect();
    let root = std::env::var("ROOT").unwrap();
    let build = match a[1].as_str() { "all" => Build::All, "hello" => Build::Hello, p => Build::Packages(p.split(',').map(str::to_owned).collect()) };
    let env = runtime::Environment { program: "/usr/bin/guile".into(), binds: vec![], env: vec![
        ("GUILE_LOAD_PATH".into(), "/usr/share/guile/site/3.0".into()), ("GUILE_LOAD_COMPILED_PATH".into(), "/usr/lib/x86_64-linux-gnu/guile/3.0/site-ccache".into())] };
    let r = Request { root: root.into(), environment: env, build, system: System::new(&a[2]).unwrap(), channels: vec![], likely: Default::default(), keep_contents: a.len() > 4,
        limits: Limits { workers: a[3].parse().unwrap(), memory: 12 << 30, package_time: std::time::Duration::from_secs(300), evaluation_time: std::time::Duration::from_secs(3600) } };
    let (tx, mut rx) = tokio::sync::mpsc::channel(16);
    let t = tokio::spawn(async move { let mut v = vec![]; let mut bytes = 0usize; while let Some(e) = rx.recv().await { if let Event::Batch(b) = e { bytes += b.items.iter().map(|i| i.contents.len()).sum::<usize>(); for o in b.outcomes { match o { Outcome::Job { name, derivation, .. } => v.push(format!("{name} {derivation}")), Outcome::Error { name, cause, message } => eprintln!("ERR {name} {cause} {message}") } } } } eprintln!("{bytes}"); v });
    let s = run(r, &tx).await; drop(tx);
    let mut v = t.await.unwrap(); v.sort(); v.dedup();
    for l in &v { println!("{l}"); }
    eprintln!("{s:#?}");
}
