/* A network of namespaces that can be broken: every host has one TUN device, and every packet between
 * two hosts passes through this process, which loses, delays, doubles and so reorders what it is told.
 *
 *     switch SEED NAME=NETNS=ADDRESS...
 *
 * The last number of an IPv4 address tells the host. Orders come line by line on standard input and
 * are answered by one line on standard output:
 *
 *     set FROM TO loss=PERMILLE delay=MS jitter=MS dup=PERMILLE   one direction; `*`: every host
 *     stat                                                        what passed and what did not
 *
 * The end of standard input ends it, and with it the devices. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/str.h"

#define HOSTS_MAX 16
#define PACKET_SIZE 9216
#define QUEUE_MAX 8192
#define BURST_MAX 64 /* packets of one host before the others have their turn */

struct policy {
    uint32_t loss_permille;
    uint32_t dup_permille;
    uint32_t delay_ms;
    uint32_t jitter_ms;
};

struct host {
    char name[32];
    uint8_t last; /* of its address */
    int tun_fd;
};

/* One packet on its way. */
struct flight {
    int64_t due_us;
    uint64_t order;
    size_t to;
    size_t size;
    uint8_t *bytes;
};

struct net {
    struct host host[HOSTS_MAX];
    size_t hosts;
    struct policy policy[HOSTS_MAX][HOSTS_MAX];
    struct flight heap[QUEUE_MAX];
    size_t queued;
    uint64_t order;
    uint64_t rng;
    uint64_t passed, lost, doubled, delayed, overflowed;
};

static int64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static uint32_t below(struct net *net, uint32_t bound) /* xorshift64* */
{
    net->rng ^= net->rng >> 12;
    net->rng ^= net->rng << 25;
    net->rng ^= net->rng >> 27;
    return bound == 0 ? 0 : (uint32_t)((net->rng * 2685821657736338717U) >> 33) % bound;
}

/* ---- what is on its way: a binary heap by time, then by arrival ---- */

static bool earlier(const struct flight *a, const struct flight *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->order < b->order;
}

static void swap(struct flight *a, struct flight *b)
{
    struct flight kept = *a;
    *a = *b;
    *b = kept;
}

