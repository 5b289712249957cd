/* SPDX-License-Identifier: MIT
 *
 * Tensor, weight and the op table: the one header between model code and backends.
 *
 * A model file calls vmt_linear(ctx, …) and the like; each of these checks shapes and dtypes once,
 * then calls the backend's entry in ctx->ops.  Kernels trust their arguments.
 *
 * Dtypes.  R = ctx->real (F32, or F64 on ref64): residual stream, norms' parameters, modulation,
 * latents, flows, losses, optimiser.  A = ctx->act (F32, BF16, or F64): what matmuls read and
 * write. "R|A" = either.  Sums are formed in R at least.
 *
 * Rules.  Arguments go: context, outputs, inputs, weights, scalars.  Tensors are dense and
 * row-major. Outputs may not alias inputs unless an op says so.  A backward op overwrites its
 * outputs; those that add end in _acc.  Gradients are `d` + name and exist for data only: weights,
 * text and timestep get none. Ops never allocate from the heap per call in a way the plan does not
 * know; a backend that needs scratch keeps it in its own state, sized at the first call with a
 * shape. Every op gives the same bits for the same inputs, run after run.
 */
#ifndef VMT_TENSOR_H
#define VMT_TENSOR_H

#include "base/arena.h"
#include "base/ctx.h"

enum { VMT_MAX_RANK = 5 };

typedef struct vmt_tensor {
    void *data;                  /* borrowed; device pointer when the backend is a device */
    int64_t shape[VMT_MAX_RANK]; /* outermost first, row-major; unused = 1 */
    enum vmt_dtype dtype;
    int rank;
    const float *scale; /* host; factors of a dtype in few bits: of all values, or one for each
                           entry of axis 0; NULL: none */
    int64_t scales;     /* how many: 1 or shape[0] */
} vmt_tensor;

/* A matrix or filter with its bias, as the file stores it, and what the backend made of it. */
typedef struct vmt_weight {
    vmt_tensor w;    /* [out, in] or [out, in, kt, kh, kw]; F32, F16 or BF16, a matrix also in few
                        bits;    mapped from the file */
    vmt_tensor bias; /* [out]; F32, F16 or BF16, mapped; data NULL: none */
    void *packed;    /* backend's own form, NULL until weight_prepare; freed by weight_release */
    size_t packed_bytes; /* of all forms in it, those in 8 bits too */
} vmt_weight;

enum vmt_weight_use {
    VMT_USE_LINEAR = 1,   /* linear */
    VMT_USE_BACKWARD = 2, /* linear_bwd too */
    VMT_USE_CONV = 4,     /* conv3d */
    VMT_USE_FP8 = 8       /* linear_fp8, beside the first two */
};

enum vmt_epilogue { VMT_EPILOGUE_NONE = 0, VMT_EPILOGUE_GELU, VMT_EPILOGUE_SILU };

/* How the heads of q and k become one feature per token. */
enum vmt_qk_reduction {
    VMT_REDUCE_HEADS = 0, /* paper: mean over the heads of each token */
    VMT_REDUCE_RELEASED   /* released: Q[g*n + m] = mean over a < n of q[token g*n + a, head m], n =
                             heads */
};

/* Which positions a flow counts in; fastvmt's spec: section "Attention motion flow". */
enum vmt_flow_positions {
    VMT_POSITIONS_FRAME =
        0,                 /* paper: true rows and columns of the frame; flow rows in token order */
    VMT_POSITIONS_RELEASED /* window-local, odd entries at (0,0), own position in the tile; flow
                              rows tile by tile */
};

/* Shape of one frame's tokens and its tiling. */
typedef struct vmt_flow_geometry {
    int64_t grid_h, grid_w;     /* tokens of a frame */
    int64_t tile_h, tile_w;     /* query tile; ragged at the right and bottom unless RELEASED */
    int64_t window_h, window_w; /* keys of a window: rows, columns */
    enum vmt_flow_positions positions;
} vmt_flow_geometry;

/* Tiles of a frame: ceil(grid_h / tile_h) * ceil(grid_w / tile_w), row by row. */
int64_t vmt_flow_tiles(const vmt_flow_geometry *geometry);

/* Cells a frame of tokens is averaged over: cell a of n rows covers the token rows
 * floor(a·grid_h/n)
 * .. ceil((a+1)·grid_h/n) - 1, columns alike; neighbours share rows where n does not divide. */
typedef struct vmt_pooling {
    int64_t grid_h, grid_w;   /* tokens of a frame */
    int64_t cells_h, cells_w; /* what they become */
} vmt_pooling;

typedef struct vmt_conv_geometry {
    int64_t stride_t, stride_h, stride_w;
    int64_t pad_top, pad_bottom, pad_left, pad_right; /* zeros; time is never padded here */
} vmt_conv_geometry;

