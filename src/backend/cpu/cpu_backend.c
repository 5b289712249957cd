/* SPDX-License-Identifier: MIT
 *
 * Opens backend "cpu": the table starts as that of `ref`, and each op that has its own
 * implementation here overwrites its entry.  A missing one is slow, never wrong.
 */
#include "backend/cpu/cpu_backend.h"

#include "backend/cpu/cpu_state.h"

#ifdef FASTVMT_CPU_X86
#include <cpuid.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void close_cpu(vmt_ctx *ctx)
{
    cpu_state *state = ctx->backend;

    if (!state)
        return;
    cpu_cache_free(state);
    if (state->stream)
        dnnl_stream_destroy(state->stream);
    if (state->engine)
        dnnl_engine_destroy(state->engine);
    free(state->host.scratch.memory);
    free(state->host.tiles.memory);
    free(state->pad.memory);
    free(state->unpacked.memory);
    for (int i = 0; i < CPU_QUEUES; i++)
        cpu_queue_close(&state->queues[i]);
    vmt_free(state);
    ctx->backend = NULL;
}

static void fill_table(vmt_ops *ops)
{
    *ops = vmt_ops_ref32;
    ops->name = "cpu";
    ops->close = close_cpu;
    ops->trim = cpu_trim;
    ops->weight_prepare = cpu_weight_prepare;
    ops->weight_prepare_bytes = cpu_weight_prepare_bytes;
    ops->weight_release = cpu_weight_release;
    ops->weight_use_bytes = cpu_weight_use_bytes;
    ops->linear = cpu_linear;
    ops->linear_bwd = cpu_linear_bwd;
    ops->linear_bwd_acc = cpu_linear_bwd_acc;
    ops->lincomb = cpu_lincomb;
    ops->gelu = cpu_gelu;
    ops->gelu_bwd = cpu_gelu_bwd;
    ops->silu = cpu_silu;
    ops->gelu_gate = cpu_gelu_gate;
    ops->add = cpu_add;
    ops->gate_residual = cpu_gate_residual;
    ops->gate_residual_bwd = cpu_gate_residual_bwd;
    ops->norm_modulate = cpu_norm_modulate;
    ops->norm_modulate_bwd_acc = cpu_norm_modulate_bwd_acc;
    ops->layer_norm = cpu_layer_norm;
    ops->layer_norm_bwd_acc = cpu_layer_norm_bwd_acc;
    ops->rms_norm_rope = cpu_rms_norm_rope;
    ops->rms_norm_rope_bwd = cpu_rms_norm_rope_bwd;
    ops->rms_norm_channel = cpu_rms_norm_channel;
    ops->attention = cpu_attention;
    ops->attention_bwd = cpu_attention_bwd;
    ops->attention_local = cpu_attention_local;
    ops->attention_local_bwd = cpu_attention_local_bwd;
    ops->conv3d = cpu_conv3d;
    ops->qk_reduce = cpu_qk_reduce;
    ops->qk_reduce_bwd = cpu_qk_reduce_bwd;
    ops->window_mean = cpu_window_mean;
    ops->window_mean_bwd_acc = cpu_window_mean_bwd_acc;
    ops->flow_full = cpu_flow_full;
    ops->flow_full_bwd_acc = cpu_flow_full_bwd_acc;
    ops->flow_windows = cpu_flow_windows;
    ops->flow_windowed = cpu_flow_windowed;
    ops->flow_windowed_bwd_acc = cpu_flow_windowed_bwd_acc;
}

/* ---------------------------------------------------------------- instruction set */

#ifdef FASTVMT_CPU_X86
/* The builtin knows whether the operating system saves the registers, too. */
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static bool has_avx512_bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}

/* Tiles and their bf16 product.  clang 14's builtin does not know the names. */
static bool has_amx(void)
{
    unsigned a, b, c, d;

    return has_avx512_bf16() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 24 & 1 &&
           d >> 22 & 1;
}
#endif

static bool has_nothing_to_ask(void)
{
    return true;
}

/* Best first.  Level amx is oneDNN's: its products use the tiles where the CPU has them, so there
 * attention goes through it; it runs anywhere, with the best kernels that do. */
