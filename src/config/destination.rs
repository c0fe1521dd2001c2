//! The options about where records go.

use super::reader::Options;
use crate::aws::region::Region;
use crate::kinesis::stream::Stream;

/// The stream, and the region if an option or the stream's ARN names one. `None` if there is no usable stream.
pub(super) fn read(options: &mut Options<'_>) -> Option<(Stream, Option<Region>)> {
    let stream = options.optional("stream", Stream::parse);
    let region = options.optional("region", Region::parse);
    if !options.is_set("stream") {
        options.reject("stream", "required: the name or ARN of a Kinesis stream");
    }
    let arn_region = stream.as_ref().and_then(Stream::region);
    if let (Some(region), Some(arn_region)) = (&region, &arn_region)
        && region != arn_region
    {
        options
            .reject("region", format!("'{region}' is not the region of the stream's ARN, '{arn_region}': remove it"));
    }
    Some((stream?, region.or(arn_region)))
}
