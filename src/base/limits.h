/* base/limits.h - every bound of the program, in one place.
 *
 * Purpose    fixed sizes of structs and the largest inputs accepted; beyond them an error is given.
 * Units      bytes unless the name says otherwise; string sizes include the terminating NUL.
 */
#ifndef HOLDFAST_BASE_LIMITS_H
#define HOLDFAST_BASE_LIMITS_H

#define MEMBERS_MAX 16          /* nodes of one cluster that the agent can see */
#define NAME_SIZE 64            /* member names, slot names (PostgreSQL's NAMEDATALEN) */
#define URL_SIZE 256            /* api_url, conn_url */
#define PATH_SIZE 1024          /* file names */
#define SESSION_SIZE 64         /* a store's session or lease id as text */
#define STORE_KEY_SIZE 320      /* a full key in the store */
#define STORE_VALUE_MAX 524288  /* one value (Consul's own limit) */
#define STORE_TXN_OPS_MAX 16    /* operations of one transaction */
#define HTTP_BODY_MAX 1048576   /* a request or an answer */
#define CONFIG_FILE_MAX 1048576 /* one YAML file */
#define PG_ARGS_MAX 64          /* arguments of one postmaster */
#define PG_ARGS_SIZE 16384      /* their bytes, all together */

#endif
