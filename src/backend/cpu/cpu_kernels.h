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

typedef struct cpu_kernels {
    const char *level; /* "base", "avx2", "avx512" */

    void (*f32_of_bf16)(float *y, const uint16_t *x, int64_t n);
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
} cpu_kernels;

extern const cpu_kernels vmt_cpu_kernels_base;
#ifdef FASTVMT_CPU_X86
extern const cpu_kernels vmt_cpu_kernels_avx2, vmt_cpu_kernels_avx512;
#endif

#endif
