/* agent/address_book: URLs are taken apart, entries survive a round trip, a full book forgets. */
#include "agent/address_book.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"

static void test_conn_url(void **state)
{
    (void)state;
    struct pg_source source;
    assert_true(address_to_source("n1", "postgres://10.0.0.1:5433/app", &source));
    assert_string_equal(source.name, "n1");
    assert_string_equal(source.host, "10.0.0.1");
    assert_int_equal(source.port, 5433);
    assert_string_equal(source.dbname, "app");

    assert_true(address_to_source("n1", "postgres://u:p@db.example?x=1", &source));
    assert_string_equal(source.host, "db.example");
    assert_int_equal(source.port, 5432);
    assert_string_equal(source.dbname, "postgres");

    assert_true(address_to_source("n1", "postgresql://[fe80::1]:6000/db?x=1", &source));
    assert_string_equal(source.host, "fe80::1");
    assert_int_equal(source.port, 6000);
    assert_string_equal(source.dbname, "db");

    static const char *const BAD[] = {"",
                                      "host=x",
                                      "mysql://h/db",
                                      "postgres:///db",
                                      "postgres://h:0/db",
                                      "postgres://h:70000/db",
                                      "postgres://h:12x/db",
                                      "postgres://[fe80::1/db"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        struct pg_source untouched = {.port = 1};
        assert_false(address_to_source("n1", BAD[i], &untouched));
        assert_int_equal(untouched.port, 1);
    }
}

static void test_api_path(void **state)
{
    (void)state;
    char url[URL_SIZE];
    assert_true(address_api_path("http://h:8008/patroni", "/x", url, sizeof(url)));
    assert_string_equal(url, "http://h:8008/x");
    assert_true(address_api_path("https://[::1]:8008", "/a/b", url, sizeof(url)));
    assert_string_equal(url, "https://[::1]:8008/a/b");
    assert_false(address_api_path("h:8008/patroni", "/x", url, sizeof(url)));
    assert_false(address_api_path("http://", "/x", url, sizeof(url)));
}

static void test_round_trip(void **state)
{
    (void)state;
    static struct address_book book;
    assert_true(address_book_set(&book, "n1", "http://a/patroni", "postgres://a/postgres"));
    assert_false(address_book_set(&book, "n1", "http://a/patroni", ""));
    assert_true(address_book_set(&book, "n2", "http://b/patroni", NULL));
    struct arena arena;
    arena_init(&arena, 65536);
    char *text = address_book_format(&book, &arena);
    assert_non_null(text);
    static struct address_book read;
    address_book_parse(&read, text, strlen(text));
    assert_int_equal(read.count, 2);
    assert_string_equal(address_book_find(&read, "n1")->conn_url, "postgres://a/postgres");
    assert_string_equal(address_book_find(&read, "n2")->api_url, "http://b/patroni");
    assert_null(address_book_find(&read, "n3"));
    static struct address_book none;
    address_book_parse(&none, text, strlen(text) / 2);
    assert_int_equal(none.count, 0);
    address_book_parse(&none, "{\"n\":3}", 7);
    assert_int_equal(none.count <= 1, 1); /* a name without URLs does no harm */
    arena_fini(&arena);
}

static void test_full_book_forgets_the_oldest(void **state)
{
    (void)state;
    static struct address_book book;
    for (int i = 0; i < ADDRESS_BOOK_MAX + 1; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "n%d", i);
        assert_true(address_book_set(&book, name, "http://x", NULL));
    }
    assert_int_equal(book.count, ADDRESS_BOOK_MAX);
    assert_null(address_book_find(&book, "n0"));
    assert_non_null(address_book_find(&book, "n1"));
}

static void test_full_book_keeps_what_is_needed(void **state)
{
    (void)state;
    static struct address_book book;
    for (int i = 0; i < ADDRESS_BOOK_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "n%d", i);
        assert_true(address_book_set(&book, name, "http://x", NULL));
    }
    address_book_need_none(&book);
    address_book_need(&book, "n0"); /* the oldest member */
    address_book_need(&book, "n2");
    address_book_need(&book, "nobody");
    assert_true(address_book_set(&book, "new1", "http://y", NULL));
    assert_true(address_book_set(&book, "new2", "http://z", NULL));
    assert_int_equal(book.count, ADDRESS_BOOK_MAX);
    assert_non_null(address_book_find(&book, "n0"));
    assert_null(address_book_find(&book, "n1"));
    assert_non_null(address_book_find(&book, "n2"));
    assert_null(address_book_find(&book, "n3"));
    assert_non_null(address_book_find(&book, "new1"));
    assert_string_equal(address_book_find(&book, "new2")->api_url, "http://z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conn_url),
        cmocka_unit_test(test_api_path),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_full_book_forgets_the_oldest),
        cmocka_unit_test(test_full_book_keeps_what_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
