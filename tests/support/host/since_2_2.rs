//! What tells a Fluent Bit since 2.2 from an older one.

/// Only its name counts.
#[unsafe(no_mangle)]
pub extern "C" fn flb_proxy_output_cb_init() {}
