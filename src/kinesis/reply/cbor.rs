//! A lenient reader of CBOR replies (RFC 8949): definite and indefinite lengths, chunked texts, tags, null and
//! undefined.

use std::borrow::Cow;

use minicbor::Decoder;
use minicbor::data::Type;

/// The value of a map's member, as far as replies need it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Member<'a> {
    /// Absent, null or undefined.
    #[default]
    Nothing,
    /// Text.
    Text(Cow<'a, str>),
    /// Anything else.
    Other,
}

impl<'a> Member<'a> {
    /// Keeps the first value that is not nothing.
    pub(super) fn take(&mut self, other: Member<'a>) {
        if *self == Member::Nothing {
            *self = other;
        }
    }

    /// The text, if it is one and not empty.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Member::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
}

/// Iterates over a map or an array, whether its length is stated or it ends with a break.
pub(super) struct Members {
    left: Option<u64>,
}

impl Members {
    /// Starts with the next item, a map.
    pub(super) fn of_map(decoder: &mut Decoder<'_>) -> Option<Self> {
        kind(decoder)?;
        Some(Members { left: decoder.map().ok()? })
    }

    /// Starts with the next item, an array.
    pub(super) fn of_array(decoder: &mut Decoder<'_>) -> Option<Self> {
        kind(decoder)?;
        Some(Members { left: decoder.array().ok()? })
    }

    /// Whether another member follows. Consumes the break at the end.
    pub(super) fn next(&mut self, decoder: &mut Decoder<'_>) -> Option<bool> {
        match &mut self.left {
            Some(0) => Some(false),
            Some(left) => {
                *left -= 1;
                Some(true)
            }
            None if decoder.datatype().ok()? == Type::Break => {
                decoder.skip().ok()?;
                Some(false)
            }
            None => Some(true),
        }
    }
}

/// The type of the next item, after its tags.
pub(super) fn kind(decoder: &mut Decoder<'_>) -> Option<Type> {
    while decoder.datatype().ok()? == Type::Tag {
        decoder.tag().ok()?;
    }
    decoder.datatype().ok()
}

/// Reads the next item, whatever it is.
pub(super) fn member<'a>(decoder: &mut Decoder<'a>) -> Option<Member<'a>> {
    match kind(decoder)? {
        Type::String => decoder.str().ok().map(|text| Member::Text(text.into())),
        Type::StringIndef => {
            let pieces: Result<String, _> = decoder.str_iter().ok()?.collect();
            pieces.ok().map(|text| Member::Text(text.into()))
        }
        kind => {
            decoder.skip().ok()?;
            Some(if matches!(kind, Type::Null | Type::Undefined) { Member::Nothing } else { Member::Other })
        }
    }
}

/// The key of a member; empty if it is not text.
pub(super) fn key<'a>(decoder: &mut Decoder<'a>) -> Option<Cow<'a, str>> {
    Some(member(decoder)?.text().unwrap_or_default())
}

/// A count; `Some(None)` if the item is something else.
pub(super) fn count(decoder: &mut Decoder<'_>) -> Option<Option<u64>> {
    match kind(decoder)? {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => decoder.u64().ok().map(Some),
        _ => decoder.skip().ok().map(|()| None),
    }
}

/// Whether `body` is a CBOR map, tagged or not. JSON and XML begin with other bytes.
pub(super) fn is_map(body: &[u8]) -> bool {
    body.first().is_some_and(|first| (0xa0..=0xdb).contains(first))
}
