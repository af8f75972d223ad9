//! The class `Keyring` of Python.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};
use strongroom::{Error, KeyringProtection, KeyringSecret, RecordKey};

use crate::arguments::{pairs, to_vec, wrong_type};
use crate::bytes::{Id, to_python};
use crate::error::Failure;
use crate::interrupt::detached;
use crate::key::Key;
use crate::location::check_path;
use crate::shared::Shared;

/// One file that keeps the keys of records under their ids, encrypted with `age <https://age-encryption.org>`_ to
/// recipients or under a passphrase.
///
/// Put the key into the keyring before the record is stored: a failure then leaves at most a key without a record. It
/// opens nothing, but counts towards the 255 keys that an id may have. Each change replaces the file as a whole,
/// durably; of several processes, one changes it at a time, and each begins with the changes of the others.
///
/// >>> identity, recipient = Keyring.generate_identity()
/// >>> Keyring.create("keys", recipients=[recipient])
/// >>> keyring = Keyring.open("keys", identity=identity)
/// >>> key = Key.generate()
/// >>> keyring.insert("report", key)
/// >>> keyring.get("report") == key
/// True
#[pyclass(frozen, module = "strongroom")]
pub(crate) struct Keyring(Shared<strongroom::Keyring>);

#[pymethods]
impl Keyring {
    /// Make an empty keyring in a new file, readable only by its owner. It is encrypted to recipients or under a
    /// passphrase.
    ///
    /// :param path: The new file.
    /// :param recipients: Recipients of age, ``age1...``: each of their identities opens the keyring.
    /// :param passphrase: The passphrase instead. Each use takes about a second and 256 MiB of memory, which slows
    ///     down guesses.
    /// :raises InvalidArgumentError: The file exists, a recipient is not valid, or there are neither recipients nor a
    ///     passphrase, or both.
    /// :raises StorageError: The file cannot be written.
    #[staticmethod]
    #[pyo3(signature = (path, *, recipients=None, passphrase=None))]
    fn create(
        py: Python<'_>,
        path: PathBuf,
        recipients: Option<Recipients>,
        passphrase: Option<&Bound<'_, PyString>>,
    ) -> Result<(), Failure> {
        check_path(&path)?;
        let protection = protection(recipients, passphrase)?;
        detached(py, || Ok(strongroom::Keyring::create(path, protection)?))
    }

