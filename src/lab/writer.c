/* Each client is a thread with a blocking life of its own, as an application's would be: one that
 * hangs on a dead machine hangs alone, for as long as libpq's own limits let it. */
#include "lab/writer.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"

#define RECONNECT_MS 10 /* up to twice that */
#define CREATE_MS 20000
#define CHECK_MS 20000
#define STOP_LOOK_MS 100
#define PROBE_FIRST 1000 /* client numbers of the probes */

struct client {
    struct writer *writer;
    pthread_t thread;
    uint32_t number;
    int node; /* probed; -1: a client of the whole cluster */
    struct journal *journal;
    PGconn *conn;
    int64_t connected_us;
    bool warned;
    unsigned seed;
};

struct writer {
    struct writer_options options;
    pthread_mutex_t lock; /* of all journals */
    int stop_fd;          /* readable: end */
    uint32_t client_count;
    struct client client[WRITER_CLIENTS_MAX + LAB_NODES_MAX];
    struct journal journal[WRITER_CLIENTS_MAX + LAB_NODES_MAX];
};

int64_t writer_now_us(void)
{
    struct timespec now;
    int rc = clock_gettime(CLOCK_MONOTONIC, &now);
    ASSERT(rc == 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* False: to end. */
static bool pause_ms(const struct writer *writer, int64_t ms)
{
    struct pollfd stop = {.fd = writer->stop_fd, .events = POLLIN};
    return poll(&stop, 1, (int)ms) == 0;
}

static void note_warning(void *arg, const char *message)
{
    struct client *client = arg;
    (void)message;
    client->warned = true;
}

static int8_t node_of(const struct client *client)
{
    const struct writer_options *options = &client->writer->options;
    const char *host = PQhost(client->conn);
    uint64_t port = 0;
    if (client->node >= 0) {
        return (int8_t)client->node;
    }
    for (uint32_t i = 0; i < options->node_count; i++) {
        if (str_to_u64(PQport(client->conn), &port) && port == options->node[i].port &&
            str_equal(host, options->node[i].host)) {
            return (int8_t)i;
        }
    }
    return -1;
}

/* A failed or ended connection is made anew by the next round. */
static void disconnect(struct client *client)
{
    PQfinish(client->conn);
    client->conn = NULL;
}

static bool connect_now(struct client *client)
{
    const struct writer_options *options = &client->writer->options;
    char text[sizeof(options->conninfo) + 256];
    bool fits = client->node < 0
                    ? str_copy(text, sizeof(text), options->conninfo)
                    /* what comes last counts */
                    : str_format(text, sizeof(text), "%s host=%s port=%u target_session_attrs=any",
                                 options->conninfo, options->node[client->node].host,
                                 options->node[client->node].port);
    ASSERT(fits);
    client->conn = PQconnectdb(text);
    if (PQstatus(client->conn) != CONNECTION_OK) {
        disconnect(client);
        return false;
    }
    (void)PQsetNoticeProcessor(client->conn, note_warning, client); /* answers the old one */
    client->connected_us = writer_now_us();
    return true;
}

/* Waits for the whole answer or the order to end; the last result, or NULL. */
static PGresult *await_result(struct client *client)
{
    PGresult *last = NULL;
    for (;;) {
        struct pollfd fds[] = {{.fd = PQsocket(client->conn), .events = POLLIN},
                               {.fd = client->writer->stop_fd, .events = POLLIN}};
        while (PQisBusy(client->conn) == 0) {
            PGresult *next = PQgetResult(client->conn);
            if (next == NULL) {
                return last;
            }
            /* Of an answer followed by the end of the session, the end is what counts. */
            PQclear(last);
            last = next;
        }
        if (poll(fds, 2, STOP_LOOK_MS) < 0 && errno != EINTR) {
            break;
        }
        if (fds[1].revents != 0 || (fds[0].revents != 0 && PQconsumeInput(client->conn) == 0)) {
            break;
        }
    }
    PQclear(last);
    return NULL;
}

static enum journal_outcome outcome_of(struct client *client, const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result); /* of NULL: PGRES_FATAL_ERROR */
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
        return client->warned ? JOURNAL_UNKNOWN : JOURNAL_ACKED;
    }
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    bool refused = severity != NULL && str_equal(severity, "ERROR");
    return refused ? JOURNAL_REFUSED : JOURNAL_UNKNOWN;
}

