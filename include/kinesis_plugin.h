/*
 * The functions that kinesis.so exports to Fluent Bit, made of src/abi/exports.rs by cbindgen. A test checks that the
 * two agree.
 */

#ifndef KINESIS_PLUGIN_H
#define KINESIS_PLUGIN_H

#include "fluent_bit_proxy.h"

/*
 Called before the registration (since Fluent Bit 2.2), with 1 when the host reloads its configuration. Returns 0.

 # Safety
 None; the host's interface makes it a C function.
 */
int FLBPluginPreRegister(int hot_reloading);

/*
 Fills in the definition of the plugin. Returns 0, or -1 if there is none to fill in.

 # Safety
 `def` is NULL, or comes from the host's `malloc` and holds at least the first 32 bytes of the structure.
 */
int FLBPluginRegister(struct flb_plugin_proxy_def *def);

/*
 Starts one configured output. Returns 1, or 0 if its configuration has issues, which are then in the log.

 # Safety
 `plugin` is NULL or the host's structure of this output.
 */
int FLBPluginInit(struct flbgo_output_plugin *plugin);

/*
 Called when all plugins are initialized (since Fluent Bit 2.2), with 1 if hot reload is enabled. Returns FLB_OK.

 # Safety
 None; the host's interface makes it a C function.
 */
int FLBPluginOutputPreRun(int hot_reload);

/*
 Delivers a chunk through the only instance. Hosts that find [`FLBPluginFlushCtx`] never call this.

 # Safety
 As [`FLBPluginFlushCtx`].
 */
int FLBPluginFlush(const void *data, size_t length, const char *tag);

/*
 Delivers a chunk. Returns FLB_OK when it is done, FLB_RETRY if the host should retry it, and FLB_ERROR if nothing
 in it can ever be delivered. Any number of threads may call this with the same context.

 # Safety
 `context` is NULL or was set by [`FLBPluginInit`] and has not exited; `data` is NULL or holds `length` bytes;
 `tag` is NULL or NUL-terminated.
 */
int FLBPluginFlushCtx(void *context, const void *data, size_t length, const char *tag);

/*
 Called before the exit (since Fluent Bit 2.2), with 1 when the host reloads its configuration.

 # Safety
 None; the host's interface makes it a C function.
 */
void FLBPluginOutputPreExit(int hot_reload);

/*
 Stops one instance; none of its threads runs afterwards. A context that is not running is ignored. Returns FLB_OK.

 # Safety
 No flush of this context is in progress.
 */
int FLBPluginExitCtx(void *context);

/*
 Stops all instances. Hosts that find [`FLBPluginExitCtx`] never call this. Returns FLB_OK.

 # Safety
 No flush is in progress.
 */
int FLBPluginExit(void);

/*
 Stops the remaining instances registered with `def`. The host unloads the library next.

 # Safety
 No flush of these instances is in progress. `def` is only compared.
 */
void FLBPluginUnregister(struct flb_plugin_proxy_def *def);

#endif  /* KINESIS_PLUGIN_H */
