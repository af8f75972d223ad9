//! The documentation site in a real browser: `make test-site` builds it first.

#![cfg(all(unix, feature = "server"))]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::World;
use crate::support::browser::Browser;

/// Elements whose content is wider than they are, and does not scroll; the first is the page itself.
const TOO_WIDE: &str = "[...document.querySelectorAll('html, pre, dt, p, li, td, th')].filter((element) => \
    element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0 && \
    (element === document.documentElement || getComputedStyle(element).overflowX === 'visible')).map((element) => \
    `${element.outerHTML.slice(0, 200)} has ${element.scrollWidth} of ${element.clientWidth} pixels`).slice(0, 5)";

/// The brightness of the page and of its text, from 0 to 1.
const BRIGHTNESS: &str = "(() => { \
    const brightness = (color) => color.match(/[\\d.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 765; \
    const style = getComputedStyle(document.body); \
    return [brightness(style.backgroundColor), brightness(style.color)]; })()";

fn site() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/site").canonicalize().expect("`make site` builds it")
}

/// The pages below `folder`, except those of rustdoc.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("site/rust") {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "html") {
            found.push(path);
        }
    }
}

/// The site on a server, in a browser.
struct Reader {
    browser: Browser,
    server: Child,
    url: String,
}

impl Reader {
    fn start(world: &World) -> Option<Self> {
        let mut browser = Browser::start(world.folder.path())?;
        browser.resize(1280, 900);
        browser.prefer("light");
        let mut command = Command::new("python3");
        command.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"]).arg(site()).arg("0");
        let mut server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_, url) = line.split_once('(').unwrap_or_else(|| panic!("the server says {line:?}"));
        let url = url.split(')').next().unwrap().to_owned();
        Some(Self { browser, server, url })
    }

    fn open(&mut self, page: &str) {
        self.browser.open(&format!("{}{page}", self.url));
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
#[ignore = "needs the site: `make test-site`"]
fn every_page_fits_narrow_and_wide_in_light_and_dark() {
    let world = World::new();
    let Some(mut reader) = Reader::start(&world) else { return };
    let mut paths = Vec::new();
    pages(&site(), &mut paths);
    assert!(paths.len() > 40, "{paths:?}");
    let mut problems = Vec::new();
    for path in paths {
        let page = path.strip_prefix(site()).unwrap().to_str().unwrap();
        reader.open(page);
        let browser = &mut reader.browser;
        for width in [1280, 400] {
            browser.resize(width, 900);
            let too_wide = browser.evaluate(TOO_WIDE);
            if too_wide != json!([]) {
                problems.push(format!("{page} at {width} pixels: {too_wide:#}"));
            }
            for scheme in ["dark", "light"] {
                browser.prefer(scheme);
                let [back, text] = brightness(&browser.evaluate(BRIGHTNESS));
                if (scheme == "dark") != (back < text) || (back - text).abs() < 0.5 {
                    problems.push(format!("{page} in {scheme} at {width} pixels: {back} and {text}"));
                }
            }
        }
        browser.resize(1280, 900);
        problems.extend(browser.console.drain(..).map(|line| format!("{page}: {line}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));

    // Controls: code that leaves its box, and a page that ignores the preference.
    let code = "document.body.insertAdjacentHTML('beforeend', '<pre style=\"overflow: visible\">' + 'x'.repeat(999))";
    reader.browser.evaluate(code);
    assert_ne!(reader.browser.evaluate(TOO_WIDE), json!([]));
    reader.browser.evaluate("document.body.style.backgroundColor = document.body.style.color = 'white'");
    assert_eq!(brightness(&reader.browser.evaluate(BRIGHTNESS)), [1.0, 1.0]);
}

fn brightness(value: &Value) -> [f64; 2] {
    [0, 1].map(|n| value[n].as_f64().unwrap())
}

#[test]
#[ignore = "needs the site: `make test-site`"]
fn the_search_finds_every_part() {
    let world = World::new();
    let Some(mut reader) = Reader::start(&world) else { return };
    for (word, page) in [
        ("strongroom_store_many", "site/c.html"),
        ("store_many", "python/docs/api.html"),
        ("Cobblestone", "docs/FORMAT.html"),
        ("systemctl", "docs/PRODUCTION.html"),
        ("expires_in", "site/encryption-server.html"),
    ] {
        reader.open(&format!("search.html?q={word}"));
        let found = format!("document.querySelector('#search-results a[href*=\"{page}\"]') !== null");
        reader.browser.wait_until(&found);
    }
    assert_eq!(reader.browser.console, [""; 0]);
}

#[test]
#[ignore = "needs the site: `make test-site`"]
fn the_reference_of_rust_is_a_part() {
    let world = World::new();
    let Some(mut reader) = Reader::start(&world) else { return };
    reader.open("site/rust.html");
    reader.browser.evaluate("document.querySelector('article li a').click()");
    reader.browser.wait_until("document.querySelector('h1')?.textContent.includes('Crate strongroom') === true");
}

#[test]
#[ignore = "needs the site: `make test-site`"]
fn diagrams_are_drawn() {
    let world = World::new();
    let Some(mut reader) = Reader::start(&world) else { return };
    reader.open("index.html");
    reader.browser.wait_until("document.querySelector('.mermaid svg')?.textContent.includes('Strongroom') === true");
    assert_eq!(reader.browser.console, [""; 0]);
}
