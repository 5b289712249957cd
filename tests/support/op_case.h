/* SPDX-License-Identifier: MIT
 *
 * Runs one op on a backend and compares it with ref64 on the same inputs.
 *
 * A case is a function that makes tensors, calls the op, and nothing else.  It runs twice on the
 * backend (the bits must agree), twice with three threads (among themselves; ref's agree with one
 * thread, too), and once on ref64.  Inputs are drawn in double and rounded to the
 * dtypes of the backend under test, so that ref64 computes the exact result of what it was given.
 * Around every tensor lie canaries; outputs begin as NaN.
 *
 * Environment: VMT_OP=linear runs the cases of one op; VMT_BACKEND=cpu those of one backend;
 * VMT_SEED=7 draws other numbers.
 */
#ifndef OP_CASE_H
#define OP_CASE_H

#include "testing.h"

/* How inputs are drawn: [-1, 1) · gain; integers of -4..4; the first with every third row zero. */
enum op_fill { FILL_UNIFORM = 0, FILL_INTEGERS, FILL_ZERO_ROWS };

struct op_buffer;

/* One run of a case. */
typedef struct op_run {
    vmt_ctx *ctx;
    enum vmt_dtype round_real, round_act; /* what R and A are on the backend under test */
    test_rng rng;
    enum op_fill fill; /* from the case; the function may change it and `gain` between tensors */
    double gain;
    double scale;        /* at least this counts as the largest element: where operands cancel */
    const int64_t *size; /* from the case */
    struct op_buffer *buffers;
    int count;
} op_run;

enum { OP_SIZES = 12 };

typedef struct op_case {
    const char *op, *note;
    void (*run)(op_run *run);
    int64_t size[OP_SIZES]; /* whatever the function makes of them */
    enum op_fill fill;
    double gain; /* 0: 1 */
    /* Largest error: `ulps` times 2^-23 of the largest element of the output, or 2^-8 of it in
     * bf16; on top each element may be off by half a step of its own dtype.  0: the rounded result
     * exactly. */
    double ulps, ulps_bf16;
} op_case;

/* Inputs.  letter: 'R' or 'A'. */
vmt_tensor *op_in(op_run *run, char letter, int rank, const int64_t *shape);
/* I32 in [0, limit). */
vmt_tensor *op_ids(op_run *run, int64_t limit, int rank, const int64_t *shape);
/* I32 of given values. */
vmt_tensor *op_ints(op_run *run, const int32_t *values, int rank, const int64_t *shape);
/* A weight with values that R or A of the backend hold exactly, prepared for `use`; stored as
 * `dtype`; rank 2 or 5; with a bias if `bias`. */
vmt_weight *op_weight(op_run *run, unsigned use, enum vmt_dtype dtype, bool bias, int rank,
                      const int64_t *shape);

/* Outputs, compared under their name.  op_acc: with values that the op adds to, or changes. */
vmt_tensor *op_out(op_run *run, const char *name, char letter, int rank, const int64_t *shape);
vmt_tensor *op_acc(op_run *run, const char *name, char letter, int rank, const int64_t *shape);
/* I32, must be equal. */
vmt_tensor *op_out_ints(op_run *run, const char *name, int rank, const int64_t *shape);

/* Calls inside case functions. */
#define OP(run, name, ...) CHECK_OK((run)->ctx, vmt_##name((run)->ctx, __VA_ARGS__))

/* main() of a table: every case on every backend of this build; returns the exit code. */
int op_cases_main(const op_case *cases, size_t count);
#define OP_MAIN(cases)                                                                             \
    int main(void)                                                                                 \
    {                                                                                              \
        return op_cases_main(cases, sizeof(cases) / sizeof(cases)[0]);                             \
    }

#endif
