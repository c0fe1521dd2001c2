//! The options about requests and the records in them.

use super::reader::Options;
use super::{aggregation, parse, records};
use crate::kinesis::limits;
use crate::kinesis::request::Protocol;
use crate::pack::RequestSettings;

const PROTOCOLS: &[(&str, Protocol)] = &[("json", Protocol::Json), ("cbor", Protocol::Cbor)];

/// Reads the options.
pub(super) fn read(options: &mut Options<'_>) -> RequestSettings {
    let mut record = records::read(options);
    RequestSettings {
        protocol: options.value("protocol", parse::one_of(PROTOCOLS)),
        max_records: options.value("batch_request_max_count", parse::integer(1..=limits::MAX_REQUEST_RECORDS)),
        max_bytes: options.value("batch_request_max_size", parse::size(1..=limits::MAX_REQUEST_BYTES)),
        aggregation: aggregation::read(options, &mut record),
        omits_random_keys: options.is_set_to("partition_key", records::NO_KEY),
        record,
    }
}