static bool write_row(struct client *client)
{
    struct writer *writer = client->writer;
    int64_t begin_us = writer_now_us();
    (void)pthread_mutex_lock(&writer->lock); /* a plain mutex: cannot fail */
    size_t seq = journal_open(client->journal, begin_us, client->connected_us, node_of(client));
    (void)pthread_mutex_unlock(&writer->lock);
    char number[16];
    char row[24];
    ASSERT(str_format(number, sizeof(number), "%u", client->number));
    ASSERT(str_format(row, sizeof(row), "%zu", seq));
    const char *const values[] = {number, row};
    client->warned = false;
    PGresult *result = NULL;
    bool sent = PQsendQueryParams(client->conn,
                                  "INSERT INTO " WRITER_TABLE " (client, seq) VALUES ($1, $2) "
                                  "RETURNING ('x' || substr(pg_catalog.pg_walfile_name("
                                  "pg_catalog.pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int",
                                  2, NULL, values, NULL, NULL, 0) == 1;
    if (sent) {
        result = await_result(client);
    }
    enum journal_outcome outcome = outcome_of(client, result);
    uint64_t timeline = 0;
    bool told = outcome == JOURNAL_ACKED && PQntuples(result) == 1 &&
                str_to_u64(PQgetvalue(result, 0, 0), &timeline);
    int64_t end_us = writer_now_us();
    PQclear(result);
    (void)pthread_mutex_lock(&writer->lock);
    struct journal_entry *entry = &client->journal->entries[seq];
    entry->end_us = end_us;
    entry->outcome = (uint8_t)outcome;
    entry->timeline = told ? (uint32_t)timeline : 0;
    (void)pthread_mutex_unlock(&writer->lock);
    return outcome == JOURNAL_ACKED;
}

/* A probe asks first: a standby's log need not fill with refused writes. */
static bool probe_once(struct client *client)
{
    if (PQsendQuery(client->conn, "SELECT pg_catalog.pg_is_in_recovery()") != 1) {
        return false;
    }
    PGresult *result = await_result(client);
    bool answered = PQresultStatus(result) == PGRES_TUPLES_OK;
    bool writable = answered && str_equal(PQgetvalue(result, 0, 0), "f");
    PQclear(result);
    return writable ? write_row(client) : answered;
}

static void *client_run(void *arg)
{
    struct client *client = arg;
    const struct writer_options *options = &client->writer->options;
    bool probes = client->node >= 0;
    int64_t pace_ms = probes ? options->probe_ms : options->pace_ms;
    do {
        while (client->conn == NULL && !connect_now(client)) {
            client->seed = client->seed * 1103515245U + 12345U; /* clients spread, that is all */
            int64_t wait_ms = RECONNECT_MS + (client->seed >> 16) % (RECONNECT_MS + 1);
            if (!pause_ms(client->writer, probes ? options->probe_ms : wait_ms)) {
                return NULL;
            }
        }
        if (!(probes ? probe_once(client) : write_row(client))) {
            disconnect(client);
        }
    } while (pause_ms(client->writer, pace_ms));
    disconnect(client);
    return NULL;
}

/* A connection to the primary, for this thread, as soon as there is one. */
static PGconn *connect_primary(const struct writer *writer, int64_t timeout_ms,
                               struct err_detail *detail)
{
    int64_t deadline_us = writer_now_us() + timeout_ms * 1000;
    for (;;) {
        PGconn *conn = PQconnectdb(writer->options.conninfo);
        if (PQstatus(conn) == CONNECTION_OK) {
            return conn;
        }
        if (writer_now_us() > deadline_us) {
            (void)err_set(detail, ERR_UNREACHABLE, "no primary: %s", PQerrorMessage(conn));
            PQfinish(conn);
            return NULL;
        }
        PQfinish(conn);
        (void)pause_ms(writer, RECONNECT_MS); /* the deadline ends this */
    }
}

static enum err make_table(struct writer *writer, struct err_detail *detail)
{
    PGconn *conn = connect_primary(writer, CREATE_MS, detail);
    if (conn == NULL) {
        return ERR_UNREACHABLE;
    }
    PGresult *result = PQexec(conn, "SET client_min_messages = error;"
                                    "DROP TABLE IF EXISTS " WRITER_TABLE ";"
                                    "CREATE TABLE " WRITER_TABLE
                                    " (client int, seq bigint, PRIMARY KEY (client, seq))");
    enum err err =
        PQresultStatus(result) == PGRES_COMMAND_OK
            ? ERR_OK
            : err_set(detail, ERR_REFUSED, "cannot make the table: %s", PQerrorMessage(conn));
    PQclear(result);
    PQfinish(conn);
    return err;
}

static bool start_client(struct writer *writer, uint32_t number, int node)
{
    uint32_t index = writer->client_count;
    struct client *client = &writer->client[index];
    *client = (struct client){
        .writer = writer,
        .number = number,
        .node = node,
        .journal = &writer->journal[index],
        .seed = number + 1,
    };
    if (pthread_create(&client->thread, NULL, client_run, client) != 0) {
        return false;
    }
    writer->client_count++;
    return true;
}

