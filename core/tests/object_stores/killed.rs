//! A program that is killed while it writes to a bucket.

use crate::support::killed_writers::check;
use crate::support::object_store::ObjectServer;

#[test]
fn acknowledged_writes_are_there() {
    let server = ObjectServer::shared();
    check("object_stores::killed::acknowledged_writes_are_there", |name| {
        let builder = strongroom::Strongroom::builder().bucket(server.url(name));
        builder.index_key(crate::support::index_key()).open().unwrap()
    });
}
