//! The command line of a record's new version: its expiry and its padding.

use std::time::{Duration, SystemTime};

use clap::Args;
use strongroom::WriteOptions;

use crate::times;

#[derive(Args)]
#[group(multiple = false)]
struct Expiry {
    /// Make the record expire after this time, such as 90s, 15m, 12h, 30d, 2w or 1h30m. Then its key opens nothing, and
    /// the id is free
    #[arg(long, value_name = "DURATION", value_parser = times::duration)]
    expires_in: Option<Duration>,
    /// Make the record expire at this time, such as 2026-12-31T23:59:59Z (RFC 3339), 2026-12-31 (its start in UTC) or
    /// @1798761599 (Unix time)
    #[arg(long, value_name = "TIME", value_parser = times::time)]
    expires_at: Option<SystemTime>,
}

impl Expiry {
    fn options(&self) -> WriteOptions<'static> {
        match (self.expires_in, self.expires_at) {
            (Some(duration), _) => WriteOptions::new().expires_in(duration),
            (None, Some(time)) => WriteOptions::new().expires_at(time),
            (None, None) => WriteOptions::new(),
        }
    }
}

/// The options of a new version.
#[derive(Args)]
pub(crate) struct Version {
    #[command(flatten)]
    expiry: Expiry,
    /// Hide the length of the data in the storage: the record is padded, by at most 12 % and 8 bytes
    #[arg(long)]
    pad: bool,
}

impl Version {
    /// Whether the command line has one of the options.
    pub(crate) fn is_given(&self) -> bool {
        self.pad || self.expires()
    }

    pub(crate) fn expires(&self) -> bool {
        self.expiry.expires_in.is_some() || self.expiry.expires_at.is_some()
    }

    pub(crate) fn options(&self) -> WriteOptions<'static> {
        let options = self.expiry.options();
        if self.pad { options.pad() } else { options }
    }
}
