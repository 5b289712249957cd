/* SPDX-License-Identifier: MIT
 *
 * The oracle: every op in plain C.  These files are compiled twice, with VMT_REF_BITS 32 and 64:
 * `real` is float or double, and REF(linear) is linear_ref32 or linear_ref64.  Norms, softmaxes and
 * losses sum in double in both.  No sum is split over threads, so the results do not depend on
 * their number.
 *
 * Loops whose sum runs over a row are ordered with that sum outermost, over a transposed operand:
 * the compiler may not reorder a float sum, but it may compute neighbouring sums side by side.
 */
#ifndef VMT_REF_H
#define VMT_REF_H

#include "backend/backend.h"
#include "base/half.h"
#include "tensor/tensor.h"

#include <math.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#if VMT_REF_BITS == 64
typedef double real;
#define REF(name) name##_ref64
#define VMT_REAL VMT_F64
#elif VMT_REF_BITS == 32
typedef float real;
#define REF(name) name##_ref32
#define VMT_REAL VMT_F32
#else
#error "compile with VMT_REF_BITS=32 or 64"
#endif

/* A parallel loop over independent iterations; the loop body finds its scratch by ref_thread(). */
#ifdef _OPENMP
#define REF_PRAGMA(text) _Pragma(#text)
#define REF_PARALLEL_FOR(ctx)                                                                      \
    REF_PRAGMA(omp parallel for num_threads((ctx)->threads) schedule(static))
static inline int ref_thread(void)
{
    return omp_get_thread_num();
}
#else
#define REF_PARALLEL_FOR(ctx) (void)(ctx);
static inline int ref_thread(void)
{
    return 0;
}
#endif

static inline real ref_exp(real x)
{
#if VMT_REF_BITS == 64
    return exp(x);
#else
    return expf(x);
#endif
}

static inline real ref_tanh(real x)
{
#if VMT_REF_BITS == 64
    return tanh(x);
#else
    return tanhf(x);
#endif
}

static inline real ref_sqrt(real x)
{
#if VMT_REF_BITS == 64
    return sqrt(x);
#else
    return sqrtf(x);
#endif
}

static inline int64_t ref_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- memory (ref_memory.c) */

/* Elements first..first+count-1 as reals: where they lie when the tensor is of dtype R, else
 * converted into `buffer` (of `count`).  Exact but for F64 read as float. */
const real *REF(load)(const vmt_tensor *t, int64_t first, int64_t count, real *buffer);

/* Rounds `count` values to the tensor's dtype (nearest, ties to even) and stores them. */
void REF(store)(vmt_tensor *t, int64_t first, int64_t count, const real *values);

/* `shared` reals for all threads followed by `own` for each thread; kept from call to call.
 * *own_first is the first thread's; thread i's begin own · i later. */
enum vmt_status REF(scratch)(vmt_ctx *ctx, int64_t shared, int64_t own, real **shared_first,
                             real **own_first);

/* The [rows, cols] part of x that begins at element `first`, rows `stride` apart: as it is, and
 * transposed (each may be NULL). */
void REF(load_matrix)(real *plain, real *transposed, const vmt_tensor *x, int64_t rows,
                      int64_t cols, int64_t stride, int64_t first);

/* ---- shared pieces */

/* z[j] = Σ_c x[c] columns[c, j]: one row against many, given transposed as [d, count]. */
void REF(dots)(real *z, const real *x, const real *columns, int64_t d, int64_t count);

/* y[c] = Σ_j a[j] rows[j, c]: rows is [count, d]. */
void REF(weighted_rows)(real *y, const real *a, const real *rows, int64_t count, int64_t d);

/* z becomes softmax(z); returns log Σ exp. */
real REF(softmax)(real *z, int64_t count);

/* gelu(x), the tanh form; silu(x). */
real REF(gelu_of)(real x);
real REF(silu_of)(real x);

#if VMT_REF_BITS == 64 /* that of ref32: backend.h */
void REF(flow_window_axis)(int32_t *entry, real centre, int64_t count, int64_t size,
                           enum vmt_flow_positions positions);
#endif

/* ---- the ops: tensor/tensor.h gives arguments and formulas */

#define REF_OP(name) vmt_op_##name REF(name)

REF_OP(upload);
REF_OP(spill_out);
REF_OP(spill_back);
REF_OP(zero);
REF_OP(all_finite);
REF_OP(mark_bad);
void *REF(alloc)(vmt_ctx *ctx, size_t bytes);
void REF(release)(vmt_ctx *ctx, void *memory);
void REF(close)(vmt_ctx *ctx);
void REF(trim)(vmt_ctx *ctx);

REF_OP(linear);
REF_OP(linear_fp8);
REF_OP(linear_bwd);
REF_OP(linear_bwd_acc);

REF_OP(lincomb);
REF_OP(gelu);
REF_OP(gelu_bwd);
REF_OP(silu);
REF_OP(gelu_gate);
REF_OP(add);
REF_OP(gate_residual);
REF_OP(gate_residual_bwd);

REF_OP(norm_modulate);
REF_OP(norm_modulate_bwd_acc);
REF_OP(layer_norm);
REF_OP(layer_norm_bwd_acc);
REF_OP(rms_norm_rope);
REF_OP(rms_norm_rope_bwd);
REF_OP(rms_norm_channel);

REF_OP(attention);
REF_OP(attention_bwd);
REF_OP(attention_local);
REF_OP(attention_local_bwd);

REF_OP(patchify);
REF_OP(patchify_bwd);
REF_OP(unpatchify);
REF_OP(unpatchify_bwd);
REF_OP(embed);
REF_OP(upsample2);
REF_OP(split_frames);
REF_OP(conv3d);

REF_OP(qk_reduce);
REF_OP(qk_reduce_bwd);
REF_OP(flow_full);
REF_OP(flow_full_bwd_acc);
REF_OP(flow_top);
REF_OP(flow_top_bwd_acc);
REF_OP(flow_windows);
REF_OP(flow_windowed);
REF_OP(flow_windowed_bwd_acc);
REF_OP(flow_loss);
REF_OP(window_mean);
REF_OP(window_mean_bwd_acc);
REF_OP(track_loss);
REF_OP(pool);
REF_OP(pool_bwd);
REF_OP(centre);
REF_OP(unit_rows);
REF_OP(unit_rows_bwd);
REF_OP(adamw_step);

#endif
