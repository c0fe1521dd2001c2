//! One `PutRecords` call: body, signature, connection, reply.

pub mod client;
pub mod credentials;
pub mod endpoint;
pub mod limits;
pub mod reply;
pub mod request;
