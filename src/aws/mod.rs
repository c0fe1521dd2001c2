//! Access to AWS: regions and endpoints, connections, signatures, credentials.

pub mod blocking;
pub mod connect;
pub mod credentials;
pub mod endpoint;
pub(crate) mod files;
pub(crate) mod network;
pub mod region;
pub(crate) mod sdk_http;
pub(crate) mod shared_config;
pub(crate) mod shortage;
pub(crate) mod signature;
pub(crate) mod user_agent;
