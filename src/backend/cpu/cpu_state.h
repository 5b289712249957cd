/* SPDX-License-Identifier: MIT
 *
 * Private state of backend "cpu", and what its op files share.
 */
#ifndef VMT_CPU_STATE_H
#define VMT_CPU_STATE_H

#include "backend/backend.h"
#include "backend/cpu/cpu_kernels.h"
#include "backend/cpu/cpu_turn.h"
#include "base/arena.h"
#include "tensor/tensor.h"

#include "backend/cpu/dnnl_guard.h"

/* ---------------------------------------------------------------- primitives
 *
 * A oneDNN primitive is compiled for one shape and kept until close.  Either all threads run one of
 * them together, or each thread runs its own copy of the arguments (`split`): then it was compiled
 * for one thread and is called inside a parallel region.
 */
enum { CPU_KEY_WORDS = 20, CPU_MAX_ARGS = 5 };

/* What tells two primitives apart; word 0 is never 0. */
typedef struct cpu_key {
    int64_t word[CPU_KEY_WORDS];
} cpu_key;

typedef struct cpu_primitive {
    cpu_key key;
    dnnl_primitive_t handle;
    int args;                /* the last one is the scratchpad */
    int names[CPU_MAX_ARGS]; /* DNNL_ARG_… */
    dnnl_memory_desc_t descs[CPU_MAX_ARGS];
    dnnl_memory_t (*memories)[CPU_MAX_ARGS]; /* one row per thread when split, else one row */
    int copies;                              /* rows of `memories` */
    struct cpu_primitive *before;            /* reorder of the filter that goes first, or NULL */
    size_t scratch_bytes;                    /* of each copy */
} cpu_primitive;

typedef struct cpu_cache {
    cpu_primitive **slots; /* open addressing; capacity is a power of two */
    size_t capacity, count;
} cpu_cache;

enum { CPU_QUEUES = 16 };

typedef struct cpu_state {
    vmt_host_state host; /* first: ref's ops and ours share it; free between any two ops */
    vmt_ops ops;
    const cpu_kernels *kernels;
    const char *level;
    bool dnnl_attention; /* bf16 attention by oneDNN: level amx */
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    cpu_cache cache;
    /* oneDNN's scratchpads: one for all threads together, or one per thread at one distance for all
     * primitives, as threads may be in different ones at a time */
    vmt_ref_scratch pad;
    size_t pad_stride;
    int pad_copies;               /* most threads any primitive was made for */
    cpu_queue queues[CPU_QUEUES]; /* where threads wait for their turn in a sum */
    vmt_ref_scratch unpacked;     /* the matrix in few bits that a product reads, as activations */
} cpu_state;

static inline cpu_state *cpu_of(vmt_ctx *ctx)
{
    return ctx->backend;
}

static inline int64_t cpu_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* VMT_E_INTERNAL naming op and oneDNN status. */
enum vmt_status cpu_dnnl_fail(vmt_ctx *ctx, const char *op, dnnl_status_t status);

/* The number of threads oneDNN sees is the caller's OpenMP setting; it is lent and put back. */
int cpu_threads_begin(int threads);
void cpu_threads_end(int before);

/* Scratch for one op: `bytes` at a 64-byte boundary, content undefined. */
enum vmt_status cpu_scratch(vmt_ctx *ctx, void **memory, size_t bytes);
/* The same of the state's other memory, that is kept until cpu_unpacked_free. */
enum vmt_status cpu_unpacked(vmt_ctx *ctx, void **memory, size_t bytes);
void cpu_unpacked_free(vmt_ctx *ctx);
/* `bytes` for each of `count` users (rounded up to 64); *stride is the distance between them. */
enum vmt_status cpu_scratch_each(vmt_ctx *ctx, unsigned char **memory, size_t *stride,
                                 int64_t count, size_t bytes);

/* Scratch for one op: some that its threads share and, behind it, some for each of them. */
typedef struct cpu_parts {
    unsigned char *shared, *own;
    size_t shared_bytes, own_bytes;
} cpu_parts;

enum vmt_status cpu_scratch_parts(vmt_ctx *ctx, cpu_parts *parts, size_t shared_bytes,
                                  size_t own_bytes);
/* The calling thread's own. */
vmt_arena cpu_own_arena(const cpu_parts *parts);

dnnl_data_type_t cpu_dnnl_type(enum vmt_dtype dtype);

/* Finds a primitive, or NULL. */
cpu_primitive *cpu_cache_find(const cpu_state *state, const cpu_key *key);

/* Makes one out of a oneDNN primitive descriptor (consumed), its arguments' descriptors at
 * names/descs (count without the scratchpad), and keeps it. */
enum vmt_status cpu_cache_add(vmt_ctx *ctx, cpu_primitive **primitive, const cpu_key *key,
                              const char *op, dnnl_primitive_desc_t desc, int count,
                              const int *names, const dnnl_memory_desc_t *descs, bool split);

/* Runs copy `copy` on the data pointers (in the order of names). */
dnnl_status_t cpu_primitive_run(cpu_state *state, cpu_primitive *primitive, int copy,
                                void *const *data);

