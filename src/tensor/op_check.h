/* SPDX-License-Identifier: MIT
 *
 * How a checked call is written: one line per tensor, its name, the dtypes it may have, its shape
 * in the letters of the op's formula.  The first fault is kept.
 */
#ifndef VMT_TENSOR_OP_CHECK_H
#define VMT_TENSOR_OP_CHECK_H

#include "base/quant.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A call under check. */
struct call {
    vmt_ctx *ctx;
    const char *op;
    enum vmt_status status;
};

enum { ANY = -1 }; /* an axis of any length from 1 */

/* What a letter admits: R, A: the context's two; W: as files store weights; Q: in few bits;
 * I: indices; F: any floating; *: anything. */
static inline bool dtype_fits(const struct call *call, enum vmt_dtype dtype, const char *letters)
{
    const bool is_half = dtype == VMT_F16 || dtype == VMT_BF16;
    for (; *letters; letters++)
        if ((*letters == 'R' && dtype == call->ctx->real) ||
            (*letters == 'A' && dtype == call->ctx->act) ||
            (*letters == 'W' && (dtype == VMT_F32 || is_half)) ||
            (*letters == 'F' && (dtype == VMT_F32 || dtype == VMT_F64 || is_half)) ||
            (*letters == 'Q' && vmt_is_quantised(dtype)) || (*letters == 'I' && dtype == VMT_I32) ||
            *letters == '*')
            return true;
    return false;
}

static inline void reject(struct call *call, const char *argument, const char *format, ...)
    VMT_PRINTF(3, 4);

static inline void reject(struct call *call, const char *argument, const char *format, ...)
{
    char text[512];
    va_list args;

    if (call->status != VMT_OK)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    call->status =
        vmt_fail(call->ctx, VMT_E_INTERNAL, "op %s: argument %s: %s", call->op, argument, text);
}

static inline void check_tensor(struct call *call, const char *name, const vmt_tensor *t,
                                const char *dtypes, int rank, const int64_t *shape)
{
    char have[128], want[128];
    vmt_tensor wanted = {.rank = rank};
    bool fits = true;

    if (call->status != VMT_OK)
        return;
    if (!t || !t->data) {
        reject(call, name, "no tensor");
        return;
    }
    fits = t->rank == rank;
    for (int i = 0; i < rank; i++) {
        wanted.shape[i] = shape[i];
        fits = fits && t->shape[i] >= 1 && (shape[i] == ANY || t->shape[i] == shape[i]);
    }
    if (!fits)
        reject(call, name, "shape %s, wanted %s (-1: any)", vmt_shape_text(t, have),
               vmt_shape_text(&wanted, want));
    else if (!dtype_fits(call, t->dtype, dtypes))
        reject(call, name, "dtype %s, wanted one of %s (R = %s, A = %s, W, F: floating, I = I32)",
               vmt_dtype_name(t->dtype), dtypes, vmt_dtype_name(call->ctx->real),
               vmt_dtype_name(call->ctx->act));
}

/* Length of an axis, 0 when there is none; a later check names the fault. */
static inline int64_t axis(const vmt_tensor *t, int i)
{
    return t && i < t->rank ? t->shape[i] : 0;
}

static inline void check_like(struct call *call, const char *name, const vmt_tensor *t,
                              const char *dtypes, const vmt_tensor *model)
{
    if (!model)
        reject(call, name, "its model is absent");
    else
        check_tensor(call, name, t, dtypes, model->rank, model->shape);
}

static inline void check_bool(struct call *call, const char *argument, bool holds,
                              const char *wanted)
{
    if (!holds)
        reject(call, argument, "wanted %s", wanted);
}

#define BEGIN(name)                                                                                \
    struct call call = {ctx, #name, VMT_OK};                                                       \
    (void)0
#define WANT(t, dtypes, ...) check_tensor(&call, #t, t, dtypes, VMT_SHAPE(__VA_ARGS__))
#define WANT_LIKE(t, dtypes, model) check_like(&call, #t, t, dtypes, model)
#define WANT_THAT(argument, condition) check_bool(&call, argument, condition, #condition)
#define RUN(name, ...) return call.status != VMT_OK ? call.status : ctx->ops->name(ctx, __VA_ARGS__)

#endif
