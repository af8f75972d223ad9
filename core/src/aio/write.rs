//! Storing, replacing and rekeying: from bytes and readers, with and without options.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{RecordWriter, Strongroom};
use crate::error::{Error, source_failed};
use crate::key::RecordKey;
use crate::options::WriteOptions;
use crate::util::wiped::Wiped;

/// The buffer length of reads from a source.
const READ_LEN: usize = 64 << 10;

/// Options, with a copy of their key.
struct OwnedOptions {
    key: Option<RecordKey>,
    others: WriteOptions<'static>,
}

impl OwnedOptions {
    fn new(options: WriteOptions<'_>) -> Self {
        Self { key: options.caller_key().map(RecordKey::duplicate), others: options.without_key() }
    }

    fn get(&self) -> WriteOptions<'_> {
        match &self.key {
            Some(key) => self.others.key(key),
            None => self.others,
        }
    }
}

impl Strongroom {
    /// Stores `data` under a new id, and returns the only key that opens it. If the future is dropped, the key may be
    /// lost: [`WriteOptions::key`] saves it before.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::store`](crate::Strongroom::store).
    pub fn store(
        &self,
        id: impl AsRef<[u8]>,
        data: impl AsRef<[u8]>,
    ) -> impl Future<Output = Result<RecordKey, Error>> + Send + 'static {
        self.store_with(id, data, WriteOptions::new())
    }

    /// As [`store`](Self::store), with options.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let store = strongroom::aio::Strongroom::open(folder.path().join("records.db")).await?;
    /// use std::time::Duration;
    ///
    /// use strongroom::{RecordKey, WriteOptions};
    ///
    /// let key = RecordKey::generate()?;
    /// // ... write the key down, then:
    /// let store_it = store.store_with("id", b"data", WriteOptions::new().key(&key));
    /// match tokio::time::timeout(Duration::from_secs(30), store_it).await {
    ///     Ok(outcome) => drop(outcome?),
    ///     // Cancelled: the record exists or not, and its key is known in both cases.
    ///     Err(_) => drop(store.erase("id").await?),
    /// }
    /// # store.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::store_with`](crate::Strongroom::store_with).
    pub fn store_with(
        &self,
        id: impl AsRef<[u8]>,
        data: impl AsRef<[u8]>,
        options: WriteOptions<'_>,
    ) -> impl Future<Output = Result<RecordKey, Error>> + Send + 'static {
        let (id, data, options) = (id.as_ref().to_vec(), own(data), OwnedOptions::new(options));
        self.call(move |store| store.begin_store(&id, data?.as_slice(), options.get()))
    }

    /// Replaces the data of the record that `old` opens, and returns the key of the new version.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::replace`](crate::Strongroom::replace).
    pub fn replace(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        data: impl AsRef<[u8]>,
    ) -> impl Future<Output = Result<RecordKey, Error>> + Send + 'static {
        self.replace_with(id, old, data, WriteOptions::new())
    }

    /// As [`replace`](Self::replace), with options.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::replace_with`](crate::Strongroom::replace_with).
    pub fn replace_with(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        data: impl AsRef<[u8]>,
        options: WriteOptions<'_>,
    ) -> impl Future<Output = Result<RecordKey, Error>> + Send + 'static {
        let (id, old, data) = (id.as_ref().to_vec(), old.duplicate(), own(data));
        let options = OwnedOptions::new(options);
        self.call(move |store| store.begin_replace(&id, &old, data?.as_slice(), options.get()))
    }

    /// Re-encrypts the data of the record that `old` opens, and returns its new key.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::rekey`](crate::Strongroom::rekey).
    pub fn rekey(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
    ) -> impl Future<Output = Result<RecordKey, Error>> + Send + 'static {
        self.rekey_with(id, old, WriteOptions::new())
    }

    /// As [`rekey`](Self::rekey), with options.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::rekey_with`](crate::Strongroom::rekey_with).
    pub fn rekey_with(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        options: WriteOptions<'_>,
    ) -> impl Future<Output = Result<RecordKey, Error>> + Send + 'static {
        let (id, old, options) = (id.as_ref().to_vec(), old.duplicate(), OwnedOptions::new(options));
        self.call(move |store| store.begin_rekey(&id, &old, options.get()))
    }

    /// Stores many pairs of id and data in one transaction, and returns their keys in the same order.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::store_many`](crate::Strongroom::store_many).
    pub fn store_many<I: AsRef<[u8]>, D: AsRef<[u8]>>(
        &self,
        items: &[(I, D)],
    ) -> impl Future<Output = Result<Vec<RecordKey>, Error>> + Send + 'static {
        let copy = |(id, data): &(I, D)| Ok((id.as_ref().to_vec(), own(data)?));
        let items: Result<Vec<_>, Error> = items.iter().map(copy).collect();
        self.call(move |store| {
            let items = items?;
            let items: Vec<_> = items.iter().map(|(id, data)| (id, data.as_slice())).collect();
            store.begin_store_many(&items)
        })
    }

    /// As [`store_many`](Self::store_many), with options for each pair.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::store_many_with`](crate::Strongroom::store_many_with).
    pub fn store_many_with<I: AsRef<[u8]>, D: AsRef<[u8]>>(
        &self,
        items: &[(I, D, WriteOptions<'_>)],
    ) -> impl Future<Output = Result<Vec<RecordKey>, Error>> + Send + 'static {
        let copy = |(id, data, options): &(I, D, WriteOptions<'_>)| {
            Ok((id.as_ref().to_vec(), own(data)?, OwnedOptions::new(*options)))
        };
        let items: Result<Vec<_>, Error> = items.iter().map(copy).collect();
        self.call(move |store| {
            let items = items?;
            let items: Vec<_> = items.iter().map(|(id, data, options)| (id, data.as_slice(), options.get())).collect();
            store.begin_store_many_with(&items)
        })
    }

    /// Stores all data of `source`, which the future owns, under a new id, in constant memory, and returns the key.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::store_reader`](crate::Strongroom::store_reader).
    pub fn store_reader<'s>(
        &self,
        id: impl AsRef<[u8]>,
        source: impl AsyncRead + Send + Unpin + 's,
    ) -> impl Future<Output = Result<RecordKey, Error>> + Send + 's {
        self.store_reader_with(id, source, WriteOptions::new())
    }

    /// As [`store_reader`](Self::store_reader), with options.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::store_reader_with`](crate::Strongroom::store_reader_with).
    pub fn store_reader_with<'s>(
        &self,
        id: impl AsRef<[u8]>,
        source: impl AsyncRead + Send + Unpin + 's,
        options: WriteOptions<'_>,
    ) -> impl Future<Output = Result<RecordKey, Error>> + Send + 's {
        let writer = self.create_record_with(id, options);
        async { copy_from(writer.await?, source).await }
    }

    /// Replaces the data of the record that `old` opens with all data of `source`, in constant memory, and returns the
    /// new key.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::replace_reader`](crate::Strongroom::replace_reader).
    pub fn replace_reader<'s>(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        source: impl AsyncRead + Send + Unpin + 's,
    ) -> impl Future<Output = Result<RecordKey, Error>> + Send + 's {
        self.replace_reader_with(id, old, source, WriteOptions::new())
    }

    /// As [`replace_reader`](Self::replace_reader), with options.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::replace_reader_with`](crate::Strongroom::replace_reader_with).
    pub fn replace_reader_with<'s>(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        source: impl AsyncRead + Send + Unpin + 's,
        options: WriteOptions<'_>,
    ) -> impl Future<Output = Result<RecordKey, Error>> + Send + 's {
        let writer = self.replace_record_with(id, old, options);
        async { copy_from(writer.await?, source).await }
    }

    /// Starts to store a record of any length under a new id, piece by piece in constant memory.
    /// [`RecordWriter::finish`] makes the record visible and returns its key.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let store = strongroom::aio::Strongroom::open(folder.path().join("records.db")).await?;
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// let mut writer = store.create_record("log").await?;
    /// for n in 0..1000 {
    ///     writer.write_all(format!("line {n}\n").as_bytes()).await?;
    /// }
    /// let key = writer.finish().await?;
    ///
    /// let mut text = String::new();
    /// store.open_record("log", &key).await?.read_to_string(&mut text).await?;
    /// assert!(text.ends_with("line 999\n"));
    /// # store.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::create_record`](crate::Strongroom::create_record).
    pub fn create_record(
        &self,
        id: impl AsRef<[u8]>,
    ) -> impl Future<Output = Result<RecordWriter, Error>> + Send + 'static {
        self.create_record_with(id, WriteOptions::new())
    }

    /// As [`create_record`](Self::create_record), with options.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::create_record_with`](crate::Strongroom::create_record_with).
    pub fn create_record_with(
        &self,
        id: impl AsRef<[u8]>,
        options: WriteOptions<'_>,
    ) -> impl Future<Output = Result<RecordWriter, Error>> + Send + 'static {
        let (id, options) = (id.as_ref().to_vec(), OwnedOptions::new(options));
        let call = self.stream_on_pool(move |store| store.create_record_with(id, options.get()));
        async { RecordWriter::new(call.await?) }
    }

    /// Starts to replace the data of the record that `old` opens, piece by piece in constant memory.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::replace_record`](crate::Strongroom::replace_record).
    pub fn replace_record(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
    ) -> impl Future<Output = Result<RecordWriter, Error>> + Send + 'static {
        self.replace_record_with(id, old, WriteOptions::new())
    }

    /// As [`replace_record`](Self::replace_record), with options.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::replace_record_with`](crate::Strongroom::replace_record_with).
    pub fn replace_record_with(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        options: WriteOptions<'_>,
    ) -> impl Future<Output = Result<RecordWriter, Error>> + Send + 'static {
        let (id, old, options) = (id.as_ref().to_vec(), old.duplicate(), OwnedOptions::new(options));
        let call = self.stream_on_pool(move |store| store.replace_record_with(id, &old, options.get()));
        async { RecordWriter::new(call.await?) }
    }
}

/// A copy of the caller's data, for the pool.
fn own(data: impl AsRef<[u8]>) -> Result<Wiped, Error> {
    Wiped::copy(data).map_err(|_| Error::TooLarge)
}

/// Writes all data of `source`, and finishes.
async fn copy_from(mut writer: RecordWriter, mut source: impl AsyncRead + Unpin) -> Result<RecordKey, Error> {
    let mut buffer = Wiped::from(vec![0; READ_LEN]);
    loop {
        let len = source.read(&mut buffer).await.map_err(source_failed)?;
        match buffer.get(..len) {
            Some([]) | None => return writer.finish().await,
            Some(piece) => writer.write_all(piece).await.map_err(super::writer::inner)?,
        }
    }
}
