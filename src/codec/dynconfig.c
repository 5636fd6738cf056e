/* Every key goes the same way: absent gives the default, readable gives the value within its range,
 * anything else keeps what was good before. */
#include "codec/dynconfig.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"
#include "codec/json.h"
#include "codec/units.h"

/* What to fall back on, and where to complain. */
struct reading {
    const json_t *config;
    const struct core_settings *last;
    struct dynconfig_warnings *warnings;
    bool in_postgresql;
};

static void warn(const struct reading *reading, const char *key, const char *format, ...)
    PRINTF_LIKE(3, 4);

static void warn(const struct reading *reading, const char *key, const char *format, ...)
{
    struct dynconfig_warnings *warnings = reading->warnings;
    if (warnings == NULL || warnings->count == DYNCONFIG_WARNINGS_MAX) {
        return;
    }
    const uint32_t i = warnings->count++;
    char *text = warnings->text[i];
    const size_t size = sizeof(warnings->text[0]);
    bool fits =
        str_format(text, size, "/config: %s%s: ", reading->in_postgresql ? "postgresql." : "", key);
    ASSERT(fits); /* keys are short constants */
    const size_t what = strlen(text);
    warnings->place[i].in_postgresql = reading->in_postgresql;
    warnings->place[i].key = key;
    warnings->place[i].what = (uint32_t)what;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text + what, size - what, format, args); /* cut is fine */
    va_end(args);
}

void dynconfig_defaults(struct core_settings *out_settings)
{
    ASSERT(out_settings != NULL);
    *out_settings = (struct core_settings){
        .ttl_ms = DYNCONFIG_TTL_DEFAULT_MS,
        .loop_wait_ms = DYNCONFIG_LOOP_WAIT_DEFAULT_MS,
        .retry_timeout_ms = DYNCONFIG_RETRY_TIMEOUT_DEFAULT_MS,
        .maximum_lag_on_failover = 1048576,
        .primary_start_timeout_ms = 300000,
        .failsafe_mode = true,
    };
}

static void complain(const struct reading *reading, const char *key, const json_t *value,
                     const char *wanted)
{
    char text[64];
    if (!json_write(value, text, sizeof(text))) {
        str_copy_cut(text, sizeof(text), "(long)");
    }
    warn(reading, key, "%s is not %s; the last good value is kept", text, wanted);
}

struct range {
    int64_t min;
    int64_t max;
};

static int64_t read_ms(const struct reading *reading, const char *key, struct range range,
                       int64_t fallback, int64_t kept)
{
    const json_t *value = json_object_get(reading->config, key);
    if (value == NULL || json_is_null(value)) {
        return fallback;
    }
    int64_t ms;
    if (!units_json_ms(value, &ms)) {
        complain(reading, key, value, "a time such as 5, \"2s\" or \"1500ms\"");
        return kept;
    }
    if (ms < range.min || ms > range.max) {
        int64_t bound = ms < range.min ? range.min : range.max;
        warn(reading, key,
             "%" PRId64 " ms is outside %" PRId64 "..%" PRId64 " ms; %" PRId64 " ms is used", ms,
             range.min, range.max, bound);
        return bound;
    }
    return ms;
}

static bool read_bool(const struct reading *reading, const char *key, bool fallback, bool kept)
{
    const json_t *value = json_object_get(reading->config, key);
    bool yes;
    if (value == NULL || json_is_null(value)) {
        return fallback;
    }
    if (!units_json_bool(value, &yes)) {
        complain(reading, key, value, "true or false");
        return kept;
    }
    return yes;
}

/* A key of `postgresql`: the file's wins over the store's. */
static bool read_postgresql_bool(const struct reading *reading, const json_t *local,
                                 const char *key, bool kept)
{
    const json_t *value = json_object_get(local, key);
    bool yes;
    if (value != NULL && units_json_bool(value, &yes)) {
        return yes;
    }
    const struct reading inner = {json_object_get(reading->config, "postgresql"), reading->last,
                                  reading->warnings, true};
    return read_bool(&inner, key, false, kept);
}

static int64_t read_lag(const struct reading *reading, int64_t fallback, int64_t kept)
{
    static const char key[] = "maximum_lag_on_failover";
    const json_t *value = json_object_get(reading->config, key);
    int64_t bytes;
    if (value == NULL || json_is_null(value)) {
        return fallback;
    }
    if (!units_json_int(value, "B", &bytes) || bytes < 0) {
        complain(reading, key, value, "a size such as 1048576 or \"1MB\"");
        return kept;
    }
    return bytes;
}

