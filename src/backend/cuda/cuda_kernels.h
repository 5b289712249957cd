/* SPDX-License-Identifier: MIT
 *
 * The kernels of backend "cuda" as functions of C: each launches on a stream and returns the
 * launch's error. Pointers are the device's unless they are named host.  A cuda_view is F32 or
 * BF16; `float *` is F32 (R). Formulas: vmt_ops in tensor/tensor.h.  Sums are formed in F32 or
 * wider, each in a fixed order.
 */
#ifndef VMT_CUDA_KERNELS_H
#define VMT_CUDA_KERNELS_H

#include "fastvmt/fastvmt.h"

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cuda_view {
    void *data;
    enum vmt_dtype dtype;
} cuda_view;

/* ---- cuda_convert.cu */

/* y = x element by element; each of F32, F64, F16, BF16. */
cudaError_t cuda_convert(cudaStream_t s, cuda_view y, cuda_view x, int64_t count);
typedef struct cuda_filter {
    int64_t out, in, taps;
    int64_t out_filled, in_filled; /* of y, with zeros behind the channels of x */
} cuda_filter;
/* y[o, t, i] = x[o, i, t]: filter [out, in, taps] into the order of an unrolled window.  x: F32,
 * F16, BF16. */
cudaError_t cuda_filter_order(cudaStream_t s, cuda_view y, cuda_view x, cuda_filter f);
/* *bad |= an element is NaN or infinite. */
cudaError_t cuda_find_bad(cudaStream_t s, int *bad, cuda_view x, int64_t count);

/* ---- cuda_quant.cu */

/* A matrix in few bits on the device: blocks as in the file; factors: one for each `part` elements,
 * or NULL. */
typedef struct cuda_quant {
    const void *blocks;
    enum vmt_dtype dtype;
    const float *factors;
    int64_t part;
} cuda_quant;

/* y[i] = element i, i < count, with the bits of vmt_tensor_unpack rounded to y.dtype (F32, BF16).
 */
cudaError_t cuda_unpack(cudaStream_t stream, cuda_view y, cuda_quant w, int64_t count);

/* ---- cuda_fp8.cu */

/* y = e4m3(x / s), rows of `in` bytes; s[row] = max |row| / 448, 1 where that is 0.  in: a multiple
 * of 4. */
cudaError_t cuda_fp8_rows(cudaStream_t stream, unsigned char *y, float *s, cuda_view x,
                          int64_t rows, int64_t in);
/* y = row_scale[row] col_scale[col] y + bias[col]; bias NULL: none. */
cudaError_t cuda_fp8_scale(cudaStream_t stream, cuda_view y, const float *row_scale,
                           const float *col_scale, const float *bias, int64_t rows, int64_t out);

/* ---- cuda_elementwise.cu */

enum cuda_map_kind { CUDA_GELU, CUDA_SILU, CUDA_GELU_BWD, CUDA_GELU_GATE, CUDA_ADD };

/* y = f(x) or f(x, z): gelu(x), silu(x), gelu'(z) x, x gelu(z), x + z. */
cudaError_t cuda_map(cudaStream_t s, enum cuda_map_kind map, cuda_view y, cuda_view x, cuda_view z,
                     int64_t count);
cudaError_t cuda_lincomb(cudaStream_t s, float *y, const float *x, const float *z, float a, float b,
                         int64_t count);
cudaError_t cuda_gate_residual(cudaStream_t s, float *y, const float *x, const float *gate,
                               cuda_view branch, int64_t tokens, int64_t dim);
cudaError_t cuda_gate_residual_bwd(cudaStream_t s, cuda_view dbranch, const float *gate,
                                   const float *dy, int64_t tokens, int64_t dim);

typedef struct cuda_adamw {
    float beta1, rest1, beta2, rest2, keep, rate, root, eps;
} cuda_adamw;
cudaError_t cuda_adamw_step(cudaStream_t s, float *x, float *m, float *v, const float *g,
                            cuda_adamw a, int64_t count);

/* ---- cuda_norm.cu: one row per token */

/* y = x̂ (plus_one + factor) + offset. */
cudaError_t cuda_norm(cudaStream_t s, cuda_view y, const float *x, const float *factor,
                      const float *offset, float plus_one, double eps, int64_t tokens, int64_t dim);
cudaError_t cuda_norm_bwd_acc(cudaStream_t s, float *dx, cuda_view dy, const float *x,
                              const float *factor, float plus_one, double eps, int64_t tokens,
                              int64_t dim);
/* y = x + gate branch (gate NULL: 1), normed = ŷ (plus_one + factor) + offset.  y may be x. */
cudaError_t cuda_residual_norm(cudaStream_t s, float *y, cuda_view normed, const float *x,
                               const float *gate, cuda_view branch, const float *factor,
                               const float *offset, float plus_one, double eps, int64_t tokens,
                               int64_t dim);
