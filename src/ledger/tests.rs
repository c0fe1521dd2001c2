use std::rc::Rc;

use super::*;

#[test]
fn an_entry_is_found_by_tag_and_bytes_and_used_once() {
    let ledger = Rc::new(Ledger::new(1 << 20));
    ledger.begin(b"app", b"chunk").progress().settle([1, 70]);
    assert!(ledger.begin(b"app", b"other").progress().is_empty());
    assert!(ledger.begin(b"web", b"chunk").progress().is_empty());
    assert_eq!(*ledger.begin(b"app", b"chunk").progress().settled(), [1, 70].into_iter().collect());
    ledger.begin(b"app", b"chunk").done();
    assert!(ledger.begin(b"app", b"chunk").progress().is_empty());
}
