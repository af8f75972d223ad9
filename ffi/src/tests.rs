//! Tests that are impossible or long in C: every function catches panics, the statuses are the library's errors, and a
//! callback cannot return the status of another.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, panic, ptr, slice};

use ::strongroom::storage::{
    Entry, Error, Fetched, Head, Info, Locator, MemoryStorage, PutMode, Stats, Storage, Upload, Verified,
    VerifyPosition,
};
use ::strongroom::{IndexKey, Strongroom, VerifyOptions, verify};

use crate::boundary::{outcome, quietly};
use crate::callback_storage::CallbackStorage;
use crate::callbacks::*;
use crate::key::*;
use crate::many::*;
use crate::options::*;
use crate::reader::*;
use crate::records::*;
use crate::rotation::*;
use crate::sink::Effect;
use crate::status::*;
use crate::storage::*;
use crate::store::*;
use crate::writer::*;

/// A storage that panics once a flag is set.
#[derive(Debug)]
struct Panicking {
    inner: Arc<MemoryStorage>,
    armed: Arc<AtomicBool>,
}

impl Panicking {
    fn inner(&self) -> &Arc<MemoryStorage> {
        assert!(!self.armed.load(Ordering::Relaxed), "injected");
        &self.inner
    }
}

impl Storage for Panicking {
    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        self.inner().put(locator, record, mode)
    }

    fn create_many(&self, records: &[(Locator, &[u8])]) -> Result<(), Error> {
        self.inner().create_many(records)
    }

    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        self.inner().get_up_to(locator, max_len)
    }

    fn get_many(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.inner().get_many(locators, max_len)
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        self.inner().info(locator)
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.inner().read_at(locator, head, offset, buffer)
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error> {
        let inner = Arc::clone(self.inner()).upload(locator, mode)?;
        Ok(Box::new(PanickingUpload { inner, armed: Arc::clone(&self.armed) }))
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        self.inner().delete(locator, expected)
    }

    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error> {
        self.inner().rename(from, head, to)
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        self.inner().list(after, limit)
    }

    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        self.inner().list_expired(now, limit)
    }

    fn settings(&self) -> Result<Option<Vec<u8>>, Error> {
        self.inner().settings()
    }

    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error> {
        self.inner().swap_settings(expected, new)
    }

    fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error> {
        self.inner().verify(position, limit)
    }

    fn purge(&self, now: u64, limit: usize) -> Result<usize, Error> {
        self.inner().purge(now, limit)
    }

    fn stats(&self, now: u64) -> Result<Stats, Error> {
        self.inner().stats(now)
    }

    fn compact(&self, limit: u64) -> Result<u64, Error> {
        self.inner().compact(limit)
    }

    fn maintain(&self) -> Result<(), Error> {
        self.inner().maintain()
    }

    fn close(&self) -> Result<(), Error> {
        self.inner().close()
    }
}

#[derive(Debug)]
struct PanickingUpload {
    inner: Box<dyn Upload>,
    armed: Arc<AtomicBool>,
}

impl Upload for PanickingUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        assert!(!self.armed.load(Ordering::Relaxed), "injected");
        self.inner.write(bytes)
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        assert!(!self.armed.load(Ordering::Relaxed), "injected");
        self.inner.commit()
    }
}

unsafe extern "C" fn no_data(_: *mut c_void, _: *mut c_void, _: usize) -> isize {
    0
}

unsafe extern "C" fn no_matter(_: *mut c_void, _: *const c_void, _: usize) -> c_int {
    0
}

fn no_error() -> strongroom_error {
    strongroom_error { status: strongroom_status::STRONGROOM_OK, message: [0; STRONGROOM_ERROR_MESSAGE_SIZE] }
}

fn filled(error: Option<&::strongroom::Error>) -> strongroom_error {
    let mut place = MaybeUninit::new(no_error());
    strongroom_error::set(&mut place, error);
    // SAFETY: it had a value from the start.
    unsafe { place.assume_init() }
}

fn message(error: &strongroom_error) -> &str {
    let chars: &[c_char] = &error.message;
    // SAFETY: a character of C is a byte.
    let bytes = unsafe { slice::from_raw_parts(chars.as_ptr().cast(), chars.len()) };
    CStr::from_bytes_until_nul(bytes).unwrap().to_str().unwrap()
}