/* Grid of tokens, tiles of queries and boxes of keys of local attention: frames, rows, columns.
 * 1 <= tile <= box <= grid. */
typedef struct vmt_local_geometry {
    int64_t grid[3], tile[3], box[3];
} vmt_local_geometry;

typedef struct vmt_adamw {
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step; /* counted from 1 */
} vmt_adamw;

enum { VMT_DOWNLOADS = 4, VMT_SPILLS = 2 };

/* ---------------------------------------------------------------- the ops
 *
 * N tokens, D dim, n heads, d = D / n, S = grid_h * grid_w, T frames; [..] shapes, then dtype.
 * vmt_op_NAME is a type of functions: vmt_ops below points at one of each, and a backend declares
 * its own as `vmt_op_linear cpu_linear;`.
 */

/* Host -> backend, backend -> host, and within the backend; equal shapes, converting between
 * any two of F32, F64, F16, BF16 (I32 to I32, U8 to U8 too). */
typedef enum vmt_status vmt_op_upload(vmt_ctx *, vmt_tensor *y, const vmt_tensor *host);
typedef enum vmt_status vmt_op_download(vmt_ctx *, vmt_tensor *host, const vmt_tensor *x);
/* A download in two halves, between which the backend goes on: x may change after _begin,
 * `host` has its elements after _end.  At most VMT_DOWNLOADS are begun at a time; one that is
 * never ended is forgotten.  NULL: _begin does all of it. */
typedef enum vmt_status vmt_op_download_begin(vmt_ctx *, vmt_tensor *host, const vmt_tensor *x);
typedef enum vmt_status vmt_op_download_end(vmt_ctx *, vmt_tensor *host);
/* The bytes of x to spilled memory, and back: begun when all that was asked for so far is done,
 * beside what is asked for next.  ticket: 0..VMT_SPILLS-1. */
typedef enum vmt_status vmt_op_spill_out(vmt_ctx *, void *host, const vmt_tensor *x, int ticket);
typedef enum vmt_status vmt_op_spill_back(vmt_ctx *, vmt_tensor *x, const void *host, int ticket);
typedef enum vmt_status vmt_op_copy(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x);
typedef enum vmt_status vmt_op_zero(vmt_ctx *, vmt_tensor *y);
/* *finite (host) = no element is NaN or infinite. */
typedef enum vmt_status vmt_op_all_finite(vmt_ctx *, bool *finite, const vmt_tensor *x);
/* The same without waiting for the device: flag, [1] I32, becomes 1 if an element is NaN or
 * infinite, and is left alone if none is. */
typedef enum vmt_status vmt_op_mark_bad(vmt_ctx *, vmt_tensor *flag, const vmt_tensor *x);

/* Makes weight->packed if this backend wants one for `use` (or-ed vmt_weight_use); may leave it
 * NULL and compute from the mapped weight.  prepare_bytes: what it would allocate. */
typedef enum vmt_status vmt_op_weight_prepare(vmt_ctx *, vmt_weight *weight, unsigned use);

/* ---- linear algebra */

/* y = epilogue(x Wᵀ + b).   y: [N, out] R|A; x: [N, in] R|A; w: [out, in]. */
typedef enum vmt_status vmt_op_linear(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x,
                                      const vmt_weight *w, enum vmt_epilogue epilogue);
/* The same on numbers of 8 bits: each row of x and of w is divided by its scale s = max |row| / 448
 * (1 where that is 0), in F32, and rounded to e4m3;  y = epilogue(s_x[t] s_w[o] Σ + b).  A backend
 * may take w rounded to A. */
typedef vmt_op_linear vmt_op_linear_fp8;
/* dx = dy W (epilogue none).   dx: [N, in] R|A; dy: [N, out] R|A. */
typedef enum vmt_status vmt_op_linear_bwd(vmt_ctx *, vmt_tensor *dx, const vmt_tensor *dy,
                                          const vmt_weight *w);
/* dx += dy W. */
typedef enum vmt_status vmt_op_linear_bwd_acc(vmt_ctx *, vmt_tensor *dx, const vmt_tensor *dy,
                                              const vmt_weight *w);

/* u = x Wᵀ + b; y = gelu(u): a feed-forward's first half whose backward needs u.  u, y: [N, out]
 * R|A; y may be u, which is lost then.  NULL: one after the other. */
typedef enum vmt_status vmt_op_linear_gelu(vmt_ctx *, vmt_tensor *y, vmt_tensor *u,
                                           const vmt_tensor *x, const vmt_weight *w);
/* du = gelu'(u) ⊙ (dy W).   du, u: [N, in] R|A; dy: [N, out] R|A.  NULL: one after the other. */
typedef enum vmt_status vmt_op_linear_bwd_gelu(vmt_ctx *, vmt_tensor *du, const vmt_tensor *dy,
                                               const vmt_weight *w, const vmt_tensor *u);

