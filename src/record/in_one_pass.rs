//! What can be done in one pass over an event.

use crate::record::formats::Format;
use crate::record::partition_key::PartitionKey;
use crate::record::schema::Rules;
use crate::record::settings::RecordSettings;

/// What can be done in one pass over an event.
#[derive(Clone, Copy)]
pub(super) enum InOnePass<'a> {
    Nothing,
    /// To write an event that does not change, under a random key.
    Unchanged,
    /// To write an event of a known schema.
    BySchema(Rules<'a>),
}

impl<'a> InOnePass<'a> {
    pub(super) fn of(settings: &'a RecordSettings) -> Self {
        let RecordSettings { shape, partition_key, .. } = settings;
        let adds_more = shape.tag_key.is_some() || shape.metadata_key.is_some() || shape.group_key.is_some();
        if !matches!(settings.format, Format::Json)
            || settings.compression.is_some()
            || settings.explicit_hash_key.is_some()
            || settings.merge_maps
            || settings.drop_empty
            || adds_more
        {
            return InOnePass::Nothing;
        }
        if shape.is_identity() && *partition_key == PartitionKey::Random {
            return InOnePass::Unchanged;
        }
        InOnePass::BySchema(Rules { shape: Some(shape), partition_key: partition_key.path(shape.time_key.as_deref()) })
    }
}
