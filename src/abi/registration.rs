//! Tells the host about the plugin before it reads a configuration: name, description and options.

use std::ffi::{CStr, CString, c_void};
use std::mem::offset_of;
use std::ptr;
use std::sync::OnceLock;

use super::instances;
use crate::config::options::OPTIONS;
use crate::host::bindings::{
    FLB_CONFIG_MAP_STR, FLB_PROXY_GOLANG, FLB_PROXY_OUTPUT_PLUGIN, flb_config_map, flb_plugin_proxy_def,
};
use crate::host::{log, symbols};
use crate::log::Level;

/// Fills in the host's definition of the plugin. Returns whether there was one.
///
/// The texts are static: hosts up to 2.1 keep the name by pointer, all keep the description and the option table, and
/// none frees them. build.rs links the library so that `dlclose` leaves it mapped, so the host may read them as long
/// as it lives.
///
/// # Safety
/// `def` is NULL, or comes from the host's `malloc` and holds at least the first 32 bytes of `flb_plugin_proxy_def`.
pub(super) unsafe fn fill(def: *mut flb_plugin_proxy_def) -> bool {
    if def.is_null() {
        log::report(Level::Error, &["registration without a definition"]);
        return false;
    }
    // No reference to `*def` is made: on older hosts it is shorter than our type.
    // SAFETY: these members lie in the first 32 bytes.
    unsafe {
        (&raw mut (*def).type_).write(FLB_PROXY_OUTPUT_PLUGIN);
        (&raw mut (*def).proxy).write(FLB_PROXY_GOLANG);
        // No flags: FLB_IO_OPT_TLS would make the host accept `tls on` and `tls.verify off`, which would change
        // nothing here. TLS is always on and always verified.
        (&raw mut (*def).flags).write(0);
        (&raw mut (*def).name).write(NAME.as_ptr());
        (&raw mut (*def).description).write(DESCRIPTION.as_ptr());
    }
    // SAFETY: `def` comes from the host's `malloc`.
    let size = unsafe { symbols::usable_size(def.cast::<c_void>()) };
    const END: usize = offset_of!(flb_plugin_proxy_def, config_map) + size_of::<*const flb_config_map>();
    // An allocation longer than our structure comes from an unknown host, whose option table may have another layout.
    let is_ours = |size| (END..=END + size_of::<usize>()).contains(&size);
    if size.is_some_and(is_ours) && symbols::is_known_version() {
        // SAFETY: the write stays inside the allocation. Where the host's own structure is shorter, the bytes are
        // padding that nobody reads.
        unsafe { (&raw mut (*def).config_map).write(option_table()) };
    }
    instances::registered(def);
    true
}

const NAME: &CStr = c"kinesis";

const DESCRIPTION: &CStr = match CStr::from_bytes_with_nul(
    concat!("Amazon Kinesis Data Streams, version ", env!("CARGO_PKG_VERSION"), "\0").as_bytes(),
) {
    Ok(text) => text,
    Err(_) => c"Amazon Kinesis Data Streams",
};

/// The option table as the host reads it, built once.
fn option_table() -> *const flb_config_map {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(Table::new).entries.as_ptr()
}

struct Table {
    entries: Vec<flb_config_map>,
    /// The texts that the entries point to.
    _texts: Vec<CString>,
}

// SAFETY: the pointers refer to the texts beside them, and nothing changes once it is built.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    fn new() -> Table {
        let mut texts = Vec::new();
        let mut entries = Vec::new();
        for option in OPTIONS {
            for name in option.names() {
                let mut keep = |text: &str| match CString::new(text) {
                    Ok(text) => {
                        // The heap block stays where it is when the CString is moved.
                        let pointer = text.as_ptr();
                        texts.push(text);
                        pointer
                    }
                    // Cannot happen with our table: a test checks every entry.
                    Err(_) => ptr::null(),
                };
                entries.push(flb_config_map {
                    type_: FLB_CONFIG_MAP_STR,
                    name: keep(name),
                    def_value: option.default.map_or(ptr::null(), &mut keep),
                    flags: 0,
                    set_property: 0,
                    offset: 0,
                    desc: keep(&option.help(name)),
                    value: [0; 5],
                    link: [0; 2],
                });
            }
        }
        entries.push(END_OF_TABLE);
        Table { entries, _texts: texts }
    }
}

const END_OF_TABLE: flb_config_map = flb_config_map {
    type_: 0,
    name: ptr::null(),
    def_value: ptr::null(),
    flags: 0,
    set_property: 0,
    offset: 0,
    desc: ptr::null(),
    value: [0; 5],
    link: [0; 2],
};
