/* guard/page.h - the page of memory that guard and agent share.
 *
 * Purpose    the lease's deadline, epoch and seq survive the agent; each side sees the other's
 *            heartbeat. It is the only thing besides the control socket that the two share.
 * Ownership  a memfd of PAGE_FD_SIZE bytes, created by the guard, mapped by both; the descriptor is
 *            inherited over exec (HOLDFAST_PAGE_FD), so it lives as long as either process.
 * Writers    fields say who writes them; each is one aligned 64-bit word, written with release and
 *            read with acquire order. Deadline, epoch and seq form one fact: page_lease_write and
 *            page_lease_read (a sequence lock) never show a mixture; after the death of a writer in
 *            the middle the older complete fact is read (two slots).
 * Units      *_ms: CLOCK_BOOTTIME milliseconds.
 * Source     design section 2; INV-3, INV-4.
 */
#ifndef HOLDFAST_GUARD_PAGE_H
#define HOLDFAST_GUARD_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"

#define PAGE_MAGIC 0x484f4c4446415354ULL /* "HOLDFAST" */
#define PAGE_LAYOUT 1                    /* an upgrade that meets another layout starts without it */
#define PAGE_FD_SIZE 4096

/* One complete fact about the lease, as the agent proved it. */
struct page_lease {
    struct mono deadline; /* the lease's end; MONO_ZERO: there is none */
    int64_t ttl_ms;       /* the stages are counted from deadline - ttl_ms (design section 2) */
    uint64_t epoch;
    uint64_t seq; /* the largest seq ever sent in a write of `lease` in this epoch */
};

/* Who the postmaster is. pid 0: none known. */
struct page_postmaster {
    int64_t pid;
    uint64_t start_ticks; /* field 22 of /proc/PID/stat: tells a recycled pid */
};

struct page; /* the mapped memory; layout in page.c */

/* agent: writes. both: reads. */
void page_lease_write(struct page *page, const struct page_lease *lease);
void page_lease_read(const struct page *page, struct page_lease *out_lease);

/* guard: writes (at the agent's order over the control socket, and when it fences). */
bool page_armed(const struct page *page, uint64_t *out_epoch);

/* guard: writes. */
void page_postmaster_read(const struct page *page, struct page_postmaster *out_postmaster);

/* Each side beats its own, reads the other's. */
void page_agent_beat(struct page *page, struct mono now);
struct mono page_agent_beat_read(const struct page *page);
void page_guard_beat(struct page *page, struct mono now);
struct mono page_guard_beat_read(const struct page *page);

#endif
