/* SPDX-License-Identifier: MIT
 *
 * The Wan2.1 diffusion transformer: forward to the velocity or to a tap, and the explicit backward
 * from there to the latent.  Only data gradients exist: weights, text and timestep are constants.
 *
 *   vmt_dit        weights and configuration; which of them are packed changes with each pass, the
 *                  rest is read only once prepared
 *   vmt_dit_text   what one prompt contributes: k and v of every block's cross-attention
 *   vmt_dit_run    tables, activations and saved tensors for one token grid
 *
 * Source: Wan-Video/Wan2.1 wan/modules/model.py.  Read dit_block.c first.
 */
#ifndef VMT_DIT_H
#define VMT_DIT_H

#include "model/model_config.h"
#include "model/tensor_file.h"

typedef struct vmt_dit vmt_dit;
typedef struct vmt_dit_text vmt_dit_text;
typedef struct vmt_dit_run vmt_dit_run;

/* Binds a checkpoint's tensors by their official names; converts the small vectors (norms,
 * modulations).  The file must outlive the DiT. */
enum vmt_status vmt_dit_open(vmt_ctx *ctx, vmt_dit **dit, const vmt_tensor_file *file,
                             const vmt_dit_config *config);
void vmt_dit_close(vmt_ctx *ctx, vmt_dit *dit);
const vmt_dit_config *vmt_dit_get_config(const vmt_dit *dit);

enum { VMT_LORA_MAX_RANK = 1024, VMT_LORA_MAX_WEIGHT = 100 };

/* Adds a LoRA, `weight` times, beside the matrices; several may be added.  The file is not needed
 * afterwards.  What was packed goes.  How many of its keys matched is logged.
 * Errors: VMT_E_MODEL (none matched, another size), VMT_E_FORMAT (half a pair, a key twice),
 * VMT_E_NUMERIC, VMT_E_UNSUPPORTED (ranks of more than VMT_LORA_MAX_RANK for one matrix; adapters
 * of another kind), VMT_E_ARG; the DiT is not to be used after a failure. */
enum vmt_status vmt_dit_add_lora(vmt_ctx *ctx, vmt_dit *dit, const vmt_tensor_file *file,
                                 double weight);

/* Packs the matrices for the backend, once. */
enum vmt_status vmt_dit_prepare(vmt_ctx *ctx, vmt_dit *dit);
/* The same of `resident` blocks, 0..layers, spread evenly.  Those of the others come just before
 * they are used, while the device computes the block before, and go behind their last use; so do
 * those that only the beginning of a run reads.  The same bits for any number.  What is packed
 * already and not among them goes.  No run may be open. */
enum vmt_status vmt_dit_prepare_blocks(vmt_ctx *ctx, vmt_dit *dit, int resident);
/* Lets go of all that was packed. */
void vmt_dit_release(vmt_ctx *ctx, vmt_dit *dit);
/* Bytes of packed copies that are there now. */
size_t vmt_dit_held_now(const vmt_dit *dit);
/* Bytes of packed copies and converted vectors, at most at one time, with so many resident blocks.
 */
size_t vmt_dit_held_bytes(vmt_ctx *ctx, const vmt_dit *dit, int resident, bool fp8);
/* Bytes of packed copies of one block that comes and goes; 0: its weights are used where they are
 * mapped. */
size_t vmt_dit_block_bytes(vmt_ctx *ctx, const vmt_dit *dit, bool fp8);
/* After it: those of the blocks also as numbers of 8 bits, once.
 * Errors: VMT_E_UNSUPPORTED where the backend has no such products, or none of these widths. */
enum vmt_status vmt_dit_prepare_fp8(vmt_ctx *ctx, vmt_dit *dit);
/* Bytes that it makes. */
size_t vmt_dit_fp8_bytes(vmt_ctx *ctx, const vmt_dit *dit);
/* Bytes of converted copies that vmt_dit_prepare makes, with vectors, LoRA and the buffer that
 * matrices in few bits are widened in; and of weights used where they are mapped. */
void vmt_dit_weight_bytes(vmt_ctx *ctx, const vmt_dit *dit, size_t *packed, size_t *mapped);

/* k and v of a prompt: rows [count, text_dim] F32 on the host, 0 <= count <= text_len; zero rows
 * follow up to text_len and take part in attention, as in the official model. */
enum vmt_status vmt_dit_text_open(vmt_ctx *ctx, vmt_dit_text **text, const vmt_dit *dit,
                                  const float *rows, int64_t count);
void vmt_dit_text_close(vmt_ctx *ctx, vmt_dit_text *text);
/* Bytes that vmt_dit_text_open takes. */
enum vmt_status vmt_dit_text_bytes(vmt_ctx *ctx, const vmt_dit *dit, size_t *bytes);
/* Text embedding of all text_len rows, [text_len, dim] A; valid until the prompt is closed. */
const vmt_tensor *vmt_dit_text_context(const vmt_dit_text *text);

/* What a pass through the blocks is for. */
enum vmt_dit_pass { VMT_DIT_REFERENCE = 0, VMT_DIT_GUIDANCE, VMT_DIT_SAMPLING, VMT_DIT_PASSES };

/* Self-attention of some blocks sees boxes of keys in some passes (vmt_attention_local). */
typedef struct vmt_dit_local {
    bool passes[VMT_DIT_PASSES]; /* all false: full attention everywhere */
    vmt_local_geometry geometry; /* of the run's grid */
    int first, last;             /* blocks */
} vmt_dit_local;

