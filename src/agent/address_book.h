/* agent/address_book.h - where every member was last known to be reached.
 *
 * Purpose    names to URLs that outlive the member keys: promises are asked for and an old primary
 *            is followed exactly when the store, and with it the keys, is away. Kept in a file, so a
 *            restarted agent knows them too.
 * Ownership  plain values in the owner's struct.
 * Errors     text that cannot be understood is an empty book: it is only a cache of what the store
 *            says.
 * Threads    loop thread.
 * Source     design L9 (the union survives an agent restart).
 */
#ifndef HOLDFAST_AGENT_ADDRESS_BOOK_H
#define HOLDFAST_AGENT_ADDRESS_BOOK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/limits.h"
#include "pg/pg.h"

#define ADDRESS_BOOK_MAX (2 * MEMBERS_MAX) /* members and former ones */

struct address_entry {
    char name[NAME_SIZE];
    char api_url[URL_SIZE];  /* "" unknown */
    char conn_url[URL_SIZE]; /* "" unknown */
    bool needed;             /* in a list or a member key: see address_book_need_none */
};

struct address_book {
    size_t count;
    struct address_entry entry[ADDRESS_BOOK_MAX]; /* most recently added last */
};

/* The entry, or NULL. */
const struct address_entry *address_book_find(const struct address_book *book, const char *name);

/* Before the names that are needed now are told by address_book_need: all others may be forgotten. */
void address_book_need_none(struct address_book *book);
void address_book_need(struct address_book *book, const char *name);

/* Sets what is not "" (the rest stays); the name is needed from then on. A full book forgets its
 * oldest entry that nobody needs, or else the oldest. True: it changed. */
bool address_book_set(struct address_book *book, const char *name, const char *api_url,
                      const char *conn_url);

/* NULL when the arena's cap is too low. */
char *address_book_format(const struct address_book *book, struct arena *arena);
void address_book_parse(struct address_book *book, const char *text, size_t size);

/* "postgres://host:port/db", IPv6 in brackets; port 5432 and database "postgres" when absent. */
bool address_to_source(const char *name, const char *conn_url, struct pg_source *out_source);

/* "http://host:8008/patroni" and "/holdfast/promise" give "http://host:8008/holdfast/promise". */
bool address_api_path(const char *api_url, const char *path, char *out_url, size_t out_size);

#endif
