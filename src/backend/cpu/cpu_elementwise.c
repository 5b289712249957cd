/* SPDX-License-Identifier: MIT
 *
 * Elementwise ops: cut into chunks that fit the first-level cache, each through one kernel.
 */
#include "backend/cpu/cpu_state.h"

#include <string.h>

enum {
    CHUNK = 1024,
    WAKE = 1 << 14 /* below this many elements a second thread costs more than it saves */
};

const float *cpu_row_in(const cpu_kernels *kernels, const vmt_tensor *t, int64_t first,
                        int64_t count, float *buffer)
{
    if (t->dtype == VMT_F32)
        return (const float *)t->data + first;
    kernels->f32_of_bf16(buffer, (const uint16_t *)t->data + first, count);
    return buffer;
}

float *cpu_row_out(const vmt_tensor *t, int64_t first, float *buffer)
{
    return t->dtype == VMT_F32 ? (float *)t->data + first : buffer;
}

void cpu_row_store(const cpu_kernels *kernels, vmt_tensor *t, int64_t first, int64_t count,
                   const float *values)
{
    if (t->dtype != VMT_F32)
        kernels->bf16_of_f32((uint16_t *)t->data + first, values, count);
}

int cpu_threads_for(const vmt_ctx *ctx, int64_t count)
{
    return count < WAKE ? 1 : ctx->threads;
}

typedef void unary_kernel(float *y, const float *x, int64_t n);
typedef void binary_kernel(float *y, const float *x, const float *z, int64_t n);

static enum vmt_status unary(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, unary_kernel *kernel)
{
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    const int64_t count = vmt_numel(x);

#pragma omp parallel for num_threads(cpu_threads_for(ctx, count)) schedule(static)
    for (int64_t first = 0; first < count; first += CHUNK) {
        float buffer[CHUNK];
        const int64_t n = cpu_min(CHUNK, count - first);
        float *const out = cpu_row_out(y, first, buffer);
        kernel(out, cpu_row_in(kernels, x, first, n, buffer), n);
        cpu_row_store(kernels, y, first, n, out);
    }
    return VMT_OK;
}

static enum vmt_status binary(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_tensor *z,
                              binary_kernel *kernel)
{
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    const int64_t count = vmt_numel(x);

#pragma omp parallel for num_threads(cpu_threads_for(ctx, count)) schedule(static)
    for (int64_t first = 0; first < count; first += CHUNK) {
        float buffer_x[CHUNK], buffer_z[CHUNK];
        const int64_t n = cpu_min(CHUNK, count - first);
        float *const out = cpu_row_out(y, first, buffer_x);
        kernel(out, cpu_row_in(kernels, x, first, n, buffer_x),
               cpu_row_in(kernels, z, first, n, buffer_z), n);
        cpu_row_store(kernels, y, first, n, out);
    }
    return VMT_OK;
}

/* y = 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))). */
enum vmt_status cpu_gelu(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    return unary(ctx, y, x, cpu_of(ctx)->kernels->gelu);
}

/* dx = gelu'(x) dy.   dx may be dy. */
enum vmt_status cpu_gelu_bwd(vmt_ctx *ctx, vmt_tensor *dx, const vmt_tensor *dy,
                             const vmt_tensor *x)
{
    return binary(ctx, dx, dy, x, cpu_of(ctx)->kernels->gelu_bwd);
}

/* y = x / (1 + e⁻ˣ). */
enum vmt_status cpu_silu(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    return unary(ctx, y, x, cpu_of(ctx)->kernels->silu);
}

/* y = x ⊙ gelu(gate). */
enum vmt_status cpu_gelu_gate(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                              const vmt_tensor *gate)
{
    return binary(ctx, y, x, gate, cpu_of(ctx)->kernels->gelu_gate);
}

/* y = x + z.   y may be x or z. */
enum vmt_status cpu_add(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_tensor *z)
{
    return binary(ctx, y, x, z, cpu_of(ctx)->kernels->add);
}

/* y = a x + b z, all F32; z is not read when b = 0. */
enum vmt_status cpu_lincomb(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x, const vmt_tensor *z,
                            double a, double b)
{
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    const int64_t count = vmt_numel(x);
    float *const out = y->data;
    const float *const from_x = x->data, *const from_z = z->data;

#pragma omp parallel for num_threads(cpu_threads_for(ctx, count)) schedule(static)
    for (int64_t first = 0; first < count; first += CHUNK) {
        const int64_t n = cpu_min(CHUNK, count - first);
        if (b == 0)
            kernels->scale(out + first, from_x + first, (float)a, n);
        else
            kernels->lincomb(out + first, from_x + first, from_z + first, (float)a, (float)b, n);
    }
    return VMT_OK;
}

/* y = x + gate ⊙ branch.   x, y: [N, D] R; gate: [D] R or NULL (= 1); branch: [N, D] R|A. */
enum vmt_status cpu_gate_residual(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                  const vmt_tensor *gate, const vmt_tensor *branch)
{
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    const int64_t tokens = x->shape[0], dim = x->shape[1];
    const float *const gates = gate ? gate->data : NULL, *const from = x->data;
    float *const out = y->data;

#pragma omp parallel for num_threads(cpu_threads_for(ctx, tokens *dim)) schedule(static)
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = 0; c < dim; c += CHUNK) {
            float buffer[CHUNK];
            const int64_t n = cpu_min(CHUNK, dim - c), i = t * dim + c;
            const float *z = cpu_row_in(kernels, branch, i, n, buffer);
            if (gates)
                kernels->mul_add(out + i, from + i, gates + c, z, n);
            else
                kernels->add(out + i, from + i, z, n);
        }
    return VMT_OK;
}

/* dbranch = gate ⊙ dy.   dx = dy is the caller's.  No dgate: it depends on the timestep only. */
enum vmt_status cpu_gate_residual_bwd(vmt_ctx *ctx, vmt_tensor *dbranch, const vmt_tensor *gate,
                                      const vmt_tensor *dy)
{
    const cpu_kernels *kernels = cpu_of(ctx)->kernels;
    const int64_t tokens = dy->shape[0], dim = dy->shape[1];
    const float *const gates = gate ? gate->data : NULL;

#pragma omp parallel for num_threads(cpu_threads_for(ctx, tokens *dim)) schedule(static)
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = 0; c < dim; c += CHUNK) {
            float buffer[CHUNK];
            const int64_t n = cpu_min(CHUNK, dim - c), i = t * dim + c;
            const float *from = cpu_row_in(kernels, dy, i, n, buffer);
            float *const out = cpu_row_out(dbranch, i, buffer);
            if (gates)
                kernels->mul(out, from, gates + c, n);
            else
                kernels->scale(out, from, 1, n);
            cpu_row_store(kernels, dbranch, i, n, out);
        }
    return VMT_OK;
}
