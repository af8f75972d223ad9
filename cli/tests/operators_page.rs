//! The page for operators in a real browser.

#![cfg(all(unix, feature = "server"))]

use std::net::UdpSocket;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::World;
use crate::support::browser::Browser;
use crate::support::service::Service;

const STATUS: &str = "/admin/status";

/// A service with its page, and the page's URL.
fn with_page(world: &World) -> (Service, String) {
    let mut service = Service::start(world, &["serve", "--admin", "127.0.0.1:0"]);
    let address = service.next_address();
    (service, format!("http://{address}/"))
}

/// The text of a row of a table, its cells separated by `|`; empty if there is none.
fn row(browser: &mut Browser, table: &str, first: &str) -> String {
    let script = format!(
        "[...document.querySelectorAll('#{table} tbody tr')].map((row) => [...row.cells].map((cell) => \
         cell.textContent).join('|')).find((text) => text.startsWith({})) ?? ''",
        json!(first)
    );
    browser.evaluate(&script).as_str().unwrap().to_owned()
}

#[test]
fn the_page_shows_a_running_service() {
    let world = World::new();
    let Some(mut browser) = Browser::start(world.folder.path()) else { return };
    let (service, url) = with_page(&world);
    let ask = |path: &str, body: Value| {
        service.send(&format!("POST {path}"), &["content-type: application/json"], &body.to_string())
    };
    let record = json!({"id": "a", "data": "", "expires_in": 50});
    assert!(ask("/v1/store", record.clone()).contains(" 201 "));
    assert!(ask("/v1/store", record).contains(" 409 "));
    browser.open(&url);
    browser.wait_until("document.querySelector('#summary').textContent === '1 node: 1 ready'");
    assert_eq!(browser.text("h1"), "Strongroom");
    assert!(row(&mut browser, "requests", "/v1/store").ends_with("|2|1"), "{}", browser.text("#requests"));
    assert!(row(&mut browser, "errors", "AlreadyExists").ends_with("|1"));
    browser.wait_until("document.querySelector('#expiring').textContent.includes('within a minute1')");

    // New requests appear in the table and in the plots.
    for _ in 0..20 {
        assert!(ask("/v1/contains", json!({"id": "a"})).contains(" 200 "));
    }
    browser.wait_until("document.querySelector('#requests').textContent.includes('/v1/contains')");
    browser.wait_until("document.querySelector('#plots path').getAttribute('d')?.length > 10");
    assert!(row(&mut browser, "requests", "/v1/contains").ends_with("|20|0"));
    assert_eq!(browser.console, [""; 0], "the console has errors");

    service.stop(Signal::KILL);
    browser.wait_until("document.querySelector('#summary').textContent.includes('does not answer since')");
    assert!(browser.evaluate("document.body.classList.contains('stale')") == true);
}

#[test]
fn the_page_shows_a_killed_node() {
    let world = World::new();
    let Some(mut browser) = Browser::start(world.folder.path()) else { return };
    world.ok(&["key", "new", "--index", "--key-out", "index.key"], "");
    let sockets = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let gossip = sockets.each_ref().map(|socket| socket.local_addr().unwrap().to_string());
    drop(sockets);
    let start = |args: &[&str], own: usize, other: usize| {
        Service::start(&world, &[args, &["--gossip-listen", &gossip[own], "--join", &gossip[other]]].concat())
    };
    let _storage = start(&["serve-storage"], 0, 1);
    let server = ["serve", "--store", "cluster", "--index-key-file", "index.key"];
    let mut shown = start(&[&server[..], &["--admin", "127.0.0.1:0"]].concat(), 1, 0);
    let killed = start(&server, 2, 0);
    browser.open(&format!("http://{}/", shown.next_address()));
    browser.wait_until("document.querySelector('#summary').textContent === '3 nodes: 3 ready'");
    let name = format!("http://{}", killed.address);
    killed.stop(Signal::KILL);
    let time =
        browser.wait_until("document.querySelector('#summary').textContent.startsWith('3 nodes: 2 ready, 1 dead')");
    println!("a killed node is shown after {time:?}");
    let dead = "[...document.querySelectorAll('#nodes tbody tr')].find((row) => row.cells[2].textContent === 'dead')";
    assert_eq!(browser.evaluate(&format!("{dead}.cells[5].textContent")), name.as_str());
    browser.wait_until("Number(document.querySelector('#gossip td:last-child').textContent) > 0");
    assert_eq!(browser.console, [""; 0]);
}

