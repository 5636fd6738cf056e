/* codec/status.h - what a node answers about itself, and how its peers read it.
 *
 * Purpose    the document of GET /patroni (and of every health check), a peer's answer as the
 *            core's fact, the question and answer of a promise (design L9).
 * Ownership  plain structs; json_t results are new references, texts are to be freed.
 * Errors     ERR_INVALID for garbage; a peer whose answer has no position is unreachable, as in
 *            rest.md section 4.
 * Units      LSNs in bytes, dcs_last_seen in seconds since 1970, ttl_ms.
 * Threads    any; pure but for jansson's heap.
 * Source     compat/rest.md sections 4 and 8.
 */
#ifndef HOLDFAST_CODEC_STATUS_H
#define HOLDFAST_CODEC_STATUS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "core/view.h"

/* Every text that leaves over REST: one line, ", " and ": ", non-ASCII escaped. */
#define STATUS_JSON_FLAGS (JSON_ENSURE_ASCII | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15))

/* The own server, as far as REST shows it: pg_details and core_postgres, whoever fills it in. */
struct status_postgres {
    bool answered; /* the last query succeeded; false: only state and role are shown */
    bool process;  /* a postmaster runs */
    char state[40];
    char role[24];
    int server_version;
    char postmaster_start_time[48];
    uint64_t flush_lsn; /* primary */
    uint64_t received_lsn;
    uint64_t replayed_lsn;
    uint64_t latest_end_lsn;     /* what the walreceiver last heard of its primary; 0: unknown */
    char replayed_timestamp[48]; /* "" null */
    bool replay_paused;
    char replication_state[24];   /* "" none */
    uint32_t timeline;            /* 0: unknown */
    uint64_t sysid;               /* 0: unknown */
    const char *replication_json; /* its walsenders, [{"usename": ...}, ...]; NULL or "": none */
    const char
        *pending_restart_json; /* {"guc": {"old_value": ..., "new_value": ...}}; NULL: none */
};

struct status_document {
    const struct status_postgres *postgres;
    const char *scope;
    const char *name;
    const char *version;
    const char *tags_json; /* effective tags; NULL or "": none */
    const char *show_role; /* NULL: the server's; standby clusters say "standby_leader" */
    bool sync_standby;
    bool quorum_standby;
    bool pause;
    bool cluster_unlocked;
    bool failsafe_active;
    bool watchdog_failed;
    int64_t dcs_last_seen_s;
};

/* The state that REST shows: "unknown" for a server said to run that does not answer. */
const char *status_state(const struct status_postgres *postgres);

/* Fields in the order of rest.md section 4. Never NULL. */
json_t *status_write(const struct status_document *document);

/* A peer's answer of any HTTP status. Only what was answered is filled in: name and asked_at are
 * the caller's. Garbage and answers without a position give reachable NO. */
void status_parse(const char *body, size_t size, struct core_peer_status *out_status);

/* ---- promises (L9) ---- */

struct status_promise_answer {
    bool granted;
    char name[NAME_SIZE]; /* of the giver */
};

/* {"holder": ..., "epoch": ..., "ttl_ms": ...}; to be freed. request_id is not part of it. */
char *status_promise_ask(const struct core_promise_request *request);

/* Rejects an empty or too long holder, epoch 0, ttl_ms below 1 or beyond a day. request_id is left
 * as it is. */
enum err status_promise_read_ask(const char *body, size_t size,
                                 struct core_promise_request *request,
                                 struct err_detail *detail) MUST_CHECK;

/* {"granted": ..., "name": ...}; to be freed. */
char *status_promise_answer(const struct status_promise_answer *answer);

/* Anything but a whole, well-formed answer is ERR_INVALID: no promise. */
enum err status_promise_read_answer(const char *body, size_t size,
                                    struct status_promise_answer *out_answer) MUST_CHECK;

#endif
