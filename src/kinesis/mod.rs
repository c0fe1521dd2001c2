//! Calls to Kinesis: body, signature, connection, reply.

mod accepted;
pub mod aws_http;
pub mod blocking;
mod cbor;
pub mod client;
pub mod complaint;
pub mod connect;
pub mod credentials;
pub mod endpoint;
pub mod files;
pub mod limits;
pub mod list_shards;
pub mod proxy;
pub mod reply;
pub mod request;
pub mod resolver;
mod service_error;
pub mod shared_config;
pub mod shortage;
pub mod signature;
pub mod tls;
pub mod user_agent;