cudaError_t cuda_rms_channel(cudaStream_t s, cuda_view y, cuda_view x, const float *gamma,
                             bool silu, int64_t rows, int64_t channels);

/* ---- cuda_rope.cu: one row per token */

cudaError_t cuda_rms_rope(cudaStream_t s, cuda_view y, cuda_view x, const float *weight,
                          const float *cosines, const float *sines, double eps, int64_t tokens,
                          int64_t heads, int64_t head_dim);
cudaError_t cuda_rms_rope_bwd(cudaStream_t s, cuda_view dx, cuda_view dy, cuda_view x,
                              const float *weight, const float *cosines, const float *sines,
                              double eps, int64_t tokens, int64_t heads, int64_t head_dim);

/* ---- cuda_softmax.cu: rows of logits of a block of queries.  Each function works on `heads`
 * matrices at once. */

/* p = softmax(scale z + bias), lse = log Σ exp; z: [heads, rows, nk] F32; p may lie on z when F32;
 * lse: [heads, rows] with heads lse_stride apart, or NULL; bias of row i, key j: bias[h ·
 * bias_stride + j - i + bias_origin], or NULL. */
cudaError_t cuda_softmax(cudaStream_t s, cuda_view p, const float *z, float *lse,
                         int64_t lse_stride, const float *bias, int64_t bias_stride,
                         int64_t bias_origin, float scale, int64_t heads, int64_t rows, int64_t nk);
/* p = exp(scale z - lse); ds = scale p (dp - delta).  p may lie on z, ds on dp, when F32. */
cudaError_t cuda_softmax_bwd(cudaStream_t s, cuda_view p, cuda_view ds, const float *z,
                             const float *dp, const float *lse, const float *delta,
                             int64_t row_stride, float scale, int64_t heads, int64_t rows,
                             int64_t nk);
/* delta[h, i] = Σ_c do[i, h, c] o[i, h, c]. */
cudaError_t cuda_delta(cudaStream_t s, float *delta, cuda_view dout, cuda_view o, int64_t rows,
                       int64_t heads, int64_t head_dim);

/* ---- cuda_local.cu: tiles and boxes of local attention (tensor/local_tiles.h) */

typedef struct cuda_local_grid {
    int grid[3], tile[3], box[3];
} cuda_local_grid;

/* Tiles of one size: along[a] from tile first[a] of axis a on, of queries[a] tokens each. */
typedef struct cuda_local_class {
    int first[3], along[3], queries[3];
    int64_t tile; /* those of the classes before it */
} cuda_local_class;

/* All of them: bit 2 of a class's index: ragged in time; bit 1: rows; bit 0: columns. */
typedef struct cuda_local_classes {
    cuda_local_class classes[8];
    int whole[3]; /* tiles of an axis that are not ragged */
} cuda_local_classes;

/* Heads first..first+part-1 of [N, heads, d]. */
typedef struct cuda_local_heads {
    int64_t heads, d, first, part;
} cuda_local_heads;

/* Those heads of a class's queries, or of its boxes' keys, [tiles, tokens, part, d], from the grid
 * or back. */
cudaError_t cuda_local_move(cudaStream_t s, cuda_view tile, cuda_view grid, bool to_tile, bool keys,
                            cuda_local_grid g, cuda_local_class c, cuda_local_heads h);
/* The same of log-sum-exp: tile: [tiles, part, queries], grid: [heads, N]. */
cudaError_t cuda_local_lse(cudaStream_t s, float *tile, float *grid, bool to_tile,
                           cuda_local_grid g, cuda_local_class c, cuda_local_heads h);
/* y = Σ of each token's gradients in all boxes [tiles, box, part, d], tile after tile. */
cudaError_t cuda_local_sum(cudaStream_t s, cuda_view y, cuda_view boxes, cuda_local_grid g,
                           cuda_local_classes k, cuda_local_heads h);

/* ---- cuda_rearrange.cu */

typedef struct cuda_patches {
    int64_t channels, frames, height, width; /* of the latent */
    int64_t pt, ph, pw;
    bool channel_last, to_tokens;
} cuda_patches;
cudaError_t cuda_move_patches(cudaStream_t s, cuda_view y, cuda_view x, cuda_patches p);
cudaError_t cuda_upsample2(cudaStream_t s, cuda_view y, cuda_view x, int64_t frames, int64_t height,
                           int64_t width, int64_t channels);
cudaError_t cuda_split_frames(cudaStream_t s, cuda_view y, cuda_view x, int64_t frames,
                              int64_t cells, int64_t channels);

/* y[i, c] = x[i, c] for the channels that both have, and zero for those that only y has. */
cudaError_t cuda_fit_channels(cudaStream_t s, cuda_view y, cuda_view x, int64_t rows,
                              int64_t y_channels, int64_t x_channels);