/// A document as the service gives it, with a cluster of these nodes in it: name and state.
fn cluster(real: &Value, nodes: &[(&str, &str)]) -> Value {
    let mut document = real.clone();
    let nodes = nodes.iter().enumerate().map(|(number, (name, state))| {
        let (role, port) = if name.starts_with("storage") { ("storage", 8421) } else { ("encryption", 8420) };
        json!({
            "name": name, "role": role, "url": format!("https://{name}.example:{port}"), "zone": "a", "state": state,
            "version": real["version"], "store": "9f86d081884c7d659a2feaa0c55ad015", "requests_in_flight": number * 3,
            "heard_seconds_ago": if *state == "dead" { 14.2 } else { 0.3 }, "is_this_node": number == 0,
        })
    });
    document["nodes"] = nodes.collect();
    document
}

/// The status of a service.
fn status(browser: &mut Browser) -> Value {
    browser.evaluate(&format!("fetch('{STATUS}').then((answer) => answer.json())"))
}

#[test]
fn the_page_shows_a_cluster_and_its_problems() {
    let world = World::new();
    let Some(mut browser) = Browser::start(world.folder.path()) else { return };
    let (_service, url) = with_page(&world);
    browser.open(&url);
    let real = status(&mut browser);
    let all = cluster(&real, &[("encryption-1", "ready"), ("storage-1", "ready"), ("storage-2", "ready")]);
    let mut one_dead = cluster(&real, &[("encryption-1", "ready"), ("storage-1", "ready"), ("storage-2", "dead")]);
    one_dead["problems"] = json!([{"kind": "two_stores", "detail": "storage-1 and storage-3 have different stores"}]);
    one_dead["gossip"] = json!({"sent": 120, "received": 118, "refused": {"replayed": 3}});
    browser.intercept(STATUS, move || all.clone());
    browser.wait_until("document.querySelector('#summary').textContent === '3 nodes: 3 ready'");
    browser.intercept(STATUS, move || one_dead.clone());
    browser.wait_until("document.querySelector('#summary').textContent === '3 nodes: 2 ready, 1 dead; problems: 1'");
    assert_eq!(
        row(&mut browser, "nodes", "storage-2"),
        "storage-2|storage|dead|0.1.0|a|https://storage-2.example:8421|9f86d081|6|14.2"
    );
    assert_eq!(browser.text("#problems"), "two stores: storage-1 and storage-3 have different stores");
    assert!(row(&mut browser, "gossip", "refused: replayed").ends_with("|3"));
    assert_eq!(browser.console, [""; 0]);
}

/// Names and addresses come from other nodes. They are shown as text, whatever they contain.
#[test]
fn hostile_names_are_text() {
    const HOSTILE: &str = "<img src=x onerror=\"window.owned=1\"><script>window.owned=1</script>&amp;\u{202e}";
    let world = World::new();
    let Some(mut browser) = Browser::start(world.folder.path()) else { return };
    let (_service, url) = with_page(&world);
    browser.open(&url);
    let mut document = cluster(&status(&mut browser), &[("storage-1", "ready")]);
    for field in ["name", "role", "url", "zone", "state", "version", "store"] {
        document["nodes"][0][field] = HOSTILE.into();
    }
    let long = "x".repeat(20_000);
    let more = document["nodes"][0].clone();
    document["nodes"].as_array_mut().unwrap().extend((0..200).map(|number| {
        let mut node = more.clone();
        node["name"] = format!("{number}{}", if number == 7 { &long } else { "" }).into();
        node
    }));
    document["problems"] = json!([{"kind": HOSTILE, "detail": HOSTILE}]);
    document["gossip"] = json!({"sent": 1, "received": 1, "refused": {HOSTILE: 1, "__proto__": 2}});
    browser.intercept(STATUS, move || document.clone());
    browser.resize(400, 900);
    browser.wait_until("document.querySelector('#nodes').tBodies[0].rows.length === 201");
    assert_eq!(browser.evaluate("document.documentElement.scrollWidth"), 400, "a long name makes the page wider");
    let shown = browser
        .evaluate("[...document.querySelectorAll('#nodes th')].some((cell) => cell.textContent.includes('onerror'))");
    assert!(shown == true);
    assert_eq!(browser.evaluate("document.querySelectorAll('img, iframe, body script, a').length"), 0);
    assert_eq!(browser.evaluate("typeof window.owned"), "undefined");
    // The control: without text, such a name would be an element. The policy forbids even that.
    let error = browser.evaluate(
        "(() => { try { document.body.innerHTML = '<p>'; return '' } catch (error) { return error.name } })()",
    );
    assert_eq!(error, "TypeError");
}

