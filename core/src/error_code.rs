//! The numbers and names of errors, the same in every language and on the wire.

macro_rules! error_codes {
    ($($name:ident = $number:literal,)+) => {
        /// The kind of an error. A number never changes its meaning; 0 is success and never an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum ErrorCode {
            $(
                #[doc = concat!("`Error::", stringify!($name), "`")]
                $name = $number,
            )+
        }

        impl ErrorCode {
            /// The code with this number; `None` for a number that this version does not know.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The number: an exit status, a C status, a field on the wire.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self {
                    $(Self::$name => $number,)+
                }
            }

            /// The name, such as `NotFound`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

error_codes! {
    NotFound = 1,
    AlreadyExists = 2,
    WrongKey = 3,
    Corrupt = 4,
    InvalidKey = 5,
    InvalidId = 6,
    Unsupported = 7,
    TooLarge = 8,
    IndexKeyMismatch = 9,
    IndexKeyMissing = 10,
    Conflict = 11,
    Busy = 12,
    StorageFull = 13,
    Storage = 14,
    Indeterminate = 15,
    Poisoned = 16,
    Forked = 17,
    Closed = 18,
    InvalidArgument = 19,
    Expired = 20,
    AccessDenied = 21,
    Internal = 99,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_one_code() {
        let known: Vec<_> = (0..=u8::MAX).filter(|number| ErrorCode::from_number(*number).is_some()).collect();
        assert_eq!(known, (1..=21).chain([99]).collect::<Vec<_>>());
        for number in known {
            assert_eq!(ErrorCode::from_number(number).unwrap().number(), number);
        }
        assert_eq!(ErrorCode::Internal.name(), "Internal");
    }
}
