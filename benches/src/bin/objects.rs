//! Records in a bucket, against the crate `object_store` alone, which encrypts nothing, on the same HTTP client
//! (hyper): `objects URL [ROUNDS [MIB]]`. Credentials come from the environment. Each transfer of a long record is a
//! process of its own, so that its processor time and its peak memory are its own, too.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::cast_precision_loss, reason = "a benchmark")]

use std::env;
use std::fs;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{self, Read};
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use hyper_util::client::legacy::{Client, connect::HttpConnector as Tcp};
use hyper_util::rt::TokioExecutor;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::path::Path;
use object_store::{ClientOptions, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode};
use strongroom::storage::BucketUrl;
use strongroom::{IndexKey, RecordKey, Strongroom, WriteOptions};
use tokio::runtime::{Builder, Runtime};

const PART: usize = 8 << 20;
/// Parts of a long object that are sent or fetched at the same time.
const PARALLEL: usize = 4;
const SHORT: usize = 1024;

/// hyper's client, without anything else.
#[derive(Clone, Debug)]
struct Hyper(Client<Tcp, HttpRequestBody>);

impl HttpConnector for Hyper {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for Hyper {
    fn call<'l, 'a>(
        &'l self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>
    where
        'l: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            let answer = self.0.request(request).await.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error));
            let (head, body) = answer?.into_parts();
            let body = http_body_util::BodyExt::map_err(body, |error| HttpError::new(HttpErrorKind::Unknown, error));
            Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
        })
    }
}

/// The crate `object_store` alone, with a thread of its own as Strongroom has it.
struct Plain {
    runtime: Runtime,
    bucket: Arc<AmazonS3>,
}

impl Plain {
    fn open(url: &str) -> Self {
        let (bucket, endpoint) = url.strip_prefix("s3://").unwrap().split_once("?endpoint=").unwrap();
        let mut tcp = Tcp::new();
        tcp.set_nodelay(true);
        let bucket = AmazonS3Builder::from_env()
            .with_bucket_name(bucket.split('/').next().unwrap())
            .with_endpoint(endpoint)
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .with_http_connector(Hyper(Client::builder(TokioExecutor::new()).build(tcp)));
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, bucket: Arc::new(bucket.build().unwrap()) }
    }

    /// Uploads random bytes, as ciphertext is: some servers compress others.
    fn upload(&self, len: usize) {
        let part = random(PART);
        self.runtime.block_on(async {
            let mut upload = self.bucket.put_multipart(&Path::from("bench/plain/long")).await.unwrap();
            let parts: Vec<_> = (0..len / PART).map(|_| upload.put_part(part.clone().into())).collect();
            stream::iter(parts).buffer_unordered(PARALLEL).try_collect::<Vec<_>>().await.unwrap();
            upload.complete().await.unwrap();
        });
    }

    fn download(&self, len: usize) {
        let (bucket, path) = (&self.bucket, &Path::from("bench/plain/long"));
        let get = |start: usize| async move { bucket.get_range(path, start as u64..(start + PART) as u64).await };
        let parts = stream::iter((0..len).step_by(PART).map(get)).buffered(PARALLEL);
        let count = |count, part: Bytes| std::future::ready(Ok(count + part.len()));
        assert_eq!(self.runtime.block_on(parts.try_fold(0, count)).unwrap(), len);
    }
}

/// `len` bytes, a multiple of 32.
fn random(len: usize) -> Bytes {
    (0..len / 32).flat_map(|_| *RecordKey::generate().unwrap().expose_bytes()).collect()
}

/// A path of the length of a record's, which like it is in no order.
fn spread(folder: &str, id: &str) -> Path {
    let hash = |part: u8| BuildHasherDefault::<DefaultHasher>::default().hash_one((part, id));
    Path::from(format!("{folder}/{:016x}{:016x}{:016x}{:016x}", hash(0), hash(1), hash(2), hash(3)))
}

fn store(url: &str) -> Strongroom {
    let url: BucketUrl = url.parse().unwrap();
    Strongroom::builder().bucket(url).index_key(IndexKey::from_bytes(&[7; 32]).unwrap()).open().unwrap()
}

fn key() -> RecordKey {
    RecordKey::from_bytes(&[9; 32]).unwrap()
}

