/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz_conf: CONFIG SET of any name and value. */
#include <stdint.h>
#include <string.h>

#include "src/conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static struct conf_store *store;
    struct buf err = {0}, value = {0};
    if (store == NULL) {
        char *argv[] = {"fuzz", NULL};
        store = conf_load(1, argv, NULL, &err);
    }
    const uint8_t *space = memchr(data, ' ', n);
    if (space != NULL) {
        struct slice pair[2] = {slice_make(data, (size_t)(space - data)),
                                slice_make(space + 1, n - (size_t)(space + 1 - data))};
        conf_store_set(store, pair, 1, &err);
        struct conf *c = conf_store_current(store);
        conf_value(c, pair[0], &value);
        conf_unref(c);
    }
    buf_free(&err);
    buf_free(&value);
    return 0;
}