typedef struct cuda_window {
    int64_t height, width, channels; /* of a frame of x */
    int64_t kt, kh, kw;
    int64_t stride_t, stride_h, stride_w, pad_top, pad_left;
    int64_t out_h, out_w;
} cuda_window;
/* Rows first..first+rows-1 of the unrolled input: [rows, kt·kh·kw·channels]. */
cudaError_t cuda_unroll(cudaStream_t s, cuda_view y, cuda_view x, cuda_window w, int64_t first,
                        int64_t rows);

/* ---- cuda_bias.cu */

/* y[i, c] = x[i, c] + bias[c] for the channels of y, of which x may have more; y may be x when it
 * has none more. */
cudaError_t cuda_add_bias(cudaStream_t s, cuda_view y, cuda_view x, const float *bias, int64_t rows,
                          int64_t y_channels, int64_t x_channels);

/* ---- cuda_flow.cu */

typedef struct cuda_flow_geometry {
    int grid_h, grid_w, tile_h, tile_w, window_h, window_w;
    bool released;
    int tiles;
} cuda_flow_geometry;

cudaError_t cuda_qk_reduce(cudaStream_t s, float *reduced, cuda_view q, bool released,
                           int64_t tokens, int64_t heads, int64_t d);
cudaError_t cuda_qk_reduce_bwd(cudaStream_t s, cuda_view dq, const float *dreduced, bool released,
                               int64_t tokens, int64_t heads, int64_t d);
/* flow of each row of logits z [rows, S] over all keys; own position subtracted when `own`. */
cudaError_t cuda_flow_expect(cudaStream_t s, float *flow, const float *z, float scale, int64_t rows,
                             int64_t keys, int grid_w, bool own);
/* z becomes dz of every query and key. */
cudaError_t cuda_flow_full_dz(cudaStream_t s, float *z, const float *dflow, const float *flow,
                              float scale, int64_t tokens, int grid_w);
/* Rows of q at the tiles' centre tokens, [tiles, d]; windows around `centre` [tiles, 2]. */
cudaError_t cuda_flow_centres(cudaStream_t s, float *rows, const float *q, cuda_flow_geometry g,
                              int64_t d);
cudaError_t cuda_flow_place(cudaStream_t s, int32_t *rows, int32_t *cols, const float *centre,
                            cuda_flow_geometry g);
/* flow of each token over its tile's window, from logits z [S, S] of all pairs; z becomes dz. */
cudaError_t cuda_flow_windowed(cudaStream_t s, float *flow, const float *z, const int32_t *rows,
                               const int32_t *cols, cuda_flow_geometry g, float scale);
cudaError_t cuda_flow_windowed_dz(cudaStream_t s, float *z, const float *dflow, const float *flow,
                                  const int32_t *rows, const int32_t *cols, cuda_flow_geometry g,
                                  float scale);

/* ---- cuda_loss.cu */

cudaError_t cuda_flow_loss(cudaStream_t s, float *loss, float *dflow, const float *flow,
                           const float *ref, const float *token_weights, double weight,
                           float factor, int64_t tokens, int64_t width);
cudaError_t cuda_window_mean(cudaStream_t s, float *mean, const float *k, const int32_t *rows,
                             const int32_t *cols, cuda_flow_geometry g, int64_t d);
cudaError_t cuda_window_mean_bwd(cudaStream_t s, float *dk, const float *dmean, const int32_t *rows,
                                 const int32_t *cols, cuda_flow_geometry g, int64_t d);
/* norms: scratch [tiles] of double. */
cudaError_t cuda_track_loss(cudaStream_t s, float *loss, float *da, float *db, double *norms,
                            const float *a, const float *b, const float *tile_weights,
                            double weight, double grad_scale, int64_t tiles, int64_t channels);

/* ---- cuda_feature.cu */

typedef struct cuda_pooling {
    int grid_h, grid_w, cells_h, cells_w;
} cuda_pooling;

/* All but the `top` largest of each row of z [rows, keys] become -infinity. */
cudaError_t cuda_keep_top(cudaStream_t s, float *z, int64_t rows, int64_t keys, int64_t top);
/* x: [frames, S, d]; y: [frames, cells, d]. */
cudaError_t cuda_pool(cudaStream_t s, float *y, const float *x, cuda_pooling p, int64_t frames,
                      int64_t d);
cudaError_t cuda_pool_bwd(cudaStream_t s, float *dx, const float *dy, cuda_pooling p,
                          int64_t frames, int64_t d);
/* x, y: [n, group, d]. */
cudaError_t cuda_centre(cudaStream_t s, float *y, const float *x, int64_t n, int64_t group,
                        int64_t d);
cudaError_t cuda_unit_rows(cudaStream_t s, float *y, const float *x, const float *mask, int64_t n,
                           int64_t d);
cudaError_t cuda_unit_rows_bwd(cudaStream_t s, float *dx, const float *dy, const float *x,
                               const float *mask, int64_t n, int64_t d);

#ifdef __cplusplus
}
#endif

#endif