#[test]
fn a_panic_becomes_a_status() {
    panic::set_hook(Box::new(|_| {})); // the panics below are expected
    let armed = Arc::new(AtomicBool::new(false));
    let storage = Panicking { inner: Arc::new(MemoryStorage::new()), armed: Arc::clone(&armed) };
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let index_key = |byte| IndexKey::from_bytes(&[byte; 32]).unwrap();
    let builder = || Strongroom::builder().storage(Arc::clone(&storage));
    builder().index_key(index_key(1)).open().unwrap();
    let rotating = builder().index_key(index_key(2)).previous_index_key(index_key(1)).open().unwrap();
    rotating.begin_rotation().unwrap();
    let store = Box::into_raw(Box::new(strongroom::new(rotating)));
    let mut error = no_error();
    let (id, id_len) = (b"id".as_ptr().cast::<c_void>(), 2);
    let long = vec![7_u8; 3 << 20];
    let (data, data_len) = (long.as_ptr().cast::<c_void>(), long.len());
    let mut key = strongroom_record_key { bytes: [1; 32] };
    let other = strongroom_record_key { bytes: [2; 32] };
    let mut buffer = strongroom_buffer::NONE;
    let (mut writer, mut reader) = (null_mut(), null_mut());
    let (mut flag, mut len, mut long_len, mut purged, mut remaining) = (false, 0, 0, 0, 0);
    let mut room = [0_u8; 8];
    let room = room.as_mut_ptr().cast::<c_void>();
    let mut stats = strongroom_stats { records: 0, bytes: 0, expired: 0, free: 0 };
    let item = strongroom_item { id, id_len, data, data_len: 4 };
    let mut new_key = strongroom_record_key { bytes: [0; 32] };
    let size = size_of::<strongroom_write_options>();
    let under = |key| strongroom_write_options { size, key, expires_at: 0, expires_in: 0, pad: 0 };
    let (under_key, under_other) = (under(&raw const key), under(&raw const other));

    macro_rules! each_is {
        ($status:ident: $($call:expr),* $(,)?) => {$(
            // SAFETY: all pointers are to values of this function.
            assert_eq!(unsafe { $call }, strongroom_status::$status, "{}: {}", stringify!($call), message(&error));
            assert_eq!(error.status, strongroom_status::$status);
        )*};
    }

    each_is! { STRONGROOM_OK:
        strongroom_store_with(store, id, id_len, data, data_len, &raw const under_key, null_mut(), &raw mut error),
        strongroom_open_record(store, id, id_len, &raw const key, &raw mut reader, &raw mut error),
        strongroom_create_record(store, b"new".as_ptr().cast(), 3, &raw mut writer, &raw mut error),
    }
    let request = strongroom_request { id, id_len, key: &raw const key };
    let mut result = strongroom_result { status: strongroom_status::STRONGROOM_OK, data: strongroom_buffer::NONE };
    armed.store(true, Ordering::Relaxed);
    each_is! { STRONGROOM_INTERNAL:
        strongroom_store(store, id, id_len, data, data_len, &raw mut new_key, &raw mut error),
        strongroom_store_with(store, id, id_len, data, data_len, &raw const under_other, null_mut(), &raw mut error),
        strongroom_retrieve(store, id, id_len, &raw const key, &raw mut buffer, &raw mut error),
        strongroom_retrieve_into(store, id, id_len, &raw const key, room, 8, &raw mut len, &raw mut error),
        strongroom_retrieve_range(store, id, id_len, &raw const key, 0, 1, &raw mut buffer, &raw mut error),
        strongroom_replace(store, id, id_len, &raw const key, data, 1, &raw mut new_key, &raw mut error),
        strongroom_replace_with(store, id, id_len, &raw const key, data, 1, &raw const under_other, null_mut(), &raw mut error),
        strongroom_take(store, id, id_len, &raw const key, &raw mut buffer, &raw mut error),
        strongroom_take_record(store, id, id_len, &raw const key, &raw mut reader, &raw mut error),
        strongroom_rekey(store, id, id_len, &raw const key, null(), &raw mut new_key, &raw mut error),
        strongroom_delete(store, id, id_len, &raw const key, &raw mut error),
        strongroom_erase(store, id, id_len, &raw mut flag, &raw mut error),
        strongroom_contains(store, id, id_len, &raw mut flag, &raw mut error),
        strongroom_get_stats(store, &raw mut stats, &raw mut error),
        strongroom_purge(store, 1, &raw mut purged, &raw mut error),
        strongroom_compact(store, 1, &raw mut purged, &raw mut error),
        strongroom_get_unrotated_count(store, 1, &raw mut remaining, &raw mut error),
        strongroom_begin_rotation(store, &raw mut error),
        strongroom_list_unrotated(store, 1, &raw mut buffer, &raw mut error),
        strongroom_erase_unrotated(store, data, &raw mut flag, &raw mut error),
        strongroom_finish_rotation(store, &raw mut error),
        strongroom_maintain(store, &raw mut error),
        strongroom_store_many(store, &raw const item, 1, &raw mut new_key, &raw mut error),
        strongroom_retrieve_many(store, &raw const request, 1, &raw mut result, &raw mut error),
        strongroom_create_record(store, id, id_len, &raw mut writer, &raw mut error),
        strongroom_create_record_with(store, id, id_len, &raw const under_key, &raw mut writer, &raw mut error),
        strongroom_replace_record(store, id, id_len, &raw const key, &raw mut writer, &raw mut error),
        strongroom_replace_record_with(store, id, id_len, &raw const key, &raw const under_other, &raw mut writer, &raw mut error),
        strongroom_writer_write(writer, data, data_len, &raw mut error),
        strongroom_open_record(store, id, id_len, &raw const key, &raw mut reader, &raw mut error),
        strongroom_reader_read(reader, room, 8, &raw mut len, &raw mut error),
        strongroom_store_stream(store, id, id_len, Some(no_data), null_mut(), &raw mut new_key, &raw mut error),
        strongroom_store_stream_with(store, id, id_len, Some(no_data), null_mut(), &raw const under_other, null_mut(), &raw mut error),
        strongroom_replace_stream(store, id, id_len, &raw const key, Some(no_data), null_mut(), &raw mut new_key, &raw mut error),
        strongroom_retrieve_stream(store, id, id_len, &raw const key, Some(no_matter), null_mut(), &raw mut error),
    }
    assert_eq!(message(&error), "internal error: please report it: a panic was caught");
    armed.store(false, Ordering::Relaxed);

    // The handles remain usable for operations that do not depend on the state that the panic destroyed.
    each_is! { STRONGROOM_OK:
        strongroom_retrieve(store, id, id_len, &raw const key, &raw mut buffer, &raw mut error),
        strongroom_reader_read(reader, room, 8, &raw mut len, &raw mut error),
        strongroom_reader_len(reader, &raw mut long_len, &raw mut error),
    }
    assert_eq!((buffer.len, len), (data_len, 8));
    each_is! { STRONGROOM_INVALID_ARGUMENT:
        strongroom_writer_write(writer, data, data_len, &raw mut error),
        strongroom_writer_finish(writer, &raw mut key, &raw mut error),
    }
    armed.store(true, Ordering::Relaxed);
    // SAFETY: each was returned above, and is not used again.
    unsafe {
        strongroom_buffer_free(&raw mut buffer);
        strongroom_writer_free(writer);
        strongroom_reader_free(reader);
        assert_eq!(strongroom_close(store, &raw mut error), strongroom_status::STRONGROOM_INTERNAL);
    }
    quietly(|| panic!("injected"));
    assert_eq!(outcome(null_mut(), || panic!("injected")), strongroom_status::STRONGROOM_INTERNAL);
    let _ = panic::take_hook();
}

