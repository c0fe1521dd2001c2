//! What a validation message complains about.
//!
//! Such a message quotes the offending value, and whoever writes the logs can choose that value: a partition key.
//! Only the words from the last path on are certain to be the service's own.

/// What Kinesis refuses, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The part of the request.
    pub place: Place,
    /// The most bytes allowed, if size is the problem: of a record's data, or of the whole request.
    pub size_limit: Option<usize>,
}

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The stream's name or ARN.
    Stream,
    /// The record with this index, which may be beyond the last.
    Record(usize),
    /// The request as a whole, or another member of it.
    Request,
    /// The message does not say.
    Unknown,
}

/// Parses the last complaint of a message, the only one that a quoted value cannot imitate. The request without that
/// record will bring up the others.
pub fn complaint(message: &str) -> Complaint {
    if let Some(megabytes) = between(message, "Records size exceeds ", " MB limit") {
        let size_limit = megabytes.parse().ok().and_then(|megabytes: usize| megabytes.checked_mul(1 << 20));
        return Complaint { place: Place::Request, size_limit };
    }
    let Some((path, constraint)) = last_of(message) else {
        return Complaint { place: Place::Unknown, size_limit: None };
    };
    let place = place(path);
    // Other members have lengths too, but a key's counts characters and that of 'records' counts records.
    let is_of_bytes = matches!(place, Place::Record(_)) && path.ends_with(".data");
    Complaint { place, size_limit: longest(constraint).filter(|_| is_of_bytes) }
}

/// The constraint in the last complaint of a message; it contains no quoted value.
pub fn constraint(message: &str) -> Option<&str> {
    last_of(message).map(|(_, constraint)| constraint)
}

/// The path and constraint of the last complaint: "Value 'k' at 'records.1.member.partitionKey' failed to satisfy
/// constraint: Member must …". Secret and missing values are not quoted: "Value at 'records.2.member.data' …", "Value
/// null at …".
fn last_of(message: &str) -> Option<(&str, &str)> {
    const STARTS: [&str; 3] = ["' at '", "Value at '", "Value null at '"];
    let is_of_validation = message.starts_with("Value ")
        || message.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(" validation error");
    if !is_of_validation {
        return None;
    }
    let path_at = STARTS.iter().filter_map(|start| Some(message.rfind(start)? + start.len())).max()?;
    let (path, constraint) = message.get(path_at..)?.split_once("' failed to satisfy constraint: ")?;
    constraint.starts_with("Member must ").then_some((path, constraint))
}

fn place(path: &str) -> Place {
    let mut members = path.split('.');
    match (members.next(), members.next(), members.next()) {
        (Some("streamName" | "streamARN"), None, None) => Place::Stream,
        // Numbers start at one.
        (Some("records"), Some(number), Some("member")) => {
            number.parse::<usize>().ok().and_then(|number| number.checked_sub(1)).map_or(Place::Unknown, Place::Record)
        }
        _ => Place::Request,
    }
}

