//! The README's example: store, retrieve, replace, delete.

use strongroom::{Error, RecordKey, Strongroom};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Makes records.db and, beside it, records.db.index-key.
    let store = Strongroom::open("records.db")?;

    let key = store.store("user:42:passport", b"scanned pages")?;
    let text = key.to_text(); // "srk1...": keep it where only the data's owner can read it

    let key = RecordKey::from_text(&text)?;
    assert_eq!(store.retrieve("user:42:passport", &key)?, b"scanned pages");

    let new_key = store.replace("user:42:passport", &key, b"renewed")?;
    assert!(matches!(store.retrieve("user:42:passport", &key), Err(Error::WrongKey)));

    store.delete("user:42:passport", &new_key)?;
    Ok(())
}
