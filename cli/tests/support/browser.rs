//! Chromium without a window, driven over a pipe by the DevTools protocol. It ends with the pipe, so also with a killed
//! test.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use super::wait::{DEADLINE, WaitWithin};

/// A page in a browser of its own.
pub(crate) struct Browser {
    child: Child,
    pipe: Option<ChildStdin>,
    messages: Receiver<Value>,
    last_call: u64,
    session: String,
    /// Makes the answers to requests for the intercepted path.
    intercepted: Option<Box<dyn FnMut() -> Value>>,
    /// Errors and warnings in the browser's console.
    pub(crate) console: Vec<String>,
}

impl Browser {
    /// Starts the browser with its profile in `folder`; `None` if it is not installed.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        let installed = Command::new("chromium").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !installed.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: the browser chromium is not installed (tools/system-packages.sh tests)");
            return None;
        }
        // The protocol is on the descriptors 3 and 4.
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3<&0 4>&1 </dev/null >/dev/null; exec chromium \"$@\"", "chromium"]);
        command.args(["--headless", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage"]);
        command.args(["--no-first-run", "--disable-background-networking", "--disable-component-update"]);
        command.args(["--disable-extensions", "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb"]);
        if rustix::process::geteuid().is_root() {
            command.arg("--no-sandbox"); // its sandbox needs an ordinary user
        }
        command.arg(format!("--user-data-dir={}", folder.join("browser").display())).arg("about:blank");
        command.env("HOME", folder).env("LANG", "C.UTF-8");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (pipe, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let (send, messages) = channel();
        thread::spawn(move || {
            let parts = stdout.split(0).map_while(Result::ok);
            parts.map(|part| serde_json::from_slice(&part).unwrap()).try_for_each(|message| send.send(message))
        });
        let (session, intercepted, console) = (String::new(), None, Vec::new());
        let mut browser = Self { child, pipe, messages, last_call: 0, session, intercepted, console };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].take();
        let attached = browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Calls a method of the protocol, and returns its result.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        let call = self.send(method, params);
        let end = Instant::now() + DEADLINE;
        loop {
            let message = self.next(end.saturating_duration_since(Instant::now()));
            let mut message = message.unwrap_or_else(|| panic!("the browser does not answer {method}"));
            if message["id"] == call {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].take();
            }
        }
    }

    fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last_call += 1;
        let mut message = json!({"id": self.last_call, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.pipe.as_mut().unwrap().write_all(&bytes).unwrap();
        self.last_call
    }

    /// The next message, if one comes in time. It handles the events.
    fn next(&mut self, time: Duration) -> Option<Value> {
        let message = self.messages.recv_timeout(time).ok()?;
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.console.push(params["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") if params["type"] != "log" => self.console.push(params.to_string()),
            Some("Log.entryAdded") => self.console.push(params["entry"].to_string()),
            Some("Fetch.requestPaused") => {
                let body = (self.intercepted.as_mut().unwrap())().to_string();
                let headers = json!([{"name": "content-type", "value": "application/json"}]);
                let id = &params["requestId"];
                let answer = json!({"requestId": id, "responseCode": 200, "responseHeaders": headers,
                    "body": Base64::encode_string(body.as_bytes())});
                self.send("Fetch.fulfillRequest", answer);
            }
            _ => {}
        }
        Some(message)
    }

    /// Answers requests for `path` with the documents of `answer` from now on.
    pub(crate) fn intercept(&mut self, path: &str, answer: impl FnMut() -> Value + 'static) {
        if self.intercepted.replace(Box::new(answer)).is_none() {
            self.call("Fetch.enable", json!({"patterns": [{"urlPattern": format!("*{path}")}]}));
        }
    }

    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
        self.wait_until(&format!("document.readyState === 'complete' && location.href.startsWith({})", json!(url)));
    }

    /// The value of an expression in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut result = self.call("Runtime.evaluate", params);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    pub(crate) fn text(&mut self, selector: &str) -> String {
        let text = self.evaluate(&format!("document.querySelector({}).innerText", json!(selector)));
        text.as_str().unwrap().to_owned()
    }

    /// Waits until an expression in the page is true. Returns the time it took.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, expression: &str) -> Duration {
        let start = Instant::now();
        while self.evaluate(expression) != true {
            assert!(start.elapsed() < DEADLINE, "never: {expression}; the page is\n{}", self.text("body"));
            let pause = Instant::now() + Duration::from_millis(50);
            while self.next(pause.saturating_duration_since(Instant::now())).is_some() {}
        }
        start.elapsed()
    }

    /// Presses and releases a key.
    pub(crate) fn press(&mut self, key: &str, text: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            _ => 32,
        };
        for kind in ["keyDown", "keyUp"] {
            let mut params = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                params["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", params);
        }
    }

    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let params = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", params);
    }

    pub(crate) fn prefer(&mut self, color_scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": color_scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// A PNG of what is visible.
    pub(crate) fn screenshot(&mut self) -> Vec<u8> {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}));
        Base64::decode_vec(shot["data"].as_str().unwrap()).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.pipe.take()); // the browser ends with its pipe
        if thread::panicking() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        } else {
            self.child.wait_within(DEADLINE);
        }
    }
}
