/* SPDX-License-Identifier: MIT
 *
 * Which matrices of the DiT are packed for the backend at a time.  Some blocks stay; the others
 * come just before they are used and go behind their last use.  On a device the next one is copied
 * while this one computes, so two of them are there at a time; elsewhere one.
 */
#include "dit/dit_internal.h"
#include "model/read_ahead.h"

enum { PASS_USE = VMT_USE_LINEAR | VMT_USE_BACKWARD };

/* With S of L blocks that come and go, block i is one of them where (i + 1) S / L passes a whole
 * number: any stretch of blocks has its share of them. */
static bool stays_of(const vmt_dit *dit, int resident, int64_t i)
{
    const int64_t layers = dit->config.layers, others = layers - resident;
    return (i + 1) * others / layers == i * others / layers;
}

bool dit_stream_stays(const vmt_dit *dit, int64_t i)
{
    return stays_of(dit, dit->stream->resident, i);
}

static bool all_stay(const vmt_dit *dit)
{
    return dit->stream->resident >= dit->config.layers;
}

/* ---- at the beginning of a run */

/* Matrices that only the beginning of a run reads: those of the timesteps and of the prompts. */
static bool is_of_beginning(const vmt_dit *dit, const vmt_weight *weight)
{
    const vmt_weight *const once[] = {&dit->text_in, &dit->text_out, &dit->time_in, &dit->time_out,
                                      &dit->time_projection};

    for (size_t i = 0; i < sizeof once / sizeof *once; i++)
        if (weight == once[i])
            return true;
    for (int64_t i = 0; i < dit->config.layers; i++)
        if (weight == &dit->blocks[i].cross_attn.k || weight == &dit->blocks[i].cross_attn.v)
            return true;
    return false;
}

/* The block whose passes read a matrix; -1: none. */
static int64_t block_of(const vmt_dit *dit, const vmt_weight *weight)
{
    for (int64_t i = 0; i < dit->config.layers; i++) {
        vmt_weight *matrices[DIT_BLOCK_MATRICES];
        dit_block_matrices(dit, i, matrices);
        for (int m = 0; m < DIT_PASS_MATRICES; m++)
            if (matrices[m] == weight)
                return i;
    }
    return -1;
}

static bool is_kept(const vmt_dit *dit, const vmt_weight *weight)
{
    const int64_t block = block_of(dit, weight);

    if (all_stay(dit))
        return true;
    return block >= 0 ? dit_stream_stays(dit, block) : !is_of_beginning(dit, weight);
}

static bool is_converted(vmt_ctx *ctx, const vmt_weight *weight)
{
    return vmt_weight_is_copied(ctx, weight, PASS_USE);
}

static enum vmt_status prepare_all(vmt_ctx *ctx, const vmt_dit *dit, vmt_weight *const *kept,
                                   int64_t count, vmt_read_ahead *ahead)
{
    for (int64_t i = 0; i < count; i++) {
        VMT_TRY(vmt_check_cancelled(ctx));
        vmt_read_ahead_wait(ahead, i);
        VMT_TRY(vmt_weight_prepare(ctx, kept[i], PASS_USE));
        if (is_converted(ctx, kept[i]))
            vmt_tensor_file_leave(dit->file, &kept[i]->w);
    }
    return VMT_OK;
}

static enum vmt_status prepare_kept(vmt_ctx *ctx, const vmt_dit *dit, vmt_weight **kept)
{
    vmt_read_ahead *ahead = NULL;
    int64_t count = 0;

    for (int64_t i = 0; i < dit->matrix_count; i++)
        if (is_kept(dit, dit->matrices[i]))
            kept[count++] = dit->matrices[i];
    /* one dtype for all, in practice: what is used where it lies is read when it is used */
    if (is_converted(ctx, &dit->blocks[0].ffn_in))
        VMT_TRY(vmt_read_ahead_open(ctx, &ahead, dit->file, kept, count));
    const enum vmt_status status = prepare_all(ctx, dit, kept, count, ahead);
    vmt_read_ahead_close(ahead);
    return status;
}

enum vmt_status vmt_dit_prepare_blocks(vmt_ctx *ctx, vmt_dit *dit, int resident)
{
    const int layers = (int)dit->config.layers;
    vmt_weight **kept = NULL;