    /// Open a keyring.
    ///
    /// :param path: Its file.
    /// :param identity: The identities, ``AGE-SECRET-KEY-1...``, one on each line.
    /// :param identity_file: The file with the identities instead. It is refused if another user, except root, can
    ///     change or read it; a file of root may be readable by all.
    /// :param passphrase: The passphrase instead.
    /// :raises AccessDeniedError: The identity or the passphrase does not open it.
    /// :raises InvalidArgumentError: There is no such file, it is not encrypted with age, other users can change or
    ///     read it, or not one of the three secrets is given.
    /// :raises CorruptError: The file is damaged.
    /// :raises StorageError: The file cannot be read.
    #[staticmethod]
    #[pyo3(signature = (path, *, identity=None, identity_file=None, passphrase=None))]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        identity: Option<&Bound<'_, PyString>>,
        identity_file: Option<PathBuf>,
        passphrase: Option<&Bound<'_, PyString>>,
    ) -> Result<Self, Failure> {
        check_path(&path)?;
        let secret = match (identity, identity_file, passphrase) {
            (Some(identity), None, None) => KeyringSecret::identities(text(identity)?)?,
            (None, Some(file), None) => {
                check_path(&file)?;
                KeyringSecret::identity_file(file)?
            }
            (None, None, Some(passphrase)) => KeyringSecret::passphrase(text(passphrase)?)?,
            _ => return Err(invalid("give one of identity, identity_file and passphrase")),
        };
        Ok(Self(Shared::new(detached(py, || Ok(strongroom::Keyring::open(path, secret)?))?)))
    }

    /// Make a new identity: its text, which opens keyrings and is a secret, and its recipient, which is public.
    #[staticmethod]
    fn generate_identity(py: Python<'_>) -> (Bound<'_, PyString>, String) {
        let (text, recipient) = KeyringSecret::generate_identity();
        (PyString::new(py, &text), recipient)
    }

    /// The newest key of an id, or ``None``.
    #[pyo3(signature = (id, *, namespace=None))]
    fn get(&self, py: Python<'_>, id: Id<'_>, namespace: Option<Id<'_>>) -> Result<Option<Key>, Failure> {
        let (id, namespace) = (id.as_ref(), bytes(namespace.as_ref()));
        self.0.with(py, |keyring| Ok(keyring.get(namespace, id).map(RecordKey::duplicate).map(Key::from)))
    }

    /// All keys of an id, the newest first: an id has several after a failure. The newest that opens the record
    /// is the right one.
    #[pyo3(signature = (id, *, namespace=None))]
    fn keys(&self, py: Python<'_>, id: Id<'_>, namespace: Option<Id<'_>>) -> Result<Vec<Key>, Failure> {
        let (id, namespace) = (id.as_ref(), bytes(namespace.as_ref()));
        self.0.with(py, |keyring| {
            let keys = keyring.entries().keys(namespace, id).iter().rev();
            Ok(keys.map(RecordKey::duplicate).map(Key::from).collect())
        })
    }

    /// Add the newest key of an id, durably. Its earlier keys remain, so that no record loses its key.
    ///
    /// :raises InvalidIdError: The id is empty or longer than 4,096 bytes.
    /// :raises BusyError: Other processes change the keyring for 30 seconds.
    /// :raises StorageError: The file cannot be written. Nothing is changed.
    /// :raises IndeterminateError: The file is written, but a power cut may undo this: repeat the call.
    #[pyo3(signature = (id, key, *, namespace=None))]
    fn insert(
        &self,
        py: Python<'_>,
        id: Id<'_>,
        key: &Bound<'_, Key>,
        namespace: Option<Id<'_>>,
    ) -> Result<(), Failure> {
        let (id, namespace, key) = (id.as_ref(), bytes(namespace.as_ref()), key.get().inner());
        self.0.with(py, |keyring| Ok(keyring.insert(namespace, id, key)?))
    }

    /// Add the newest keys of many ids, all or none, for the price of one.
    ///
    /// :param items: Pairs of an id and its key.
    /// :raises InvalidIdError: An id is empty or longer than 4,096 bytes.
    /// :raises BusyError: Other processes change the keyring for 30 seconds.
    /// :raises StorageError: The file cannot be written. Nothing is changed.
    /// :raises IndeterminateError: The file is written, but a power cut may undo this: repeat the call.
    #[pyo3(signature = (items, *, namespace=None))]
    fn insert_many(&self, py: Python<'_>, items: &Bound<'_, PyAny>, namespace: Option<Id<'_>>) -> Result<(), Failure> {
        let items = to_vec(items)?;
        let items: Vec<(Id<'_>, Bound<'_, Key>)> = pairs(&items, "a pair of id and key, as from dict.items(),")?;
        let items: Vec<(_, &RecordKey)> = items.iter().map(|(id, key)| (id.as_ref(), key.get().inner())).collect();
        let namespace = bytes(namespace.as_ref());
        self.0.with(py, |keyring| {
            Ok(keyring.update(|keys| items.iter().try_for_each(|(id, key)| keys.insert(namespace, id, key)))?)
        })
    }

    /// Remove an id with all of its keys, durably, and return whether the keyring had it.
    ///
    /// :raises BusyError: Other processes change the keyring for 30 seconds.
    /// :raises StorageError: The file cannot be written. Nothing is changed.
    /// :raises IndeterminateError: The file is written, but a power cut may undo this: repeat the call.
    #[pyo3(signature = (id, *, namespace=None))]
    fn remove(&self, py: Python<'_>, id: Id<'_>, namespace: Option<Id<'_>>) -> Result<bool, Failure> {
        let (id, namespace) = (id.as_ref(), bytes(namespace.as_ref()));
        self.0.with(py, |keyring| Ok(keyring.remove(namespace, id)?))
    }

    /// The ids in a namespace, in the order of their bytes.
    #[pyo3(signature = (*, namespace=None))]
    fn ids<'py>(&self, py: Python<'py>, namespace: Option<Id<'_>>) -> Result<Bound<'py, PyList>, Failure> {
        let list = PyList::empty(py);
        for (id, _) in self.export(py, namespace)? {
            list.append(id)?;
        }
        Ok(list)
    }

    /// The ids in a namespace, in the order of their bytes, each with its newest key.
    #[pyo3(signature = (*, namespace=None))]
    fn export<'py>(
        &self,
        py: Python<'py>,
        namespace: Option<Id<'_>>,
    ) -> Result<Vec<(Bound<'py, PyBytes>, Key)>, Failure> {
        let namespace = bytes(namespace.as_ref());
        let found: Vec<_> = self.0.with(py, |keyring| {
            let entries = keyring.entries().iter().filter(|(of, ..)| *of == namespace);
            Ok(entries.filter_map(|(_, id, keys)| Some((id.to_vec(), keys.last()?.duplicate()))).collect())
        })?;
        Ok(found.into_iter().map(|(id, key)| Ok((to_python(py, &id)?, key.into()))).collect::<PyResult<_>>()?)
    }

    /// Encrypt the keyring to other recipients or under another passphrase. Copies of the earlier file still
    /// open with the earlier secrets: if one of them is known to others, also rekey the records.
    ///
    /// :raises InvalidArgumentError: A recipient is not valid, or there are neither recipients nor a passphrase, or
    ///     both.
    /// :raises BusyError: Other processes change the keyring for 30 seconds.
    /// :raises StorageError: The file cannot be written. Nothing is changed.
    /// :raises IndeterminateError: The file is written, but a power cut may undo this: keep the earlier secret, too,
    ///     and repeat the call.
    #[pyo3(signature = (*, recipients=None, passphrase=None))]
    fn rotate(
        &self,
        py: Python<'_>,
        recipients: Option<Recipients>,
        passphrase: Option<&Bound<'_, PyString>>,
    ) -> Result<(), Failure> {
        let protection = protection(recipients, passphrase)?;
        self.0.with(py, |keyring| Ok(keyring.rotate(protection)?))
    }

    /// The number of ids in all namespaces.
    fn __len__(&self, py: Python<'_>) -> Result<usize, Failure> {
        self.0.with(py, |keyring| Ok(keyring.entries().len()))
    }

    fn __repr__(&self) -> &'static str {
        "Keyring(...)"
    }
}