/// A server sends a taken record once. A read drops a failure after its first bytes, and the next one returns it.
#[cfg(feature = "remote")]
#[test]
fn the_failure_of_a_taken_record_is_returned() {
    use std::ffi::CString;
    use std::io::{self, Read, Write};
    use std::net::{Shutdown, TcpListener};
    use std::thread;

    use crate::status::strongroom_status::{STRONGROOM_OK, STRONGROOM_STORAGE};

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = CString::new(format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap(); // of the request
        stream.write_all(b"HTTP/1.1 200 OK\r\nstrongroom-request-id: 1\r\ncontent-length: 100\r\n\r\npart").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        io::copy(&mut stream, &mut io::sink()) // until the client closes the connection, too
    });
    let key = strongroom_record_key { bytes: [1; 32] };
    let (mut store, mut reader, mut data, mut len) = (null_mut(), null_mut(), [0_u8; 100], 0);
    let (id, error) = (c"id".as_ptr().cast(), null_mut());
    // SAFETY: all pointers are to values of this function.
    unsafe {
        assert_eq!(strongroom_connect(url.as_ptr(), null(), &raw mut store, error), STRONGROOM_OK);
        assert_eq!(strongroom_take_record(store, id, 2, &raw const key, &raw mut reader, error), STRONGROOM_OK);
        let mut read = || strongroom_reader_read(reader, data.as_mut_ptr().cast(), 100, &raw mut len, error);
        assert_eq!([read(), read(), read()], [STRONGROOM_OK, STRONGROOM_STORAGE, STRONGROOM_STORAGE]);
        assert_eq!(len, "part".len());
        strongroom_reader_free(reader);
        assert_eq!(strongroom_close(store, error), STRONGROOM_OK);
    }
    assert!(server.join().is_ok());
}

