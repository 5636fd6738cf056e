/* PostgreSQL's texts. The first byte says which; what is read by several functions goes to all. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "codec/pgconf.h"
#include "codec/pgcontrol.h"
#include "codec/pghistory.h"

static void control(const char *text)
{
    struct pgcontrol control = {0};
    struct err_detail detail = {0};
    if (pgcontrol_parse(text, &control, &detail) == ERR_OK) {
        ASSERT(control.sysid != 0);
        ASSERT(control.wal_segment_bytes > 0 &&
               (control.wal_segment_bytes & (control.wal_segment_bytes - 1)) == 0);
    } else {
        ASSERT(detail.text[0] != '\0');
        ASSERT(control.sysid == 0 && control.wal_segment_bytes == 0);
    }
}

/* The order of a history is kept, a fork of a history with itself is none, and the divergence rule
 * gives an answer for every pair. */
static void history(const char *text)
{
    const char *cursor = text;
    struct pghistory_entry entry = {0};
    uint32_t last = 0;
    bool grows = true;
    bool end = false;
    enum err err = pghistory_next(&cursor, &entry, &end, NULL);
    while (err == ERR_OK && !end) {
        ASSERT(entry.timeline != 0);
        ASSERT(entry.reason >= text && entry.reason + entry.reason_length <= text + strlen(text));
        grows = grows && entry.timeline > last;
        last = entry.timeline;
        bool found = false;
        uint64_t lsn = 0;
        if (pghistory_switchpoint(text, entry.timeline, &found, &lsn, NULL) == ERR_OK) {
            ASSERT(grows && found && lsn == entry.switchpoint);
        }
        err = pghistory_next(&cursor, &entry, &end, NULL);
    }
    if (err != ERR_OK || last == UINT32_MAX) {
        return;
    }
    struct pghistory_fork fork = {0};
    err = pghistory_find_fork(last + 1, text, last + 1, text, &fork, NULL);
    ASSERT((err == ERR_OK) == grows);
    if (err == ERR_OK) {
        ASSERT(fork.timeline == last + 1 && fork.lsn == UINT64_MAX);
    }
    const char *second = strchr(text, '\f'); /* another history behind a form feed */
    for (int kind = PGHISTORY_REPLICA; kind <= PGHISTORY_CRASHED; kind++) {
        struct pghistory_local local = {(enum pghistory_kind)kind, last + 1, 0x5000028, 0x50000A0};
        (void)pghistory_judge(&local, text, last + 1, second != NULL ? second + 1 : "");
        (void)pghistory_judge(&local, NULL, 1, "");
    }
}

static void lines(const char *text)
{
    struct pghistory_record record = {0};
    if (pghistory_record_parse(text, &record)) {
        ASSERT(pghistory_record_end(&record, 16 * 1024 * 1024) > record.lsn ||
               record.lsn > UINT64_MAX / 2);
    }
    uint32_t timeline = 0;
    uint64_t start = 0;
    if (pghistory_segment_parse(text, 16 * 1024 * 1024, &timeline, &start)) {
        ASSERT(start % (16 * 1024 * 1024) == 0);
    }
    int64_t done = -1;
    int64_t total = -1;
    if (pgconf_progress_parse(text, &done, &total)) {
        ASSERT(done >= 0 && total >= 0);
    }
    uint64_t lsn = 0;
    if (str_to_lsn(text, &lsn)) {
        char again[LSN_TEXT_SIZE];
        uint64_t second = 0;
        str_from_lsn(again, lsn);
        ASSERT(str_to_lsn(again, &second) && second == lsn);
    }
}

/* A file that was cleaned has nothing left to clean. */
static void files(const char *text)
{
    struct pgconf_pidfile pidfile = {0};
    if (!pgconf_pidfile_parse(text, &pidfile)) {
        ASSERT(pidfile.pid == 0);
    }
    char upstream[NAME_SIZE];
    pgconf_upstream(text, upstream);
    ASSERT(strlen(upstream) < NAME_SIZE);
    size_t size = 2 * strlen(text) + 16;
    AUTO_FREE char *once = malloc(size);
    AUTO_FREE char *twice = malloc(size);
    ASSERT(once != NULL && twice != NULL);
    struct pgconf_text out;
    bool changed = false;
    pgconf_text_init(&out, once, size);
    pgconf_auto_clean(text, &out, &changed);
    ASSERT(!out.full);
    pgconf_text_init(&out, twice, size);
    pgconf_auto_clean(once, &out, &changed);
    ASSERT(!changed && str_equal(once, twice));
}

void fuzz_pgtext(const uint8_t *data, size_t size)
{
    static void (*const all[])(const char *text) = {control, history, lines, files};
    if (size == 0) {
        return;
    }
    AUTO_FREE char *text = fuzz_text(data + 1, size - 1);
    all[data[0] % 4](text);
}
