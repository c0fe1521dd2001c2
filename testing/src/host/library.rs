//! The plugin's library, opened like Fluent Bit opens it.

use std::error::Error;
use std::ffi::{c_char, c_int, c_void};
use std::path::{Path, PathBuf};

use super::bindings::{flb_plugin_proxy_def, flbgo_output_plugin};
use libloading::os::unix;

/// The loaded library with its functions. Dropping it is `dlclose`.
pub struct Library {
    pub pre_register: unsafe extern "C" fn(c_int) -> c_int,
    pub register: unsafe extern "C" fn(*mut flb_plugin_proxy_def) -> c_int,
    pub init: unsafe extern "C" fn(*mut flbgo_output_plugin) -> c_int,
    pub output_pre_run: unsafe extern "C" fn(c_int) -> c_int,
    pub flush: unsafe extern "C" fn(*const c_void, usize, *const c_char) -> c_int,
    pub flush_ctx: unsafe extern "C" fn(*mut c_void, *const c_void, usize, *const c_char) -> c_int,
    pub output_pre_exit: unsafe extern "C" fn(c_int),
    pub exit_ctx: unsafe extern "C" fn(*mut c_void) -> c_int,
    pub exit: unsafe extern "C" fn() -> c_int,
    pub unregister: unsafe extern "C" fn(*mut flb_plugin_proxy_def),
    /// Last, so that the functions above are dropped before it is closed.
    _handle: unix::Library,
}

impl Library {
    /// Opens the library with `RTLD_LAZY`.
    pub fn open(path: &Path) -> Result<Library, Box<dyn Error>> {
        // A name without a folder would be sought among the libraries of the system.
        let path = &std::path::absolute(path)?;
        // SAFETY: the types are those of include/kinesis_plugin.h, and the pointers are kept beside the handle.
        unsafe {
            let handle = unix::Library::open(Some(path), unix::RTLD_LAZY).map_err(|error| reason(path, &error))?;
            Ok(Library {
                pre_register: *handle.get(b"FLBPluginPreRegister")?,
                register: *handle.get(b"FLBPluginRegister")?,
                init: *handle.get(b"FLBPluginInit")?,
                output_pre_run: *handle.get(b"FLBPluginOutputPreRun")?,
                flush: *handle.get(b"FLBPluginFlush")?,
                flush_ctx: *handle.get(b"FLBPluginFlushCtx")?,
                output_pre_exit: *handle.get(b"FLBPluginOutputPreExit")?,
                exit_ctx: *handle.get(b"FLBPluginExitCtx")?,
                exit: *handle.get(b"FLBPluginExit")?,
                unregister: *handle.get(b"FLBPluginUnregister")?,
                _handle: handle,
            })
        }
    }

    /// Registers the plugin as for a start (`hot_reloading` 0) or a reload (1).
    pub fn register(&self, hot_reloading: c_int) -> Result<Definition, Box<dyn Error>> {
        let definition = Definition::new(48)?;
        // SAFETY: both are the library's functions, and the definition has all members.
        let (prepared, registered) =
            unsafe { ((self.pre_register)(hot_reloading), (self.register)(definition.pointer())) };
        if prepared == -1 || registered == -1 {
            return Err(format!("FLBPluginPreRegister {prepared}, FLBPluginRegister {registered}").into());
        }
        Ok(definition)
    }

    /// Calls `FLBPluginUnregister` and frees the definition, as the host does before `dlclose`.
    pub fn unregister(&self, definition: Definition) {
        // SAFETY: the definition is the one that was registered.
        unsafe { (self.unregister)(definition.pointer()) }
    }
}

/// Which file cannot be loaded, and why: libloading says that only in the error's source.
fn reason(path: &Path, error: &libloading::Error) -> String {
    let source = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let file = path.display().to_string();
    if source.contains(&file) { format!("cannot load {source}") } else { format!("cannot load {file}: {source}") }
}

/// A `flb_plugin_proxy_def` on the C heap.
pub struct Definition {
    pointer: *mut flb_plugin_proxy_def,
}

impl Definition {
    /// Zeroed, `size` bytes long: 32 as up to 4.2, 40 as in 5.0, 48 as since 5.1.1.
    pub fn new(size: usize) -> Result<Definition, Box<dyn Error>> {
        // SAFETY: plain allocation.
        let pointer = unsafe { libc::calloc(1, size) }.cast::<flb_plugin_proxy_def>();
        if pointer.is_null() { Err("out of memory".into()) } else { Ok(Definition { pointer }) }
    }

    /// The usable bytes of the allocation, at least those requested.
    pub fn usable_size(&self) -> usize {
        // SAFETY: from calloc, not freed.
        unsafe { libc::malloc_usable_size(self.pointer.cast()) }
    }

    pub fn pointer(&self) -> *mut flb_plugin_proxy_def {
        self.pointer
    }
}

impl Drop for Definition {
    fn drop(&mut self) {
        // SAFETY: from calloc, and freed once.
        unsafe { libc::free(self.pointer.cast()) }
    }
}

/// The plugin that cargo built along with the running test or example, or the one named by `KINESIS_SO`.
pub fn built_plugin() -> Result<PathBuf, Box<dyn Error>> {
    if let Some(named) = std::env::var_os("KINESIS_SO") {
        return PathBuf::from(&named).canonicalize().map_err(|error| format!("{}: {error}", named.display()).into());
    }
    let program = std::env::current_exe()?;
    let profile = program.parent().and_then(Path::parent).ok_or("the program lies in no target directory")?;
    let found =
        ["deps/libkinesis.so", "libkinesis.so"].iter().map(|file| profile.join(file)).find(|file| file.exists());
    found.ok_or_else(|| format!("no libkinesis.so in {}", profile.display()).into())
}
