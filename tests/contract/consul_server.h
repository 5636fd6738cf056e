/* contract/consul_server.h - real Consul servers on this machine, for tests.
 *
 * Purpose    one server, or several that form one cluster, each with ports and a directory of its own.
 * Ownership  struct consul_server belongs to the test; its process dies with the test's.
 * Errors     asserted: a server that does not come up fails the test.
 * Threads    one.
 */
#ifndef HOLDFAST_TESTS_CONTRACT_CONSUL_SERVER_H
#define HOLDFAST_TESTS_CONTRACT_CONSUL_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

#define CONSUL_SERVER_TTL_MIN_MS 1500 /* of sessions, as tests ask for it; Consul doubles it */

struct consul_server {
    char dir[96];
    int http_port;
    int rpc_port;
    int serf_port;
    int count; /* servers of the cluster */
    int first_serf_port;
    pid_t pid; /* 0: does not run */
};

/* Ports for `count` servers of one cluster, and a directory for each below dir. */
void consul_servers_prepare(struct consul_server *servers, int count, const char *dir);

void consul_server_start(struct consul_server *server);

/* Whether it answers linearizable reads. Waits no longer than a moment. */
bool consul_server_ready(const struct consul_server *server);

#endif