/* ---- elementwise.  y may be x in all of them. */

/* y = a x + b z.   All of one shape, R.  z may be y; z with b = 0 is not read (may be x). */
typedef enum vmt_status vmt_op_lincomb(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x,
                                       const vmt_tensor *z, double a, double b);
/* y = 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))).   [..] R|A. */
typedef enum vmt_status vmt_op_gelu(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x);
/* dx = gelu'(x) dy.   dx may be dy. */
typedef enum vmt_status vmt_op_gelu_bwd(vmt_ctx *, vmt_tensor *dx, const vmt_tensor *dy,
                                        const vmt_tensor *x);
/* y = x / (1 + e⁻ˣ).   [..] R|A. */
typedef enum vmt_status vmt_op_silu(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x);
/* y = x ⊙ gelu(gate).   UMT5's feed-forward.   [..] R|A. */
typedef enum vmt_status vmt_op_gelu_gate(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x,
                                         const vmt_tensor *gate);
/* y = x + gate ⊙ branch.   x, y: [N, D] R; gate: [D] R or NULL (= 1); branch: [N, D] R|A. */
typedef enum vmt_status vmt_op_gate_residual(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x,
                                             const vmt_tensor *gate, const vmt_tensor *branch);
/* dbranch = gate ⊙ dy.   dx = dy is the caller's.  No dgate: the gate depends on the timestep
 * only. */
typedef enum vmt_status vmt_op_gate_residual_bwd(vmt_ctx *, vmt_tensor *dbranch,
                                                 const vmt_tensor *gate, const vmt_tensor *dy);

/* ---- norms.  x̂ = (x - mean) / sqrt(var + eps), biased variance, over the last axis. */

/* y = x̂ (1 + scale) + shift.   y: [N, D] A; x: [N, D] R; shift, scale: [D] R. */
typedef enum vmt_status vmt_op_norm_modulate(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x,
                                             const vmt_tensor *shift, const vmt_tensor *scale,
                                             double eps);
/* dx += LN'(dy (1 + scale); x).   dx: [N, D] R; dy: [N, D] R|A.  No dshift, dscale (timestep).
 */
typedef enum vmt_status vmt_op_norm_modulate_bwd_acc(vmt_ctx *, vmt_tensor *dx,
                                                     const vmt_tensor *dy, const vmt_tensor *x,
                                                     const vmt_tensor *scale, double eps);
/* y = x̂ weight + bias.   weight, bias: [D] R. */
typedef enum vmt_status vmt_op_layer_norm(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x,
                                          const vmt_tensor *weight, const vmt_tensor *bias,
                                          double eps);
/* y = x + gate ⊙ branch, normed = ŷ (1 + scale) + shift or ŷ weight + bias: the sum that ends one
 * part of a block and the norm that begins the next.  NULL: one after the other. */
typedef enum vmt_status vmt_op_residual_norm_modulate(vmt_ctx *, vmt_tensor *y, vmt_tensor *normed,
                                                      const vmt_tensor *x, const vmt_tensor *gate,
                                                      const vmt_tensor *branch,
                                                      const vmt_tensor *shift,
                                                      const vmt_tensor *scale, double eps);
typedef enum vmt_status vmt_op_residual_layer_norm(vmt_ctx *, vmt_tensor *y, vmt_tensor *normed,
                                                   const vmt_tensor *x, const vmt_tensor *gate,
                                                   const vmt_tensor *branch,
                                                   const vmt_tensor *weight, const vmt_tensor *bias,
                                                   double eps);
/* dx += LN'(dy weight; x). */
typedef enum vmt_status vmt_op_layer_norm_bwd_acc(vmt_ctx *, vmt_tensor *dx, const vmt_tensor *dy,
                                                  const vmt_tensor *x, const vmt_tensor *weight,
                                                  double eps);
/* z = x / sqrt(mean(x²) + eps) weight over all D, then, if angle_cos is given, each head's
 * pairs (2j, 2j+1) rotated: (a cos - b sin, a sin + b cos) with cos, sin [N, d/2] R of the
 * token. y: [N, n, d] R|A (n = 1, d = D: plain); x: [N, n·d] R|A; weight: [n·d] R; both tables
 * or neither. */
typedef enum vmt_status vmt_op_rms_norm_rope(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x,
                                             const vmt_tensor *weight, const vmt_tensor *angle_cos,
                                             const vmt_tensor *angle_sin, double eps);
/* dx: [N, n·d] R|A overwritten; dy: [N, n, d] R|A; x as in the forward. */
typedef enum vmt_status vmt_op_rms_norm_rope_bwd(vmt_ctx *, vmt_tensor *dx, const vmt_tensor *dy,
                                                 const vmt_tensor *x, const vmt_tensor *weight,
                                                 const vmt_tensor *angle_cos,
                                                 const vmt_tensor *angle_sin, double eps);