enum { VMT_DIT_RESIDUALS = 2 };

/* What a run is laid out for. */
typedef struct vmt_dit_plan {
    int64_t grid_f, grid_h, grid_w; /* tokens: latent frames, rows and columns over the patch */
    const float *timesteps;         /* every timestep the run will use, 0..1000 */
    int64_t timestep_count;
    int keep_blocks; /* a backward goes through at most so many whole blocks; -1: forward only */
    int recompute;   /* 0: all kept; 1: block inputs, attention output and log-sum-exp; 2: inputs */
    int64_t ffn_rows; /* tokens that a feed-forward holds in its middle at a time; 0: all.  Another
                         number may change the last bits of a backend whose products depend on the
                         number of rows. */
    bool spills;      /* from level 1 on what is kept of all but two blocks goes to the host */
    vmt_dit_local local;
    bool fp8;      /* in sampling, products with the blocks' matrices are linear_fp8 */
    int residuals; /* forwards whose residual can be held at once, 0..VMT_DIT_RESIDUALS */
} vmt_dit_plan;

enum vmt_status vmt_dit_run_open(vmt_ctx *ctx, vmt_dit_run **run, const vmt_dit *dit,
                                 const vmt_dit_plan *plan);
void vmt_dit_run_close(vmt_ctx *ctx, vmt_dit_run *run);
/* Bytes that vmt_dit_run_open takes: the same layout code on a measuring arena. */
enum vmt_status vmt_dit_run_bytes(vmt_ctx *ctx, const vmt_dit *dit, const vmt_dit_plan *plan,
                                  size_t *bytes);

/* Bytes of the host that it takes besides, with plan->spills. */
enum vmt_status vmt_dit_run_spill_bytes(vmt_ctx *ctx, const vmt_dit *dit, const vmt_dit_plan *plan,
                                        size_t *bytes);

/* What the forwards from here on are for; VMT_DIT_SAMPLING until it is called.  A backward is of
 * its forward's pass. */
void vmt_dit_run_pass(vmt_dit_run *run, enum vmt_dit_pass pass);

/* Called with intermediate results of a forward, for conformance cases.
 *   what: "tokens", "e", "e0" (block -1) or "block" (block 0..) */
typedef enum vmt_status vmt_dit_trace_fn(void *user, const char *what, int block,
                                         const vmt_tensor *tensor);
void vmt_dit_run_trace(vmt_dit_run *run, vmt_dit_trace_fn *trace, void *user);

/* Velocity = noise - clean, [out_dim, F, H, W] R.   latent: [in_dim, F, H, W] R.
 * timestep: one of the plan's.  keep: saves what vmt_dit_backward needs (keep_blocks = all layers).
 */
enum vmt_status vmt_dit_forward(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *velocity,
                                const vmt_tensor *latent, float timestep, const vmt_dit_text *text,
                                bool keep);
/* The same without `keep`; what all blocks together add to the hidden state is held as residual
 * `slot` until the next one of that slot. */
enum vmt_status vmt_dit_forward_hold(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *velocity,
                                     const vmt_tensor *latent, float timestep,
                                     const vmt_dit_text *text, int slot);
/* Velocity from a held residual in the blocks' place: embedding and head alone are computed, of
 * this latent at this timestep. */
enum vmt_status vmt_dit_forward_held(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *velocity,
                                     const vmt_tensor *latent, float timestep, int slot);
/* changes[i] = |e_i - e_(i-1)| / |e_(i-1)|, sums over the elements of the time embeddings of the
 * plan's timesteps in their order; changes[0] = 0.  [timestep_count] */
enum vmt_status vmt_dit_time_changes(vmt_ctx *ctx, const vmt_dit_run *run, double *changes);

/* dlatent = (d velocity / d latent)ᵀ dvelocity, of the last kept forward; once, where the plan
 * spills (as the backwards below). */
enum vmt_status vmt_dit_backward(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *dlatent,
                                 const vmt_tensor *dvelocity);

/* q and k of a block's self-attention after RMSNorm and RoPE, [N, heads, head_dim] A; owned by the
 * run, valid until its next forward.  Blocks 0..block-1 run whole; of `block` only what leads to q,
 * k. */
enum vmt_status vmt_dit_tap_qk(vmt_ctx *ctx, vmt_dit_run *run, const vmt_tensor **q,
                               const vmt_tensor **k, const vmt_tensor *latent, float timestep,
                               const vmt_dit_text *text, int block, bool keep);
/* dlatent from dq, dk ([N, heads, head_dim] R|A) of the last kept vmt_dit_tap_qk. */
enum vmt_status vmt_dit_tap_qk_bwd(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *dlatent,
                                   const vmt_tensor *dq, const vmt_tensor *dk);

/* Hidden state after a block, [N, dim] R, and its gradient; as above (keep_blocks > block). */
enum vmt_status vmt_dit_tap_hidden(vmt_ctx *ctx, vmt_dit_run *run, const vmt_tensor **hidden,
                                   const vmt_tensor *latent, float timestep,
                                   const vmt_dit_text *text, int block, bool keep);
enum vmt_status vmt_dit_tap_hidden_bwd(vmt_ctx *ctx, vmt_dit_run *run, vmt_tensor *dlatent,
                                       const vmt_tensor *dhidden);

#endif