#[test]
fn every_function_stops_panics() {
    // Functions that cannot panic: comparisons, wiping and table lookups.
    let plain = ["_equal(", "strongroom_wipe(", "strongroom_version(", "strongroom_status_"];
    // The last one calls another function of the interface.
    let guards = ["outcome(error, || {", "quietly(|| ", "give(sink, |sink| ", "unsafe { strongroom_"];
    let mut functions = 0;
    let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    for source in fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().path()) {
        if source.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&source).unwrap();
        for function in text.split("#[unsafe(no_mangle)]").skip(1) {
            let (signature, body) = function.split_once("{\n").unwrap();
            let guarded = guards.iter().any(|guard| {
                body.lines().find(|line| !line.trim().starts_with("//")).unwrap().trim().starts_with(guard)
            });
            assert!(guarded || plain.iter().any(|name| signature.contains(name)), "{signature}");
            functions += 1;
        }
    }
    assert!(functions > 40, "{functions}");
}

#[test]
fn statuses_are_the_errors() {
    use ::strongroom::Error::*;
    let source = || -> Box<dyn std::error::Error + Send + Sync> { "the source".into() };
    let errors = [
        NotFound,
        AlreadyExists,
        WrongKey,
        Corrupt,
        InvalidKey(::strongroom::InvalidKey::Text),
        InvalidId,
        Unsupported("it".into()),
        TooLarge,
        IndexKeyMismatch,
        IndexKeyMissing { path: "index-key".into() },
        Conflict,
        Busy,
        StorageFull,
        Storage(source()),
        Indeterminate(source()),
        Poisoned,
        Forked,
        Closed,
        InvalidArgument("it".into()),
        Expired,
        AccessDenied(source()),
        Internal(source()),
    ];
    for error in errors {
        let status = strongroom_status::of(&error);
        // SAFETY: both are the library's texts.
        let (name, text) = unsafe {
            (
                CStr::from_ptr(strongroom_status_name(status as c_int)),
                CStr::from_ptr(strongroom_status_message(status as c_int)),
            )
        };
        assert_eq!(status as c_int, c_int::from(error.code()));
        assert_eq!(name.to_str().unwrap(), error.name());
        // For an error without a specific message, the status has the error's message.
        if !matches!(error, InvalidKey(_) | Unsupported(_) | IndexKeyMissing { .. } | InvalidArgument(_)) {
            assert_eq!(text.to_str().unwrap(), error.to_string());
        }
        let more = filled(Some(&error));
        assert!(message(&more).starts_with(&error.to_string()));
        assert_eq!(
            matches!(error, Storage(_) | Indeterminate(_) | AccessDenied(_) | Internal(_)),
            message(&more).ends_with(": the source")
        );
    }
}

/// Which callback of a storage returns which status. The others succeed, and give nothing.
struct Answer {
    callback: &'static str,
    status: c_int,
}

macro_rules! callbacks {
    ($($name:ident($($kind:ty),*);)*) => {$(
        unsafe extern "C" fn $name(context: *mut c_void, $(_: $kind),*) -> c_int {
            // SAFETY: the context is an answer, which outlives the storage.
            let answer = unsafe { &*context.cast::<Answer>() };
            if answer.callback == stringify!($name) { answer.status } else { 0 }
        }
    )*};
}

callbacks! {
    put(*const u8, *const c_void, usize, strongroom_put_mode, *const u8);
    create_many(*const strongroom_storage_record, usize);
    get_up_to(*const u8, u64, *mut strongroom_sink);
    info(*const u8, *mut strongroom_sink);
    read_at(*const u8, *const u8, u64, *mut c_void, usize);
    upload(*const u8, strongroom_put_mode, *const u8, *mut *mut c_void);
    upload_write(*mut c_void, *const c_void, usize);
    upload_commit(*mut c_void);
    remove(*const u8, *const u8);
    rename(*const u8, *const u8, *const u8);
    list(*const u8, usize, *mut strongroom_sink);
    list_expired(u64, usize, *mut strongroom_sink);
    settings(*mut strongroom_sink);
    swap_settings(*const c_void, usize, *const c_void, usize);
    verify_record(*const u8);
    stats(u64, *mut strongroom_stats);
    maintain();
    close();
}

