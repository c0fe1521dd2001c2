//! What the tests share. Each test binary compiles all of it and uses a part.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

pub mod example;
pub mod fake_kinesis;
pub mod host;
