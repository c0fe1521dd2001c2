/*
 * The functions that kinesis.so exports to Fluent Bit, made of src/abi/exports.rs by cbindgen. A test checks that the
 * two agree.
 */

#ifndef KINESIS_PLUGIN_H
#define KINESIS_PLUGIN_H

#include "fluent_bit_proxy.h"

/*
 Called before the registration (since Fluent Bit 2.2), with 1 when the host reloads its configuration. Answers 0.

 # Safety
 None is needed; the host's interface makes it a C function.
 */
int FLBPluginPreRegister(int hot_reloading);

/*
 Fills the definition of the plugin. Answers 0, or -1 when there is none to fill.

 # Safety
 `def` is NULL or comes from the host's `malloc` and holds the first 32 bytes of the structure at least.
 */
int FLBPluginRegister(struct flb_plugin_proxy_def *def);

/*
 Starts one configured output. Answers 1, or 0 when its configuration has mistakes, which are then in the log.

 # Safety
 `plugin` is NULL or the host's structure of this output.
 */
int FLBPluginInit(struct flbgo_output_plugin *plugin);

/*
 Called when all plugins are initialized (since Fluent Bit 2.2), with 1 when hot reload is enabled. Answers FLB_OK.

 # Safety
 None is needed; the host's interface makes it a C function.
 */
int FLBPluginOutputPreRun(int hot_reload);

/*
 Delivers a chunk through the only instance. Hosts that find [`FLBPluginFlushCtx`] never call this.

 # Safety
 As [`FLBPluginFlushCtx`].
 */
int FLBPluginFlush(const void *data, size_t length, const char *tag);

/*
 Delivers a chunk. Answers FLB_OK when it is done, FLB_RETRY when the host shall bring it again, and FLB_ERROR when
 nothing of it can ever be delivered. Any number of threads may call this with the same context.

 # Safety
 `context` is NULL or was set by [`FLBPluginInit`] and has not exited; `data` is NULL or holds `length` bytes;
 `tag` is NULL or NUL-terminated.
 */
int FLBPluginFlushCtx(void *context, const void *data, size_t length, const char *tag);

/*
 Called before the exit (since Fluent Bit 2.2), with 1 when the host reloads its configuration.

 # Safety
 None is needed; the host's interface makes it a C function.
 */
void FLBPluginOutputPreExit(int hot_reload);

/*
 Stops one instance; none of its threads runs afterwards. A context that is not running is ignored. Answers FLB_OK.

 # Safety
 No flush of this context is under way.
 */
int FLBPluginExitCtx(void *context);

/*
 Stops all instances. Hosts that find [`FLBPluginExitCtx`] never call this. Answers FLB_OK.

 # Safety
 No flush is under way.
 */
int FLBPluginExit(void);

/*
 Stops what is left of the instances registered with `def`. The host unloads the library next.

 # Safety
 No flush of these instances is under way. `def` is only compared.
 */
void FLBPluginUnregister(struct flb_plugin_proxy_def *def);

#endif  /* KINESIS_PLUGIN_H */
