//! An error of the whole call, in any format, because proxies and other services write errors too.
//!
//! The first readable code counts, even if the rest of the body is truncated or invalid: an expired token must not be
//! taken for an operator's mistake.

use std::borrow::Cow;
use std::fmt;

use minicbor::Decoder;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use xmlparser::{ElementEnd, Token, Tokenizer};

use crate::kinesis::reply::cbor::{self, Members};
use crate::redact::looks_secret;

/// An error of the whole call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceError {
    /// The error type without its namespace, such as `ValidationException`; empty if unreadable.
    pub code: String,
    /// The service's message, which may contain secrets or records.
    pub message: String,
}

/// The longest text accepted as a code, in characters; Kinesis's codes have up to 40.
const MAX_CODE_CHARACTERS: usize = 64;

/// `com.amazonaws.kinesis#ValidationException:http://…` gives `ValidationException`. Returns `None` for anything that
/// is not an identifier: codes are shown and counted, and anyone may have written this one.
pub(super) fn code(text: &str) -> Option<&str> {
    let text = text.trim();
    let name = text.rsplit_once('#').map_or(text, |(_, name)| name);
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= MAX_CODE_CHARACTERS
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (is_name && !looks_secret(name)).then_some(name)
}

impl ServiceError {
    /// Reads the body of a reply. Its first byte shows the format.
    pub(super) fn read(body: &[u8]) -> ServiceError {
        let mut error = ServiceError::default();
        if cbor::is_map(body) {
            let _ = error.read_cbor(&mut Decoder::new(body), true);
            return error;
        }
        // What a message quotes may be any bytes.
        let text = String::from_utf8_lossy(body);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        match text.as_bytes().first() {
            Some(b'{') => error.read_json(text, true),
            Some(b'<') => error.read_xml(text),
            _ => {}
        }
        error
    }

    /// Takes a member that may be a code or a message, unless there is one already.
    fn take(&mut self, key: &str, text: Option<Cow<'_, str>>) {
        let Some(text) = text else { return };
        if is_code(key)
            && self.code.is_empty()
            && let Some(code) = code(&text)
        {
            code.clone_into(&mut self.code);
        }
        if is_message(key) && self.message.is_empty() {
            self.message = text.into_owned();
        }
    }

    /// Reads members one by one, so that those before a syntax error count. `nested`: also look inside an `Error`
    /// member, as STS has one.
    fn read_json(&mut self, text: &str, nested: bool) {
        struct Reader<'a>(&'a mut ServiceError, bool);
        impl<'de> Visitor<'de> for Reader<'_> {
            type Value = ();

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an error")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
                while let Some(key) = members.next_key::<String>()? {
                    if is_code(&key) || is_message(&key) {
                        let value: &RawValue = members.next_value()?;
                        self.0.take(&key, serde_json::from_str::<String>(value.get()).ok().map(Cow::Owned));
                    } else if is_error(&key) && self.1 {
                        let value: &RawValue = members.next_value()?;
                        self.0.read_json(value.get(), false);
                    } else {
                        members.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(())
            }
        }
        let mut json = serde_json::Deserializer::from_str(text);
        drop(json.deserialize_map(Reader(self, nested)));
    }

    fn read_cbor(&mut self, decoder: &mut Decoder<'_>, nested: bool) -> Option<()> {
        let mut members = Members::of_map(decoder)?;
        while members.next(decoder)? {
            let key = cbor::key(decoder)?;
            let is_map = matches!(cbor::kind(decoder)?, minicbor::data::Type::Map | minicbor::data::Type::MapIndef);
            if is_error(&key) && nested && is_map {
                self.read_cbor(decoder, false)?;
            } else {
                let value = cbor::member(decoder)?;
                self.take(&key, value.text());
            }
        }
        Some(())
    }

    /// Reads elements and attributes by local name, in any namespace. Without a code, the root element may name the
    /// error, as in `<UnknownOperationException/>`.
    fn read_xml(&mut self, text: &str) {
        let mut root = None;
        let mut element = "";
        for token in Tokenizer::from(text).map_while(Result::ok) {
            match token {
                Token::ElementStart { local, .. } => {
                    element = local.as_str();
                    root = root.or(Some(element));
                }
                Token::Attribute { local, value, .. } if is_of_xml(local.as_str()) => {
                    self.take(local.as_str(), non_empty(value.as_str()));
                }
                Token::Text { text } if is_of_xml(element) => self.take(element, non_empty(text.as_str())),
                Token::Cdata { text, .. } if is_of_xml(element) => self.take(element, non_empty(text.as_str())),
                Token::ElementEnd { end: ElementEnd::Close(..) | ElementEnd::Empty, .. } => element = "",
                _ => {}
            }
        }
        if let Some(root) = root.filter(|root| root.ends_with("Exception")) {
            self.take("Code", Some(root.into()));
        }
    }
}

fn is_code(key: &str) -> bool {
    matches!(key, "__type" | "code" | "Code")
}

fn is_message(key: &str) -> bool {
    matches!(key, "message" | "Message")
}

fn is_error(key: &str) -> bool {
    matches!(key, "Error" | "error")
}

/// HTML has a `code` element too.
fn is_of_xml(name: &str) -> bool {
    matches!(name, "Code" | "Message")
}

fn non_empty(text: &str) -> Option<Cow<'_, str>> {
    Some(text.trim()).filter(|text| !text.is_empty()).map(Cow::Borrowed)
}
