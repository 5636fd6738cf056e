/* libFuzzer's entry: which parser it is about is said by the environment variable HOLDFAST_FUZZ, which
 * the processes that libFuzzer starts for merging inherit. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static fuzz_function chosen;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    const char *name = getenv("HOLDFAST_FUZZ");
    chosen = name != NULL ? fuzz_find(name) : NULL;
    if (chosen == NULL) {
        (void)fprintf(stderr, "HOLDFAST_FUZZ names no fuzzer\n");
        exit(2);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    chosen(data, size);
    return 0;
}
