/* SPDX-License-Identifier: MIT
 *
 * Own kernels of backend "cpu": plain C on rows of floats, one thread, no memory of their own.
 * The files in kernels/ are compiled once per instruction set; each build fills one such table.
 * Outputs may be inputs where the op of the same name allows it.
 */
#ifndef VMT_CPU_KERNELS_H
#define VMT_CPU_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Products on packed operands.  A unit is 32 bits: one float or, at a level with `pairs`, two bf16
 * that are neighbours along the summed axis; a step takes one unit of it.  The left operand holds
 * units any distance apart, its rows rounded up to CPU_TILE_ROWS.  The right one lies in panels of
 * `panel` columns, [panel][step][column]; floats whose steps are rows may also lie as they are,
 * with room for columns rounded up to CPU_MAX_LANES.  Rounded up parts are zero where it matters.
 */
enum { CPU_TILE_ROWS = 6, CPU_MAX_LANES = 16 };

/* Rows of floats or bf16 in memory, `row` elements apart. */
typedef struct cpu_rows {
    const void *data;
    int64_t row;
    bool is_bf16;
} cpu_rows;

/* c = a b; c += a b; or, with `factor`, c = factor_i c + a b.   c: [rows, columns] c_row apart,
 * with room for rows rounded up to CPU_TILE_ROWS and columns rounded up to CPU_MAX_LANES. */
typedef struct cpu_product {
    const uint32_t *a, *b;
    int64_t a_row, a_step;   /* units from row to row, from step to step */
    int64_t b_panel, b_step; /* units from panel to panel, from step to step */
    int64_t c_row;           /* floats from row to row */
    int64_t rows, columns, steps;
    const float *factor;
    bool add, pairs;
} cpu_product;

typedef struct cpu_kernels {
    const char *level; /* "base", "avx2", "avx512", "avx512_bf16" */
    int panel;         /* columns of a packed panel */
    bool pairs;        /* bf16 are multiplied in pairs, by an instruction */

    void (*f32_of_bf16)(float *y, const uint16_t *x, int64_t n);
    void (*f32_of_f16)(float *y, const uint16_t *x, int64_t n);
    void (*bf16_of_f32)(uint16_t *y, const float *x, int64_t n); /* nearest, ties to even */

    /* elementwise over n */
    void (*gelu)(float *y, const float *x, int64_t n);
    void (*gelu_bwd)(float *dx, const float *dy, const float *x, int64_t n);
    void (*silu)(float *y, const float *x, int64_t n);
    void (*gelu_gate)(float *y, const float *x, const float *gate, int64_t n);
    void (*lincomb)(float *y, const float *x, const float *z, float a, float b, int64_t n);
    void (*add)(float *y, const float *x, const float *z, int64_t n);
    void (*mul)(float *y, const float *x, const float *z, int64_t n);
    void (*mul_add)(float *y, const float *x, const float *g, const float *z,
                    int64_t n); /* x + gz */
    void (*scale)(float *y, const float *x, float a, int64_t n);

    /* one row of n; norms as in vmt_ops; factor counts as plus_one + factor */
    void (*norm)(float *y, const float *x, const float *factor, const float *offset, float plus_one,
                 double eps, int64_t n);
    void (*norm_bwd_acc)(float *dx, const float *dy, const float *x, const float *factor,
                         float plus_one, double eps, int64_t n);
    /* n = heads · head_dim; cosines NULL: no rotation */
    void (*rms_rope)(float *y, const float *x, const float *weight, const float *cosines,
                     const float *sines, double eps, int64_t heads, int64_t head_dim);
    void (*rms_rope_bwd)(float *dx, const float *dy, const float *x, const float *weight,
                         const float *cosines, const float *sines, double eps, int64_t heads,
                         int64_t head_dim);
    /* rows of n channels each */
    void (*rms_channel)(float *y, const float *x, const float *gamma, bool silu, int64_t rows,
                        int64_t n);

    /* p_j = exp(scale p_j + bias_j - max), in place; *max and *sum are those of the row; bias may
     * be NULL. */
    void (*softmax)(float *p, float scale, const float *bias, float *max, float *sum, int64_t n);
    /* s_j becomes P_j = exp(scale s_j - lse), dp_j becomes dS_j = scale P_j (dp_j - delta). */
    void (*softmax_bwd)(float *s, float *dp, float scale, float lse, float delta, int64_t n);
    float (*dot)(const float *x, const float *y, int64_t n);

    /* Left operand: x [rows, cols] as units, rows `unit_row` apart. */
    void (*pack_rows)(uint32_t *units, int64_t unit_row, cpu_rows x, int64_t rows, int64_t cols,
                      bool pairs);
    /* Right operand xᵀ: panels of x's rows, steps along its columns. */
    void (*pack_across)(uint32_t *units, cpu_rows x, int64_t rows, int64_t cols, bool pairs);
    /* Right operand x: panels of x's columns, `unit_panel` units apart, steps along its rows. */
    void (*pack_along)(uint32_t *units, int64_t unit_panel, cpu_rows x, int64_t rows, int64_t cols,
                       bool pairs);
    void (*product)(float *c, const cpu_product *p);

    /* Rows of attention in blocks of keys.  Logits count in powers of two: the caller's scale and
     * lse have log2 e in them; z = scale s + log2 e bias (NULL: none).  s and p have n elements
     * rounded up to 32; p (of bf16 if `pairs`, else s itself) is zero behind n. The row's next n
     * keys: p = 2^(z - max) under the new *max; *sum likewise; *factor corrects what was summed
     * under the old one. */
    void (*softmax_next)(void *p, float *s, float scale, const float *bias, float *max, float *sum,
                         float *factor, int64_t n, bool pairs);
    /* s becomes P = 2^(scale s - lse), dp becomes dS = P (dp - delta), for two rows `row` floats
     * apart; lse and delta of both.  With `pairs`, instead, units of both rows in p and ds, and ds
     * row by row in bf16, `row` elements apart, in ds_rows. */
    void (*softmax_grad)(float *s, float *dp, int64_t row, float scale, const float *lse,
                         const float *delta, int64_t n, uint32_t *p, uint32_t *ds,
                         uint16_t *ds_rows, bool pairs);

    /* Attention motion flow of up to `row` queries side by side, rounded up to CPU_MAX_LANES:
     * z [count, row] are q·k of `count` keys at places (u, v), a = 2^(scale z) / Σ over the keys.
     * mean [2, row]: place (u₀, v₀) becomes Σ a (u - u₀), Σ a (v - v₀). */
    void (*flow_mean)(float *mean, const float *z, int64_t row, float scale, const float *u,
                      const float *v, int64_t count, int64_t queries);
    /* z becomes dz = factor a (g_u (u - mean_u) + g_v (v - mean_v)); from [4, row]: g_u, g_v,
     * mean_u, mean_v of each query. */
    void (*flow_grad)(float *z, int64_t row, float scale, float factor, const float *from,
                      const float *u, const float *v, int64_t count, int64_t queries);
} cpu_kernels;

extern const cpu_kernels vmt_cpu_kernels_base;
#ifdef FASTVMT_CPU_X86
extern const cpu_kernels vmt_cpu_kernels_avx2, vmt_cpu_kernels_avx512, vmt_cpu_kernels_avx512_bf16;
#endif

#endif
