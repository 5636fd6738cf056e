/* Everything below one directory that mkdtemp made; no server is ever started. */
#include "fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"

static void path_of(const struct fixture *fixture, const char *name, char out[PATH_SIZE])
{
    assert_true(str_format(out, PATH_SIZE, "%s/%s", fixture->root, name));
}

void fixture_make_dir(const struct fixture *fixture, const char *name)
{
    char path[PATH_SIZE];
    path_of(fixture, name, path);
    assert_int_equal(mkdir(path, 0700), 0);
}

void fixture_prepare(struct fixture *fixture)
{
    *fixture = (struct fixture){.root = "/tmp/holdfast-pg-XXXXXX"};
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    assert_non_null(mkdtemp(fixture->root));
    fixture_make_dir(fixture, "data");
    assert_true(str_format(fixture->data, sizeof(fixture->data), "%s/data", fixture->root));
    assert_true(str_format(fixture->state, sizeof(fixture->state), "%s/state", fixture->root));
    assert_true(str_format(fixture->pgpass, sizeof(fixture->pgpass), "%s/pgpass", fixture->root));
    fixture->config = (struct pg_config){
        .scope = "demo",
        .name = "Node-1.x",
        .listen_addresses = "127.0.0.1",
        .port = 5432,
        .connect_host = "127.0.0.1",
        .connect_port = 5432,
        .data_dir = fixture->data,
        .bin_dir = "/nonexistent",
        .state_dir = fixture->state,
        .pgpass = fixture->pgpass,
        .database = "postgres",
        .replication = {.username = "replicator"},
        .use_slots = true,
        .set_aside_max_bytes = 1024 * 1024,
    };
}

static void order_start(void *arg, const struct pg_process_start *request)
{
    (void)request;
    ((struct fixture *)arg)->orders++;
}

static void order_adopt(void *arg, int64_t pid, uint64_t start_ticks)
{
    (void)pid;
    (void)start_ticks;
    ((struct fixture *)arg)->orders++;
}

static void order_stop(void *arg, bool hard)
{
    (void)hard;
    ((struct fixture *)arg)->orders++;
}

void fixture_start(struct fixture *fixture)
{
    const struct pg_process process = {fixture, order_start, order_adopt, order_stop};
    assert_int_equal(
        pg_create(&fixture->loop, &fixture->config, &process, NULL, NULL, &fixture->pg), ERR_OK);
}

static void on_closed(void *arg)
{
    ((struct fixture *)arg)->pg = NULL;
}

void fixture_stop(struct fixture *fixture)
{
    pg_destroy(fixture->pg, on_closed, fixture);
    assert_int_equal(uv_run(&fixture->loop, UV_RUN_DEFAULT), 0);
    assert_null(fixture->pg);
}

void fixture_end(struct fixture *fixture)
{
    if (fixture->pg != NULL) {
        fixture_stop(fixture);
    }
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    assert_int_equal(fixture->orders, 0);
    assert_int_equal(pg_dir_clear(fixture->root, NULL), ERR_OK);
    assert_int_equal(rmdir(fixture->root), 0);
}

void fixture_write(const struct fixture *fixture, const char *name, const char *text)
{
    char path[PATH_SIZE];
    path_of(fixture, name, path);
    assert_int_equal(pg_file_write(path, text, 0600, false, NULL), ERR_OK);
}

void fixture_write_bytes(const struct fixture *fixture, const char *name, char fill, size_t size)
{
    AUTO_FREE char *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, fill, size);
    text[size] = '\0';
    fixture_write(fixture, name, text);
}

bool fixture_exists(const struct fixture *fixture, const char *name)
{
    char path[PATH_SIZE];
    path_of(fixture, name, path);
    return access(path, F_OK) == 0;
}

const char *fixture_read(const struct fixture *fixture, const char *name)
{
    static char text[FIXTURE_TEXT_SIZE];
    char path[PATH_SIZE];
    path_of(fixture, name, path);
    assert_true(pg_file_read(path, text, sizeof(text)));
    return text;
}
