//! The page for operators: who may see what, and in which form.

use std::sync::Arc;

use serde_json::{Value, json};
use strongroom::RecordKey;
use strongroom::storage::{MemoryStorage, Storage};
use strongroom_server::{Config, NewToken, Scope, Server, Service, StartError};

use crate::listening::Certificates;
use crate::support::{Answer, Running, config, encryption, storage_with, token};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
    trusted-types 'none'";

/// The page on a free port of this machine.
fn with_page() -> Config {
    let mut config = config();
    config.admin = Some("127.0.0.1:0".parse().unwrap());
    config
}

fn get(server: &Running, path: &str) -> Answer {
    server.connect_as_operator().send(&format!("GET {path}"), &[], b"")
}

fn status(server: &Running) -> Value {
    let answer = get(server, "/admin/status");
    answer.is(200);
    answer.json()
}

#[test]
fn the_page_has_its_own_listener() {
    let server = encryption(&with_page());
    for request in ["GET /v1/store", "POST /metrics", "POST /healthz", "GET /admin", "GET /admin/", "GET /page.html"] {
        server.connect_as_operator().send(request, &[], b"").is_problem(404, 19, "InvalidArgument");
    }
    for path in ["/", "/admin/page.css", "/admin/page.js", "/admin/icon.svg", "/admin/status"] {
        get(&server, path).is(200);
        // By another method, because the documents do not have this answer to GET.
        server.send(&format!("PUT {path}"), &[], b"").is_problem(404, 19, "InvalidArgument");
        server.connect_as_operator().send(&format!("POST {path}"), &[], b"").is_problem(405, 19, "InvalidArgument");
        let head = server.connect_as_operator().send(&format!("HEAD {path}"), &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0));
    }
    let without = encryption(&config());
    assert!(without.admin.is_none());
    without.send("PUT /admin/status", &[], b"").is_problem(404, 19, "InvalidArgument");
}

#[test]
fn every_answer_has_the_policy() {
    let server = encryption(&with_page());
    for path in ["/", "/admin/page.css", "/admin/page.js", "/admin/icon.svg", "/admin/status", "/nothing"] {
        let answer = get(&server, path);
        for (name, value) in [
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}: {name}");
        }
    }
    let media_type = |path| get(&server, path).header("content-type").unwrap().to_owned();
    assert_eq!(media_type("/"), "text/html; charset=utf-8");
    assert_eq!(media_type("/admin/page.js"), "text/javascript; charset=utf-8");
    assert_eq!(media_type("/admin/page.css"), "text/css; charset=utf-8");
}

/// The policy forbids what would insert a peer's text as HTML. The files do not try to, and load nothing else.
#[test]
fn the_page_keeps_its_policy() {
    let server = encryption(&with_page());
    let text = |path| String::from_utf8(get(&server, path).body).unwrap();
    let (page, script, style) = (text("/"), text("/admin/page.js"), text("/admin/page.css"));
    for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Storage", ".style"] {
        assert!(!script.contains(sink), "{sink}");
    }
    for inline in [" style=", " onclick=", " onload=", "<style", "javascript:"] {
        assert!(!page.contains(inline), "{inline}");
    }
    assert_eq!(page.matches("<script").count(), page.matches("<script src=\"/admin/page.js\" defer></script>").count());
    for file in [page, script.replace("http://www.w3.org/2000/svg", ""), style] {
        assert!(!file.contains("://") && !file.contains("url(") && !file.contains("@import"));
    }
}

/// A web page of another host cannot reach the page by DNS rebinding.
#[test]
fn other_hosts_are_refused() {
    let server = encryption(&with_page());
    let status = |host: &str| {
        let mut client = server.connect_as_operator();
        let request = format!("GET /admin/status HTTP/1.1\r\nhost: {host}\r\n\r\n");
        std::io::Write::write_all(&mut client.stream, request.as_bytes()).unwrap();
        client.answer(false).status
    };
    assert_eq!(status("localhost"), 200);
    assert_eq!(status("127.0.0.1:8423"), 200);
    assert_eq!(status("evil.example"), 421);
}

