//! A real browser: Debian's Chromium, started and driven by its own driver, which speaks `WebDriver`
//! (<https://www.w3.org/TR/webdriver2/>).

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use gorget::sandbox::Process;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Port, unlimited};

/// The key under which `WebDriver` names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one page; it ends with this.
pub struct Browser {
    client: Client,
    session: String,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts one with a window of this width.
    pub async fn start(has_scripts: bool, width: u32) -> Self {
        let port = Port::free();
        let number = port.address.port();
        let driver = unlimited("chromedriver").args([format!("--port={number}")]).spawn().unwrap();
        let profile = tempfile::tempdir().unwrap();
        let scripts = if has_scripts { 1 } else { 2 };
        let options = json!({
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--hide-scrollbars", format!("--window-size={width},900"),
                format!("--user-data-dir={}", profile.path().display()),
            ],
            "prefs": { "profile.managed_default_content_settings.javascript": scripts },
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let (client, sessions) = (Client::new(), format!("http://127.0.0.1:{number}/session"));
        for _ in 0..100 {
            if let Ok(answer) = client.post(&sessions).json(&wanted).send().await {
                let answer: Value = answer.json().await.unwrap();
                let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{answer}"));
                let session = format!("{sessions}/{id}");
                return Self { client, session, _driver: driver, _profile: profile };
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("no browser starts\nhint: `scripts/setup test` installs it");
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Result<Value, Value> {
        let request = self.client.request(method.clone(), format!("{}{path}", self.session));
        let request = if method == Method::POST { request.json(&body) } else { request };
        let answer = request.send().await.unwrap();
        let is_good = answer.status().is_success();
        let value = answer.json::<Value>().await.unwrap()["value"].take();
        if is_good { Ok(value) } else { Err(value) }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.ask(Method::POST, path, body).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Opens an address, and waits until the page is there.
    pub async fn open(&self, address: &str) {
        self.post("/url", json!({ "url": address })).await;
    }

    /// The first element that a selector means; waits until there is one.
    async fn element(&self, selector: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": selector });
        for _ in 0..300 {
            if let Ok(found) = self.ask(Method::POST, "/element", wanted.clone()).await {
                return format!("/element/{}", found[ELEMENT].as_str().unwrap());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let page = self.run("return document.body.innerText").await;
        panic!("there is no {selector} in: {page}");
    }

    /// Clicks on the first element that a selector means.
    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.post(&format!("{element}/click"), json!({})).await;
    }

    /// Types into the first element that a selector means.
    pub async fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.post(&format!("{element}/value"), json!({ "text": text })).await;
    }

    /// What an element shows. It may be replaced while it is read.
    pub async fn text(&self, selector: &str) -> String {
        for _ in 0..100 {
            let element = self.element(selector).await;
            if let Ok(text) = self.ask(Method::GET, &format!("{element}/text"), Value::Null).await {
                return text.as_str().unwrap().to_owned();
            }
        }
        panic!("{selector} is replaced all the time");
    }

    /// Waits until `main` shows a text, or shows it no more.
    pub async fn until(&self, text: &str, is_shown: bool) {
        for _ in 0..240 {
            if self.text("main").await.contains(text) == is_shown {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("{text:?}: {is_shown} never comes true, but: {}", self.text("main").await);
    }

    /// What a script gives. The driver's scripts run where those of pages do not.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// A picture of what the window shows in the light or in the dark, as PNG.
    pub async fn picture(&self, scheme: &str) -> Vec<u8> {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let command = json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": features } });
        self.post("/goog/cdp/execute", command).await;
        let picture = self.ask(Method::GET, "/screenshot", Value::Null).await.unwrap();
        BASE64_STANDARD.decode(picture.as_str().unwrap()).unwrap()
    }

    /// Path and query of the page.
    pub async fn place(&self) -> String {
        self.run("return location.pathname + location.search").await.as_str().unwrap().to_owned()
    }

    /// Ends it.
    pub async fn quit(self) {
        self.ask(Method::DELETE, "", Value::Null).await.unwrap();
    }
}