unsafe extern "C" fn upload_free(_: *mut c_void, _: *mut c_void) {}

fn answering(answer: &Answer) -> Arc<CallbackStorage> {
    let callbacks = strongroom_storage_callbacks {
        size: size_of::<strongroom_storage_callbacks>(),
        context: ptr::from_ref(answer).cast_mut().cast(),
        put: Some(put),
        create_many: Some(create_many),
        get_up_to: Some(get_up_to),
        info: Some(info),
        read_at: Some(read_at),
        upload: Some(upload),
        upload_write: Some(upload_write),
        upload_commit: Some(upload_commit),
        upload_free: Some(upload_free),
        remove: Some(remove),
        rename: Some(rename),
        list: Some(list),
        list_expired: Some(list_expired),
        settings: Some(settings),
        swap_settings: Some(swap_settings),
        verify_record: Some(verify_record),
        stats: Some(stats),
        maintain: Some(maintain),
        close: Some(close),
        destroy: None,
        max_record_len: 0,
        max_batch_len: 0,
        part_len: 0,
        parallel_parts: 0,
    };
    // SAFETY: the callbacks are right, and the answer outlives the storage.
    Arc::new(unsafe { CallbackStorage::new(&raw const callbacks, "storage").unwrap() })
}

/// Lists four records of 1 GiB.
unsafe extern "C" fn list_long(_: *mut c_void, after: *const u8, limit: usize, sink: *mut strongroom_sink) -> c_int {
    // SAFETY: the pointer is NULL, or that of a locator.
    let first = unsafe { after.as_ref() }.map_or(0, |last| last + 1);
    for n in (first..4).take(limit) {
        // SAFETY: the sink is that of this call.
        let status = unsafe { strongroom_give_entry(sink, [n; 32].as_ptr(), [7; 68].as_ptr(), 1 << 30) };
        assert_eq!(status, strongroom_status::STRONGROOM_OK);
    }
    0
}

#[test]
fn a_search_through_callbacks_has_short_steps_and_keeps_to_its_rate() {
    let answer = Answer { callback: "", status: 0 };
    let mut storage = Arc::into_inner(answering(&answer)).unwrap();
    storage.callbacks.list = Some(list_long);
    let rate = NonZero::new(8 << 30).unwrap(); // half a second
    let options = VerifyOptions::new().records_only().bytes_per_second(rate);
    let (start, mut steps) = (Instant::now(), Vec::new());
    let report = verify(&storage, &options, |step| {
        steps.push(step.records);
        ControlFlow::Continue(())
    });
    let report = report.unwrap();
    assert_eq!((report.records, report.bytes, steps), (4, 4 << 30, vec![1, 2, 3, 4, 4]));
    assert!(start.elapsed() >= Duration::from_millis(400));
}

