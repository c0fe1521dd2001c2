//! Tests the stand-in itself, with raw HTTP requests, because everything else relies on it.
mod client;

mod connection;
mod distribution;
mod faults;
mod limits;
mod list_shards;
mod look_inside;
mod signature;
mod wire;
