//! The documentation site in a real browser: `make test-site` builds it first.

#![cfg(all(unix, feature = "server"))]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::World;
use crate::support::browser::Browser;

/// Elements whose content is wider than they are, and does not scroll; and the page itself.
const TOO_WIDE: &str = "[...document.querySelectorAll('html, main *, article *')].filter((element) => \
    element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0 && \
    (element === document.documentElement || \
     !['auto', 'scroll', 'hidden'].includes(getComputedStyle(element).overflowX) && \
     !element.closest('svg, .mermaid, .headerlink'))).slice(0, 5).map((element) => `${element.outerHTML.slice(0, 200)} has \
    ${element.scrollWidth} of ${element.clientWidth} pixels`)";

/// The brightness of the page and of its text, from 0 to 1.
const BRIGHTNESS: &str = "(() => { \
    const brightness = (color) => color.match(/[\\d.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 765; \
    const style = getComputedStyle(document.body); \
    return [brightness(style.backgroundColor), brightness(style.color)]; })()";

fn site() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/site").canonicalize().expect("`make site` builds it")
}

/// The pages below `folder` except those of rustdoc, and two of these.
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

fn start(world: &World) -> Option<Browser> {
    let mut browser = Browser::start(world.folder.path())?;
    browser.resize(1280, 900);
    browser.prefer("light");
    Some(browser)
}

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

#[test]
#[ignore = "needs the site: `make test-site`"]
fn every_page_fits_narrow_and_wide_in_light_and_dark() {
    let world = World::new();
    let Some(mut browser) = start(&world) else { return };
    let mut paths = Vec::new();
    pages(&site(), &mut paths);
    assert!(paths.len() > 40, "{paths:?}");
    paths.push(site().join("rust/strongroom/index.html"));
    paths.push(site().join("rust/strongroom/struct.Strongroom.html"));
    let mut problems = Vec::new();
    for path in paths {
        let rustdoc = path.starts_with(site().join("rust"));
        browser.open(&url(&path));
        for width in [1280, 400] {
            browser.resize(width, 900);
            let too_wide = browser.evaluate(TOO_WIDE);
            // Inside of its pages, rustdoc is not ours.
            if too_wide.as_array().is_some_and(|elements| !elements.is_empty()) && !rustdoc {
                problems.push(format!("{} at {width} pixels: {too_wide:#}", path.display()));
            }
            for scheme in ["dark", "light"] {
                browser.prefer(scheme);
                let [page, text] = brightness(&browser.evaluate(BRIGHTNESS));
                if (scheme == "dark") != (page < text) || (page - text).abs() < 0.5 {
                    problems.push(format!("{} in {scheme} at {width} pixels: {page} and {text}", path.display()));
                }
            }
        }
        browser.resize(1280, 900);
        problems.extend(browser.console.drain(..).map(|line| format!("{}: {line}", path.display())));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn brightness(value: &Value) -> [f64; 2] {
    [0, 1].map(|n| value[n].as_f64().unwrap())
}

#[test]
#[ignore = "needs the site: `make test-site`"]
fn the_search_finds_every_part() {
    let world = World::new();
    let Some(mut browser) = start(&world) else { return };
    for (word, page) in [
        ("strongroom_store_many", "site/c.html"),
        ("store_many", "python/docs/api.html"),
        ("Cobblestone", "docs/FORMAT.html"),
        ("systemctl", "docs/PRODUCTION.html"),
        ("expires_in", "site/encryption-server.html"),
    ] {
        browser.open(&format!("{}?q={word}", url(&site().join("search.html"))));
        browser.wait_until(&format!("document.querySelector('#search-results a[href*=\"{page}\"]') !== null"));
    }
    assert_eq!(browser.console, [""; 0]);
}

#[test]
#[ignore = "needs the site: `make test-site`"]
fn diagrams_are_drawn() {
    let world = World::new();
    let Some(mut browser) = start(&world) else { return };
    browser.open(&url(&site().join("index.html")));
    browser.wait_until("document.querySelector('.mermaid svg')?.textContent.includes('Strongroom')");
    assert_eq!(browser.console, [""; 0]);
}
