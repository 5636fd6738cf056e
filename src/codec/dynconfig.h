/* codec/dynconfig.h - the store's /config as the core needs it.
 *
 * Purpose    defaults, units, ranges and the one rule that binds ttl, loop_wait and retry_timeout.
 * Ownership  plain values; JSON is only read.
 * Errors     none: a bad value is told as a warning and the last good one (else the default)
 *            stands.
 * Units      *_ms; a bare number in /config is seconds.
 * Threads    any; pure.
 * Source     design section 3 (defaults, minimum), compat/config.md sections 1.4 and 3.
 */
#ifndef HOLDFAST_CODEC_DYNCONFIG_H
#define HOLDFAST_CODEC_DYNCONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/view.h"

#define DYNCONFIG_TTL_DEFAULT_MS 5000
#define DYNCONFIG_LOOP_WAIT_DEFAULT_MS 1000
#define DYNCONFIG_RETRY_TIMEOUT_DEFAULT_MS 2000
#define DYNCONFIG_TTL_MIN_MS 1000
#define DYNCONFIG_STEP_MIN_MS 100      /* loop_wait, retry_timeout */
#define DYNCONFIG_TIME_MAX_MS 86400000 /* a day, for each of the three */

#define DYNCONFIG_WARNINGS_MAX 16

struct dynconfig_warnings {
    uint32_t count;
    char text[DYNCONFIG_WARNINGS_MAX][200]; /* "/config: KEY: what is wrong" */
    struct {
        bool in_postgresql; /* the section below, or the top */
        const char *key;    /* a constant */
        uint32_t what;      /* where in the text the rest after the key begins */
    } place[DYNCONFIG_WARNINGS_MAX];
};

/* What holds without any /config; version 0. */
void dynconfig_defaults(struct core_settings *out_settings);

/* config: the object, or NULL when the key is absent or garbage: `last` (may be NULL: defaults)
 * then stays in force with version 0. local_postgresql: the file's `postgresql` section (may be
 * NULL), which overrides the same keys of /config. warnings (may be NULL) is added to. */
void dynconfig_settings(const json_t *config, uint64_t version, const json_t *local_postgresql,
                        const struct core_settings *last, struct core_settings *out_settings,
                        struct dynconfig_warnings *warnings);

/* loop_wait + 2 * retry_timeout <= ttl, by shrinking loop_wait, then both. True: something changed.
 */
bool dynconfig_fit(struct core_settings *settings);

#endif
