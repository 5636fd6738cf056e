/* codec/consulservice: the words that Consul's agent and catalogue are spoken to with. */
#include "codec/consulservice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_names(void **state)
{
    (void)state;
    static const char *const table[][2] = {{"demo", "demo"},
                                           {"Batman", "batman"},
                                           {"my_cluster.v2", "my-cluster-v2"},
                                           {"a b-c", "a-b-c"},
                                           {"x/y", "xu0047y"},
                                           {"caf\xC3\xA9", "cafu0233"},
                                           {"\xE2\x82\xAC", "u8364"},
                                           {"\xF0\x9F\x90\x98", "u128024"}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char name[CONSULSERVICE_NAME_SIZE];
        assert_true(consulservice_name(table[i][0], name));
        assert_string_equal(name, table[i][1]);
    }
    char long_scope[CONSULSERVICE_NAME_SIZE + 1];
    memset(long_scope, 'a', sizeof(long_scope));
    long_scope[CONSULSERVICE_NAME_SIZE] = '\0';
    char name[CONSULSERVICE_NAME_SIZE] = "as it was";
    assert_false(consulservice_name(long_scope, name));
    assert_false(consulservice_name("", name));
    assert_false(consulservice_name("\xC3", name));
    assert_string_equal(name, "as it was");
    long_scope[CONSULSERVICE_NAME_SIZE - 1] = '\0';
    assert_true(consulservice_name(long_scope, name));
}

static struct consulservice a_service(void)
{
    static const char *const tags[] = {"blue", "zone-b"};
    return (struct consulservice){.name = "demo",
                                  .id = "demo/n1",
                                  .role = "primary",
                                  .tags = tags,
                                  .tag_count = 2,
                                  .host = "10.0.0.1",
                                  .port = 5433,
                                  .api_url = "https://10.0.0.1:8008/patroni",
                                  .check_interval = "5s",
                                  .tls_server_name = "",
                                  .deregister_after_ms = 300000};
}

static void test_registration(void **state)
{
    (void)state;
    struct consulservice service = a_service();
    char *text = consulservice_register_text(&service);
    assert_string_equal(text, "{\"ID\":\"demo/n1\",\"Name\":\"demo\",\"Tags\":[\"blue\",\"zone-b\","
                              "\"primary\",\"master\"],\"Address\":\"10.0.0.1\",\"Port\":5433,"
                              "\"EnableTagOverride\":true,\"Check\":{\"HTTP\":"
                              "\"https://10.0.0.1:8008/primary\",\"Interval\":\"5s\","
                              "\"DeregisterCriticalServiceAfter\":\"300000ms\","
                              "\"Status\":\"passing\"}}");
    free(text);
    service.role = "standby_leader";
    service.tls_server_name = "n1.example";
    text = consulservice_register_text(&service);
    assert_non_null(strstr(text, "\"Tags\":[\"blue\",\"zone-b\",\"standby-leader\"]"));
    assert_non_null(strstr(text, ":8008/standby-leader\""));
    assert_non_null(strstr(text, "\"TLSServerName\":\"n1.example\""));
    free(text);
    static const char *const no_hosts[] = {"", "10.0.0.1:8008", "http://", "http:///patroni"};
    for (size_t i = 0; i < sizeof(no_hosts) / sizeof(no_hosts[0]); i++) {
        service.api_url = no_hosts[i];
        assert_null(consulservice_register_text(&service));
    }
}

#define ENTRY(node, id, tags, index)                                                               \
    "{\"Node\":\"" node "\",\"ServiceID\":\"" id                                                   \
    "\",\"ServiceName\":\"demo\",\"ServiceTags\":" tags                                            \
    ",\"ServiceAddress\":\"10.0.0.9\",\"ServicePort\":5432,\"ServiceMeta\":{\"a\":\"b\"},"         \
    "\"ServiceWeights\":{\"Passing\":1,\"Warning\":1},\"ServiceEnableTagOverride\":true,"          \
    "\"ModifyIndex\":" index "}"

static struct consulservice_list read_list(const char *body)
{
    struct consulservice_list list;
    assert_int_equal(consulservice_list_read(body, strlen(body), &list, NULL), ERR_OK);
    return list;
}

static void test_the_list(void **state)
{
    (void)state;
    const char *body = "[" ENTRY("c1", "demo/n1", "[\"blue\",\"primary\"]",
                                 "7") "," ENTRY("c2", "demo/n2", "null", "8") "]";
    struct consulservice_list list = read_list(body);
    assert_true(consulservice_list_has(&list, "demo/n1", "primary"));
    assert_false(consulservice_list_has(&list, "demo/n1", "replica"));
    assert_false(consulservice_list_has(&list, "demo/n2", "primary"));
    assert_false(consulservice_list_has(&list, "demo/n3", "primary"));
    consulservice_list_fini(&list);
    for (size_t size = 0; size < strlen(body); size++) {
        assert_int_equal(consulservice_list_read(body, size, &list, NULL), ERR_INVALID);
    }
    static const char *const wrong[] = {"{}",
                                        "[1]",
                                        "[{}]",
                                        "[{\"Node\":1}]",
                                        "[" ENTRY("c1", "x", "\"primary\"", "1") "]",
                                        "[" ENTRY("c1", "x", "[]", "\"1\"") "]"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(consulservice_list_read(wrong[i], strlen(wrong[i]), &list, NULL),
                         ERR_INVALID);
    }
}

static void test_the_correction(void **state)
{
    (void)state;
    struct consulservice_list list =
        read_list("[" ENTRY("c1", "demo/n1", "[\"blue\",\"primary\",\"master\"]", "7") "," ENTRY(
            "c2", "demo/n2", "[\"primary\",\"master\"]", "8") "," ENTRY("c3", "demo/n3",
                                                                        "[\"replica\"]", "9") "]");
    char *text = consulservice_correction(&list, "demo/n2", "service/demo/leader", 55);
    assert_string_equal(
        text,
        "[{\"KV\":{\"Verb\":\"check-index\",\"Key\":\"service/demo/leader\",\"Index\":55}},"
        "{\"Service\":{\"Verb\":\"cas\",\"Node\":\"c1\",\"Service\":{\"ID\":\"demo/n1\","
        "\"Service\":\"demo\",\"Address\":\"10.0.0.9\",\"Port\":5432,\"Meta\":{\"a\":\"b\"},"
        "\"Weights\":{\"Passing\":1,\"Warning\":1},\"ModifyIndex\":7,\"EnableTagOverride\":true,"
        "\"Tags\":[\"blue\"]}}}]");
    free(text);
    consulservice_list_fini(&list);
    list = read_list("[" ENTRY("c2", "demo/n2", "[\"primary\"]",
                               "8") "," ENTRY("c3", "demo/n3", "[\"replica\"]", "9") "]");
    assert_null(consulservice_correction(&list, "demo/n2", "service/demo/leader", 55));
    consulservice_list_fini(&list);
    list = read_list("[" ENTRY("c3", "demo/n3", "[\"standby-leader\"]", "9") "]");
    text = consulservice_correction(&list, "demo/n2", "service/demo/leader", 55);
    assert_non_null(strstr(text, "\"Tags\":[]"));
    free(text);
    consulservice_list_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_registration),
        cmocka_unit_test(test_the_list),
        cmocka_unit_test(test_the_correction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
