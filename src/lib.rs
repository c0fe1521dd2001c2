//! `kinesis.so`: a Fluent Bit output for Amazon Kinesis Data Streams.
//!
//! This page is the map. The modules stand in the order in which a record meets them:
//!
//! 1. [`abi`] — the functions Fluent Bit calls, and the functions of Fluent Bit we call. All `unsafe` code is here.
//! 2. [`plugin`] — one configured output: its delivery thread and the hand-over to it; `line_router` leads its log lines
//!    to the host.
//! 3. [`config`] — the option table and what comes of it.
//! 4. [`chunk`] — a chunk of msgpack, seen as events; [`msgpack`] reads the tokens.
//! 5. [`record`] — an event as the bytes to send: shaped, formatted, compressed, within its size.
//! 6. [`partition`] — the partition key of a record; [`aggregate`] — many records as one; [`compress`] — records and
//!    blocks of lines made smaller.
//! 7. [`pack`] — records into requests, under every limit of Kinesis.
//! 8. [`deliver`] — requests in flight, failed records again, the answer to Fluent Bit; [`ledger`] remembers
//!    what Kinesis took of a chunk that Fluent Bit will bring again.
//! 9. [`kinesis`] — one `PutRecords` call: body, signature, connection, reply.
//! 10. [`verdict`] — what a reply means.
//! 11. [`metrics`] — what is counted on the way, and shown by the host.
//! 12. [`outcome`], [`record_set`], [`backoff`], [`clock`], [`environment`], [`log`], [`error`] — what they all speak in.
//!
//! ARCHITECTURE.md tells why it is built this way.

pub mod abi;
pub mod plugin;

mod line_router;

pub mod config;

pub mod chunk;
pub mod msgpack;
pub mod record;

pub mod partition;

pub mod aggregate;
pub mod compress;

pub mod pack;

pub mod deliver;
pub mod ledger;

pub mod kinesis;

pub mod backoff;
pub mod clock;
pub mod environment;
pub mod error;
pub mod log;
pub mod metrics;
pub mod outcome;
pub mod record_set;
pub mod redact;
pub mod verdict;
