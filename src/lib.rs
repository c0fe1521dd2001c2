//! `kinesis.so`: a Fluent Bit output for Amazon Kinesis Data Streams.
//!
//! This page is the map. The modules stand in the order in which a record meets them:
//!
//! 1. [`abi`] — the functions Fluent Bit calls; [`host`] — the functions of Fluent Bit we call, and the hand-over of a
//!    chunk. All `unsafe` code is in these two and in [`system`].
//! 2. [`plugin`] — one configured output: its delivery thread, its start and its stop.
//! 3. [`config`] — the option table and what comes of it.
//! 4. [`chunk`] — a chunk of msgpack, seen as events; [`msgpack`] reads the tokens.
//! 5. [`record`] — an event as the bytes to send: shaped, formatted, compressed, within its size; and its partition key.
//! 6. [`compress`] — records and blocks of lines made smaller.
//! 7. [`pack`] — records into requests, under every limit of Kinesis.
//! 8. [`deliver`] — requests in flight, failed records again, the answer to Fluent Bit; [`ledger`] remembers
//!    what Kinesis took of a chunk that Fluent Bit will bring again.
//! 9. [`kinesis`] — the service: what it allows, a `PutRecords` call and its reply, and what a reply means.
//! 10. [`aws`] — how AWS is reached and in whose name: endpoint, connection, signature, credentials.
//! 11. [`metrics`] — what is counted on the way, and shown by the host.
//! 12. [`outcome`], [`record_set`], [`backoff`], [`clock`], [`environment`], [`log`], [`redact`], [`error`] — what they
//!     all share.
//!
//! ARCHITECTURE.md tells why it is built this way.

pub mod abi;
pub mod host;
pub mod plugin;

pub mod config;

pub mod chunk;
pub mod msgpack;
pub mod record;

pub mod compress;

pub mod pack;

pub mod deliver;
pub mod ledger;

pub mod aws;
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
pub mod system;
