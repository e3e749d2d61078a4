//! The farm in a real browser.

use std::path::Path;

use gorget::clock::Clock;
use gorget::db::Db;
use gorget::sandbox::Process;
use gorget::web::Web;
use serde_json::json;

use crate::commands::a_farm;
use crate::pages::serve_web;
use crate::support::Port;
use crate::support::chromium::Browser;
use crate::support::guix::{Tree, manifest};
use crate::support::program::Farm;

/// A farm that runs: two packages, and a budget of one new build. Gives its address, and the secret of an admin.
async fn a_running_farm() -> (Farm, Tree, Process, String, String) {
    let tree = Tree::channel("manifest.scm", &manifest(&[("one", ""), ("two", "")]));
    let farm = Farm::new(None);
    let build = "build = { manifests = [\"manifest.scm\"] }\nbudget = 1\n";
    farm.spec("small", &format!("{build}{}", tree.as_channel("own")));
    let port = Port::free();
    let place = format!("127.0.0.1:{}", port.address.port());
    let mut process = farm.start(&["--listen", &place]);
    farm.until(&mut process, |status| status["awaiting_approval"][0]["count"] == 2).await;
    let made = farm.say(&["token", "create", "ada", "--role", "admin"]).await;
    assert_eq!(made.code, Some(0), "{}", made.talk);
    (farm, tree, process, format!("http://{place}"), made.data.trim().to_owned())
}

async fn log_in(browser: &Browser, url: &str, secret: &str) {
    browser.open(&format!("{url}/login?back=/")).await;
    browser.type_into("input[name=token]", secret).await;
    browser.click("main button").await;
}

#[tokio::test]
async fn a_page_follows_a_push_to_its_builds_without_a_reload() {
    let (farm, tree, process, url, secret) = a_running_farm().await;
    let browser = Browser::start(true, 1280).await;
    log_in(&browser, &url, &secret).await;
    browser.until("builds of small for x86_64-linux await approval", true).await;
    browser.run("window.loaded = 1").await;
    let commit = tree.edit("manifest.scm", "(name \"two\")", "(name \"three\")");
    farm.say(&["poll"]).await;
    browser.until(&commit[..10], true).await;
    assert_eq!(browser.run("return window.loaded").await, 1, "the page was not loaded again");
    browser.click(".trouble .act button").await;
    browser.until("await approval", false).await;
    assert_eq!(farm.status().await["awaiting_approval"], json!([]));
    // Why a job is where it is takes three clicks.
    browser.click("main table th a").await;
    browser.click("main section > header a").await;
    browser.click("main table a").await;
    browser.until("queued", true).await;
    assert!(browser.place().await.starts_with("/jobs/small/x86_64-linux/"), "{}", browser.place().await);
    browser.open(&format!("{url}/specs/small")).await;
    browser.click("form[action='/pauses/spec/small'] button").await;
    browser.until("Paused for", true).await;
    farm.say(&["resume", "--spec", "small"]).await;
    browser.until("Paused for", false).await;
    browser.quit().await;
    process.kill();
}

#[tokio::test]
async fn without_scripts_everything_works_on_a_narrow_screen() {
    let (farm, _tree, process, url, secret) = a_running_farm().await;
    let browser = Browser::start(false, 500).await;
    log_in(&browser, &url, &secret).await;
    browser.until("1 thing needs action", true).await;
    assert_eq!(browser.run("return document.getElementById('live').childNodes.length").await, 0);
    browser.click(".trouble .act button").await;
    browser.until("Nothing is wrong.", true).await;
    assert_eq!(farm.status().await["awaiting_approval"], json!([]));
    let pages = [
        "/specs/small",
        "/evaluations/1",
        "/evaluations/1/errors",
        "/specs",
        "/pushes",
        "/queue",
        "/builds",
        "/builds/1",
        "/packages/one-1",
        "/farm",
        "/help/states",
        "/admin/tokens",
        "/admin/audit",
    ];
    for page in ["/"].into_iter().chain(pages) {
        browser.open(&format!("{url}{page}")).await;
        let over = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.run(over).await, 0, "{page} is wider than the screen");
    }
    browser.click("form[action='/logout'] button").await;
    assert_eq!(browser.text(".user a").await, "Log in");
    browser.quit().await;
    process.kill();
}

/// The width and height of a PNG picture, from its header.
fn size(picture: &[u8]) -> (u32, u32) {
    assert_eq!(&picture[1..4], b"PNG");
    let number = |at: usize| u32::from_be_bytes(picture[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// Makes those pictures again if `GORGET_UPDATE_PICTURES` is set. Fonts differ between machines, so
/// they are not compared.
#[tokio::test]
async fn readme_shows_pictures_of_a_farm() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path().join("gorget.db").to_str().unwrap()).await.unwrap();
    a_farm(&db).await;
    let (url, stop) = serve_web(Web { anonymous: true, ..Web::new(db, Clock::manual(1000)) }).await;
    let browser = Browser::start(false, 1280).await;
    browser.open(&url).await;
    let mut pictures = Vec::new();
    for scheme in ["light", "dark"] {
        let picture = browser.picture(scheme).await;
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/pictures/overview-{scheme}.png"));
        if std::env::var_os("GORGET_UPDATE_PICTURES").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &picture).unwrap();
        }
        let shown = std::fs::read(&file).unwrap();
        assert_eq!(size(&shown).0, size(&picture).0, "{scheme}");
        pictures.push(picture);
    }
    assert_ne!(pictures[0], pictures[1], "the dark one is dark");
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    assert!(readme.contains("docs/pictures/overview-light.png") && readme.contains("overview-dark.png"));
    browser.quit().await;
    stop.cancel();
}
