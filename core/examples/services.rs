//! The README's example of services: an encryption server, and a storage service.

use strongroom::{Endpoint, Strongroom};

fn main() -> Result<(), strongroom::Error> {
    // An encryption server seals and opens: it sees ids, keys and data while it works on them.
    let server = Endpoint::new("https://strongroom.example:8420")?.token_file("/run/secrets/strongroom-token");
    let served = Strongroom::connect(&server)?;
    served.store("user:42:passport", b"scanned pages")?;

    // A storage service sees ciphertext only: this program seals and opens.
    let storage = Endpoint::new("https://storage.example:8421")?.token_file("/run/secrets/storage-token");
    let store = Strongroom::builder().endpoint(storage).index_key_file("/run/secrets/index-key").open()?;
    store.store("user:42:passport", b"scanned pages")?;
    Ok(())
}
