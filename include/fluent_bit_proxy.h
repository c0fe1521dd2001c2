/*
 * What this plugin touches of Fluent Bit's proxy plugin interface, described by ourselves: Fluent Bit installs no
 * header for it, and the structures grow from version to version. bindgen turns this file into
 * src/abi/bindings.rs; a test checks that the two agree.
 *
 * All sizes and offsets are those of 64-bit Linux. "Since" names the first release that has a member; on an older
 * one the memory is not there and must be neither read nor written.
 */
#ifndef FLUENT_BIT_PROXY_H
#define FLUENT_BIT_PROXY_H

#ifdef WITHOUT_SYSTEM_HEADERS
/* For bindgen: libclang alone, as PyPI has it, brings none. */
typedef __SIZE_TYPE__ size_t;
typedef __UINTPTR_TYPE__ uintptr_t;
typedef __UINT64_TYPE__ uint64_t;
#else
#include <stddef.h>
#include <stdint.h>
#endif

/* Answers of a flush. Any other number counts as FLB_ERROR. */
#define FLB_ERROR 0 /* drop the chunk                         */
#define FLB_OK 1    /* the chunk is done                      */
#define FLB_RETRY 2 /* keep the chunk and bring it once more  */

/* flb_plugin_proxy_def.type and .proxy */
#define FLB_PROXY_OUTPUT_PLUGIN 2
#define FLB_PROXY_GOLANG 11

/* Levels of flb_log_print. */
#define FLB_LOG_ERROR 1
#define FLB_LOG_WARN 2
#define FLB_LOG_INFO 3
#define FLB_LOG_DEBUG 4
#define FLB_LOG_TRACE 5

/* flb_config_map.type: the value is text, which the plugin parses itself. */
#define FLB_CONFIG_MAP_STR 0

/*
 * One option a plugin takes, since 5.1.1 (for proxy plugins): 104 bytes. The host walks an array of these up to an
 * entry whose name is NULL, and copies what it needs except the description.
 */
struct flb_config_map {
    int type;
    const char *name;
    const char *def_value; /* shown in the help; output_get_property does not return it */
    int flags;
    int set_property;
    uintptr_t offset;
    const char *desc;
    uintptr_t value[5]; /* the host's, zero */
    uintptr_t link[2];  /* the host's, zero */
};

/* What FLBPluginRegister fills: 32 bytes up to 4.2, 40 bytes in 5.0 and 5.1.0, 48 bytes since 5.1.1. */
struct flb_plugin_proxy_def {
    int type;
    int proxy;
    int flags;
    const char *name;                         /* kept by pointer up to 2.1, copied later */
    const char *description;                  /* kept by pointer in every version        */
    int event_type;                           /* since 5.0; 0 stands for logs            */
    const struct flb_config_map *config_map;  /* since 5.1.1; kept by pointer            */
};

/* The functions handed to a plugin. Older hosts end after the first member, so only that one is described. */
struct flb_api {
    const char *(*output_get_property)(const char *key, void *instance);
};

/* One configured output on the host's side; more members follow. */
struct flb_plugin_proxy_context {
    void *remote_context; /* ours: set by FLBPluginInit, handed to FLBPluginFlushCtx and FLBPluginExitCtx */
};

/* What FLBPluginInit gets; more members follow. */
struct flbgo_output_plugin {
    char *name;
    const struct flb_api *api;
    void *instance; /* the host's struct flb_output_instance */
    struct flb_plugin_proxy_context *context;
};

/*
 * Functions of the host that are looked up by name, each of which may be missing.
 */

/* Writes a line to the log, whatever the level; works on threads that Fluent Bit started. */
typedef void flb_log_print_fn(int level, const char *file, int line, const char *format, ...);
/* Whether the instance's log_level lets a level pass; since 2.0. */
typedef int flb_output_log_check_fn(void *instance, int level);
/* The alias of the instance, or its numbered name ("kinesis.0"). */
typedef const char *flb_output_name_fn(void *instance);
/* The calling thread as the host knows it, or NULL when the thread is not the host's. */
typedef void *flb_worker_get_fn(void);
/* The log level of the [SERVICE] section. */
typedef int flb_worker_log_level_fn(void *worker);
/* The bytes usable at an address that the host's allocator gave. */
typedef size_t malloc_usable_size_fn(void *address);

