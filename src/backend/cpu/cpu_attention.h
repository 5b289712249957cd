/* SPDX-License-Identifier: MIT
 *
 * What both directions of attention share: sizes, and heads of tensors as rows.
 */
#ifndef VMT_CPU_ATTENTION_H
#define VMT_CPU_ATTENTION_H

#include "backend/cpu/cpu_state.h"
#include "base/arena.h"

/* Of some sequences, whose tokens lie one behind another; heads are counted through all of them. */
typedef struct cpu_heads {
    const cpu_kernels *kernels;
    int64_t sequences;
    int64_t nq, nk, heads, d, stride; /* a token's next head is d on, the next token n·d */
    bool pairs;                       /* units are pairs of bf16 */
    int64_t per_unit;                 /* elements of a unit: 1 or 2 */
    int64_t steps;                    /* units of a row of d */
    int64_t width;                    /* floats of a row of d in scratch */
    int64_t panels;                   /* panels that d columns take */
} cpu_heads;

static inline int64_t cpu_round_up(int64_t x, int64_t to)
{
    return (x + to - 1) / to * to;
}

static inline cpu_heads cpu_heads_of(vmt_ctx *ctx, int64_t sequences, const vmt_tensor *q,
                                     const vmt_tensor *k)
{
    cpu_heads h = {.kernels = cpu_of(ctx)->kernels,
                   .sequences = sequences,
                   .nq = q->shape[0] / sequences,
                   .nk = k->shape[0] / sequences,
                   .heads = sequences * q->shape[1],
                   .d = q->shape[2]};
    h.stride = q->shape[1] * h.d;
    h.pairs = ctx->act == VMT_BF16 && h.kernels->pairs;
    h.per_unit = h.pairs ? 2 : 1;
    h.steps = (h.d + h.per_unit - 1) / h.per_unit;
    h.width = cpu_round_up(h.d, CPU_MAX_LANES);
    h.panels = (h.d + h.kernels->panel - 1) / h.kernels->panel;
    return h;
}

/* Element of row `row` of a head in a [sequences · N, n, d] tensor. */
static inline size_t cpu_head_at(const cpu_heads *h, const vmt_tensor *t, int64_t head, int64_t row)
{
    const int64_t own = t->shape[1], before = head / own * (t->shape[0] / h->sequences);
    return (size_t)((before + row) * h->stride + head % own * h->d);
}

/* Rows first… of head `head`. */
static inline cpu_rows cpu_head_rows(const cpu_heads *h, const vmt_tensor *t, int64_t head,
                                     int64_t first)
{
    const size_t at = cpu_head_at(h, t, head, first) * vmt_dtype_bytes(t->dtype);
    return (cpu_rows){(const unsigned char *)t->data + at, h->stride, t->dtype == VMT_BF16};
}

/* Stores `count` floats as row `row` of a head. */
static inline void cpu_head_store(const cpu_heads *h, vmt_tensor *t, int64_t head, int64_t row,
                                  const float *values)
{
    const size_t at = cpu_head_at(h, t, head, row) * vmt_dtype_bytes(t->dtype);
    cpu_convert(h->kernels, (unsigned char *)t->data + at, t->dtype, values, VMT_F32, h->d);
}

/* Units of a right operand xᵀ of `rows` rows, and of x of `rows` rows (one panel of it). */
static inline int64_t cpu_across_units(const cpu_heads *h, int64_t rows)
{
    return cpu_round_up(rows, h->kernels->panel) * h->steps;
}

static inline int64_t cpu_along_panel(const cpu_heads *h, int64_t rows)
{
    return (rows + h->per_unit - 1) / h->per_unit * h->kernels->panel;
}

/* c = a xᵀ of rows as pack_rows, and `columns` rows x as pack_across leaves them: q kᵀ, do vᵀ. */
static inline void cpu_head_product(const cpu_heads *h, float *c, int64_t c_row, const uint32_t *a,
                                    int64_t rows, const uint32_t *x, int64_t columns)
{
    const cpu_product product = {.a = a,
                                 .a_row = h->steps,
                                 .a_step = 1,
                                 .b = x,
                                 .b_panel = h->steps * h->kernels->panel,
                                 .b_step = h->kernels->panel,
                                 .c_row = c_row,
                                 .rows = rows,
                                 .columns = columns,
                                 .steps = h->steps,
                                 .pairs = h->pairs};
    h->kernels->product(c, &product);
}

/* Whether a thread takes a head whole, what it packs being its own, and not all threads some of it:
 * there are enough small ones. */
static inline bool cpu_whole_heads(const cpu_heads *h, int threads)
{
    return h->sequences > 1 && h->heads >= 4 * threads;
}

/* Heads that are packed at a time: as many as fit into PACKED_BYTES, at least one. */
static inline int64_t cpu_heads_at_once(const cpu_heads *h, size_t bytes_of_one)
{
    enum { PACKED_BYTES = 64 << 20 };
    const int64_t fit = bytes_of_one ? (int64_t)(PACKED_BYTES / bytes_of_one) : h->heads;
    return fit < 1 ? 1 : cpu_min(fit, h->heads);
}

#endif