/// The recipients of a keyring.
struct Recipients(Vec<String>);

impl FromPyObject<'_, '_> for Recipients {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        // A text is a sequence of texts, too.
        if object.is_instance_of::<PyString>() {
            return Err(wrong_type(&object, "a list of recipients"));
        }
        object.extract().map(Self)
    }
}

fn protection(
    recipients: Option<Recipients>,
    passphrase: Option<&Bound<'_, PyString>>,
) -> Result<KeyringProtection, Failure> {
    match (recipients, passphrase) {
        (Some(recipients), None) => Ok(KeyringProtection::recipients(recipients.0)?),
        (None, Some(passphrase)) => Ok(KeyringProtection::passphrase(text(passphrase)?)?),
        _ => Err(invalid("give either recipients or a passphrase")),
    }
}

/// The text of a secret. Python's own error would contain it.
fn text<'t>(secret: &'t Bound<'_, PyString>) -> Result<&'t str, Failure> {
    secret.to_str().map_err(|_| invalid("a secret is not Unicode text"))
}

fn bytes<'n>(namespace: Option<&'n Id<'_>>) -> &'n [u8] {
    namespace.map(AsRef::as_ref).unwrap_or_default()
}

fn invalid(text: &'static str) -> Failure {
    Error::InvalidArgument(text.into()).into()
}