    resident = resident < layers ? resident : layers;
    if (dit->prepared && dit->stream->resident == resident)
        return VMT_OK;
    dit->prepared = dit->prepared_fp8 = false; /* of other blocks */
    dit->stream->resident = resident;
    dit_stream_drop(ctx, dit);
    for (int64_t i = 0; i < dit->matrix_count; i++)
        if (!is_kept(dit, dit->matrices[i]))
            ctx->ops->weight_release(ctx, dit->matrices[i]);
    VMT_TRY(vmt_alloc(ctx, (void **)&kept, (size_t)dit->matrix_count, sizeof(vmt_weight *)));
    enum vmt_status status = prepare_kept(ctx, dit, kept);
    vmt_free(kept);
    if (status == VMT_OK)
        status = dit_lora_prepare(ctx, dit);
    dit->prepared = status == VMT_OK;
    return status;
}

enum vmt_status vmt_dit_prepare(vmt_ctx *ctx, vmt_dit *dit)
{
    return vmt_dit_prepare_blocks(ctx, dit, (int)dit->config.layers);
}

void vmt_dit_release(vmt_ctx *ctx, vmt_dit *dit)
{
    for (int64_t i = 0; i < dit->matrix_count; i++)
        ctx->ops->weight_release(ctx, dit->matrices[i]);
    dit_lora_release(ctx, dit);
    for (int64_t i = 0; dit->stream && dit->stream->there && i < dit->config.layers; i++)
        dit->stream->there[i] = false;
    dit->prepared = dit->prepared_fp8 = false;
}

/* The dit's own of a weight: state that changes although a run holds a const vmt_dit. */
static vmt_weight *own(const vmt_dit *dit, const vmt_weight *weight)
{
    for (int64_t i = 0; i < dit->matrix_count; i++)
        if (dit->matrices[i] == weight)
            return dit->matrices[i];
    return NULL;
}

enum vmt_status dit_stream_lend(vmt_ctx *ctx, const vmt_dit *dit, const vmt_weight *weight)
{
    return vmt_weight_prepare(ctx, own(dit, weight), PASS_USE);
}

void dit_stream_return(vmt_ctx *ctx, const vmt_dit *dit, const vmt_weight *weight)
{
    if (!all_stay(dit))
        ctx->ops->weight_release(ctx, own(dit, weight));
}

/* ---- on the way through the blocks */

static void let_go(vmt_ctx *ctx, const vmt_dit *dit, int64_t i)
{
    vmt_weight *matrices[DIT_BLOCK_MATRICES];

    if (!dit->stream->there[i])
        return;
    dit->stream->there[i] = false;
    dit_block_matrices(dit, i, matrices);
    for (int m = 0; m < DIT_PASS_MATRICES; m++)
        ctx->ops->weight_release(ctx, matrices[m]);
}

/* Those that came for a way that was not taken: all but two. */
static void let_others_go(vmt_ctx *ctx, const vmt_dit *dit, int64_t one, int64_t other)
{
    for (int64_t i = 0; i < dit->config.layers; i++)
        if (i != one && i != other)
            let_go(ctx, dit, i);
}

void dit_stream_drop(vmt_ctx *ctx, const vmt_dit *dit)
{
    let_others_go(ctx, dit, -1, -1);
}

static enum vmt_status bring(vmt_ctx *ctx, const vmt_dit *dit, int i, bool fp8)
{
    const unsigned use = PASS_USE | (fp8 ? (unsigned)VMT_USE_FP8 : 0U);
    vmt_weight *matrices[DIT_BLOCK_MATRICES];

    if (dit_stream_stays(dit, i))
        return VMT_OK;
    dit_block_matrices(dit, i, matrices);
    dit->stream->there[i] = true; /* in part, should the next fail */
    for (int m = 0; m < DIT_PASS_MATRICES; m++) {
        const bool comes = !matrices[m]->packed;
        VMT_TRY(vmt_weight_prepare(ctx, matrices[m], use));
        if (comes && !ctx->ops->wait && is_converted(ctx, matrices[m]))
            vmt_tensor_file_leave(dit->file, &matrices[m]->w);
    }
    return VMT_OK;
}

