//! Documents, headers and texts that services and clients get from each other.

use strongroom::protocol::batch::{self, CreateManyDecoder};
use strongroom::protocol::{base64url, documents, problem, range, token};

use crate::Input;

/// Each decoder; what it accepts is what its encoder makes.
pub fn protocol(data: &[u8]) {
    let mut input = Input(data);
    let (which, piece) = (input.byte() % 6, usize::from(input.byte()) + 1);
    let data = input.rest();
    match which {
        0 => {
            let mut decoder = CreateManyDecoder::new(1 << 20);
            if data.chunks(piece).all(|piece| decoder.push(piece).is_ok())
                && let Ok(records) = decoder.finish()
            {
                assert_eq!(batch::encode_create_many(&records).unwrap(), data);
            }
        }
        1 => {
            if let Some(locators) = batch::decode_locators(data) {
                assert_eq!(batch::encode_locators(&locators), data);
            }
        }
        2 => {
            if let Some(records) = batch::decode_get_many(data, piece) {
                let records = records.into_iter().map(|record| record.map(<[u8]>::to_vec)).collect();
                assert_eq!(batch::encode_get_many(records).concat(), data);
            }
        }
        3 => {
            let Ok(text) = str::from_utf8(data) else { return };
            if let Some(bytes) = base64url::decode(text) {
                assert_eq!(base64url::encode(&bytes), text);
            }
            let _ = base64url::decode_etag::<68>(text);
            let _ = range::parse_content_range(text);
            let _ = token::authorization(text);
        }
        4 => {
            let _ = problem::detail(data);
            let Ok(value) = serde_json::from_slice(data) else { return };
            let _ = documents::read_page::<68>(&value);
            let _ = documents::read_rename::<68>(&value);
            let _ = documents::read_swap_settings(&value);
            let _ = documents::read_verify(&value);
            let _ = documents::read_verification(&value);
            let _ = documents::read_stats(&value);
            let _ = documents::read_purge(&value);
            let _ = documents::read_purged(&value);
            let _ = documents::read_compact(&value);
            let _ = documents::read_compacted(&value);
            let _ = documents::read_erased(&value);
            let _ = documents::read_contains(&value);
        }
        _ => strongroom_server::fuzzing::headers(data),
    }
}