#[test]
fn the_page_works_by_keyboard_on_small_screens_and_in_the_dark() {
    let world = World::new();
    let Some(mut browser) = Browser::start(world.folder.path()) else { return };
    let (_service, url) = with_page(&world);
    browser.open(&url);
    let mut document =
        cluster(&status(&mut browser), &[("encryption-1", "ready"), ("storage-1", "dead"), ("storage-2", "starting")]);
    document["problems"] = json!([{"kind": "clock_skew", "detail": "storage-2"}]);
    browser.intercept(STATUS, move || document.clone());
    browser.wait_until("document.querySelector('#problems').hidden === false");

    for width in [400, 1200] {
        browser.resize(width, 900);
        assert_eq!(
            browser.evaluate("document.documentElement.scrollWidth"),
            width,
            "the page is wider than the screen"
        );
    }
    // Texts have a contrast of at least 4.5 to 1 (WCAG AA).
    let contrast = "(() => {
        const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
        const light = (color) => numbers(color).slice(0, 3).map((value) => value / 255)
            .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
            .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
        const behind = (element) => {
            const color = getComputedStyle(element).backgroundColor;
            return numbers(color)[3] === 0 ? behind(element.parentElement) : color;
        };
        const texts = [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility()
            && [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== ''));
        return Math.min(...texts.map((one) => {
            const [a, b] = [light(getComputedStyle(one).color), light(behind(one))];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        }));
    })()";
    let mut backgrounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        backgrounds.push(browser.evaluate("getComputedStyle(document.body).backgroundColor"));
        let lowest = browser.evaluate(contrast).as_f64().unwrap();
        assert!(lowest >= 4.5, "{scheme}: {lowest}");
    }
    assert_eq!(backgrounds, ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]);

    let unnamed = "[...document.querySelectorAll('table')].filter((one) => !one.caption \
        || [...one.querySelectorAll('th')].some((cell) => !cell.scope)).length \
        + [...document.querySelectorAll('svg')].filter((one) => !one.getAttribute('aria-label')).length";
    assert_eq!(browser.evaluate(unnamed), 0, "a table or a plot has no name for screen readers");
    // Tab reaches the button and the tables that scroll; the space bar presses the button.
    let mut reached = Vec::new();
    for _ in 0..3 {
        browser.press("Tab", "");
        let script = "document.activeElement.id || document.activeElement.getAttribute('aria-labelledby')";
        reached.push(browser.evaluate(script));
    }
    assert_eq!(reached, ["pause", "nodes-title", "requests-title"]);
    browser.evaluate("document.querySelector('#pause').focus()");
    browser.press(" ", " ");
    assert_eq!(browser.evaluate("document.querySelector('#pause').getAttribute('aria-pressed')"), "true");
    assert_eq!(browser.console, [""; 0]);
}

#[test]
fn a_token_is_asked_for_and_kept_in_memory() {
    let world = World::new();
    let Some(mut browser) = Browser::start(world.folder.path()) else { return };
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    world.write("server.pem", certificate.pem());
    world.write("server.key", key.serialize_pem());
    let token = world.ok(&["token", "new", "--scopes", "monitor", "--tokens", "tokens"], "");
    let other = world.ok(&["token", "new", "--scopes", "store", "--tokens", "tokens"], "");
    let tls = ["--tls-certificate", "server.pem", "--tls-key", "server.key", "--tokens", "tokens"];
    let mut service = Service::start(&world, &[&["serve", "--admin", "0.0.0.0:0"], &tls[..]].concat());
    let url = format!("https://localhost:{}/", service.next_address().port());
    browser.call("Security.setIgnoreCertificateErrors", json!({"ignore": true}));
    browser.open(&url);
    browser.wait_until("document.querySelector('#summary').textContent === 'This page needs a token'");
    assert_eq!(browser.evaluate("document.activeElement.id"), "token");
    for wrong in [other.trim(), "srt1 \u{fc}"] {
        browser.call("Input.insertText", json!({"text": wrong}));
        browser.press("Enter", "\r");
        browser.wait_until("document.querySelector('#summary').textContent.startsWith('The token is not valid here')");
        browser.evaluate("document.querySelector('#token').focus()");
    }
    browser.call("Input.insertText", json!({"text": token.trim()}));
    browser.press("Enter", "\r");
    browser.wait_until("document.querySelector('#summary').textContent === '1 node: 1 ready'");
    assert_eq!(browser.evaluate("document.querySelector('#access').hidden"), true);
    let kept = "localStorage.length + sessionStorage.length + document.cookie.length + document.querySelector('#token').value.length";
    assert_eq!(browser.evaluate(kept), 0, "the token is kept");
    browser.open(&url);
    browser.wait_until("document.querySelector('#summary').textContent === 'This page needs a token'");
}