enum err writer_create(const struct writer_options *options, struct writer **out_writer,
                       struct err_detail *detail)
{
    ASSERT(options->clients <= WRITER_CLIENTS_MAX && options->node_count <= LAB_NODES_MAX);
    struct writer *writer = calloc(1, sizeof(*writer));
    ASSERT(writer != NULL);
    writer->options = *options;
    writer->stop_fd = eventfd(0, EFD_CLOEXEC);
    int rc = pthread_mutex_init(&writer->lock, NULL);
    ASSERT(rc == 0);
    enum err err = writer->stop_fd < 0 ? err_set_errno(detail, ERR_REFUSED, errno, "eventfd")
                                       : make_table(writer, detail);
    bool started = err == ERR_OK;
    for (uint32_t i = 0; started && i < options->clients; i++) {
        started = start_client(writer, i, -1);
    }
    for (uint32_t i = 0; started && options->probe_ms > 0 && i < options->node_count; i++) {
        started = start_client(writer, PROBE_FIRST + i, (int)i);
    }
    if (err == ERR_OK && !started) {
        err = err_set(detail, ERR_REFUSED, "cannot start a thread");
    }
    if (err != ERR_OK) {
        writer_destroy(writer);
        return err;
    }
    *out_writer = writer;
    return ERR_OK;
}

void writer_destroy(struct writer *writer)
{
    if (writer == NULL) {
        return;
    }
    if (writer->stop_fd >= 0) {
        (void)eventfd_write(writer->stop_fd, 1); /* a fresh counter takes one */
    }
    for (uint32_t i = 0; i < writer->client_count; i++) {
        (void)pthread_join(writer->client[i].thread, NULL); /* ours, joined once */
        journal_fini(&writer->journal[i]);
    }
    cleanup_close(&writer->stop_fd);
    (void)pthread_mutex_destroy(&writer->lock); /* nobody holds it now */
    free(writer);
}

bool writer_acked_since(struct writer *writer, int64_t since_us, bool anew)
{
    bool found = false;
    (void)pthread_mutex_lock(&writer->lock);
    for (uint32_t i = 0; i < writer->client_count && !found; i++) {
        const struct journal *journal = &writer->journal[i];
        for (size_t k = journal->count; k > 0 && !found && writer->client[i].node < 0; k--) {
            const struct journal_entry *entry = &journal->entries[k - 1];
            if (entry->begin_us < since_us) {
                break;
            }
            found = entry->outcome == JOURNAL_ACKED && (!anew || entry->connected_us >= since_us);
        }
    }
    (void)pthread_mutex_unlock(&writer->lock);
    return found;
}

void writer_report(struct writer *writer, int64_t since_us, struct writer_report *out_report)
{
    (void)pthread_mutex_lock(&writer->lock);
    int64_t now_us = writer_now_us();
    journal_report(writer->journal, writer->options.clients, since_us, now_us,
                   &out_report->clients);
    journal_report(writer->journal, writer->client_count, since_us, now_us, &out_report->all);
    (void)pthread_mutex_unlock(&writer->lock);
}

/* The rows of the table, sorted by client and number, against the journals: these were locked after
 * the rows were read, so every row is in them. */
static void compare(struct writer *writer, const PGresult *rows, int64_t until_us,
                    struct writer_check *check)
{
    int row = 0;
    int row_count = PQntuples(rows);
    for (uint32_t i = 0; i < writer->client_count; i++) {
        const struct journal *journal = &writer->journal[i];
        for (size_t k = 0; k < journal->count; k++) {
            const struct journal_entry *entry = &journal->entries[k];
            uint64_t client = 0;
            uint64_t seq = 0;
            bool there = row < row_count && str_to_u64(PQgetvalue(rows, row, 0), &client) &&
                         str_to_u64(PQgetvalue(rows, row, 1), &seq) &&
                         client == writer->client[i].number && seq == k;
            bool acked = entry->outcome == JOURNAL_ACKED;
            bool acked_before = acked && entry->end_us <= until_us;
            row += there ? 1 : 0;
            check->acked += acked_before ? 1 : 0;
            check->missing += acked_before && !there ? 1 : 0;
            check->unacked += there && !acked && entry->outcome != JOURNAL_OPEN ? 1 : 0;
        }
    }
    check->rows = (uint64_t)row_count;
}

enum err writer_check(struct writer *writer, struct writer_check *out_check,
                      struct err_detail *detail)
{
    struct writer_check check = {.acked = 0};
    PGconn *conn = connect_primary(writer, CHECK_MS, detail);
    if (conn == NULL) {
        return ERR_UNREACHABLE;
    }
    bool fits =
        str_format(check.server, sizeof(check.server), "%.60s:%.6s", PQhost(conn), PQport(conn));
    ASSERT(fits);
    int64_t until_us = writer_now_us();
    PGresult *rows = PQexec(conn, "SELECT client, seq FROM " WRITER_TABLE " ORDER BY 1, 2");
    enum err err = ERR_OK;
    if (PQresultStatus(rows) == PGRES_TUPLES_OK) {
        (void)pthread_mutex_lock(&writer->lock);
        compare(writer, rows, until_us, &check);
        (void)pthread_mutex_unlock(&writer->lock);
        *out_check = check;
    } else {
        err = err_set(detail, ERR_UNREACHABLE, "cannot read the table: %s", PQerrorMessage(conn));
    }
    PQclear(rows);
    PQfinish(conn);
    return err;
}