/// One transfer of `len` bytes: its time, the processor time and the peak memory of the process.
fn transfer(url: &str, work: &str, len: usize) -> String {
    let begun = match work {
        "in" => {
            let store = store(url);
            store.delete("long", &key()).ok();
            let begun = Instant::now();
            let key = key();
            let options = WriteOptions::new().key(&key);
            store.store_reader_with("long", io::repeat(0x5a).take(len as u64), options).unwrap();
            begun
        }
        "out" => {
            let store = store(url);
            let begun = Instant::now();
            let mut reader = store.open_record("long", &key()).unwrap();
            let (mut buffer, mut count) = (vec![0; 256 << 10], 0);
            while let some @ 1.. = reader.read(&mut buffer).unwrap() {
                count += some;
            }
            assert_eq!(count, len);
            begun
        }
        _ => {
            let plain = Plain::open(url);
            let begun = Instant::now();
            if work == "plain-in" {
                plain.upload(len);
            } else {
                plain.download(len);
            }
            begun
        }
    };
    let time = begun.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.split_once("VmHWM:").unwrap().1.split_whitespace().next().unwrap().to_owned();
    format!("{time} {} {peak}", processor_time())
}

/// The processor time of this process, in seconds.
fn processor_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let ticks = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum() // of 10 ms on Linux
}

/// The median of a list.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How often `work` is done in a second.
fn rate(mut work: impl FnMut(u64)) -> f64 {
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(2) {
        work(count);
        count += 1;
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let url = &arguments[0];
    if let [_, work, len] = &arguments[..]
        && work.parse::<usize>().is_err()
    {
        println!("{}", transfer(url, work, len.parse().unwrap()));
        return;
    }
    let number = |place, default| arguments.get(place).map_or(default, |number: &String| number.parse().unwrap());
    let (rounds, mib) = (number(1, 5), number(2, 1024));

    println!("| work | Strongroom | `object_store` alone | Strongroom / this |\n|---|---|---|---|");
    let (store, plain) = (store(url), Plain::open(url));
    let data = random(SHORT);
    let mut rates = vec![Vec::new(); 5];
    for round in 0..rounds {
        let id = |n: u64| format!("{round}.{n}.{}", std::process::id());
        let path = |mode: &PutMode, n: u64| spread(&format!("bench/plain/{mode:?}"), &id(n));
        let keys = std::cell::RefCell::new(Vec::new());
        rates[0].push(rate(|n| keys.borrow_mut().push(store.store(id(n), &data).unwrap())));
        let mut written = 0;
        for (place, mode) in [(1, PutMode::Overwrite), (2, PutMode::Create)] {
            rates[place].push(rate(|n| {
                written = n + 1;
                let path = path(&mode, n);
                let put = plain.bucket.put_opts(&path, data.clone().into(), mode.clone().into());
                plain.runtime.block_on(put).unwrap();
            }));
        }
        let keys = keys.into_inner();
        let get = |n: u64| {
            store.retrieve(id(n % keys.len() as u64), &keys[usize::try_from(n).unwrap() % keys.len()]).unwrap()
        };
        rates[3].push(rate(|n| assert_eq!(get(n).len(), SHORT)));
        rates[4].push(rate(|n| {
            let path = path(&PutMode::Create, n % written);
            let body = async { plain.bucket.get(&path).await.unwrap().bytes().await.unwrap() };
            assert_eq!(plain.runtime.block_on(body).len(), SHORT);
        }));
    }
    let rates: Vec<_> = rates.into_iter().map(median).collect();
    for (work, ours, plain) in [
        ("store 1 KiB", rates[0], rates[1]),
        ("... beside a PUT on condition", rates[0], rates[2]),
        ("retrieve 1 KiB", rates[3], rates[4]),
    ] {
        println!("| {work}, 1 thread, in a second | {ours:.0} | {plain:.0} | {:.2} |", ours / plain);
    }

    let len = (mib << 20).to_string();
    let run = |work: &str| {
        let output = Command::new(env::current_exe().unwrap()).args([url, work, &len]).output().unwrap();
        assert!(output.status.success(), "{work}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let figures: Vec<f64> = text.split_whitespace().map(|figure| figure.parse().unwrap()).collect();
        [f64::from(mib) / figures[0], figures[1], figures[2] / 1024.0]
    };
    for work in ["in", "out"] {
        let mut figures = [const { [const { Vec::new() }; 3] }; 2];
        for _ in 0..rounds {
            for (figures, work) in figures.iter_mut().zip([work.to_owned(), format!("plain-{work}")]) {
                figures.iter_mut().zip(run(&work)).for_each(|(figures, figure)| figures.push(figure));
            }
        }
        let [[ours, processor, peak], [plain, plain_processor, plain_peak]] = figures;
        let (ours, plain) = (median(ours), median(plain));
        println!("| {mib} MiB {work}, MiB/s | {ours:.0} | {plain:.0} | {:.2} |", ours / plain);
        println!("| ... processor time, s | {:.2} | {:.2} | |", median(processor), median(plain_processor));
        let most = |peaks: Vec<f64>| peaks.into_iter().fold(0.0, f64::max);
        println!("| ... peak memory, MiB | {:.0} | {:.0} | |", most(peak), most(plain_peak));
    }
}