#[test]
fn on_this_machine_no_token_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = with_page();
    let file = folder.path().join("tokens");
    token(&file, &[Scope::Storage]);
    config.tokens = Some(file);
    config.insecure_loopback = false;
    let server = storage_with(Arc::new(MemoryStorage::new()), &config);
    server.send("GET /v1/stats", &[], b"").is_problem(401, 21, "AccessDenied");
    assert_eq!(status(&server)["role"], "storage");
    // Certificates of the service name other hosts: this machine's browser uses plain HTTP.
    let mut config = Certificates::new().config(folder.path(), "127.0.0.1:0", true);
    config.admin = Some("127.0.0.1:0".parse().unwrap());
    assert_eq!(status(&storage_with(Arc::new(MemoryStorage::new()), &config))["role"], "storage");
}

#[test]
fn other_machines_need_tls_and_a_token_with_the_scope() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |config: &Config| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let service = Service::storage(Arc::new(MemoryStorage::new()), config).unwrap();
        runtime.block_on(Server::bind(service, config)).unwrap_err()
    };
    let mut plain = config();
    plain.admin = Some("0.0.0.0:0".parse().unwrap());
    assert!(matches!(refused(&plain), StartError::NeedsTls(_)));
    let certificates = Certificates::new();
    let mut config = certificates.config(folder.path(), "127.0.0.1:0", false);
    config.insecure_loopback = true;
    config.admin = Some("0.0.0.0:0".parse().unwrap());
    assert!(matches!(refused(&config), StartError::NeedsClients(_)));

    let file = folder.path().join("tokens");
    let [right, wrong] = [&[Scope::Monitor][..], &[Scope::Storage, Scope::Erase]].map(|scopes| token(&file, scopes));
    let bound = NewToken::generate(vec![Scope::Monitor]).unwrap().bound_to(b"tenant");
    let lines = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{lines}{}\n", bound.line())).unwrap();
    config.tokens = Some(file);
    let server = storage_with(Arc::new(MemoryStorage::new()), &config);
    let ask = |path: &str, token: &str| {
        let header = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{header}connection: close\r\n\r\n");
        let mut address = server.admin.unwrap();
        address.set_ip([127, 0, 0, 1].into());
        certificates.answer(address, false, &request).unwrap()
    };
    for (token, answer) in
        [("", 401), ("srt1wrong", 401), (wrong.as_str(), 403), (bound.text(), 403), (right.as_str(), 200)]
    {
        let text = ask("/admin/status", token);
        assert!(text.starts_with(&format!("HTTP/1.1 {answer} ")), "{text}");
        assert_eq!(text.contains("uptime_seconds"), answer == 200);
    }
    assert!(ask("/", "").starts_with("HTTP/1.1 200 "), "a browser cannot send a token with the page's address");
}

/// The names that `schema` of the OpenAPI document has, compared with those of `value`.
fn check_schema(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        return check_schema(document, schema, value, place);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let choice = choices.iter().find(|choice| (choice["type"] == "null") == value.is_null());
        return check_schema(document, choice.unwrap(), value, place);
    }
    let types: Vec<_> = schema["type"]
        .as_str()
        .into_iter()
        .chain(schema["type"].as_array().into_iter().flatten().filter_map(Value::as_str))
        .collect();
    let is_right = types.iter().any(|name| match *name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        _ => value.is_null(),
    });
    assert!(is_right, "{place} is {value}, not {types:?}");
    for item in value.as_array().into_iter().flatten() {
        check_schema(document, &schema["items"], item, &format!("{place}[]"));
    }
    let Some(fields) = value.as_object() else { return };
    if let Some(properties) = schema["properties"].as_object() {
        assert!(fields.keys().eq(properties.keys()), "{place}: {:?} and {:?}", fields.keys(), properties.keys());
    }
    for (name, field) in fields {
        let schema = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
        check_schema(document, schema, field, &format!("{place}.{name}"));
    }
}

