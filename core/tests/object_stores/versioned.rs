//! A bucket that keeps old versions: the store works, and the old versions stay, as the documentation says.

use std::net::SocketAddr;
use std::process::Command;

use strongroom::Strongroom;

use crate::support::fake_s3::{ACCESS_KEY, BUCKET};
use crate::support::index_key;
use crate::support::object_store::{ObjectServer, hash};
use crate::support::wait::output;

pub(super) fn s3(address: SocketAddr, method: &str, target: &str, body: &str) -> String {
    let user = format!("{}:{}", ACCESS_KEY.0, ACCESS_KEY.1);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "20", "--aws-sigv4", "aws:amz:us-east-1:s3"]);
    // Older versions of curl neither send the hash of a body nor sort the options of a URL, both of which are signed.
    curl.args(["--header", "content-type: application/xml", "--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]);
    curl.args(["--user", &user, "--request", method, "--data", body, &format!("http://{address}/{target}")]);
    let output = output(&mut curl);
    assert!(output.status.success(), "{method} {target}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_versioned_bucket_keeps_what_was_erased() {
    let bucket = hash(&("versioned", std::process::id()));
    let url = ObjectServer::shared().url("store").to_string().replace(BUCKET, &bucket);
    let url = url.parse::<strongroom::storage::BucketUrl>().unwrap().access_key(ACCESS_KEY.0, ACCESS_KEY.1.to_owned());
    let s3 = |method, target: &str, body| s3(ObjectServer::shared().address(), method, target, body);
    s3("PUT", &bucket, "");
    let versions = || s3("GET", &format!("{bucket}?prefix=store%2Fr%2F&versions="), "").matches("<Version>").count();
    let enabled = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
        <Status>Enabled</Status></VersioningConfiguration>";
    s3("PUT", &format!("{bucket}?versioning="), enabled);

    let store = Strongroom::builder().bucket(url).index_key(index_key()).open().unwrap();
    let [first, second] = ["a", "b"].map(|id| store.store(id, b"one").unwrap());
    let first = store.replace("a", &first, b"two").unwrap();
    assert_eq!(store.retrieve("a", &first).unwrap(), b"two");
    assert_eq!(store.take("b", &second).unwrap(), b"one");
    store.delete("a", &first).unwrap();
    assert!(!store.contains("a").unwrap() && !store.contains("b").unwrap());
    assert_eq!(store.stats().unwrap().records, 0);
    let third = store.store("a", b"three").unwrap();
    assert_eq!(store.retrieve("a", &third).unwrap(), b"three");
    assert!(versions() > 3, "the versions of deleted records are gone");
}
