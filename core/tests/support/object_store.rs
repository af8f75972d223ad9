//! The object store that all tests of a run share, and one that keeps no promise.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use strongroom::storage::BucketUrl;

use crate::support::fake_s3::{BUCKET, url};
use crate::support::shared_server::SharedServer;
pub(crate) use crate::support::shared_server::hash;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/support/object-store.sh");
/// The account that every Azurite has, with its published key.
const AZURITE: &str = "devstoreaccount1";
const AZURITE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Four of these ports belong to a server.
const PORTS: Range<u16> = 12_000..20_000;

pub(crate) struct ObjectServer(SharedServer);

impl ObjectServer {
    /// The server of all tests.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<ObjectServer> = OnceLock::new();
        SHARED.get_or_init(|| {
            let kind = std::env::var("STRONGROOM_TEST_OBJECT_STORE").unwrap_or_default();
            Self(SharedServer::start(&format!("objects-{}", hash(&(SCRIPT, kind))), SCRIPT, &[], PORTS, 4))
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.0.port).into()
    }

    pub(crate) fn url(&self, prefix: &str) -> BucketUrl {
        let kind = std::env::var("STRONGROOM_TEST_OBJECT_STORE").unwrap_or_default();
        if kind == "s3rver" {
            return url(self.address(), prefix).access_key("S3RVER", "S3RVER".to_owned()); // its only key
        }
        if kind == "azurite" {
            let endpoint = format!("http://{}/{AZURITE}", self.address());
            let url = format!("az://{BUCKET}/{prefix}?endpoint={endpoint}");
            return url.parse::<BucketUrl>().unwrap().access_key(AZURITE, AZURITE_KEY.to_owned());
        }
        url(self.address(), prefix)
    }

    /// The URL of the store of a test with this folder.
    pub(crate) fn url_for(&self, folder: &Path) -> BucketUrl {
        self.url(&hash(&folder))
    }
}