/// The maximum length in a constraint.
fn longest(constraint: &str) -> Option<usize> {
    let (_, number) = constraint.rsplit_once("length less than or equal to ")?;
    let digits = number.bytes().take_while(u8::is_ascii_digit).count();
    number.get(..digits)?.parse().ok()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.split_once(after).map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOO_LONG: &str = "failed to satisfy constraint: Member must have length less than or equal to";

    fn about(place: Place) -> Complaint {
        Complaint { place, size_limit: None }
    }

    #[test]
    fn the_services_own_messages_name_a_record_the_stream_or_the_request() {
        let too_large = Complaint { place: Place::Record(1), size_limit: Some(1_048_576) };
        for (message, expected) in [
            (format!("1 validation error detected: Value at 'records.2.member.data' {TOO_LONG} 1048576"), too_large),
            (format!("Value at 'records.2.member.data' {TOO_LONG} 1048576"), too_large),
            (format!("Value 'java.nio.HeapByteBuffer' at 'records.2.member.data' {TOO_LONG} 1048576"), too_large),
            (
                format!("1 validation error detected: Value 'kkkk' at 'records.3.member.partitionKey' {TOO_LONG} 256"),
                about(Place::Record(2)),
            ),
            (
                "1 validation error detected: Value 'a' at 'records.1.member.explicitHashKey' failed to satisfy constraint: Member must satisfy regular expression pattern: 0|([1-9]\\d{0,38})".to_owned(),
                about(Place::Record(0)),
            ),
            (format!("1 validation error detected: Value '[a, b]' at 'records' {TOO_LONG} 500"), about(Place::Request)),
            (
                format!("1 validation error detected: Value 'no such' at 'streamName' {TOO_LONG} 128"),
                about(Place::Stream),
            ),
            (
                "1 validation error detected: Value null at 'records.1.member.partitionKey' failed to satisfy constraint: Member must not be null".to_owned(),
                about(Place::Record(0)),
            ),
            (
                "1 validation error detected: Value at 'streamARN' failed to satisfy constraint: Member must not be null".to_owned(),
                about(Place::Stream),
            ),
            (
                "Records size exceeds 5 MB limit".to_owned(),
                Complaint { place: Place::Request, size_limit: Some(5 << 20) },
            ),
        ] {
            assert_eq!(complaint(&message), expected, "{message}");
        }
    }

    #[test]
    fn of_several_complaints_the_last_counts() {
        let message = format!(
            "2 validation errors detected: Value '' at 'records.1.member.partitionKey' failed to satisfy constraint: Member must have length greater than or equal to 1; Value at 'records.3.member.data' {TOO_LONG} 1048576"
        );
        assert_eq!(complaint(&message), Complaint { place: Place::Record(2), size_limit: Some(1_048_576) });
        assert_eq!(constraint(&message), Some("Member must have length less than or equal to 1048576"));
    }

    #[test]
    fn a_message_without_a_path_of_the_services_says_nothing() {
        for message in [
            "",
            "Value at 'records' failed",
            "Value at 'records.0.member.data' failed to satisfy constraint: Member must not be null",
            "Value at 'records.99999999999999999999.member.data' failed to satisfy constraint: Member must not be null",
            "'x' at 'records.1.member.data' failed to satisfy constraint: Member must not be null",
            "'' at 'streamName' failed to satisfy constraint: Member must not be null' is no Blob",
            "1 validation error detected: Value 'a' at 'records.1.member.data' failed",
            "1 validation error detected: Value 'k' at 'records.1.member.data' failed to satisfy constraint: secret",
        ] {
            assert_eq!(complaint(message), about(Place::Unknown), "{message}");
            assert!(constraint(message).is_none_or(|constraint| constraint == "Member must not be null"), "{message}");
        }
    }

    proptest! {
        /// The value can be anything that a log's writer likes, including the service's own words.
        #[test]
        fn no_quoted_value_names_another_record_or_the_stream(
            words in proptest::collection::vec(
                prop_oneof![
                    Just("' at 'records.1.member.data' failed to satisfy constraint: Member must not be null".to_owned()),
                    Just("Value at 'records.1.member.data".to_owned()),
                    Just("Value '' at 'streamName' failed to satisfy constraint: Member must ".to_owned()),
                    Just("'streamName'".to_owned()),
                    Just("1 validation error detected: ".to_owned()),
                    Just("Records size exceeds 5 MB limit".to_owned()),
                    Just("length less than or equal to 1; ".to_owned()),
                    ".{0,12}",
                ],
                0..8,
            ),
        ) {
            let value = words.concat();
            let path = "records.3.member.partitionKey";
            let message = format!("1 validation error detected: Value '{value}' at '{path}' {TOO_LONG} 256");
            prop_assert_eq!(complaint(&message), about(Place::Record(2)));
            prop_assert_eq!(constraint(&message), Some("Member must have length less than or equal to 256"));
        }
    }
}
