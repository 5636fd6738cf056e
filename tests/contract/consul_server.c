/* Ports are taken below the range that the kernel hands out to clients, so that a server that was
 * killed finds its own free again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "contract/consul_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/str.h"

#define PORT_FIRST 20000
#define PORT_COUNT 12000

static struct sockaddr_in address_of(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static bool port_free(int port, int type)
{
    struct sockaddr_in address = address_of(port);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    bool ok = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return ok;
}

static int port_take(void)
{
    static int next;
    for (int tries = 0; tries < PORT_COUNT; tries++) {
        int port = PORT_FIRST + (getpid() * 61 + next++) % PORT_COUNT;
        if (port_free(port, SOCK_STREAM) && port_free(port, SOCK_DGRAM)) {
            return port;
        }
    }
    fail_msg("no port is free");
    return 0;
}

static void config_write(const struct consul_server *server, int index)
{
    char path[128];
    assert_true(str_format(path, sizeof(path), "%s/consul.json", server->dir));
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fprintf(
        file,
        "{\"server\": true, \"bootstrap_expect\": %d, \"data_dir\": \"%s/data\",\n"
        " \"node_name\": \"s%d\", \"bind_addr\": \"127.0.0.1\", \"client_addr\": \"127.0.0.1\",\n"
        " \"ports\": {\"http\": %d, \"server\": %d, \"serf_lan\": %d, \"serf_wan\": -1,\n"
        "  \"dns\": -1, \"grpc\": -1},\n"
        " \"retry_join\": [\"127.0.0.1:%d\"], \"retry_interval\": \"1s\",\n"
        " \"performance\": {\"raft_multiplier\": 1}, \"session_ttl_min\": \"1s\",\n"
        " \"limits\": {\"txn_max_req_len\": 1048576, \"http_max_conns_per_client\": 1000},\n"
        " \"disable_update_check\": true, \"leave_on_terminate\": false,\n"
        " \"skip_leave_on_interrupt\": true, \"log_level\": \"warn\"}\n",
        server->count, server->dir, index, server->http_port, server->rpc_port, server->serf_port,
        server->first_serf_port);
    assert_int_equal(fclose(file), 0);
}

void consul_servers_prepare(struct consul_server *servers, int count, const char *dir)
{
    for (int i = 0; i < count; i++) {
        struct consul_server *server = &servers[i];
        *server = (struct consul_server){.count = count};
        assert_true(str_format(server->dir, sizeof(server->dir), "%s/s%d", dir, i));
        assert_int_equal(mkdir(server->dir, 0700), 0);
        server->http_port = port_take();
        server->rpc_port = port_take();
        server->serf_port = port_take();
    }
    for (int i = 0; i < count; i++) {
        servers[i].first_serf_port = servers[0].serf_port;
        config_write(&servers[i], i);
    }
}

void consul_server_start(struct consul_server *server)
{
    char config[128];
    char log[128];
    assert_true(str_format(config, sizeof(config), "-config-file=%s/consul.json", server->dir));
    assert_true(str_format(log, sizeof(log), "%s/log", server->dir));
    pid_t parent = getpid();
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0) {
        /* A test that dies takes its servers along. */
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd >= 0 && dup2(fd, 1) == 1 && dup2(fd, 2) == 2 &&
            prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent) {
            execlp("consul", "consul", "agent", config, (char *)NULL);
        }
        _exit(127);
    }
}

bool consul_server_ready(const struct consul_server *server)
{
    static const char question[] =
        "GET /v1/kv/none?consistent HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    struct sockaddr_in address = address_of(server->http_port);
    struct timeval patience = {.tv_usec = 200000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    char answer[64] = "";
    bool ok =
        connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        send(fd, question, sizeof(question) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(question) - 1 &&
        recv(fd, answer, sizeof(answer) - 1, 0) > 12 && strncmp(answer + 9, "404", 3) == 0;
    close(fd);
    return ok;
}
