/* An output in place of those that AWS's image loads besides: the host only registers it. */
#include <stdlib.h>
#include <string.h>

#include "../../include/fluent_bit_proxy.h"

int FLBPluginRegister(struct flb_plugin_proxy_def *definition)
{
    definition->type = FLB_PROXY_OUTPUT_PLUGIN;
    definition->proxy = FLB_PROXY_GOLANG;
    definition->flags = 0;
    definition->name = strdup(NAME);
    definition->description = strdup("another output");
    return 0;
}

int FLBPluginInit(void *plugin) { return plugin != NULL; }
int FLBPluginFlush(const void *data, size_t size, const char *tag) { return data && size && tag ? 1 : 2; }
int FLBPluginExit(void) { return 0; }