static void push(struct net *net, struct flight flight)
{
    if (net->queued == QUEUE_MAX) {
        net->overflowed++;
        free(flight.bytes);
        return;
    }
    size_t at = net->queued++;
    net->heap[at] = flight;
    while (at > 0 && earlier(&net->heap[at], &net->heap[(at - 1) / 2])) {
        swap(&net->heap[at], &net->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
}

static struct flight pop(struct net *net)
{
    ASSERT(net->queued > 0);
    struct flight first = net->heap[0];
    net->heap[0] = net->heap[--net->queued];
    size_t at = 0;
    for (;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < net->queued; child++) {
            least = earlier(&net->heap[child], &net->heap[least]) ? child : least;
        }
        if (least == at) {
            return first;
        }
        swap(&net->heap[at], &net->heap[least]);
        at = least;
    }
}

/* ---- packets ---- */

/* A device that is down or full loses the packet, as any network does. */
static void deliver(struct net *net, size_t to, const uint8_t *bytes, size_t size)
{
    ssize_t written = write(net->host[to].tun_fd, bytes, size);
    net->passed += written == (ssize_t)size ? 1 : 0;
    net->lost += written == (ssize_t)size ? 0 : 1;
}

static void forward(struct net *net, size_t from, size_t to, const uint8_t *bytes, size_t size)
{
    const struct policy *policy = &net->policy[from][to];
    if (below(net, 1000) < policy->loss_permille) {
        net->lost++;
        return;
    }
    uint32_t copies = below(net, 1000) < policy->dup_permille ? 2 : 1;
    net->doubled += copies - 1;
    for (uint32_t i = 0; i < copies; i++) {
        uint32_t delay_ms = policy->delay_ms + below(net, policy->jitter_ms + 1);
        if (delay_ms == 0) {
            deliver(net, to, bytes, size);
            continue;
        }
        struct flight flight = {.due_us = now_us() + (int64_t)delay_ms * 1000,
                                .order = net->order++,
                                .to = to,
                                .size = size,
                                .bytes = malloc(size)};
        ASSERT(flight.bytes != NULL);
        memcpy(flight.bytes, bytes, size);
        net->delayed++;
        push(net, flight);
    }
}

static void take(struct net *net, size_t from)
{
    uint8_t bytes[PACKET_SIZE];
    for (int i = 0; i < BURST_MAX; i++) {
        ssize_t size = read(net->host[from].tun_fd, bytes, sizeof(bytes));
        if (size < 20 || bytes[0] >> 4 != 4) { /* nothing more; or no IPv4 */
            if (size <= 0) {
                return;
            }
            continue;
        }
        for (size_t to = 0; to < net->hosts; to++) {
            if (net->host[to].last == bytes[19]) {
                forward(net, from, to, bytes, (size_t)size);
            }
        }
    }
}

static void land(struct net *net)
{
    int64_t now = now_us();
    while (net->queued > 0 && net->heap[0].due_us <= now) {
        struct flight flight = pop(net);
        deliver(net, flight.to, flight.bytes, flight.size);
        free(flight.bytes);
    }
}

/* ---- orders ---- */

static bool parse_policy(char *words, struct policy *out)
{
    *out = (struct policy){0};
    char *rest = NULL;
    for (char *word = strtok_r(words, " \n", &rest); word != NULL;
         word = strtok_r(NULL, " \n", &rest)) {
        char *value = strchr(word, '=');
        uint64_t number = 0;
        if (value == NULL || !str_to_u64(value + 1, &number) || number > 100000) {
            return false;
        }
        *value = '\0';
        uint32_t *field = strcmp(word, "loss") == 0     ? &out->loss_permille
                          : strcmp(word, "dup") == 0    ? &out->dup_permille
                          : strcmp(word, "delay") == 0  ? &out->delay_ms
                          : strcmp(word, "jitter") == 0 ? &out->jitter_ms
                                                        : NULL;
        if (field == NULL) {
            return false;
        }
        *field = (uint32_t)number;
    }
    return true;
}

static bool matches(const struct host *host, const char *name)
{
    return strcmp(name, "*") == 0 || strcmp(name, host->name) == 0;
}

static bool order_set(struct net *net, char *words)
{
    char *rest = NULL;
    const char *from = strtok_r(words, " \n", &rest);
    const char *to = strtok_r(NULL, " \n", &rest);
    struct policy policy;
    if (from == NULL || to == NULL || !parse_policy(rest, &policy)) {
        return false;
    }
    size_t found = 0;
    for (size_t i = 0; i < net->hosts; i++) {
        for (size_t j = 0; j < net->hosts; j++) {
            if (i != j && matches(&net->host[i], from) && matches(&net->host[j], to)) {
                net->policy[i][j] = policy;
                found++;
            }
        }
    }
    return found > 0;
}

/* False at the end of the orders. */
static bool obey(struct net *net)
{
    char line[256];
    if (fgets(line, sizeof(line), stdin) == NULL) {
        return false;
    }
    if (strncmp(line, "set ", 4) == 0) {
        printf("%s\n", order_set(net, line + 4) ? "ok" : "wrong");
    } else if (strncmp(line, "stat", 4) == 0) {
        printf("passed=%llu lost=%llu doubled=%llu delayed=%llu overflowed=%llu queued=%zu\n",
               (unsigned long long)net->passed, (unsigned long long)net->lost,
               (unsigned long long)net->doubled, (unsigned long long)net->delayed,
               (unsigned long long)net->overflowed, net->queued);
    } else {
        printf("wrong\n");
    }
    (void)fflush(stdout); /* a reader that is gone ends us by its end of standard input */
    return true;
}

/* ---- hosts ---- */

static void fail(const char *what, const char *name)
{
    fprintf(stderr, "switch: %s %s: %s\n", what, name, strerror(errno));
    exit(1);
}

/* A device made in a namespace belongs there; the descriptor works from anywhere. */
static int tun_open(const char *netns, int own_fd)
{
    char path[128];
    if (!str_format(path, sizeof(path), "/var/run/netns/%s", netns)) {
        fail("namespace", netns);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) {
        fail("namespace", netns);
    }
    (void)close(fd);
    int tun_fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    struct ifreq request = {.ifr_name = "hf0"};
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (tun_fd < 0 || ioctl(tun_fd, TUNSETIFF, &request) != 0 || setns(own_fd, CLONE_NEWNET) != 0) {
        fail("device of", netns);
    }
    return tun_fd;
}

static void host_add(struct net *net, char *word, int own_fd)
{
    char *netns = strchr(word, '=');
    char *address = netns != NULL ? strchr(netns + 1, '=') : NULL;
    const char *last = address != NULL ? strrchr(address, '.') : NULL;
    uint64_t number = 0;
    if (last == NULL || !str_to_u64(last + 1, &number) || number > 254 || net->hosts == HOSTS_MAX) {
        fprintf(stderr, "switch: not NAME=NETNS=ADDRESS: %s\n", word);
        exit(2);
    }
    *netns = '\0';
    *address = '\0';
    struct host *host = &net->host[net->hosts++];
    str_copy_cut(host->name, sizeof(host->name), word);
    host->last = (uint8_t)number;
    host->tun_fd = tun_open(netns + 1, own_fd);
}

int main(int argc, char **argv)
{
    static struct net net;
    if (argc < 3 || !str_to_u64(argv[1], &net.rng)) {
        fprintf(stderr, "usage: switch SEED NAME=NETNS=ADDRESS...\n");
        return 2;
    }
    net.rng = net.rng * 2 + 1; /* xorshift's state must not be zero */
    int own_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    for (int i = 2; i < argc; i++) {
        host_add(&net, argv[i], own_fd);
    }
    setvbuf(stdin, NULL, _IONBF, 0); /* poll must not miss a line that stdio has read already */
    printf("ready\n");
    (void)fflush(stdout); /* as above */
    struct pollfd fds[HOSTS_MAX + 1];
    for (size_t i = 0; i < net.hosts; i++) {
        fds[i] = (struct pollfd){.fd = net.host[i].tun_fd, .events = POLLIN};
    }
    fds[net.hosts] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    for (;;) {
        struct timespec wait = {0};
        if (net.queued > 0) {
            int64_t left_us = net.heap[0].due_us - now_us();
            left_us = left_us > 0 ? left_us : 0;
            wait =
                (struct timespec){.tv_sec = left_us / 1000000, .tv_nsec = left_us % 1000000 * 1000};
        }
        if (ppoll(fds, net.hosts + 1, net.queued > 0 ? &wait : NULL, NULL) < 0 && errno != EINTR) {
            fail("poll", "");
        }
        for (size_t i = 0; i < net.hosts; i++) {
            if (fds[i].revents != 0) {
                take(&net, i);
            }
        }
        land(&net);
        if (fds[net.hosts].revents != 0 && !obey(&net)) {
            return 0;
        }
    }
}