static const struct level {
    const char *name;
    bool (*has)(void);
    const cpu_kernels *kernels; /* NULL: the best */
} levels[] = {
#ifdef FASTVMT_CPU_X86
    {"amx", has_amx, NULL},
    {"avx512_bf16", has_avx512_bf16, &vmt_cpu_kernels_avx512_bf16},
    {"avx512", has_avx512, &vmt_cpu_kernels_avx512},
    {"avx2", has_avx2, &vmt_cpu_kernels_avx2},
#endif
    {"base", has_nothing_to_ask, &vmt_cpu_kernels_base}};

enum { LEVELS = sizeof levels / sizeof levels[0] };

static void use_level(cpu_state *state, const struct level *level)
{
    state->level = level->name;
    state->dnnl_attention = !level->kernels;
    state->kernels = level->kernels;
    for (size_t i = 0; !state->kernels; i++)
        if (levels[i].has())
            state->kernels = levels[i].kernels;
}

static void use_best_level(cpu_state *state)
{
    size_t i = 0;

    while (!levels[i].has()) /* the last one has what it needs */
        i++;
    use_level(state, &levels[i]);
}

const char *vmt_backend_cpu_level(const vmt_ctx *ctx)
{
    return ((const cpu_state *)ctx->backend)->level;
}

enum vmt_status vmt_backend_cpu_set_level(vmt_ctx *ctx, const char *level)
{
    for (size_t i = 0; i < LEVELS; i++)
        if (strcmp(level, levels[i].name) == 0 && (!levels[i].kernels || levels[i].has())) {
            use_level(cpu_of(ctx), &levels[i]);
            return VMT_OK;
        }
    return vmt_fail(ctx, VMT_E_UNSUPPORTED, "backend cpu: no level %s on this machine", level);
}

/* ---------------------------------------------------------------- open */

/* oneDNN multiplies bf16 only where instructions help: on x86 from AVX-512 on. */
static enum vmt_status check_bf16(vmt_ctx *ctx)
{
    const cpu_matmul smallest = {.m = 1,
                                 .k = 2,
                                 .n = 1,
                                 .a_row = 2,
                                 .a_col = 1,
                                 .b_row = 1,
                                 .b_col = 2,
                                 .c_row = 1,
                                 .in = VMT_BF16,
                                 .out = VMT_F32};
    cpu_primitive *primitive;
    const enum vmt_status status = cpu_matmul_get(ctx, &primitive, &smallest);

    if (status != VMT_E_INTERNAL)
        return status;
    return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                    "backend cpu: oneDNN has no bf16 products on this CPU; use --dtype f32");
}

enum vmt_status vmt_backend_cpu_open(vmt_ctx *ctx)
{
    void *memory = NULL;

    if (ctx->act != VMT_F32 && ctx->act != VMT_BF16)
        return vmt_fail(ctx, VMT_E_ARG, "backend cpu: dtype %s, one of F32, BF16",
                        vmt_dtype_name(ctx->act));
    VMT_TRY(vmt_alloc(ctx, &memory, 1, sizeof(cpu_state)));
    cpu_state *state = memory;
    fill_table(&state->ops);
    use_best_level(state);
    for (int i = 0; i < CPU_QUEUES; i++)
        cpu_queue_open(&state->queues[i]);
    dnnl_status_t status = dnnl_engine_create(&state->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = dnnl_stream_create(&state->stream, state->engine, dnnl_stream_default_flags);
    ctx->backend = state;
    if (status != dnnl_success) {
        close_cpu(ctx);
        return cpu_dnnl_fail(ctx, "open", status);
    }
    const enum vmt_status supported = ctx->act == VMT_BF16 ? check_bf16(ctx) : VMT_OK;
    if (supported != VMT_OK) {
        close_cpu(ctx);
        return supported;
    }
    ctx->real = VMT_F32;
    ctx->ops = &state->ops;
    const dnnl_version_t *dnnl = dnnl_version();
    snprintf(ctx->machine, sizeof ctx->machine, "%s, oneDNN %d.%d.%d %s, isa %x", state->level,
             dnnl->major, dnnl->minor, dnnl->patch, dnnl->hash,
             (unsigned)dnnl_get_effective_cpu_isa());
    vmt_log(ctx, VMT_LOG_DEBUG, "backend cpu: kernels %s, attention by %s, %d threads",
            state->level, state->dnnl_attention && ctx->act == VMT_BF16 ? "oneDNN" : "own products",
            ctx->threads);
    return VMT_OK;
}
