//! The locks of the handoff: the standard library's here, loom's in tests/it/handoff.rs.

pub(super) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