bool dynconfig_fit(struct core_settings *settings)
{
    ASSERT(settings->ttl_ms >= DYNCONFIG_TTL_MIN_MS);
    if (settings->loop_wait_ms + 2 * settings->retry_timeout_ms <= settings->ttl_ms) {
        return false;
    }
    /* How far loop_wait may shrink: a second, or a quarter of a short ttl; never up. */
    int64_t floor = settings->ttl_ms / 4 < 1000 ? settings->ttl_ms / 4 : 1000;
    if (settings->loop_wait_ms < floor) {
        floor = settings->loop_wait_ms;
    }
    if (floor + 2 * settings->retry_timeout_ms <= settings->ttl_ms) {
        settings->loop_wait_ms = settings->ttl_ms - 2 * settings->retry_timeout_ms;
    } else {
        settings->loop_wait_ms = floor;
        settings->retry_timeout_ms = (settings->ttl_ms - floor) / 2;
    }
    ASSERT(settings->loop_wait_ms + 2 * settings->retry_timeout_ms <= settings->ttl_ms);
    return true;
}

static void fit(const struct reading *reading, struct core_settings *settings)
{
    const bool waits = json_object_get(reading->config, "loop_wait") != NULL;
    const bool retries = json_object_get(reading->config, "retry_timeout") != NULL;
    if (dynconfig_fit(settings) && (waits || retries)) {
        warn(reading, waits ? "loop_wait" : "retry_timeout",
             "loop_wait + 2 * retry_timeout must not be more than ttl (%" PRId64
             " ms); loop_wait %" PRId64 " ms and retry_timeout %" PRId64 " ms are used",
             settings->ttl_ms, settings->loop_wait_ms, settings->retry_timeout_ms);
    }
}

void dynconfig_settings(const json_t *config, uint64_t version, const json_t *local_postgresql,
                        const struct core_settings *last, struct core_settings *out_settings,
                        struct dynconfig_warnings *warnings)
{
    ASSERT(out_settings != NULL);
    struct core_settings defaults;
    dynconfig_defaults(&defaults);
    const struct core_settings kept = last != NULL ? *last : defaults;
    const struct reading reading = {config, &kept, warnings, false};
    const struct range step = {DYNCONFIG_STEP_MIN_MS, DYNCONFIG_TIME_MAX_MS};
    struct core_settings s = kept;
    if (json_is_object(config)) {
        s.ttl_ms = read_ms(&reading, "ttl", (struct range){DYNCONFIG_TTL_MIN_MS, step.max},
                           defaults.ttl_ms, kept.ttl_ms);
        s.loop_wait_ms =
            read_ms(&reading, "loop_wait", step, defaults.loop_wait_ms, kept.loop_wait_ms);
        s.retry_timeout_ms = read_ms(&reading, "retry_timeout", step, defaults.retry_timeout_ms,
                                     kept.retry_timeout_ms);
        s.maximum_lag_on_failover =
            read_lag(&reading, defaults.maximum_lag_on_failover, kept.maximum_lag_on_failover);
        const char *start = json_object_get(config, "primary_start_timeout") != NULL
                                ? "primary_start_timeout"
                                : "master_start_timeout";
        s.primary_start_timeout_ms =
            read_ms(&reading, start, (struct range){0, 30 * step.max},
                    defaults.primary_start_timeout_ms, kept.primary_start_timeout_ms);
        s.check_timeline = read_bool(&reading, "check_timeline", false, kept.check_timeline);
        s.failsafe_mode =
            read_bool(&reading, "failsafe_mode", defaults.failsafe_mode, kept.failsafe_mode);
        s.pause = read_bool(&reading, "pause", false, kept.pause);
        fit(&reading, &s);
    }
    const json_t *local = local_postgresql;
    if (json_is_object(config) || last == NULL) {
        s.use_pg_rewind =
            read_postgresql_bool(&reading, local, "use_pg_rewind", kept.use_pg_rewind);
        s.clone_on_diverged = read_postgresql_bool(
            &reading, local, "remove_data_directory_on_diverged_timelines", kept.clone_on_diverged);
        s.clone_on_rewind_failed =
            read_postgresql_bool(&reading, local, "remove_data_directory_on_rewind_failure",
                                 kept.clone_on_rewind_failed);
    }
    s.version = json_is_object(config) ? version : 0;
    *out_settings = s;
}
