/* SPDX-License-Identifier: MIT
 *
 * Structures that the files of src/dit share.
 * Shapes: N tokens, D dim, n heads, d head dim, F ffn dim, L text_len.  R, A: tensor/tensor.h.
 */
#ifndef VMT_DIT_INTERNAL_H
#define VMT_DIT_INTERNAL_H

#include "dit/dit.h"

#include <inttypes.h>
#include <stdio.h>

/* Matrices as mapped (bias beside), vectors converted to R. */
typedef struct dit_attention_weights {
    vmt_weight q, k, v, o;     /* [D, D] */
    vmt_tensor norm_q, norm_k; /* [D] R */
} dit_attention_weights;

typedef struct dit_block_weights {
    vmt_tensor modulation; /* [6, D] R: shift, scale, gate of attention, then of the feed-forward */
    dit_attention_weights self_attn, cross_attn;
    vmt_tensor norm3_weight, norm3_bias; /* [D] R, before cross-attention */
    vmt_weight ffn_in, ffn_out;          /* [F, D], [D, F] */
} dit_block_weights;

/* Matrices of a block that its passes read; the two after them, cross-attention's k and v, serve
 * prompts alone. */
enum { DIT_PASS_MATRICES = 8, DIT_BLOCK_MATRICES = 10 };

/* Which blocks' matrices are held (dit_stream.c). */
typedef struct dit_stream {
    int resident; /* blocks that stay prepared; the others come and go */
    bool *there;  /* [layers]: a block that comes and goes is prepared now */
} dit_stream;

/* What LoRAs put beside one matrix; a.w.data NULL: nothing.  Host memory of theirs. */
typedef struct dit_lora_branch {
    vmt_weight a, b; /* [rank, in], [rank, out] (B turned), both BF16 or F32 */
    float *bias;     /* of a changed bias, or NULL */
} dit_lora_branch;

typedef struct dit_lora {
    dit_lora_branch *branches; /* [matrix_count] */
    int64_t rank;              /* of the largest pair */
} dit_lora;

struct vmt_dit {
    vmt_dit_config config;
    const vmt_tensor_file *file; /* where the matrices are mapped from */
    vmt_weight patch_embedding;  /* [D, in·pt·ph·pw] */
    vmt_weight text_in, text_out, time_in, time_out, time_projection;
    vmt_weight head;            /* [pt·ph·pw·out, D] */
    vmt_tensor head_modulation; /* [2, D] R: shift, scale */
    dit_block_weights *blocks;
    vmt_arena vectors;     /* memory of the R vectors */
    vmt_weight **matrices; /* every vmt_weight above, in file order */
    int64_t matrix_count;
    vmt_needs needs;    /* names and shapes of all that is above */
    dit_lora *lora;     /* NULL: none */
    dit_stream *stream; /* state of weights: changes although a run holds a const vmt_dit */
    bool prepared, prepared_fp8;
};

struct vmt_dit_text {
    vmt_arena arena;
    vmt_tensor context; /* [L, D] A */
    vmt_tensor *k, *v;  /* per block: [L, n, d] A */
};

/* Everything one block computes that its backward reads. */
typedef struct dit_saved {
    vmt_tensor x;            /* [N, D] R, block input */
    vmt_tensor q_lin, k_lin; /* [N, D] A, before norm */
    vmt_tensor q, k, v;      /* [N, n, d] A */
    vmt_tensor att;          /* [N, n, d] A */
    vmt_tensor lse;          /* [n, N] R */
    vmt_tensor x1;           /* [N, D] R, after self-attention */
    vmt_tensor cross_q_lin;  /* [N, D] A */
    vmt_tensor cross_q;      /* [N, n, d] A */
    vmt_tensor cross_att;    /* [N, n, d] A */
    vmt_tensor cross_lse;    /* [n, N] R */
    vmt_tensor x2;           /* [N, D] R, after cross-attention */
    vmt_tensor u; /* [N, F] A, feed-forward before GELU; recomputed: [plan.ffn_rows, F] */
} dit_saved;

enum { DIT_SPILL_SLOTS = 2 };

struct vmt_dit_run {
    const vmt_dit *dit;
    vmt_dit_plan plan; /* plan.timesteps points to own memory */
    float *timesteps;
    vmt_arena arena;
    int64_t tokens;

