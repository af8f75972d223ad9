//! Sealing and opening in memory, compared with the AEAD alone.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{Aes256Gcm, KeyInit, Tag};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use strongroom::cobblestone::{message_len, open_into, seal_into};

const KEY: [u8; 32] = [7; 32];
const OURS: &str = if cfg!(feature = "aws-lc-rs") { "ours, on aws-lc-rs" } else { "ours, on aes-gcm" };

fn encryption(criterion: &mut Criterion) {
    let aes_gcm = Aes256Gcm::new(&KEY.into());
    let aws_lc = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).unwrap());
    let nonce = || Nonce::assume_unique_for_key([7; 12]);
    for len in [64, 1 << 10, 16 << 10, 1 << 20] {
        let (mut plain, mut sealed) = (vec![0x5a; len], vec![0; len]);
        let mut message = vec![0; usize::try_from(message_len(len as u64).unwrap()).unwrap()];

        let mut group = criterion.benchmark_group("seal");
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new(OURS, len), |bencher| {
            bencher.iter(|| seal_into(&KEY, b"context", black_box(&plain), &mut message).unwrap());
        });
        group.bench_function(BenchmarkId::new("aes-gcm alone", len), |bencher| {
            bencher.iter(|| {
                let data = InOutBuf::new(&plain, &mut sealed).unwrap();
                black_box(aes_gcm.encrypt_inout_detached(&[7; 12].into(), &[], data).unwrap())
            });
        });
        group.bench_function(BenchmarkId::new("aws-lc-rs alone", len), |bencher| {
            bencher.iter(|| black_box(aws_lc.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut sealed).unwrap()));
        });
        group.finish();

        sealed.copy_from_slice(&plain);
        let tag = aws_lc.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut sealed).unwrap();
        let aes_gcm_tag: Tag = <[u8; 16]>::try_from(tag.as_ref()).unwrap().into();
        let mut group = criterion.benchmark_group("open");
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new(OURS, len), |bencher| {
            bencher.iter(|| open_into(&KEY, b"context", black_box(&message), &mut plain).unwrap());
        });
        group.bench_function(BenchmarkId::new("aes-gcm alone", len), |bencher| {
            bencher.iter(|| {
                let data = InOutBuf::new(&sealed, &mut plain).unwrap();
                aes_gcm.decrypt_inout_detached(&[7; 12].into(), &[], data, &aes_gcm_tag).unwrap();
            });
        });
        group.bench_function(BenchmarkId::new("aws-lc-rs alone", len), |bencher| {
            bencher.iter(|| {
                aws_lc.open_separate_gather(nonce(), Aad::empty(), &sealed, tag.as_ref(), &mut plain).unwrap();
            });
        });
        group.finish();
    }
}

criterion_group!(benches, encryption);
criterion_main!(benches);
