//! Access to AWS: regions and endpoints, connections, signatures, credentials.

pub mod blocking;
pub mod connect;
pub mod credentials;
pub mod endpoint;
pub mod files;
pub mod network;
pub mod region;
pub mod sdk_http;
pub mod shared_config;
pub mod shortage;
pub mod signature;
pub mod user_agent;
