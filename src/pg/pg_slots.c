/* Every node keeps a physical slot for each other member (PostgreSQL 11 and later), so that whoever
 * becomes primary has the WAL that the others need. One list and at most one statement after a probe,
 * on the heartbeat connection, and never while an action runs.
 *
 * Slots of unknown origin are left alone: only slots of members that this process has seen and that
 * went away SLOT_GONE_MS ago are dropped, and only while nobody uses them. */
#include "pg/pg_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "codec/conninfo.h"

#define SLOT_PERIOD_MS 10000
#define SLOT_GONE_MS (30 * 60 * 1000)
#define SLOT_DISTANCE_BYTES (UINT64_C(256) * 1024 * 1024) /* behind the own replay, see pg.h */
#define SLOT_TIMEOUT_MS 2500

enum column {
    COLUMN_NAME,
    COLUMN_ACTIVE,
    COLUMN_RESTART_LSN,
    COLUMN_IN_RECOVERY,
    COLUMN_REPLAY_LSN,
    COLUMN_STATUS,
};

static const char list_sql[] =
    "SELECT s.slot_name, s.active, s.restart_lsn, pg_is_in_recovery(), pg_last_wal_replay_lsn(),"
    " s.wal_status FROM (VALUES (1)) one(x) LEFT JOIN pg_replication_slots s"
    " ON s.slot_type = 'physical' AND NOT s.temporary";

static int list_index(const struct core_name_list *list, const char *name)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (str_equal(list->name[i], name)) {
            return (int)i;
        }
    }
    return -1;
}

/* Slots of members that left are remembered with the time of it. */
static void gone_note(struct pg_slots *slots, const struct core_name_list *members)
{
    const size_t room = sizeof(slots->dropping) / sizeof(slots->dropping[0]);
    for (uint32_t i = 0; i < slots->members.count; i++) {
        if (list_index(members, slots->members.name[i]) >= 0) {
            continue;
        }
        for (size_t k = 0; k < room; k++) {
            if (slots->dropping[k][0] == '\0') {
                conninfo_slot_name(slots->members.name[i], slots->dropping[k]);
                slots->gone_at[k] = mono_now();
                break;
            }
        }
    }
    for (uint32_t i = 0; i < members->count; i++) {
        char slot[NAME_SIZE];
        conninfo_slot_name(members->name[i], slot);
        for (size_t k = 0; k < room; k++) {
            if (str_equal(slots->dropping[k], slot)) {
                slots->dropping[k][0] = '\0'; /* it is back */
            }
        }
    }
}

void pg_set_members(struct pg *pg, const struct core_name_list *members)
{
    struct pg_slots *slots = &pg->slots;
    ASSERT(members->count <= MEMBERS_MAX);
    bool same = slots->wanted && members->count == slots->members.count;
    for (uint32_t i = 0; same && i < members->count; i++) {
        same = str_equal(members->name[i], slots->members.name[i]);
    }
    if (same) {
        return;
    }
    gone_note(slots, members);
    uint64_t position[MEMBERS_MAX] = {0};
    for (uint32_t i = 0; i < members->count; i++) {
        int before = list_index(&slots->members, members->name[i]);
        position[i] = before >= 0 ? slots->position[before] : 0;
    }
    slots->members = *members;
    memcpy(slots->position, position, sizeof(position));
    slots->wanted = true;
    slots->next_at = MONO_ZERO;
}

void pg_set_slot_position(struct pg *pg, const char *member, uint64_t lsn)
{
    int index = list_index(&pg->slots.members, member);
    if (index >= 0) {
        pg->slots.position[index] = lsn;
    }
}

/* ---- one step ---- */

static int row_of(const PGresult *result, const char *slot)
{
    for (int row = 0; row < PQntuples(result); row++) {
        if (str_equal(PQgetvalue(result, row, COLUMN_NAME), slot)) {
            return row;
        }
    }
    return -1;
}

static bool is_true(const PGresult *result, int row, enum column column)
{
    return str_equal(PQgetvalue(result, row, (int)column), "t");
}

