//! The stream that records go to.

use crate::aws::region::Region;
use crate::error::Allowed;
use crate::kinesis::limits::MAX_STREAM_NAME_CHARACTERS;

/// A stream, by name or by ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    text: String,
    region: Option<Region>,
}

impl Stream {
    /// Parses a name or an ARN.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Stream, Allowed> {
        if let Some(arn) = text.strip_prefix("arn:") {
            return Self::parse_arn(text, arn)
                .ok_or_else(|| "use an ARN such as arn:aws:kinesis:us-east-1:111122223333:stream/name".into());
        }
        Self::parse_name(text).map_err(|allowed| format!("{allowed} or its ARN").into())
    }

    /// Parses a name.
    ///
    /// # Errors
    /// What is allowed.
    pub(crate) fn parse_name(text: &str) -> Result<Stream, Allowed> {
        match Self::is_name(text) {
            true => Ok(Stream { text: text.to_owned(), region: None }),
            false => Err("use a stream's name (1 to 128 of a-z A-Z 0-9 _ . -)".into()),
        }
    }

    fn parse_arn(text: &str, arn: &str) -> Option<Stream> {
        let parts: Vec<&str> = arn.split(':').collect();
        let [partition, "kinesis", region, account, resource] = parts.as_slice() else { return None };
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let is_stream = resource.strip_prefix("stream/").is_some_and(Self::is_name);
        let region = Region::parse(region).ok()?;
        (partition.starts_with("aws") && is_account && is_stream)
            .then(|| Stream { text: text.to_owned(), region: Some(region) })
    }

    /// The name or ARN as configured.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The member of a request that names it.
    pub(crate) fn member(&self) -> &'static str {
        if self.is_arn() { "StreamARN" } else { "StreamName" }
    }

    /// Whether it is an ARN.
    pub fn is_arn(&self) -> bool {
        self.region.is_some()
    }

    /// The region in the ARN.
    pub fn region(&self) -> Option<Region> {
        self.region.clone()
    }

    /// Whether Kinesis allows the name.
    pub fn is_name(text: &str) -> bool {
        (1..=MAX_STREAM_NAME_CHARACTERS).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_arns_are_told_apart_and_everything_else_is_refused() {
        let name = "a".repeat(128);
        let arn = "arn:aws-us-gov:kinesis:us-gov-west-1:111122223333:stream/My_stream-1.x";
        assert!(!Stream::parse("My_stream-1.x").unwrap().is_arn());
        assert!(Stream::parse(&name).is_ok());
        assert_eq!(Stream::parse(arn).unwrap().region().unwrap().as_str(), "us-gov-west-1");
        for bad in [
            "",
            "a b",
            "a/b",
            "ströme",
            &"a".repeat(129),
            "arn:aws:kinesis:us-east-1:111122223333:stream/",
            "arn:aws:kinesis:us-east-1:1111:stream/a",
            "arn:aws:firehose:us-east-1:111122223333:stream/a",
            "arn:aws:kinesis::111122223333:stream/a",
            "arn:aws:kinesis:us-east-1:111122223333:stream/a:b",
        ] {
            assert!(Stream::parse(bad).is_err(), "{bad}");
        }
    }
}
