//! A real browser, driven over WebDriver by plain HTTP: Debian's Chromium and its driver.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::http::{PATIENCE, until};

/// The key by which WebDriver names elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser; it ends when it is dropped.
pub struct Browser {
    driver: Child,
    agent: ureq::Agent,
    session: String,
    _profile: tempfile::TempDir,
}

fn missing(what: &str, error: &std::io::Error) -> ! {
    panic!(
        "{what} cannot be run ({error}): the tests of the page need it; `deploy/setup.sh --with-browser` installs it"
    )
}

impl Browser {
    /// Starts one.
    pub fn new() -> Browser {
        if let Err(error) =
            Command::new("chromium").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status()
        {
            missing("chromium", &error);
        }
        let profile = tempfile::tempdir().expect("a directory");
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut driver = driver.unwrap_or_else(|error| missing("chromedriver", &error));
        let mut lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
        let port = loop {
            let line = lines.next().expect("it says its port").expect("a line");
            let said = line.strip_prefix("ChromeDriver was started successfully on port ");
            if let Some(port) = said.and_then(|rest| rest.trim_end_matches('.').parse::<u16>().ok()) {
                break port;
            }
        };
        // Drained, so that it can go on telling; it ends with the driver.
        std::thread::spawn(move || lines.map_while(Result::ok).count());
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)));
        let agent = ureq::Agent::new_with_config(config.build());
        let mut browser =
            Browser { driver, agent, session: format!("http://127.0.0.1:{port}/session"), _profile: profile };
        let options = json!({
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage",
                "--no-first-run", "--window-size=1280,900",
                format!("--user-data-dir={}", browser._profile.path().display()),
            ],
        });
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let begun = browser.send("POST", "", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        let id = begun["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {begun}")).to_owned();
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let uri = format!("{}{path}", self.session);
        let text = if method == "POST" { body.to_string() } else { String::new() };
        let request = ureq::http::Request::builder().method(method).uri(&uri).body(text).expect("a request");
        let mut answer = self.agent.run(request).unwrap_or_else(|error| panic!("{method} {uri}: {error}"));
        let mut text = String::new();
        answer.body_mut().as_reader().read_to_string(&mut text).expect("a text");
        let mut answered: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        (answer.status().as_u16(), answered["value"].take())
    }

    #[track_caller]
    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, value) = self.ask(method, path, body);
        assert!(status < 300, "{method} {path} {body}: {value}");
        value
    }

    /// Opens a page, and waits until it is there.
    #[track_caller]
    pub fn open(&self, address: &str) {
        self.send("POST", "/url", &json!({ "url": address }));
    }

    /// The path and what stands behind the question mark in the address bar.
    pub fn place(&self) -> String {
        let found = self.script("return location.pathname + location.search");
        found.as_str().expect("a text").to_owned()
    }

    /// What a script returns.
    #[track_caller]
    pub fn script(&self, script: &str) -> Value {
        self.send("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// A command of the browser's own protocol.
    #[track_caller]
    pub fn command(&self, command: &str, parameters: &Value) -> Value {
        self.send("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// The elements that a selector matches.
    fn all(&self, selector: &str) -> Vec<String> {
        let found = self.send("POST", "/elements", &json!({ "using": "css selector", "value": selector }));
        let found = found.as_array().expect("an array");
        found.iter().map(|element| element[ELEMENT].as_str().expect("an id").to_owned()).collect()
    }

    /// The element that a selector matches, as soon as it is there.
    #[track_caller]
    fn one(&self, selector: &str) -> String {
        until(selector, || self.all(selector).into_iter().next())
    }

    /// How many elements a selector matches.
    pub fn count(&self, selector: &str) -> usize {
        self.all(selector).len()
    }

    /// What a person reads there, as soon as it is there; hidden text is not read.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        // An element that was read anew in between is another one.
        until(selector, || {
            let (status, value) =
                self.ask("GET", &format!("/element/{}/text", self.one(selector)), &Value::Null);
            (status == 200).then(|| value.as_str().expect("a text").to_owned())
        })
    }

    /// Waits until a person reads this there.
    #[track_caller]
    pub fn reads(&self, selector: &str, wanted: &str) -> String {
        let began = std::time::Instant::now();
        loop {
            let text = self.text(selector);
            if text.contains(wanted) {
                return text;
            }
            assert!(began.elapsed() < PATIENCE, "{selector} never read {wanted:?}, but {text:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a script returns true.
    #[track_caller]
    pub fn comes_true(&self, script: &str) {
        until(script, || (self.script(script) == true).then_some(()));
    }

    /// Clicks as a person does: the element must be seen, and nothing may lie over it.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        until(&format!("a click on {selector}"), || {
            let (status, _) = self.ask("POST", &format!("/element/{}/click", self.one(selector)), &json!({}));
            (status == 200).then_some(())
        });
    }

    /// Empties a field and types into it.
    #[track_caller]
    pub fn fill(&self, selector: &str, text: &str) {
        let element = self.one(selector);
        self.send("POST", &format!("/element/{element}/clear"), &json!({}));
        self.send("POST", &format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses a key, wherever the focus is.
    #[track_caller]
    pub fn press(&self, key: &str) {
        let keys = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.send(
            "POST",
            "/actions",
            &json!({ "actions": [{ "type": "key", "id": "keys", "actions": keys }] }),
        );
    }

    /// Moves the mouse over an element.
    #[track_caller]
    pub fn hover(&self, selector: &str) {
        let origin = json!({ ELEMENT: self.one(selector) });
        let step = json!([{ "type": "pointerMove", "duration": 0, "origin": origin, "x": 0, "y": 0 }]);
        let mouse = json!({ "type": "pointer", "id": "mouse", "actions": step });
        self.send("POST", "/actions", &json!({ "actions": [mouse] }));
    }

    /// Light or dark.
    pub fn is_dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        self.command(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] }),
        );
    }

    /// A screen of this width; narrow ones are phones.
    pub fn is_wide(&self, width: u32) {
        let screen = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.command("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// Whether scripts run in the pages that are opened next.
    pub fn runs_scripts(&self, runs: bool) {
        self.command("Emulation.setScriptExecutionDisabled", &json!({ "value": !runs }));
    }

    /// Takes a picture of the whole page, for people to look at.
    pub fn picture(&self, name: &str) {
        let dir = std::env::var_os("PAGE_PICTURES")
            .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("page"), PathBuf::from);
        std::fs::create_dir_all(&dir).expect("a directory");
        let taken = self.command("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        let bytes = STANDARD.decode(taken["data"].as_str().expect("a picture")).expect("base64");
        std::fs::write(dir.join(format!("{name}.png")), bytes).expect("it is written");
    }

    /// That the browser complained of nothing since it was asked last: no script failed, and nothing was blocked.
    #[track_caller]
    pub fn is_content(&self) {
        let said = self.send("POST", "/se/log", &json!({ "type": "browser" }));
        let grave: Vec<&Value> =
            said.as_array().expect("an array").iter().filter(|entry| entry["level"] == "SEVERE").collect();
        assert!(grave.is_empty(), "{grave:?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends the browser; whoever panics ends it all the same.
        let request = ureq::http::Request::builder().method("DELETE").uri(&self.session).body(String::new());
        if let Ok(request) = request {
            let _ = self.agent.run(request);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
