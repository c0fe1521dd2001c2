//! The options about requests and the records in them.

use super::reader::Options;
use super::{aggregation, parse, records};
use crate::kinesis::limits;
use crate::kinesis::request::Protocol;
use crate::pack::{Aggregation, RequestSettings};

const PROTOCOLS: &[(&str, Protocol)] = &[("json", Protocol::Json), ("cbor", Protocol::Cbor)];

/// Most bytes of a request of aggregates, by default: five of the default size
/// (docs/decisions/0049-small-aggregates.md).
const AGGREGATES_BYTES: usize = 256 << 10;

/// Reads the options.
pub(super) fn read(options: &mut Options<'_>) -> RequestSettings {
    let mut record = records::read(options);
    let aggregation = aggregation::read(options, &mut record);
    let mut max_bytes = options.value("batch_request_max_size", parse::size(1..=limits::MAX_REQUEST_BYTES));
    if matches!(aggregation, Some(Aggregation::Kpl { .. })) && !options.is_set("batch_request_max_size") {
        max_bytes = AGGREGATES_BYTES;
    }
    RequestSettings {
        protocol: options.value("protocol", parse::one_of(PROTOCOLS)),
        max_records: options.value("batch_request_max_count", parse::integer(1..=limits::MAX_REQUEST_RECORDS)),
        max_bytes,
        aggregation,
        omits_random_keys: options.is_set_to("partition_key", records::NO_KEY),
        record,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use testing::property;

    fn request_bytes(options: &'static [(&str, &str)]) -> usize {
        Config::parse(&property(options)).unwrap().requests.max_bytes
    }

    #[test]
    fn requests_of_aggregates_are_small_unless_their_size_is_set() {
        assert_eq!(request_bytes(&[("aggregation", "kpl")]), 256 << 10);
        assert_eq!(request_bytes(&[("aggregation", "kpl"), ("batch_request_max_size", "5M")]), 5 << 20);
        assert_eq!(request_bytes(&[("aggregation", "lines")]), 5 << 20);
        assert_eq!(request_bytes(&[]), 5 << 20);
    }
}
