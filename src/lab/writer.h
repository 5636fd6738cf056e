/* lab/writer.h - clients that insert one row a commit and remember what became of each.
 *
 * Purpose    the judge of every failover: nothing here looks at the cluster but through SQL.
 * Ownership  writer_create copies the options; writer_destroy ends all threads and frees.
 * Errors     texts for people.
 * Units      *_ms, *_us.
 * Threads    one for each client and each node probed; all calls from one thread.
 */
#ifndef HOLDFAST_LAB_WRITER_H
#define HOLDFAST_LAB_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "lab/journal.h"
#include "lab/place.h"

#define WRITER_TABLE "holdfast_drill"
#define WRITER_CLIENTS_MAX 64

struct writer_node {
    char name[NAME_SIZE];
    char host[NAME_SIZE];
    uint16_t port;
};

struct writer_options {
    char conninfo[1024]; /* multi-host, target_session_attrs=read-write */
    uint32_t clients;
    int64_t pace_ms; /* between two commits of a client; 0: at once */
    uint32_t node_count;
    struct writer_node node[LAB_NODES_MAX]; /* probed directly every probe_ms */
    int64_t probe_ms;                       /* 0: not */
};

struct writer;

struct writer_report {
    struct journal_report clients; /* the clients alone */
    struct journal_report all;     /* and the probes of each node */
};

struct writer_check {
    uint64_t acked;              /* rows acknowledged, since the start */
    uint64_t rows;               /* rows in the table */
    uint64_t missing;            /* acknowledged and not there */
    uint64_t unacked;            /* there though not acknowledged: allowed */
    char server[NAME_SIZE + 16]; /* who was asked */
};

/* Makes the table anew and starts all clients. */
enum err writer_create(const struct writer_options *options, struct writer **out_writer,
                       struct err_detail *detail) MUST_CHECK;
void writer_destroy(struct writer *writer); /* takes NULL */

int64_t writer_now_us(void);

/* Has a client's write been acknowledged that began after this moment; anew: on a connection that
 * was made after it as well? */
bool writer_acked_since(struct writer *writer, int64_t since_us, bool anew);

void writer_report(struct writer *writer, int64_t since_us, struct writer_report *out_report);

/* Compares what was acknowledged until now with the table of the present primary. */
enum err writer_check(struct writer *writer, struct writer_check *out_check,
                      struct err_detail *detail) MUST_CHECK;

#endif
