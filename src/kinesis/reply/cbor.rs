//! A lenient reader of replies in CBOR (RFC 8949): lengths stated or open, texts in pieces, tags, nulls of both kinds.

use std::borrow::Cow;

use minicbor::Decoder;
use minicbor::data::Type;

/// What a member of a map holds, as far as replies go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Member<'a> {
    /// Nothing: it is absent, null or undefined.
    #[default]
    Nothing,
    /// A text.
    Text(Cow<'a, str>),
    /// Something else.
    Other,
}

impl<'a> Member<'a> {
    /// Keeps the first of several that holds anything.
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

/// What is left of a map or an array, whose length is stated at its start or marked by a break at its end.
pub(super) struct Members {
    left: Option<u64>,
}

impl Members {
    /// Those of the map that comes next.
    pub(super) fn of_map(decoder: &mut Decoder<'_>) -> Option<Self> {
        kind(decoder)?;
        Some(Members { left: decoder.map().ok()? })
    }

    /// Those of the array that comes next.
    pub(super) fn of_array(decoder: &mut Decoder<'_>) -> Option<Self> {
        kind(decoder)?;
        Some(Members { left: decoder.array().ok()? })
    }

    /// Whether another member follows; reads the mark of the end.
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

/// Reads the whole next item, whatever it is.
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

/// The key of a member; empty when it is no text, as that of no member is.
pub(super) fn key<'a>(decoder: &mut Decoder<'a>) -> Option<Cow<'a, str>> {
    Some(member(decoder)?.text().unwrap_or_default())
}

/// A count; `None` within when it is something else.
pub(super) fn count(decoder: &mut Decoder<'_>) -> Option<Option<u64>> {
    match kind(decoder)? {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => decoder.u64().ok().map(Some),
        _ => decoder.skip().ok().map(|()| None),
    }
}

/// Whether `body` is a map of CBOR, tagged or not. JSON and XML begin with other bytes.
pub(super) fn is_map(body: &[u8]) -> bool {
    body.first().is_some_and(|first| (0xa0..=0xdb).contains(first))
}
