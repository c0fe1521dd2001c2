//! The stand-in tested by itself, with raw HTTP requests: it is the measure for everything else.
mod client;

mod connection;
mod faults;
mod limits;
mod list_shards;
mod look_inside;
mod signature;
mod wire;