/* The statement that an existing slot needs; false: none. */
static bool tend(struct pg *pg, const PGresult *result, int row, uint32_t member)
{
    struct pg_slots *slots = &pg->slots;
    const char *slot = PQgetvalue(result, row, COLUMN_NAME);
    uint64_t restart = 0;
    uint64_t replay = 0;
    if (is_true(result, row, COLUMN_ACTIVE)) {
        return false;
    }
    if (!str_to_lsn(PQgetvalue(result, row, COLUMN_RESTART_LSN), &restart) ||
        str_equal(PQgetvalue(result, row, COLUMN_STATUS), "lost")) {
        return str_format(slots->step, sizeof(slots->step), "SELECT pg_drop_replication_slot('%s')",
                          slot);
    }
    if (!is_true(result, row, COLUMN_IN_RECOVERY) ||
        !str_to_lsn(PQgetvalue(result, row, COLUMN_REPLAY_LSN), &replay)) {
        return false; /* on a primary the member itself moves it on */
    }
    uint64_t target = slots->position[member];
    if (target == 0) {
        target = replay > SLOT_DISTANCE_BYTES ? replay - SLOT_DISTANCE_BYTES : 0;
    }
    target = target < replay ? target : replay;
    /* whole segments: nothing smaller frees anything */
    if (target <= restart || target / (16 * 1024 * 1024) == restart / (16 * 1024 * 1024)) {
        return false;
    }
    char lsn[LSN_TEXT_SIZE];
    str_from_lsn(lsn, target);
    return str_format(slots->step, sizeof(slots->step),
                      "SELECT pg_replication_slot_advance('%s', '%s')", slot, lsn);
}

static bool choose(struct pg *pg, const PGresult *result)
{
    struct pg_slots *slots = &pg->slots;
    for (uint32_t i = 0; i < slots->members.count; i++) {
        char slot[NAME_SIZE];
        conninfo_slot_name(slots->members.name[i], slot);
        if (str_equal(slot, pg->slot_name)) {
            continue; /* our own */
        }
        int row = row_of(result, slot);
        if (row < 0) {
            return str_format(slots->step, sizeof(slots->step),
                              "SELECT pg_create_physical_replication_slot('%s', true)", slot);
        }
        if (tend(pg, result, row, i)) {
            return true;
        }
    }
    for (size_t k = 0; k < sizeof(slots->dropping) / sizeof(slots->dropping[0]); k++) {
        if (slots->dropping[k][0] == '\0' ||
            mono_sub(mono_now(), slots->gone_at[k]) < SLOT_GONE_MS) {
            continue;
        }
        int row = row_of(result, slots->dropping[k]);
        if (row >= 0 && !is_true(result, row, COLUMN_ACTIVE)) {
            return str_format(slots->step, sizeof(slots->step),
                              "SELECT pg_drop_replication_slot('%s')", slots->dropping[k]);
        }
        if (row < 0) {
            slots->dropping[k][0] = '\0';
        }
    }
    return false;
}

static void finished(struct pg *pg, int64_t pause_ms)
{
    pg->slots.busy = false;
    pg->slots.next_at = mono_add(mono_now(), pause_ms);
    pg_probe_resume(pg);
}

static void on_changed(enum err err, const PGresult *result, const struct err_detail *detail,
                       void *arg)
{
    struct pg *pg = arg;
    (void)result;
    if (err == ERR_OK) {
        log_info("postgres_slot", "statement=\"%s\"", pg->slots.step);
    } else {
        log_warn("postgres_slot_failed", "statement=\"%s\" detail=\"%s\"", pg->slots.step,
                 detail->text);
        if (pg_session_broken(pg->heartbeat)) {
            pg_heartbeat_drop(pg);
        }
    }
    finished(pg, err == ERR_OK ? 0 : SLOT_PERIOD_MS);
}

static void on_list(enum err err, const PGresult *result, const struct err_detail *detail,
                    void *arg)
{
    struct pg *pg = arg;
    if (err != ERR_OK) {
        log_debug("postgres_slots_unknown", "detail=\"%s\"", detail->text);
        if (pg_session_broken(pg->heartbeat)) {
            pg_heartbeat_drop(pg);
        }
        finished(pg, SLOT_PERIOD_MS);
        return;
    }
    if (pg->job != NULL || pg->probe_waits || !choose(pg, result)) {
        finished(pg, pg->job != NULL || pg->probe_waits ? 0 : SLOT_PERIOD_MS);
        return;
    }
    pg_session_query(pg->heartbeat, pg->slots.step, SLOT_TIMEOUT_MS, on_changed, pg);
}

void pg_slots_step(struct pg *pg)
{
    struct pg_slots *slots = &pg->slots;
    if (!slots->wanted || !pg->config.use_slots || slots->busy || pg->job != NULL || pg->probing ||
        pg->closing || pg_is_stranger(pg) || !pg_session_idle(pg->heartbeat) ||
        mono_before(mono_now(), slots->next_at)) {
        return;
    }
    slots->busy = true;
    pg_session_query(pg->heartbeat, list_sql, SLOT_TIMEOUT_MS, on_list, pg);
}