#[test]
fn the_status_has_the_documented_form() {
    let server = encryption(&with_page());
    server.json("/v1/erase", &json!({"id": "a"})).is(200);
    server.json("/v1/retrieve", &json!({"id": "a", "key": "srk1"})).is(400);
    let document: Value = serde_json::from_str(include_str!("../openapi/admin.json")).unwrap();
    let schema = json!({"$ref": "#/components/schemas/Status"});
    for _ in 0..2 {
        check_schema(&document, &schema, &status(&server), "status");
    }
    let served = get(&server, "/openapi.json").json();
    assert_eq!(served, document);
}

/// Amounts of work are shown, and nothing about records and clients.
#[test]
fn the_status_shows_work_and_no_data() {
    const ID: &str = "patient-7f3a@clinic.example";
    let mut config = with_page();
    config.limits.threads = 4;
    let server = encryption(&config);
    let key = RecordKey::generate().unwrap();
    let record = json!({"id": ID, "data": "Y29uZmlkZW50aWFs", "key": &*key.to_text(), "expires_in": 50});
    server.json("/v1/store", &record).is(201);
    server.json("/v1/store", &record).is(201);
    server.json("/v1/store", &json!({"id": ID, "data": ""})).is_problem(409, 2, "AlreadyExists");

    let counted = |status: &Value| status["expiring"]["within_minute"] == 1;
    let status = (0..1000).map(|_| status(&server)).find(|status| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        counted(status)
    });
    let status = status.expect("the record that expires is not counted");
    assert_eq!(status["expiring"]["expired"], 0);
    assert_eq!((&status["role"], &status["is_ready"]), (&"encryption".into(), &true.into()));
    assert_eq!(status["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(status["nodes"][0]["is_this_node"], true);
    assert_eq!(status["metrics"]["errors"]["AlreadyExists"], 1);
    let requests = status["metrics"]["requests"].as_array().unwrap();
    let stored = requests.iter().find(|one| one["route"] == "/v1/store" && one["status"] == 201).unwrap();
    assert_eq!(stored["count"], 2);
    let text = status.to_string();
    assert!(!text.contains("patient") && !text.contains("srk1") && !text.contains("Y29u"), "{text}");
    assert!(text.len() < 32 << 10, "{} bytes", text.len());
}

#[test]
fn the_storage_service_shows_its_storage() {
    let memory = Arc::new(MemoryStorage::new());
    let server = storage_with(memory.clone(), &with_page());
    assert_eq!(status(&server)["is_ready"], true);
    assert_eq!(status(&server)["nodes"][0]["state"], "ready");
    memory.close().unwrap();
    let status = status(&server);
    assert_eq!((&status["is_ready"], &status["nodes"][0]["state"]), (&false.into(), &"failing".into()));
}

/// The page works while clients use all connections of the service.
#[test]
fn operators_have_connections_of_their_own() {
    let mut config = with_page();
    config.limits.connections = 1;
    config.limits.body_seconds = 60;
    let server = storage_with(Arc::new(MemoryStorage::new()), &config);
    let mut client = server.connect();
    client.head(
        &format!("PUT /v1/records/{}", "7".repeat(64)),
        &[("content-type", "application/octet-stream")],
        Some(99),
    );
    let busy = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        status(&server)["metrics"]["gauges"]["requests_in_flight"] == 1
    });
    assert!(busy, "the request of the only connection is not in flight");
    // Many connections of operators evict each other, and not those of clients.
    let operators: Vec<_> = (0..100).map(|_| server.connect_as_operator()).collect();
    status(&server);
    drop(operators);
    std::io::Write::write_all(&mut client.stream, &[7; 99]).unwrap();
    client.answer(false).is(204);
}
