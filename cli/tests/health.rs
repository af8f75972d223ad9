//! The listener for probes, `strongroom health`, the metrics of store, disk and certificate, and the files for
//! monitoring.

#![cfg(all(unix, feature = "server"))]

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::service::Service;
use crate::support::wait::{self, DEADLINE, poll_within};
use crate::support::{DATA, World};

/// A service with a listener for probes, and its address.
fn start(world: &World, more: &[&str]) -> (Service, SocketAddr) {
    let serve = ["serve", "--store", "served.db", "--health", "127.0.0.1:0"];
    let mut service = Service::start(world, &[&serve[..], more].concat());
    let address = service.next_address();
    (service, address)
}

/// The answer to a request on the listener for probes.
fn get(address: SocketAddr, path: &str) -> String {
    get_of("localhost", address, path)
}

/// The same with the name of a host, on any listener.
pub(crate) fn get_of(host: &str, address: SocketAddr, path: &str) -> String {
    use std::io::{Read, Write};

    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn probes_and_metrics_have_a_listener_of_their_own() {
    let world = World::new();
    world.ok(&["store", "--store", "served.db", "--id", "id"], DATA);
    world.ok(&["token", "new", "--scopes", "store", "--tokens", "tokens"], "");
    let (service, address) = start(&world, &["--tokens", "tokens"]);
    for path in ["/healthz", "/readyz"] {
        assert!(get(address, path).starts_with("HTTP/1.1 200 "), "{path}");
    }
    for path in ["/v1/stats", "/openapi.json", "/"] {
        assert!(get(address, path).starts_with("HTTP/1.1 404 "), "{path}");
    }
    // A web page cannot read them under a name of its own.
    assert!(get_of("evil.example", address, "/metrics").starts_with("HTTP/1.1 421 "));
    // The records are counted soon after the start.
    let metrics = poll_within(DEADLINE, || Some(get(address, "/metrics")).filter(|text| text.contains("_records ")));
    let metrics = metrics.unwrap();
    let errors = ["Busy", "Corrupt", "Poisoned", "Storage", "StorageFull"];
    for line in errors.map(|name| format!("strongroom_errors_total{{error=\"{name}\"}} 0\n")) {
        assert!(metrics.contains(&line), "an error is counted from 0 on: {metrics}");
    }
    for line in ["records 1\n", "expired_records 0\n", "throttled_requests_total 0\n"] {
        assert!(metrics.contains(&format!("strongroom_{line}")), "{metrics}");
    }
    let version = format!("strongroom_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"));
    assert!(metrics.contains(&version), "{metrics}");
    let free = metrics.lines().find_map(|line| line.strip_prefix("strongroom_disk_free_bytes ")).unwrap();
    assert!(free.parse::<u64>().unwrap() > 0);
    assert!(!metrics.contains("certificate_expiry"), "{metrics}");

    let url = format!("http://{address}");
    assert_eq!(world.ok(&["health", &url], ""), "ready\n");
    assert_eq!(world.ok(&["health", &format!("http://{}", service.address)], ""), "ready\n");
    service.stop(Signal::TERM);
    let message = world.fail(14, &["health", &url, "--timeout", "1"], "");
    assert!(message.starts_with("error: "), "{message}");
    world.fail(19, &["health", "http://192.0.2.1:1"], "");
}

#[test]
fn metrics_are_not_public_by_mistake() {
    let world = World::new();
    let args = ["serve", "--store", "served.db", "--insecure-loopback", "--health", "0.0.0.0:0"];
    let output = crate::support::feed(&mut world.command(&args), b"");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(19), "{stderr}");
    assert!(stderr.contains("set insecure_health"), "{stderr}");
    let serve = ["serve", "--store", "served.db", "--health", "0.0.0.0:0", "--insecure-health"];
    let mut service = Service::start(&world, &serve);
    let address = service.next_address();
    assert!(address.ip().is_unspecified());
    assert!(get(([127, 0, 0, 1], address.port()).into(), "/readyz").starts_with("HTTP/1.1 200 "));
    service.stop(Signal::TERM);
}

#[test]
fn a_certificate_that_expires_soon_is_a_warning_and_a_metric() {
    let world = World::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let write = |days: i64| {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = time::OffsetDateTime::now_utc() + time::Duration::hours(24 * days + 12);
        world.write("server.pem", params.self_signed(&key).unwrap().pem());
        params.not_after.unix_timestamp()
    };
    world.write("server.key", key.serialize_pem());
    let end = write(10);
    let tls = ["--tls-certificate", "server.pem", "--tls-key", "server.key", "--tls-client-authorities", "server.pem"];
    let (service, address) = start(&world, &tls);
    // This listener has no TLS.
    assert!(get_of("evil.example", address, "/metrics").starts_with("HTTP/1.1 421 "));
    let metric = |end: i64| format!("strongroom_certificate_expiry_timestamp_seconds {end}\n");
    assert!(get(address, "/metrics").contains(&metric(end)), "probes need no certificate");
    let later = write(100);
    service.signal(Signal::HUP);
    let reloaded = || get(address, "/metrics").contains(&metric(later)).then_some(());
    poll_within(DEADLINE, reloaded).expect("the metric is that of the new certificate");
    let (_, log) = service.stop(Signal::TERM);
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("expires soon")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    let warning: Value = serde_json::from_str(warnings[0]).unwrap();
    assert_eq!((&warning["level"], &warning["days"]), (&"WARN".into(), &10.into()));
}

