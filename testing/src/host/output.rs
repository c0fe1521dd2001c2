//! One configured output on the host's side.

use std::error::Error;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use super::bindings::{flb_api, flb_plugin_proxy_context, flbgo_output_plugin};

use super::library::Library;

/// Properties of an output that starts and answers "retry" to every flush: nothing listens on port 9 of the loopback
/// interface. [`ENVIRONMENT`] has the credentials.
pub const UNREACHABLE: [(&str, &str); 4] = [
    ("stream", "logs"),
    ("region", "eu-west-1"),
    ("endpoint", "http://127.0.0.1:9"),
    ("retries_on_batch_request", "0"),
];

/// As [`UNREACHABLE`], with all the threads that an output has while it compresses.
pub const IN_BLOCKS: [(&str, &str); 7] = {
    let [stream, region, endpoint, retries] = UNREACHABLE;
    [stream, region, endpoint, retries, ("aggregation", "lines"), ("compression", "zstd"), ("compression_threads", "2")]
};

/// An environment with credentials, in which the plugin looks for no others on this machine.
pub const ENVIRONMENT: [(&str, &str); 6] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "secret"),
    ("AWS_SESSION_TOKEN", ""),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("AWS_CONFIG_FILE", "/dev/null"),
    ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
];

/// Sets [`ENVIRONMENT`] in this process.
///
/// # Safety
/// The plugin, the only reader of the environment, is not running.
pub unsafe fn set_environment() {
    for (name, value) in ENVIRONMENT {
        // SAFETY: by this function's contract.
        unsafe { std::env::set_var(name, value) };
    }
}

/// What the host knows of an output: its name, its log level and the properties visible to the plugin.
pub struct Output {
    pub name: CString,
    pub log_level: c_int,
    properties: Vec<(CString, CString)>,
    context: flb_plugin_proxy_context,
}

impl Output {
    /// An output with these properties. The host consumes `alias` and `log_level` and hides them from the plugin.
    ///
    /// Boxed, because the plugin keeps its address.
    pub fn new(name: &str, properties: &[(&str, &str)]) -> Result<Box<Output>, Box<dyn Error>> {
        let mut output = Box::new(Output {
            name: CString::new(name)?,
            log_level: 3,
            properties: Vec::new(),
            context: flb_plugin_proxy_context { remote_context: ptr::null_mut() },
        });
        for (key, value) in properties {
            match key.to_ascii_lowercase().as_str() {
                "alias" => output.name = CString::new(*value)?,
                "log_level" => {
                    let levels = ["off", "error", "warn", "info", "debug", "trace"];
                    let level = levels.iter().position(|level| level == value);
                    output.log_level = level.ok_or_else(|| format!("log_level: {value}"))? as c_int;
                }
                _ => output.properties.push((CString::new(*key)?, CString::new(*value)?)),
            }
        }
        Ok(output)
    }

    /// Calls `FLBPluginInit` for this output and returns its answer: 1 if the instance runs.
    pub fn init(&mut self, library: &Library) -> c_int {
        // As in Fluent Bit 1.9: a single member, with nothing after it.
        static API: flb_api = flb_api { output_get_property: Some(get_property) };
        let instance = ptr::from_mut(self).cast::<c_void>();
        let mut plugin = flbgo_output_plugin {
            name: c"kinesis".as_ptr().cast_mut(),
            api: &API,
            instance,
            context: &mut self.context,
        };
        // SAFETY: the structure is whole, and the output is boxed.
        unsafe { (library.init)(&mut plugin) }
    }

    /// The context that `init` set, for flush and exit.
    pub fn context(&self) -> *mut c_void {
        self.context.remote_context
    }

    /// Calls `FLBPluginFlushCtx` and returns its answer: 0 error, 1 done, 2 retry.
    pub fn flush(&self, library: &Library, chunk: &[u8], tag: &CStr) -> c_int {
        // SAFETY: the chunk and the tag live through the call, and `exit` takes the output away.
        unsafe { (library.flush_ctx)(self.context(), chunk.as_ptr().cast(), chunk.len(), tag.as_ptr()) }
    }

    /// Calls `FLBPluginExitCtx`.
    #[allow(clippy::boxed_local, reason = "the plugin knows the address until it has left")]
    pub fn exit(self: Box<Self>, library: &Library) -> c_int {
        // SAFETY: nobody else has the output any more, so no flush is in progress.
        unsafe { (library.exit_ctx)(self.context()) }
    }
}

/// The first property of that name, in any case, like the host's look-up.
unsafe extern "C" fn get_property(key: *const c_char, instance: *mut c_void) -> *const c_char {
    // SAFETY: the plugin hands over a NUL-terminated key and the output of this host.
    let (key, output) = unsafe { (CStr::from_ptr(key), &*instance.cast::<Output>()) };
    let found = output.properties.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(key.to_bytes()));
    found.map_or(ptr::null(), |(_, value)| value.as_ptr())
}
