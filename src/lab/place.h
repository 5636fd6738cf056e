/* lab/place.h - where a lab lives and what it consists of.
 *
 * Purpose    one directory holds everything of a lab: configuration, data, logs, sockets, state.
 * Ownership  struct lab is plain values in caller storage; lock_fd is its only descriptor.
 * Errors     texts for people in struct err_detail.
 * Units      *_ms.
 * Threads    one.
 */
#ifndef HOLDFAST_LAB_PLACE_H
#define HOLDFAST_LAB_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "lab/process.h"

#define LAB_NODES_MAX 7
#define LAB_DIR_MAX 80 /* unix sockets below it must fit into 107 bytes */
#define LAB_SCOPE "lab"
#define LAB_USER "postgres"

struct lab_node {
    char name[NAME_SIZE];
    uint16_t pg_port;
    uint16_t rest_port;
    struct process_id guard; /* as started; a successor is found by the configuration's name */
};

struct lab {
    char dir[LAB_DIR_MAX];
    char program[PATH_SIZE]; /* holdfast, with holdfast-guard beside it */
    char pg_bin[PATH_SIZE];
    char password[40];
    int64_t ttl_ms;
    struct process_id store;
    uint32_t node_count;
    struct lab_node node[LAB_NODES_MAX];
    int lock_fd; /* -1: not locked */
};

/* As root: becomes the user postgres for good, with copies of the programs below dir (NULL: the
 * default) when that user cannot run them where they are; makes dir for them only if make. Does
 * nothing for others. */
enum err lab_leave_root(const char *dir, bool make, struct err_detail *detail) MUST_CHECK;

/* Sets dir (NULL: /tmp/holdfast-lab-USER) and the programs' paths; touches nothing. */
enum err lab_place(struct lab *out_lab, const char *dir, struct err_detail *detail) MUST_CHECK;

/* Finds PostgreSQL's programs: wanted, else Debian's places, else $PATH. */
enum err lab_find_postgres(struct lab *lab, const char *wanted,
                           struct err_detail *detail) MUST_CHECK;

/* Makes the directory, private to this user. One that exists has to be a lab's or empty. */
enum err lab_make_dir(struct lab *lab, struct err_detail *detail) MUST_CHECK;

/* Removes the directory when no lab is in it and nothing of anybody else's. */
void lab_remove_unused(const struct lab *lab);

/* Is there a lab's state in the directory? */
bool lab_exists(const struct lab *lab);

/* Only one command at a time changes a lab; waits its turn. */
enum err lab_lock(struct lab *lab, struct err_detail *detail) MUST_CHECK;
void lab_unlock(struct lab *lab);

/* The state file, replaced atomically. */
enum err lab_save(const struct lab *lab, struct err_detail *detail) MUST_CHECK;
enum err lab_load(struct lab *lab, struct err_detail *detail) MUST_CHECK;

/* Chooses free ports for all nodes, a password, names. */
enum err lab_choose(struct lab *lab, uint32_t nodes, int64_t ttl_ms,
                    struct err_detail *detail) MUST_CHECK;

/* "DIR/format...", which must fit (ASSERT: dir is short, formats are ours). */
void lab_path(const struct lab *lab, char out[PATH_SIZE], const char *format, ...)
    PRINTF_LIKE(3, 4);

/* The node's index; -1: none of that name. */
int lab_node_find(const struct lab *lab, const char *name);

/* The multi-host connection string that leads to whoever is primary. */
void lab_conninfo(const struct lab *lab, const char *session_attrs, char *out, size_t out_size);

/* Removes what an earlier lab has left in its directory; the copied programs stay, we may be one. */
enum err lab_clear(const struct lab *lab, struct err_detail *detail) MUST_CHECK;

/* Removes a directory with all below it, where there is one; what is a link is not followed. */
enum err lab_remove_tree(const char *path, struct err_detail *detail) MUST_CHECK;

#endif