    /* tables */
    vmt_tensor rope_cos, rope_sin; /* [N, d/2] R */
    vmt_tensor time_e;             /* [timesteps, D] R */
    vmt_tensor time_e0;            /* [timesteps, 6, D] R */

    /* forward */
    vmt_tensor bad;             /* [1 + layers] I32: NaN or infinity in the embedding, a block */
    vmt_tensor modulation;      /* [layers, 6, D] R at the timestep at hand */
    vmt_tensor head_modulation; /* [2, D] R */
    vmt_tensor x;               /* [N, D] R */
    vmt_tensor patches;         /* [N, max(in, out)·pt·ph·pw] A */
    vmt_tensor normed;          /* [N, D] A */
    int normed_for;             /* block whose first norm of its input is in `normed`; -1: none */
    vmt_tensor branch;          /* [N, D] A, what a gate adds */
    vmt_tensor lora;            /* [N, largest rank] A, of LoRAs; data NULL: there is none */
    vmt_tensor hidden;          /* [plan.ffn_rows, F] A, GELU of u, of some tokens at a time */
    dit_saved scratch;          /* aliased where a forward alone allows */
    vmt_tensor residuals[VMT_DIT_RESIDUALS]; /* [N, D] R, the first plan.residuals of them */

    /* backward, present if plan.keep_blocks >= 0 */
    dit_saved *saved;      /* [keep_blocks], as the recompute level says */
    dit_saved recompute;   /* one whole block; levels 1 and 2 */
    vmt_tensor dx;         /* [N, D] R */
    vmt_tensor dbranch;    /* [N, D] A */
    vmt_tensor dnormed;    /* [N, D] R */
    vmt_tensor dlin;       /* [N, D] A */
    vmt_tensor dq, dk, dv; /* [N, n, d] A */
    vmt_tensor du;         /* [plan.ffn_rows, F] A */
    void *spilled;         /* memory of the host (dit_spill.c); NULL: none */

    enum vmt_dit_pass pass; /* of the next forward */

    /* of the last forward */
    bool is_local; /* its pass is one of plan.local's */
    bool is_fp8;   /* its products with the block's matrices are linear_fp8 */
    const vmt_dit_text *text;
    int64_t time_index;
    int kept;   /* whole blocks it saved; -1: none */
    int tapped; /* block whose q and k lie in scratch; -1: none */

    vmt_dit_trace_fn *trace;
    void *trace_user;
};

/* y = block i (s->x).  Fills s; y may be the next block's s->x.  y NULL: stops after s->u
 * (recomputation).  attention_kept: s->att and s->lse already hold what attention would give. */
enum vmt_status dit_block_forward(vmt_ctx *ctx, vmt_dit_run *run, int i, dit_saved *s,
                                  bool attention_kept, vmt_tensor *y);
/* run->dx: gradient at block i's output on entry, at its input on return. */
enum vmt_status dit_block_backward(vmt_ctx *ctx, vmt_dit_run *run, int i, const dit_saved *s);
/* q and k of block i from s->x; fills s->q_lin, k_lin, q, k; leaves h1 in run->normed. */
enum vmt_status dit_block_qk(vmt_ctx *ctx, vmt_dit_run *run, int i, dit_saved *s);
/* run->dx = gradient at block i's input from dq, dk alone (overwrites). */
enum vmt_status dit_block_qk_backward(vmt_ctx *ctx, vmt_dit_run *run, int i, const dit_saved *s,
                                      const vmt_tensor *dq, const vmt_tensor *dk);

/* Pointers to the matrices of block i, those of its passes first. */
void dit_block_matrices(const vmt_dit *dit, int64_t i, vmt_weight *matrices[DIT_BLOCK_MATRICES]);

/* ---- dit_lora.c (files: dit_lora_read.c): products with the DiT's matrices and what LoRAs add to
 * them. buffer: [rows or more, dit_lora_rank] R|A for x Aᵀ and dy B; not read where there is no
 * LoRA.  As the ops of these names, the last two with linear_gelu's and linear_bwd_gelu's aliases.
 */

/* linear: vmt_linear or vmt_linear_fp8, for the matrix itself. */
enum vmt_status dit_linear(vmt_ctx *ctx, const vmt_dit *dit, const vmt_tensor *buffer,
                           vmt_op_linear *linear, vmt_tensor *y, const vmt_tensor *x,
                           const vmt_weight *w, enum vmt_epilogue epilogue);
