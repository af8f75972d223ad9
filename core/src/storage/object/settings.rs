//! The settings document, by compare and swap.

use super::super::Error;
use super::super::types::{MAX_SETTINGS_LEN, check_settings};
use super::body::{Kind, Move, NewObject, Object};
use super::bucket::{Condition, Got, Outcome};
use super::names::SETTINGS;
use super::records::Records;

impl Records {
    async fn settings_object(&self) -> Result<Option<(Object, Got)>, Error> {
        let found = self.get(SETTINGS, MAX_SETTINGS_LEN as u64 + 1024).await?;
        let is_wrong = |object: &Object| object.kind != Kind::Settings || !object.is_whole();
        if found.as_ref().is_some_and(|(object, _)| is_wrong(object)) { Err(Error::Corrupt) } else { Ok(found) }
    }

    pub(super) async fn settings(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.settings_object().await?.map(|(object, _)| object.payload.into()))
    }

    pub(super) async fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error> {
        check_settings(new)?;
        let found = self.settings_object().await?;
        if found.as_ref().map(|(object, _)| &object.payload[..]) != expected {
            return Err(Error::Conflict);
        }
        self.put_settings(new, found.map_or(Condition::Absent, |(_, got)| Condition::Is(got.version))).await
    }

    /// Replaces the settings if they are damaged.
    pub(super) async fn restore_settings(&self, new: &[u8]) -> Result<(), Error> {
        check_settings(new)?;
        // The version first: if another client replaces the damaged object in between, it is not that of an intact one.
        let version = self.bucket.version(SETTINGS).await?;
        match self.settings_object().await {
            Err(Error::Corrupt) => {}
            found => return found.map(drop),
        }
        self.put_settings(new, version.map_or(Condition::Absent, Condition::Is)).await
    }

    async fn put_settings(&self, new: &[u8], condition: Condition) -> Result<(), Error> {
        let object = NewObject::new(SETTINGS, Kind::Settings, Move::None, new)?;
        match self.bucket.put_if(SETTINGS, &object, &condition).await? {
            Outcome::Done => Ok(()),
            Outcome::Refused { doubtful: false } => Err(Error::Conflict),
            Outcome::Refused { doubtful: true } => {
                Err(Error::Indeterminate("the settings have been changed since".into()))
            }
        }
    }
}