/*
 * The host's coroutines. Each flush runs on one; a thread's event loop starts it, and goes on when it switches back.
 */

/* The context that the calling thread runs. */
typedef void *co_active_fn(void);
/* Continues the context; returns when somebody continues the caller's. */
typedef void co_switch_fn(void *context);

/* A coroutine. A host built for valgrind has one more word before the first member. */
struct flb_coro {
    void *caller; /* the context to switch back to */
    void *callee; /* the context of the coroutine  */
    void *data;   /* the host's                    */
};

/* The coroutine that the calling thread runs, or ran last; NULL before the first. */
typedef void *flb_coro_get_fn(void);
/* Notes the coroutine that the calling thread is about to run. */
typedef void flb_coro_set_fn(void *coroutine);

/* What an event loop waits for. */
struct mk_event {
    int fd;
    int type;
    unsigned mask;
    unsigned char status;
    void *data;
    int (*handler)(void *event); /* called with the event itself when it is of MK_EVENT_CUSTOM */
    uintptr_t link[2];           /* the host's, zero */
    uintptr_t priority_link[2];  /* the host's, zero */
    char priority;               /* the host's       */
    uintptr_t room[8];           /* ours: nothing is to be had here, should the host's structure grow */
};

#define MK_EVENT_CUSTOM 4
#define MK_EVENT_READ 1
/* status: not in a loop, in a loop */
#define MK_EVENT_NONE 1
#define MK_EVENT_REGISTERED 2
/* priority, as mk_event_add sets it */
#define MK_EVENT_PRIORITY_DEFAULT 6

/* The event loop of the calling thread, or NULL. */
typedef void *flb_engine_evl_get_fn(void);
/* Puts an event into a loop; -1 when that fails. The loop calls on its own thread, as often as the event is true. */
typedef int mk_event_add_fn(void *loop, int fd, int type, unsigned mask, void *event);
/* Takes an event out of a loop; -1 when that fails. */
typedef int mk_event_del_fn(void *loop, struct mk_event *event);

/*
 * What a coroutine belongs to: the data of struct flb_coro. The same up to 5.1.1; read only when instance and coroutine are
 * where they are expected.
 */
struct flb_output_flush {
    int id;
    const void *buffer;
    void *task;
    const struct flb_config *config;
    void *instance;  /* as flbgo_output_plugin.instance    */
    void *coroutine; /* the one that the thread runs       */
};

/* The host's whole configuration, of which these first members are the same up to 5.1.1. */
struct flb_config {
    int channel_fd; /* a struct mk_event of 72 bytes, in a loop */
    int channel_type;
    unsigned channel_mask;
    unsigned char channel_status;
    uintptr_t channel_rest[7];
    int support_mode;
    int is_ingestion_active;
    int is_shutting_down; /* set by everything that ends the engine: a signal, the end of an input, flb_stop, a reload */
    int is_running;
};

/*
 * Metrics. Texts are copied and not changed; the creating functions return NULL when they fail, the others -1.
 */

/* The metrics of the instance, a struct cmt; since 2.0. */
typedef void *flb_output_get_cmt_instance_fn(void *instance);
/* The version of the library that the functions below belong to, such as "2.2.1". */
typedef const char *cmt_version_fn(void);
/* cmt_counter_create and cmt_gauge_create: a metric without series. */
typedef void *cmt_create_fn(void *cmt, char *ns, char *subsystem, char *name, char *help, int label_count,
                            char **label_keys);
/* cmt_counter_set and cmt_gauge_set: sets the value of a series, and creates it first when it is not there. */
typedef int cmt_set_fn(void *metric, uint64_t timestamp, double value, int label_count, char **label_values);
/* The upper bounds of a histogram, growing; the histogram has one bucket more. */
typedef void *cmt_histogram_buckets_create_size_fn(double *bounds, size_t count);
/* As cmt_counter_create; the histogram owns the buckets. */
typedef void *cmt_histogram_create_fn(void *cmt, char *ns, char *subsystem, char *name, char *help, void *buckets,
                                      int label_count, char **label_keys);
/* Sets a series of a histogram: how many values are within each bound and how many there are, their sum, their number. */
typedef int cmt_histogram_set_default_fn(void *histogram, uint64_t timestamp, uint64_t *buckets, double sum,
                                         uint64_t count, int label_count, char **label_values);

#endif