/// `UPDATE=1` writes the picture that the documentation shows.
#[test]
fn the_documentation_shows_the_page() {
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operators.png");
    let world = World::new();
    let Some(mut browser) = Browser::start(world.folder.path()) else { return };
    let (_service, url) = with_page(&world);
    // Time passes 50 times as fast.
    let faster = "const wait = setTimeout; window.setTimeout = (work, time) => wait(work, time / 50)";
    browser.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": faster}));
    browser.resize(1100, 900);
    browser.prefer("light");
    browser.open(&url);
    let real = status(&mut browser);
    let mut step = 0_u64;
    browser.intercept(STATUS, move || {
        step += 1;
        example(&real, step)
    });
    browser.wait_until("document.querySelector('#plots path').getAttribute('d')?.split('L').length > 60");
    let shot = browser.screenshot();
    assert_eq!(&shot[..8], b"\x89PNG\r\n\x1a\n");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&picture, &shot).unwrap();
    }
    let kept = std::fs::read(picture).unwrap();
    assert_eq!(kept[16..24], shot[16..24], "the picture has another width and height");
    assert!(kept.len() < 200_000, "{} bytes", kept.len());
}

/// The status of an example cluster, `step` times four seconds after its start.
fn example(real: &Value, step: u64) -> Value {
    let last = if step > 60 { "dead" } else { "ready" };
    let nodes = [("encryption-1", "ready"), ("encryption-2", "ready"), ("storage-1", "ready"), ("storage-2", last)];
    let mut document = cluster(real, &nodes);
    // Up and down, with some noise.
    let swing = |at: u64| (at % 40).abs_diff(20) * 3 + at * 7919 % 13;
    let total = |rate: u64| (0..step).map(|at| 4 * rate * (70 + swing(at + rate)) / 100).sum::<u64>();
    document["uptime_seconds"] = (4 * step).into();
    let buckets = |count: u64, per_mille: [u64; 10]| per_mille.map(|share| count * share / 1000);
    let (stores, retrieves) = (total(210), total(840));
    let durations = [
        ("/v1/retrieve", retrieves, [550, 900, 970, 985, 993, 999, 1000, 1000, 1000, 1000]),
        ("/v1/store", stores, [100, 450, 800, 930, 985, 998, 1000, 1000, 1000, 1000]),
    ];
    document["metrics"]["durations"] = durations
        .iter()
        .map(|(route, count, shares)| json!({"route": route, "count": count, "buckets": buckets(*count, *shares)}))
        .collect();
    document["metrics"]["requests"] = json!([
        {"route": "/v1/retrieve", "method": "POST", "status": 200, "count": retrieves - step / 3},
        {"route": "/v1/retrieve", "method": "POST", "status": 404, "count": step / 3},
        {"route": "/v1/store", "method": "POST", "status": 201, "count": stores},
    ]);
    document["metrics"]["errors"] = json!({"NotFound": step / 3, "Busy": if step > 60 { 4 } else { 0 }});
    document["metrics"]["totals"]["received_bytes_total"] = (stores * 1100 + retrieves * 120).into();
    document["metrics"]["totals"]["sent_bytes_total"] = (retrieves * 1100 + stores * 90).into();
    document["metrics"]["gauges"]["requests_in_flight"] = (4 + swing(step) / 9).into();
    document["metrics"]["gauges"]["connections"] = 24.into();
    document["gossip"] = json!({"sent": 12 * step, "received": 12 * step - step / 9, "refused": {"time": 2}});
    document["expiring"] =
        json!({"expired": 0, "within_minute": 7, "within_hour": 412, "is_complete": true, "seconds_ago": 3});
    if last == "dead" {
        document["problems"] =
            json!([{"kind": "clock_skew", "detail": "the clock of 192.0.2.7:8422 differs by 90 seconds"}]);
    }
    document
}