void cpu_cache_free(cpu_state *state);
/* With a limit of memory also the primitives. */
void cpu_trim(vmt_ctx *ctx);
/* At the beginning of an op, when nobody holds one: with a limit of memory, tiles of many sizes do
 * not gather primitives. */
void cpu_limit_primitives(vmt_ctx *ctx);

/* Attributes with a user's scratchpad; post operations as asked. */
dnnl_status_t cpu_attributes(dnnl_primitive_attr_t *attributes, enum vmt_epilogue epilogue,
                             bool add);

/* ---------------------------------------------------------------- matrix product
 *
 * c (+)= epilogue(a b + bias).   a: [m, k], b: [k, n], any strides, both of dtype `in`;
 * c: [m, n] rows c_row apart, of dtype `out`; bias: [n] F32.
 */
typedef struct cpu_matmul {
    int64_t m, k, n;
    int64_t a_row, a_col, b_row, b_col, c_row;
    enum vmt_dtype in, out;
    enum vmt_epilogue epilogue;
    bool has_bias, add, split;
} cpu_matmul;

enum vmt_status cpu_matmul_get(vmt_ctx *ctx, cpu_primitive **primitive, const cpu_matmul *matmul);
dnnl_status_t cpu_matmul_run(cpu_state *state, cpu_primitive *primitive, int copy, void *c,
                             const void *a, const void *b, const void *bias);

/* ---------------------------------------------------------------- weights */

/* What weight_prepare made.  Parts that can be used where the file has them are not copied. */
typedef struct cpu_packed {
    const void *matrix; /* the weight in ctx->act, in the file's order */
    const float *bias;  /* NULL: none */
} cpu_packed;

vmt_op_weight_prepare cpu_weight_prepare;
size_t cpu_weight_prepare_bytes(vmt_ctx *ctx, const vmt_weight *weight, unsigned use);
void cpu_weight_release(vmt_ctx *ctx, vmt_weight *weight);

/* False when the weight needs a conversion and was not prepared: then `ref` computes. */
bool cpu_weight_view(const vmt_ctx *ctx, const vmt_weight *weight, cpu_packed *view);
size_t cpu_weight_use_bytes(vmt_ctx *ctx, const vmt_weight *weight);

/* `count` elements of any floating dtype to another. */
void cpu_convert(const cpu_kernels *kernels, void *y, enum vmt_dtype y_dtype, const void *x,
                 enum vmt_dtype x_dtype, int64_t count);

/* ---------------------------------------------------------------- rows
 *
 * Kernels read and write floats.  A row of an F32 tensor is used where it lies; of a BF16 tensor it
 * goes through a buffer of the thread.
 */
const float *cpu_row_in(const cpu_kernels *kernels, const vmt_tensor *t, int64_t first,
                        int64_t count, float *buffer);
float *cpu_row_out(const vmt_tensor *t, int64_t first, float *buffer);
void cpu_row_store(const cpu_kernels *kernels, vmt_tensor *t, int64_t first, int64_t count,
                   const float *values);

/* Threads worth waking for `count` elements. */
int cpu_threads_for(const vmt_ctx *ctx, int64_t count);

/* ---------------------------------------------------------------- ops: see tensor/tensor.h */

vmt_op_linear cpu_linear;
vmt_op_linear_bwd cpu_linear_bwd;
vmt_op_linear_bwd_acc cpu_linear_bwd_acc;
vmt_op_conv3d cpu_conv3d;
vmt_op_attention cpu_attention;
vmt_op_attention_bwd cpu_attention_bwd;
vmt_op_attention cpu_attention_dnnl;
vmt_op_attention_bwd cpu_attention_dnnl_bwd;
vmt_op_attention_local cpu_attention_local;
vmt_op_attention_local_bwd cpu_attention_local_bwd;
vmt_op_lincomb cpu_lincomb;
vmt_op_gelu cpu_gelu;
vmt_op_gelu_bwd cpu_gelu_bwd;
vmt_op_silu cpu_silu;
vmt_op_gelu_gate cpu_gelu_gate;
vmt_op_add cpu_add;
vmt_op_gate_residual cpu_gate_residual;
vmt_op_gate_residual_bwd cpu_gate_residual_bwd;
vmt_op_norm_modulate cpu_norm_modulate;
vmt_op_norm_modulate_bwd_acc cpu_norm_modulate_bwd_acc;
vmt_op_layer_norm cpu_layer_norm;
vmt_op_layer_norm_bwd_acc cpu_layer_norm_bwd_acc;
vmt_op_rms_norm_rope cpu_rms_norm_rope;
vmt_op_rms_norm_rope_bwd cpu_rms_norm_rope_bwd;
vmt_op_rms_norm_channel cpu_rms_norm_channel;
vmt_op_qk_reduce cpu_qk_reduce;
vmt_op_qk_reduce_bwd cpu_qk_reduce_bwd;
vmt_op_window_mean cpu_window_mean;
vmt_op_window_mean_bwd_acc cpu_window_mean_bwd_acc;
vmt_op_flow_full cpu_flow_full;
vmt_op_flow_full_bwd_acc cpu_flow_full_bwd_acc;
vmt_op_flow_windows cpu_flow_windows;
vmt_op_flow_windowed cpu_flow_windowed;
vmt_op_flow_windowed_bwd_acc cpu_flow_windowed_bwd_acc;

#endif