enum vmt_status dit_stream_use(vmt_ctx *ctx, const vmt_dit *dit, int i, bool fp8)
{
    if (dit_stream_stays(dit, i)) /* what came ahead is for a block behind it */
        return VMT_OK;
    let_others_go(ctx, dit, i, i);
    return vmt_prefix(ctx, bring(ctx, dit, i, fp8), "DiT block %d", i);
}

/* The first block from `i` on, by `step` within 0..last, that comes and goes; -1: none. */
static int first_from(const vmt_dit *dit, int i, int step, int last)
{
    for (; i >= 0 && i <= last; i += step)
        if (!dit_stream_stays(dit, i))
            return i;
    return -1;
}

int dit_stream_next(const vmt_dit *dit, int i, int step, int last, bool turns)
{
    int next = first_from(dit, i + step, step, last);

    if (next < 0 && turns)
        next = first_from(dit, last, -1, last);
    return next >= 0 ? next : first_from(dit, 0, 1, (int)dit->config.layers - 1);
}

enum vmt_status dit_stream_done(vmt_ctx *ctx, const vmt_dit *dit, int i, int next, bool fp8)
{
    if (all_stay(dit))
        return VMT_OK;
    if (next >= 0 && next != i && ctx->ops->wait) {
        let_others_go(ctx, dit, i, next);
        VMT_TRY(vmt_prefix(ctx, bring(ctx, dit, next, fp8), "DiT block %d", next));
    }
    if (next != i)
        let_go(ctx, dit, i);
    return VMT_OK;
}

/* ---- bytes */

static size_t packed_bytes(vmt_ctx *ctx, const vmt_weight *weight, bool fp8)
{
    return ctx->ops->weight_prepare_bytes(ctx, weight,
                                          PASS_USE | (fp8 ? (unsigned)VMT_USE_FP8 : 0U));
}

size_t vmt_dit_held_now(const vmt_dit *dit)
{
    size_t bytes = dit_lora_held_now(dit);

    for (int64_t i = 0; i < dit->matrix_count; i++)
        bytes += dit->matrices[i]->packed_bytes;
    return bytes;
}

size_t vmt_dit_block_bytes(vmt_ctx *ctx, const vmt_dit *dit, bool fp8)
{
    vmt_weight *matrices[DIT_BLOCK_MATRICES];
    size_t most = 0;

    for (int64_t i = 0; i < dit->config.layers; i++) { /* files may mix dtypes */
        size_t bytes = 0;
        dit_block_matrices(dit, i, matrices);
        for (int m = 0; m < DIT_PASS_MATRICES; m++)
            bytes += packed_bytes(ctx, matrices[m], fp8);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* What the beginning of a run takes at once: the timesteps' matrices; the prompt's, a block's after
 * another's. */
static size_t beginning_bytes(vmt_ctx *ctx, const vmt_dit *dit)
{
    const dit_block_weights *b = &dit->blocks[0];
    const size_t times = packed_bytes(ctx, &dit->time_in, false) +
                         packed_bytes(ctx, &dit->time_out, false) +
                         packed_bytes(ctx, &dit->time_projection, false);
    const size_t texts = packed_bytes(ctx, &dit->text_in, false) +
                         packed_bytes(ctx, &dit->text_out, false) +
                         2 * packed_bytes(ctx, &b->cross_attn.k, false) +
                         2 * packed_bytes(ctx, &b->cross_attn.v, false);
    return larger(times, texts);
}

size_t vmt_dit_held_bytes(vmt_ctx *ctx, const vmt_dit *dit, int resident, bool fp8)
{
    const int layers = (int)dit->config.layers;
    const size_t block = vmt_dit_block_bytes(ctx, dit, fp8);
    const int others = layers - resident, most = ctx->ops->wait ? 2 : 1;
    size_t packed, mapped;

    vmt_dit_weight_bytes(ctx, dit, &packed, &mapped);
    if (others <= 0)
        return packed + (fp8 ? vmt_dit_fp8_bytes(ctx, dit) : 0);
    for (int64_t i = 0; i < dit->matrix_count; i++)
        packed -= packed_bytes(ctx, dit->matrices[i], false); /* vectors, and what a use takes */
    packed +=
        packed_bytes(ctx, &dit->patch_embedding, false) + packed_bytes(ctx, &dit->head, false);
    return packed + (size_t)resident * block +
           larger((size_t)(others < most ? others : most) * block, beginning_bytes(ctx, dit));
}