enum vmt_status dit_linear_bwd(vmt_ctx *ctx, const vmt_dit *dit, const vmt_tensor *buffer,
                               vmt_tensor *dx, const vmt_tensor *dy, const vmt_weight *w);
enum vmt_status dit_linear_bwd_acc(vmt_ctx *ctx, const vmt_dit *dit, const vmt_tensor *buffer,
                                   vmt_tensor *dx, const vmt_tensor *dy, const vmt_weight *w);
enum vmt_status dit_linear_gelu(vmt_ctx *ctx, const vmt_dit *dit, const vmt_tensor *buffer,
                                vmt_tensor *y, vmt_tensor *u, const vmt_tensor *x,
                                const vmt_weight *w);
enum vmt_status dit_linear_bwd_gelu(vmt_ctx *ctx, const vmt_dit *dit, const vmt_tensor *buffer,
                                    vmt_tensor *du, const vmt_tensor *dy, const vmt_weight *w,
                                    const vmt_tensor *u);
/* Largest sum of ranks beside one matrix; 0: there is no LoRA. */
int64_t dit_lora_rank(const vmt_dit *dit);
/* LoRAs' matrices are packed with the others, all of them, and go with them. */
enum vmt_status dit_lora_prepare(vmt_ctx *ctx, const vmt_dit *dit);
void dit_lora_release(vmt_ctx *ctx, const vmt_dit *dit);
void dit_lora_close(vmt_ctx *ctx, vmt_dit *dit);
/* Bytes of them packed; what they are packed from is there as soon as a file is read. */
size_t dit_lora_bytes(vmt_ctx *ctx, const vmt_dit *dit);
size_t dit_lora_held_now(const vmt_dit *dit);

/* ---- dit_stream.c */

/* Whether block i is one that stays. */
bool dit_stream_stays(const vmt_dit *dit, int64_t i);

/* Before block i computes: its matrices are there, with numbers of 8 bits if asked for. */
enum vmt_status dit_stream_use(vmt_ctx *ctx, const vmt_dit *dit, int i, bool fp8);
/* Behind its last use: `next` (dit_stream_next) begins to come, block i goes unless it is next. */
enum vmt_status dit_stream_done(vmt_ctx *ctx, const vmt_dit *dit, int i, int next, bool fp8);
/* The block that comes and goes which is used after block i: on the way by `step` (1, -1) through
 * 0..last; else where the next way begins: at `last` if the forward turns back there, else at 0.
 * -1: none. */
int dit_stream_next(const vmt_dit *dit, int i, int step, int last, bool turns);
/* Lets go of all that come and go. */
void dit_stream_drop(vmt_ctx *ctx, const vmt_dit *dit);
/* A matrix that only the beginning of a run reads: prepared; given back unless every block stays.
 */
enum vmt_status dit_stream_lend(vmt_ctx *ctx, const vmt_dit *dit, const vmt_weight *weight);
void dit_stream_return(vmt_ctx *ctx, const vmt_dit *dit, const vmt_weight *weight);

/* ---- dit_spill.c: what is kept of blocks lies in slots, saved[i] in that of i % DIT_SPILL_SLOTS;
 * each goes to the host behind its block and comes back before the block's backward. */

size_t dit_spill_bytes(const vmt_dit_run *run);
enum vmt_status dit_spill_open(vmt_ctx *ctx, vmt_dit_run *run);
void dit_spill_close(vmt_ctx *ctx, vmt_dit_run *run);
/* Block i of `count` is computed: its slot begins to be copied out. */
enum vmt_status dit_spill_out(vmt_ctx *ctx, vmt_dit_run *run, int i, int count);
/* Block i's slot begins to be filled again, when what was asked for so far is done; i < 0: none. */
enum vmt_status dit_spill_back(vmt_ctx *ctx, vmt_dit_run *run, int i);
/* What is computed from here on finds the copy of block i's slot done. */
enum vmt_status dit_spill_wait(vmt_ctx *ctx, vmt_dit_run *run, int i);

/* Fills the RoPE tables and the time embeddings of run->plan.timesteps. */
enum vmt_status dit_tables_fill(vmt_ctx *ctx, vmt_dit_run *run);

#endif