/* y = x / max(‖x‖₂, 1e-12) √C gamma over the last axis, then SiLU if `silu`.   The VAE's norm.
 *   y: [.., C] A; x: [.., C] A; gamma: [C] R. */
typedef enum vmt_status vmt_op_rms_norm_channel(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x,
                                                const vmt_tensor *gamma, bool silu);

/* ---- attention */

/* o = softmax(scale q kᵀ + B) v per head.   o, q: [Nq, n, d] A; k, v: [Nk, n, d] A.
 *   lse: [n, Nq] R, log Σ exp of each row, or NULL.
 *   bias: [n, Nq + Nk - 1] R or NULL; B[h, i, j] = bias[h, j - i + Nq - 1] (UMT5's relative
 * positions). */
typedef enum vmt_status vmt_op_attention(vmt_ctx *, vmt_tensor *o, vmt_tensor *lse,
                                         const vmt_tensor *q, const vmt_tensor *k,
                                         const vmt_tensor *v, const vmt_tensor *bias, double scale);
/* With P from lse: δ_i = Σ do_i o_i; dv = Pᵀ do; ds = P ⊙ (do vᵀ - δ); dq = scale ds k; dk =
 * scale dsᵀ q. dq, dk, dv: R|A; dk and dv may both be NULL (cross-attention: text is constant).
 */
typedef enum vmt_status vmt_op_attention_bwd(vmt_ctx *, vmt_tensor *dq, vmt_tensor *dk,
                                             vmt_tensor *dv, const vmt_tensor *dout,
                                             const vmt_tensor *q, const vmt_tensor *k,
                                             const vmt_tensor *v, const vmt_tensor *o,
                                             const vmt_tensor *lse, double scale);

/* Local attention.  The grid is cut into tiles of queries from its origin on, ragged at the far
 * sides.  All queries of a tile attend to one box of keys, of the same size for all tiles: on an
 * axis, tile t sees `box` keys from first = clamp(t·tile - (box - tile) div 2, 0, grid - box) on:
 * around the tile, moved into the grid.  A box of the whole grid is vmt_attention.
 *   o_i = Σ_j P_ij v_j, P_i = softmax over the box of i of scale q_i·k_j.
 * All [N, n, d] A, N = Π grid, columns fastest; lse: [n, N] R or NULL. */
typedef enum vmt_status vmt_op_attention_local(vmt_ctx *, vmt_tensor *o, vmt_tensor *lse,
                                               const vmt_tensor *q, const vmt_tensor *k,
                                               const vmt_tensor *v,
                                               const vmt_local_geometry *geometry, double scale);
/* As vmt_op_attention_bwd with P zero outside the box; dk and dv of a token sum over the tiles that
 * see it, in their order.  dq, dk, dv: R|A, none NULL. */
typedef enum vmt_status
vmt_op_attention_local_bwd(vmt_ctx *, vmt_tensor *dq, vmt_tensor *dk, vmt_tensor *dv,
                           const vmt_tensor *dout, const vmt_tensor *q, const vmt_tensor *k,
                           const vmt_tensor *v, const vmt_tensor *o, const vmt_tensor *lse,
                           const vmt_local_geometry *geometry, double scale);

/* ---- rearrangements */

/* y[token, (c, dt, dh, dw)] = x[c, ti·pt + dt, yi·ph + dh, xi·pw + dw].   Channel slowest:
 * patch embedding. y: [f·h·w, C·pt·ph·pw] R|A; x: [C, f·pt, h·ph, w·pw] R; patch = {pt, ph,
 * pw}. */
typedef enum vmt_status vmt_op_patchify(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x,
                                        const int64_t patch[3]);
/* The inverse: dx: [C, F, H, W] R; dy: [N, C·pt·ph·pw] R|A. */
typedef enum vmt_status vmt_op_patchify_bwd(vmt_ctx *, vmt_tensor *dx, const vmt_tensor *dy,
                                            const int64_t patch[3]);
/* y[c, ti·pt + dt, …] = x[token, (dt, dh, dw, c)].   Channel fastest: the head's output.
 *   y: [C, F, H, W] R; x: [N, pt·ph·pw·C] R|A. */
typedef enum vmt_status vmt_op_unpatchify(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x,
                                          const int64_t patch[3]);
/* The inverse: dx: [N, pt·ph·pw·C] R|A; dy: [C, F, H, W] R. */
typedef enum vmt_status vmt_op_unpatchify_bwd(vmt_ctx *, vmt_tensor *dx, const vmt_tensor *dy,
                                              const int64_t patch[3]);
/* y[i, :] = table[ids[i], :].   y: [N, D] R; ids: [N] I32 (0 <= id < rows, checked by the
 * caller); table: w of the weight, [rows, D] as stored. */
