//! One `PutRecords` call: body, signature, connection, reply.

mod accepted;
pub mod client;
pub mod credentials;
pub mod endpoint;
pub mod limits;
pub mod reply;
pub mod request;
pub mod signature;
