//! What asks about one stream.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::SmallRng;

use super::facts::Facts;
use crate::deliver::stream::flush::Shutdown;
use crate::deliver::stream::report::Reporter;
use crate::kinesis::stream::Stream;

/// Longest time for one answer, all pages included.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// Asks about one stream.
pub(in crate::deliver) struct Watcher<T> {
    pub(in crate::deliver) facts: Rc<Facts>,
    pub(in crate::deliver) transport: Rc<T>,
    pub(in crate::deliver) stream: Stream,
    pub(in crate::deliver) random: Rc<RefCell<SmallRng>>,
    pub(in crate::deliver) reporter: Reporter,
    pub(in crate::deliver) shutdown: Rc<Shutdown>,
}
