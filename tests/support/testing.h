/* SPDX-License-Identifier: MIT
 *
 * What every test includes: cmocka, the library, and the few helpers all of them share.
 */
#ifndef TESTING_H
#define TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/tensor.h"

/* Fails the test with the context's message unless the call is VMT_OK. */
#define CHECK_OK(ctx, call)                                                                        \
    do {                                                                                           \
        if ((call) != VMT_OK)                                                                      \
            fail_msg("%s: %s", #call, (ctx)->message);                                             \
    } while (0)

/* A context on a backend ("ref", "ref64", "cpu", …), closed by test_ctx_close. */
vmt_ctx *test_ctx_open(const char *backend, const char *dtype);
/* The same on several threads (test_ctx_open: one). */
vmt_ctx *test_ctx_open_threads(const char *backend, const char *dtype, int threads);
void test_ctx_close(vmt_ctx *ctx);

/* True when this build has the backend; false is said aloud. */
bool test_backend_built(const char *backend, const char *dtype);

/* xorshift numbers in [-1, 1): the same everywhere. */
typedef struct test_rng {
    uint64_t state;
} test_rng;
double test_uniform(test_rng *rng);

#endif
