//! The README's second example: records in a storage service, sealed and opened here.

use strongroom::{Endpoint, Strongroom};

fn main() -> Result<(), strongroom::Error> {
    let storage = Endpoint::new("https://storage.example:8421")?.token_file("/run/secrets/storage-token");
    let store = Strongroom::builder().endpoint(storage).index_key_file("/run/secrets/index-key").open()?;
    store.store("user:42:passport", b"scanned pages")?;
    Ok(())
}