typedef enum vmt_status vmt_op_embed(vmt_ctx *, vmt_tensor *y, const vmt_tensor *ids,
                                     const vmt_weight *table);

/* ---- VAE.  Activations are [T, H, W, C]: time outermost, so that history is a prefix. */

/* Cross-correlation without padding in time.   y: [To, Ho, Wo, Co] A; x: [T, H, W, Ci] A; w:
 * [Co, Ci, kt, kh, kw]; To = (T - kt) / stride_t + 1, Ho = (H + pads - kh) / stride_h + 1, Wo
 * alike. */
typedef enum vmt_status vmt_op_conv3d(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x,
                                      const vmt_weight *w, const vmt_conv_geometry *geometry);
/* y[t, i, j, c] = x[t, i / 2, j / 2, c].   y: [T, 2H, 2W, C] A; x: [T, H, W, C] A. */
typedef enum vmt_status vmt_op_upsample2(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x);
/* y[2t + p, i, j, c] = x[t, i, j, p·C + c].   y: [2T, H, W, C] A; x: [T, H, W, 2C] A. */
typedef enum vmt_status vmt_op_split_frames(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x);
/* y = x + z.   [..] A; y may be x or z. */
typedef enum vmt_status vmt_op_add(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x,
                                   const vmt_tensor *z);

/* ---- motion.  Q, K of one frame: [S, d] R.  Displacement component 0 = rows, 1 = columns, in
 * tokens. */

/* Q = reduction of q.   Q: [N, d] R; q: [N, n, d] A. */
typedef enum vmt_status vmt_op_qk_reduce(vmt_ctx *, vmt_tensor *Q, const vmt_tensor *q,
                                         enum vmt_qk_reduction reduction);
/* dq: [N, n, d] R|A overwritten; dQ: [N, d] R. */
typedef enum vmt_status vmt_op_qk_reduce_bwd(vmt_ctx *, vmt_tensor *dq, const vmt_tensor *dQ,
                                             enum vmt_qk_reduction reduction);
/* Every token against all keys of a frame: flow = Σ_p softmax_p(logit_scale q·k/√d) pos(p) -
 * own. flow: [S, 2] R; q, k: [S, d] R. */
typedef enum vmt_status vmt_op_flow_full(vmt_ctx *, vmt_tensor *flow, const vmt_tensor *q,
                                         const vmt_tensor *k, const vmt_flow_geometry *geometry,
                                         double logit_scale);
/* dq += , dk += ; dflow: [S, 2] R; flow as the forward gave it. */
typedef enum vmt_status vmt_op_flow_full_bwd_acc(vmt_ctx *, vmt_tensor *dq, vmt_tensor *dk,
                                                 const vmt_tensor *dflow, const vmt_tensor *flow,
                                                 const vmt_tensor *q, const vmt_tensor *k,
                                                 const vmt_flow_geometry *geometry,
                                                 double logit_scale);
/* The same of each query's `top` largest logits alone, 1 <= top; the earlier key wins a tie.  top 1
 * is arg-max, top >= S is flow_full. */
typedef enum vmt_status vmt_op_flow_top(vmt_ctx *, vmt_tensor *flow, const vmt_tensor *q,
                                        const vmt_tensor *k, const vmt_flow_geometry *geometry,
                                        double logit_scale, int64_t top);
typedef enum vmt_status vmt_op_flow_top_bwd_acc(vmt_ctx *, vmt_tensor *dq, vmt_tensor *dk,
                                                const vmt_tensor *dflow, const vmt_tensor *flow,
                                                const vmt_tensor *q, const vmt_tensor *k,
                                                const vmt_flow_geometry *geometry,
                                                double logit_scale, int64_t top);
/* Where each tile looks: its centre token against all keys, the expected position, a window
 * there. rows: [tiles, window_h] I32, cols: [tiles, window_w] I32: token rows and columns of
 * the window's entries.  No gradient: it only chooses indices. FRAME: centre clamped into the
 * frame, window shifted to lie inside it. RELEASED: each position clamped to [half, size - half
 * - 1] by itself, then truncated (f32 order). */
typedef enum vmt_status vmt_op_flow_windows(vmt_ctx *, vmt_tensor *rows, vmt_tensor *cols,
                                            const vmt_tensor *q, const vmt_tensor *k,
                                            const vmt_flow_geometry *geometry, double logit_scale);
/* All tokens of a tile against its window: expected position minus own.   flow: [S, 2] R. */
typedef enum vmt_status vmt_op_flow_windowed(vmt_ctx *, vmt_tensor *flow, const vmt_tensor *q,
                                             const vmt_tensor *k, const vmt_tensor *rows,
                                             const vmt_tensor *cols,
                                             const vmt_flow_geometry *geometry, double logit_scale);
