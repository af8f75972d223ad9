//! Key types do not implement traits that could reveal or copy a key by accident.

use strongroom::{IndexKey, RecordKey};

/// Does not compile if `$type` implements one of the traits, because two implementations would then apply.
macro_rules! assert_implements_none {
    ($type:ty: $($trait:path),+) => {
        $(const _: fn() = || {
            trait AmbiguousIf<Marker> {
                fn check() {}
            }
            impl<T> AmbiguousIf<()> for T {}
            #[allow(dead_code, reason = "a marker")]
            struct Implemented;
            impl<T: $trait> AmbiguousIf<Implemented> for T {}
            <$type as AmbiguousIf<_>>::check();
        };)+
    };
}

macro_rules! assert_is_no_plain_data {
    ($($type:ty),+) => {
        $(assert_implements_none!(
            $type: Clone, Copy, Default, PartialEq, PartialOrd, std::hash::Hash, std::fmt::Display,
            std::ops::Deref, AsRef<[u8]>, Into<Vec<u8>>, Into<[u8; 32]>
        );)+
    };
}

assert_is_no_plain_data!(RecordKey, IndexKey);

#[test]
fn keys_show_nothing() {
    let record_key = RecordKey::from_bytes(&[0x41; 32]).unwrap();
    let index_key = IndexKey::from_bytes(&[0x41; 32]).unwrap();
    assert_eq!(format!("{record_key:?} {record_key:#?}"), "RecordKey(..) RecordKey(..)");
    assert_eq!(format!("{index_key:?} {index_key:#?}"), "IndexKey(..) IndexKey(..)");
}