fn monitoring(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring").join(name)
}

/// The names of metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let name = |rest: &str| rest.split(|char| !is_part(char)).next().unwrap().to_owned();
    text.match_indices("strongroom_").map(|(at, _)| name(&text[at..])).filter(|name| !name.is_empty()).collect()
}

#[test]
fn alerts_and_dashboard_use_metrics_that_exist() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/src");
    let mut code = String::new();
    for file in ["metrics.rs", "storage_metrics.rs", "upstream_metrics.rs", "store_metrics.rs"] {
        code.push_str(&fs::read_to_string(sources.join(file)).unwrap());
    }
    let rules = fs::read_to_string(monitoring("alerts.yaml")).unwrap();
    let dashboard = fs::read_to_string(monitoring("dashboard.json")).unwrap();
    let panels: Value = serde_json::from_str(&dashboard).unwrap();
    assert!(panels["panels"].as_array().unwrap().len() >= 9);
    for text in [&rules, &dashboard] {
        let names = metrics_in(text);
        assert!(names.len() > 7, "{names:?}");
        for name in names {
            let short = name.trim_start_matches("strongroom_").trim_end_matches("_bucket");
            assert!(code.contains(&format!("\"{short}\"")), "there is no metric {name}");
        }
    }
    let page = fs::read_to_string(monitoring("../../docs/PRODUCTION.md")).unwrap();
    let alerts: Vec<_> = rules.split("{alert: ").skip(1).map(|rule| rule.split(',').next().unwrap()).collect();
    assert!(alerts.len() >= 16);
    for alert in alerts {
        assert!(alert.starts_with("Strongroom"), "{alert} could be another program's");
        assert!(
            page.contains(&format!("\n| `{alert}` | ")),
            "docs/PRODUCTION.md does not say what to do about {alert}"
        );
    }
}

/// The first error after the start of a service, whose counters begin at 0, and a service that is gone.
#[test]
fn prometheus_raises_the_alerts() {
    if Command::new("promtool").arg("--version").output().is_err() {
        return println!("SKIPPED: promtool is not installed (Debian's package prometheus)");
    }
    let world = World::new();
    world.write("alerts.yaml", fs::read_to_string(monitoring("alerts.yaml")).unwrap());
    let promtool = |args: &[&str]| wait::output(&mut world.other("promtool", args));
    let checked = promtool(&["check", "rules", "alerts.yaml"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let test = |first: &str| {
        let series = |error: &str| {
            format!("      - {{series: 'strongroom_errors_total{{error=\"{error}\"}}', values: '{first} 1x20'}}\n")
        };
        let raised = |alert: &str, error: &str| {
            format!("      - {{eval_time: 6m, alertname: {alert}, exp_alerts: [{{exp_labels: {{error: {error}}}}}]}}\n")
        };
        let errors = [
            ("StrongroomDamaged", "Corrupt"),
            ("StrongroomDiskFull", "StorageFull"),
            ("StrongroomWritesRefused", "Poisoned"),
            ("StrongroomStorageLost", "Storage"),
        ];
        let mut text =
            "rule_files: [alerts.yaml]\nevaluation_interval: 30s\ntests:\n  - interval: 30s\n    input_series:\n"
                .to_owned();
        text.extend(errors.map(|(_, error)| series(error)));
        text += &format!("      - {{series: strongroom_throttled_requests_total, values: '{first} 1x20'}}\n");
        text += "      - {series: 'up{job=\"strongroom-storage\"}', values: '0x20'}\n    alert_rule_test:\n";
        text.extend(errors.map(|(alert, error)| raised(alert, error)));
        text += "      - {eval_time: 6m, alertname: StrongroomManyInvalidTokens, exp_alerts: [{exp_labels: {}}]}\n";
        text += "      - {eval_time: 6m, alertname: StrongroomServiceDown, exp_alerts: [{exp_labels: {job: \
                 strongroom-storage}}]}\n";
        world.write("test.yaml", text);
        promtool(&["test", "rules", "test.yaml"])
    };
    let output = test("0x10");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!test("_x10").status.success(), "the control: the first value of a series is no increase");
}