/* dq += , dk += (a key may be in many windows: fixed order of summation). */
typedef enum vmt_status
vmt_op_flow_windowed_bwd_acc(vmt_ctx *, vmt_tensor *dq, vmt_tensor *dk, const vmt_tensor *dflow,
                             const vmt_tensor *flow, const vmt_tensor *q, const vmt_tensor *k,
                             const vmt_tensor *rows, const vmt_tensor *cols,
                             const vmt_flow_geometry *geometry, double logit_scale);
/* *loss += weight Σ_s m_s |flow_s - ref_s|²; dflow = 2 grad_scale weight m_s (flow - ref).
 *   loss: [1] R; flow, ref, dflow: [S, C] R, C = 2 of a flow; token_weights m: [S] R or NULL (= 1);
 * dflow may be NULL. */
typedef enum vmt_status vmt_op_flow_loss(vmt_ctx *, vmt_tensor *loss, vmt_tensor *dflow,
                                         const vmt_tensor *flow, const vmt_tensor *ref,
                                         const vmt_tensor *token_weights, double weight,
                                         double grad_scale);
/* Mean of each tile's key window.   FRAME: mean[t, :] over the entries, [tiles, d];
 * RELEASED: mean[t, p] over the channels, [tiles, window_h·window_w].   R. */
typedef enum vmt_status vmt_op_window_mean(vmt_ctx *, vmt_tensor *mean, const vmt_tensor *k,
                                           const vmt_tensor *rows, const vmt_tensor *cols,
                                           const vmt_flow_geometry *geometry);
/* dk += : each entry gets its share of dmean. */
typedef enum vmt_status vmt_op_window_mean_bwd_acc(vmt_ctx *, vmt_tensor *dk,
                                                   const vmt_tensor *dmean, const vmt_tensor *rows,
                                                   const vmt_tensor *cols,
                                                   const vmt_flow_geometry *geometry);
/* *loss += weight Σ_t m_t ‖b_t - a_t‖₂; db += u, da -= u with u = grad_scale weight m_t (b_t -
 * a_t)/‖·‖ (0 where the norm is 0).   loss: [1] R; a, b, da, db: [tiles, C] R; tile_weights m:
 * [tiles] R or NULL; da and db may both be NULL. */
typedef enum vmt_status vmt_op_track_loss(vmt_ctx *, vmt_tensor *loss, vmt_tensor *da,
                                          vmt_tensor *db, const vmt_tensor *a, const vmt_tensor *b,
                                          const vmt_tensor *tile_weights, double weight,
                                          double grad_scale);
/* y = mean over the tokens of each cell.   y: [T, cells, C] R, cells row by row; x: [T, S, C] R. */
typedef enum vmt_status vmt_op_pool(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x,
                                    const vmt_pooling *pooling);
/* dx = Σ over the cells a token is in: dy of the cell / its tokens. */
typedef enum vmt_status vmt_op_pool_bwd(vmt_ctx *, vmt_tensor *dx, const vmt_tensor *dy,
                                        const vmt_pooling *pooling);
/* y = x - mean of x over axis 1.   [n, G, C] R; y may be x.  It is its own backward. */
typedef enum vmt_status vmt_op_centre(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x);
/* y = m ⊙ x / max(‖m ⊙ x‖₂, 1e-6) of each row.   x, y: [n, C] R; mask m: [C] R or NULL (= 1). */
typedef enum vmt_status vmt_op_unit_rows(vmt_ctx *, vmt_tensor *y, const vmt_tensor *x,
                                         const vmt_tensor *mask);
/* dx = m ⊙ (dy - y (y·dy)) / ‖m ⊙ x‖₂; m ⊙ dy / 1e-6 where the norm is less. */
typedef enum vmt_status vmt_op_unit_rows_bwd(vmt_ctx *, vmt_tensor *dx, const vmt_tensor *dy,
                                             const vmt_tensor *x, const vmt_tensor *mask);
/* One AdamW step, in place on x, m, v (all R, one shape): x *= 1 - lr·decay; m = β₁m + (1-β₁)g;
 * v = β₂v + (1-β₂)g²; x -= lr/(1-β₁ᵏ) · m / (√v/√(1-β₂ᵏ) + eps), k = step. */
typedef enum vmt_status vmt_op_adamw_step(vmt_ctx *, vmt_tensor *x, vmt_tensor *m, vmt_tensor *v,
                                          const vmt_tensor *g, const vmt_adamw *adamw);

/* ---------------------------------------------------------------- the table */

