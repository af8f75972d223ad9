//! The object store that all tests of a run share, and one that keeps no promise.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use strongroom::storage::BucketUrl;

use crate::support::fake_s3::{BUCKET, url};
use crate::support::wait::{DEADLINE, poll_within};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/support/object-store.sh");
/// The account that every Azurite has, with its published key.
const AZURITE: &str = "devstoreaccount1";
const AZURITE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server, which ends a while after the last test.
pub(crate) struct ObjectServer {
    port: u16,
    _lock: File,
}

impl ObjectServer {
    /// The server of all tests. It is started by the first of them, and ends some seconds after the last.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<ObjectServer> = OnceLock::new();
        SHARED.get_or_init(|| {
            let kind = std::env::var("STRONGROOM_TEST_OBJECT_STORE").unwrap_or_default();
            let folder = std::env::temp_dir().join(format!("strongroom-test-objects-{}", hash(&(SCRIPT, kind))));
            fs::create_dir_all(&folder).unwrap();
            let open = |name| File::options().create(true).append(true).open(folder.join(name)).unwrap();
            let lock = open("users");
            lock.lock_shared().unwrap();
            let start = open("start");
            start.lock().unwrap();
            let running = || fs::read_to_string(folder.join("port")).ok()?.trim().parse().ok().filter(|p| accepts(*p));
            let port = running().unwrap_or_else(|| {
                let _ = fs::remove_file(folder.join("port"));
                let mut command = Command::new("setsid");
                command.args([SCRIPT, folder.to_str().unwrap(), &free_port().to_string()]);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                let mut script = command.spawn().unwrap();
                std::thread::spawn(move || script.wait()); // it outlives this process
                poll_within(DEADLINE, running).unwrap_or_else(|| no_server(&folder))
            });
            Self { port, _lock: lock }
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn url(&self, prefix: &str) -> BucketUrl {
        if std::env::var("STRONGROOM_TEST_OBJECT_STORE").as_deref() == Ok("azurite") {
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

pub(crate) fn hash(value: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn accepts(port: u16) -> bool {
    TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(5)).is_ok()
}

/// A port below those that the system gives to clients.
fn free_port() -> u16 {
    let start = (std::process::id() % 2_000) as u16;
    let mut ports = (0..2_000).map(|n| 12_000 + (start + n) % 2_000 * 4);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

fn no_server(folder: &Path) -> ! {
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    panic!("the object store does not start (`make test-rust` installs it):\n{log}")
}
