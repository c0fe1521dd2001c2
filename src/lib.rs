//! `kinesis.so`: a Fluent Bit output for Amazon Kinesis Data Streams.
//!
//! Fluent Bit hands over chunks of log events; the plugin puts them into a stream and answers "done" only when
//! Kinesis has accepted every record that it can ever accept. It is a plugin, not a library to depend on: `make
//! build` makes the file that Fluent Bit loads, and README.md says how to use it. This page is for whoever changes
//! it.
//!
//! # The core is pure
//!
//! In the middle there is no I/O: the bytes of a chunk go in, the bodies of `PutRecords` requests come out. The
//! stream, the settings and the randomness are passed in.
//!
//! ```
//! use kinesis::kinesis::stream::Stream;
//! use kinesis::pack::{Packer, RequestSettings};
//! use kinesis::record_set::RecordSet;
//! use rand::SeedableRng;
//! use rand::rngs::SmallRng;
//!
//! // What Fluent Bit hands over: [[time, metadata], body] in msgpack; here one event, {"log": "hi"}.
//! let chunk = b"\x92\x92\x00\x80\x81\xa3log\xa2hi";
//! let stream = Stream::parse("logs")?;
//! let settings = RequestSettings::default();
//! let nothing_done_yet = RecordSet::default();
//!
//! let mut packer = Packer::new(chunk, b"app.log", &stream, &settings, nothing_done_yet);
//! let mut random = SmallRng::seed_from_u64(1);
//! let batch = packer.next_batch(&mut random, &mut |_, _| {}).ok_or("the chunk is empty")?;
//!
//! let body = batch.body();
//! let body = std::str::from_utf8(&body)?;
//! // The record's data is {"log":"hi"} in base64; its partition key is random.
//! assert!(body.contains(r#""Data":"eyJsb2ciOiJoaSJ9""#), "{body}");
//! assert!(body.contains(r#""StreamName":"logs""#), "{body}");
//! assert!(packer.next_batch(&mut random, &mut |_, _| {}).is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Around that core, [`deliver`] sends the bodies and acts on what [`kinesis::verdict`] says of the replies; it runs
//! on one thread per output, which [`plugin`] starts and to which [`host`] hands the chunks.
//!
//! # The map
//!
//! The modules, in the order in which a record meets them. Each uses only modules of a lower layer.
//!
//! 1. [`abi`]: the functions that Fluent Bit calls; they run on its threads. [`host`]: what we call of Fluent Bit,
//!    and the hand-over of a chunk to our thread. Unsafe code is only in these two and in `system`.
//! 2. [`plugin`]: one configured output: its start, its delivery thread, its stop.
//! 3. [`config`]: the options. To add one, begin at [`config::options`].
//! 4. [`chunk`]: a chunk of msgpack as events; [`msgpack`] reads the tokens.
//! 5. [`record`]: an event as the bytes to send: partition key, shape, format, newline, compression, size.
//! 6. [`compress`]: records and blocks of lines made smaller.
//! 7. [`pack`]: records into request bodies, under every limit of Kinesis.
//! 8. [`deliver`]: requests in flight, failed records again, the answer to Fluent Bit. [`ledger`]: what Kinesis has
//!    of a chunk that Fluent Bit will bring again. [`dead_letters`]: refused records, kept in files.
//! 9. [`kinesis`]: the service: limits, a `PutRecords` call and its reply, and what a reply means.
//! 10. [`aws`]: how AWS is reached and in whose name: endpoint, connection, signature, credentials.
//! 11. [`metrics`]: what is counted. To add a metric, begin at [`metrics::TABLE`].
//! 12. `digest`: SHA-256 and MD5 of several messages side by side.
//! 13. `outcome`, `record_set`, `backoff`, `clock`, `environment`, `log`, `redact`, `error`: shared vocabulary.
//!
//! ARCHITECTURE.md follows a chunk function by function, says which thread runs what, and how to add things.
//! docs/decisions/ says why it is built this way, tests/README.md where the test of a claim is.

pub mod abi;
pub mod host;
pub mod plugin;

pub mod config;

pub mod chunk;
pub mod msgpack;
pub mod record;

pub mod compress;

pub mod pack;

pub mod dead_letters;
pub mod deliver;
pub mod ledger;

pub mod aws;
pub mod kinesis;

pub mod backoff;
pub mod clock;
pub(crate) mod digest;
pub mod environment;
pub mod error;
pub mod log;
pub mod metrics;
pub mod outcome;
pub mod record_set;
pub mod redact;
pub(crate) mod system;