typedef struct vmt_ops {
    const char *name; /* "ref", "ref64", "cpu" */

    /* Memory of the place where this backend computes.  alloc returns NULL when there is none;
     * 64-byte aligned. */
    void *(*alloc)(vmt_ctx *, size_t bytes);
    void (*release)(vmt_ctx *, void *memory);
    void (*close)(vmt_ctx *); /* frees ctx->backend */
    /* Bytes free there; NULL: the host's memory, of which the backend knows no more than others. */
    size_t (*free_bytes)(vmt_ctx *);
    /* Bytes of the device that the process takes beside what is allocated here: context, libraries,
     * the backend's own workspaces; *later: a part of it that may not be taken yet.  NULL as
     * free_bytes. */
    size_t (*fixed_bytes)(vmt_ctx *, size_t *later);
    /* The most that the process has been seen to take of the device so far, fixed_bytes included;
     * 0: not known.  NULL as free_bytes. */
    size_t (*taken_bytes)(vmt_ctx *);
    /* Most scratch of a convolution; NULL: next to none. */
    size_t (*conv_bytes)(vmt_ctx *);
    /* Gives back what is kept for speed alone: scratch, memory of released weights.  Between
     * phases, whose needs differ.  NULL: nothing is. */
    void (*trim)(vmt_ctx *);
    /* Returns when all that was asked for is done; NULL: every call has done its work when it
     * returns. */
    enum vmt_status (*wait)(vmt_ctx *);
    /* Bytes beside its tensors that attention of nq queries and nk keys takes, with or without its
     * backward; NULL: next to none. */
    size_t (*attention_bytes)(vmt_ctx *, int64_t nq, int64_t nk, int64_t heads, int64_t d,
                              bool backward);
    /* Bytes that local attention keeps to itself; *scratch: what it takes of what attention_bytes
     * counts, where that is not next to none. */
    size_t (*attention_local_bytes)(vmt_ctx *, const vmt_local_geometry *geometry, int64_t heads,
                                    int64_t d, bool backward, size_t *scratch);

    /* Bytes beside its tensors that a product of R with this weight takes where A is another dtype;
     * NULL: next to none. */
    size_t (*wide_bytes)(vmt_ctx *, const vmt_weight *weight);

    /* Memory of the host for tensors that make room for others; pinned, where a device copies to
     * and from it beside what it computes. */
    void *(*spill_alloc)(vmt_ctx *, size_t bytes);
    void (*spill_release)(vmt_ctx *, void *memory);
    vmt_op_spill_out *spill_out;
    vmt_op_spill_back *spill_back;
    /* What is asked for from here on finds the last copy under the ticket done; NULL: copies are
     * done when they return. */
    enum vmt_status (*spill_wait)(vmt_ctx *, int ticket);

    vmt_op_upload *upload;
    vmt_op_download *download;
    vmt_op_download_begin *download_begin;
    vmt_op_download_end *download_end;
    vmt_op_copy *copy;
    vmt_op_zero *zero;
    vmt_op_all_finite *all_finite;
    vmt_op_mark_bad *mark_bad;
    vmt_op_weight_prepare *weight_prepare;
    size_t (*weight_prepare_bytes)(vmt_ctx *, const vmt_weight *weight, unsigned use);
    void (*weight_release)(vmt_ctx *, vmt_weight *weight);
    /* Bytes that a product with the weight takes beside it until a weight like it is released, the
     * same bytes for all of them; NULL: none. */
    size_t (*weight_use_bytes)(vmt_ctx *, const vmt_weight *weight);

    vmt_op_linear *linear;
    vmt_op_linear_fp8 *linear_fp8;
    vmt_op_linear_bwd *linear_bwd;
    vmt_op_linear_bwd_acc *linear_bwd_acc;
    vmt_op_linear_gelu *linear_gelu;
    vmt_op_linear_bwd_gelu *linear_bwd_gelu;

    vmt_op_lincomb *lincomb;
    vmt_op_gelu *gelu;
    vmt_op_gelu_bwd *gelu_bwd;
    vmt_op_silu *silu;
    vmt_op_gelu_gate *gelu_gate;
    vmt_op_gate_residual *gate_residual;
    vmt_op_gate_residual_bwd *gate_residual_bwd;

    vmt_op_norm_modulate *norm_modulate;
    vmt_op_norm_modulate_bwd_acc *norm_modulate_bwd_acc;
    vmt_op_layer_norm *layer_norm;
    vmt_op_layer_norm_bwd_acc *layer_norm_bwd_acc;
    vmt_op_residual_norm_modulate *residual_norm_modulate;
    vmt_op_residual_layer_norm *residual_layer_norm;
    vmt_op_rms_norm_rope *rms_norm_rope;
    vmt_op_rms_norm_rope_bwd *rms_norm_rope_bwd;
    vmt_op_rms_norm_channel *rms_norm_channel;

    vmt_op_attention *attention;
    vmt_op_attention_bwd *attention_bwd;
    vmt_op_attention_local *attention_local;
    vmt_op_attention_local_bwd *attention_local_bwd;

    vmt_op_patchify *patchify;
    vmt_op_patchify_bwd *patchify_bwd;
    vmt_op_unpatchify *unpatchify;
    vmt_op_unpatchify_bwd *unpatchify_bwd;
    vmt_op_embed *embed;

    vmt_op_conv3d *conv3d;
    vmt_op_upsample2 *upsample2;
    vmt_op_split_frames *split_frames;
    vmt_op_add *add;

    vmt_op_qk_reduce *qk_reduce;
    vmt_op_qk_reduce_bwd *qk_reduce_bwd;
    vmt_op_flow_full *flow_full;
    vmt_op_flow_full_bwd_acc *flow_full_bwd_acc;
    vmt_op_flow_top *flow_top;
    vmt_op_flow_top_bwd_acc *flow_top_bwd_acc;
    vmt_op_flow_windows *flow_windows;
    vmt_op_flow_windowed *flow_windowed;
    vmt_op_flow_windowed_bwd_acc *flow_windowed_bwd_acc;
    vmt_op_flow_loss *flow_loss;
    vmt_op_window_mean *window_mean;
    vmt_op_window_mean_bwd_acc *window_mean_bwd_acc;
    vmt_op_track_loss *track_loss;
    vmt_op_pool *pool;
    vmt_op_pool_bwd *pool_bwd;
    vmt_op_centre *centre;
    vmt_op_unit_rows *unit_rows;
    vmt_op_unit_rows_bwd *unit_rows_bwd;
    vmt_op_adamw_step *adamw_step;
} vmt_ops;

