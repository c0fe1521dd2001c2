//! TLS: servers with certificates of our own, and key exchange.

pub mod certificates;
pub mod key_exchange;
