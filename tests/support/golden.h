/* SPDX-License-Identifier: MIT
 *
 * Golden files: tests/data/golden/NAME.safetensors, inputs "in.*", results "out.*".
 * Everything taken from here lives until golden_close.
 */
#ifndef GOLDEN_H
#define GOLDEN_H

#include "testing.h"

#include "model/tensor_file.h"

typedef struct golden golden;

/* Opens tests/data/golden/NAME.safetensors; tensors are made on ctx's backend. */
golden *golden_open(vmt_ctx *ctx, const char *name);
void golden_close(golden *g);
const vmt_tensor_file *golden_file(const golden *g);
int64_t golden_int(const golden *g, const char *key);
/* "4x6x8" of the metadata. */
void golden_sizes(const golden *g, const char *key, int64_t *sizes, int count);

/* A stored tensor under another shape of as many elements, as R, as A, or as a weight (dtype as
 * stored). */
vmt_tensor golden_real(golden *g, const char *name, int rank, const int64_t *shape);
vmt_tensor golden_act(golden *g, const char *name, int rank, const int64_t *shape);
/* "NAME.weight" and, if it is there, "NAME.bias". */
vmt_weight golden_weight(golden *g, const char *name);

/* A tensor for results, R or A, filled with NaN; or zero. */
vmt_tensor golden_new(golden *g, enum vmt_dtype dtype, int rank, const int64_t *shape);
vmt_tensor golden_zeros(golden *g, enum vmt_dtype dtype, int rank, const int64_t *shape);

/* Compares with the stored tensor, element by element in its order.  tolerance: absolute, for a
 * float backend; on ref64 the rounding of the stored floats, 2^-22 of the largest. */
void golden_check(golden *g, const char *name, const vmt_tensor *got, double tolerance);

/* Runs the tests on every backend of this build in float, and on ref64; each begins with
 * golden_ctx(state).  Returns main()'s exit code. */
int golden_backends_main(const struct CMUnitTest *tests, size_t count);
/* The same on every backend in each of its dtypes, without ref64. */
int golden_dtypes_main(const struct CMUnitTest *tests, size_t count);
vmt_ctx *golden_ctx(void **state);

#endif