/* ---------------------------------------------------------------- tensors */

/* Bytes of one element; of dtypes in few bits those of a block, which has vmt_dtype_block elements
 * of a row (else 1). */
size_t vmt_dtype_bytes(enum vmt_dtype dtype);
int64_t vmt_dtype_block(enum vmt_dtype dtype);
const char *vmt_dtype_name(enum vmt_dtype dtype); /* "F32", as safetensors spells it */
int64_t vmt_numel(const vmt_tensor *t);
size_t vmt_tensor_bytes(const vmt_tensor *t);
bool vmt_same_shape(const vmt_tensor *a, const vmt_tensor *b);
/* "16x9x12x20" into text (at least 128 bytes); returns text. */
char *vmt_shape_text(const vmt_tensor *t, char *text);

/* A tensor over memory the caller has.  Checks nothing but the rank. */
vmt_tensor vmt_tensor_over(void *data, enum vmt_dtype dtype, int rank, const int64_t *shape);
#define VMT_SHAPE(...)                                                                             \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[])                   \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* y[i] = element first + i, i < count, of a host tensor in few bits, times its factor. */
void vmt_tensor_unpack(float *y, const vmt_tensor *t, int64_t first, int64_t count);

/* The same memory under another shape of as many elements. */
vmt_tensor vmt_reshape(const vmt_tensor *t, int rank, const int64_t *shape);
/* Entries first..first+count-1 of axis 0, same rank. */
vmt_tensor vmt_slice(const vmt_tensor *t, int64_t first, int64_t count);
/* Entry i of axis 0, one axis less. */
vmt_tensor vmt_index(const vmt_tensor *t, int64_t i);

/* Memory for a tensor out of an arena.  Errors: VMT_E_MEMORY (does not fit, or shape overflows). */
enum vmt_status vmt_take(vmt_ctx *ctx, vmt_arena *arena, vmt_tensor *t, enum vmt_dtype dtype,
                         int rank, const int64_t *shape);

/* An arena of backend memory.  Errors: VMT_E_MEMORY with the number of bytes. */
enum vmt_status vmt_arena_open(vmt_ctx *ctx, vmt_arena *arena, size_t bytes);
void vmt_arena_close(vmt_ctx *ctx, vmt_arena *arena);

/* Fails with VMT_E_NUMERIC and `where` when an element is NaN or infinite. */
enum vmt_status vmt_require_finite(vmt_ctx *ctx, const vmt_tensor *t, const char *where);

/* The same for the stages of a run, without waiting at each: marks, [stages] I32 of the backend and
 * zero before the first, notes a stage whose x has such an element.  *stage: the first one noted,
 * or the number of stages; waits for the device. */
enum vmt_status vmt_mark_stage(vmt_ctx *ctx, const vmt_tensor *marks, int64_t stage,
                               const vmt_tensor *x);
enum vmt_status vmt_first_marked(vmt_ctx *ctx, const vmt_tensor *marks, int64_t *stage);

/* Backends by name ("ref", "ref64", "cpu", "auto"); fills ctx->ops, real, act.
 * src/backend/backend.c */
enum vmt_status vmt_backend_open(vmt_ctx *ctx, const char *name, const char *dtype);

#include "tensor/ops.h" /* vmt_linear(ctx, …): one checked call per entry of the table */

#endif