#[test]
fn a_callback_cannot_return_the_status_of_another() {
    use Effect::{Reads, Writes};
    use strongroom_status::*;
    type Statuses = &'static [strongroom_status];
    type Call<'a> = &'a dyn Fn(&Arc<CallbackStorage>) -> Result<(), Error>;
    let failures = [
        STRONGROOM_CORRUPT,
        STRONGROOM_UNSUPPORTED,
        STRONGROOM_TOO_LARGE,
        STRONGROOM_BUSY,
        STRONGROOM_STORAGE_FULL,
        STRONGROOM_STORAGE,
        STRONGROOM_POISONED,
        STRONGROOM_FORKED,
        STRONGROOM_CLOSED,
        STRONGROOM_INVALID_ARGUMENT,
        STRONGROOM_ACCESS_DENIED,
    ];
    let (at, to, record) = (Locator::from_bytes([1; 32]), Locator::from_bytes([2; 32]), [7; 100]);
    let head = Head::of(&record).unwrap();
    let (create, overwrite, replace) = (PutMode::Create, PutMode::Overwrite, PutMode::ReplaceIf(head));
    let start = |on: &Arc<CallbackStorage>, mode| Arc::clone(on).upload(&at, mode);
    let commit = |on: &Arc<CallbackStorage>, mode| {
        let mut upload = start(on, mode)?;
        upload.write(&record)?;
        upload.commit()
    };
    let none: Statuses = &[];
    let gone: Statuses = &[STRONGROOM_NOT_FOUND];
    let gone_or_damaged: Statuses = &[STRONGROOM_NOT_FOUND, STRONGROOM_CORRUPT];
    let exists: Statuses = &[STRONGROOM_ALREADY_EXISTS];
    let conflict: Statuses = &[STRONGROOM_CONFLICT];
    let both: Statuses = &[STRONGROOM_ALREADY_EXISTS, STRONGROOM_CONFLICT];
    // The callback, its effect, how it may refuse the call, which statuses are no errors, and the call.
    let cases: [(&str, Effect, Statuses, Statuses, Call<'_>); 25] = [
        ("put", Writes, exists, none, &|on| on.put(&at, &record, create)),
        ("put", Writes, none, none, &|on| on.put(&at, &record, overwrite)),
        ("put", Writes, conflict, none, &|on| on.put(&at, &record, replace)),
        ("create_many", Writes, exists, none, &|on| on.create_many(&[(at, &record)])),
        ("get_up_to", Reads, none, gone, &|on| on.get_up_to(&at, 100).map(drop)),
        ("info", Reads, none, gone, &|on| on.info(&at).map(drop)),
        ("read_at", Reads, conflict, none, &|on| on.read_at(&at, &head, 0, &mut [0; 100])),
        ("upload", Reads, exists, none, &|on| start(on, create).map(drop)),
        ("upload", Reads, none, none, &|on| start(on, overwrite).map(drop)),
        ("upload", Reads, conflict, none, &|on| start(on, replace).map(drop)),
        ("upload_write", Reads, none, none, &|on| commit(on, create)),
        ("upload_commit", Writes, exists, none, &|on| commit(on, create)),
        ("upload_commit", Writes, none, none, &|on| commit(on, overwrite)),
        ("upload_commit", Writes, conflict, none, &|on| commit(on, replace)),
        ("remove", Writes, none, gone, &|on| on.delete(&at, None).map(drop)),
        ("remove", Writes, conflict, gone, &|on| on.delete(&at, Some(&head)).map(drop)),
        ("rename", Writes, both, none, &|on| on.rename(&at, &head, &to)),
        ("list", Reads, none, none, &|on| on.list(None, 1).map(drop)),
        ("list_expired", Reads, none, none, &|on| on.list_expired(1, 1).map(drop)),
        ("settings", Reads, none, gone, &|on| on.settings().map(drop)),
        ("swap_settings", Writes, conflict, none, &|on| on.swap_settings(None, &record)),
        ("verify_record", Reads, none, gone_or_damaged, &|on| on.verify_record(&at).map(drop)),
        ("stats", Reads, none, none, &|on| on.stats(1).map(drop)),
        ("maintain", Writes, none, none, &|on| on.maintain()),
        ("close", Writes, none, none, &|on| on.close()),
    ];
    for (callback, effect, refusals, successes, call) in cases {
        for number in (-1..=101).chain([c_int::MIN, c_int::MAX]).filter(|number| *number != 0) {
            let outcome = call(&answering(&Answer { callback, status: number }));
            let outcome = outcome.map_err(::strongroom::Error::from);
            let found = outcome.as_ref().map_or_else(strongroom_status::of, |()| STRONGROOM_OK);
            let expected = match (strongroom_status::from_number(number), effect) {
                (Some(status), _) if successes.contains(&status) => STRONGROOM_OK,
                (Some(status), _) if failures.contains(&status) || refusals.contains(&status) => status,
                (_, Writes) => STRONGROOM_INDETERMINATE,
                (_, Reads) => STRONGROOM_STORAGE,
            };
            assert_eq!(found, expected, "`{callback}` returned {number}: {outcome:?}");
        }
    }
}

#[test]
fn a_long_message_is_cut_between_characters() {
    for extra in 0..4 {
        let path = "x".repeat(extra) + &"\u{20ac}".repeat(1000);
        let error = filled(Some(&::strongroom::Error::InvalidArgument(path.clone().into())));
        let cut = message(&error);
        assert!(path.starts_with(cut) && (1017..1020).contains(&cut.len()), "{}", cut.len());
    }
    assert_eq!(message(&filled(None)), "");
}
