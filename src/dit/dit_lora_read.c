/* SPDX-License-Identifier: MIT
 *
 * Reads LoRA files into what lies beside the DiT's matrices.  A difference D of a whole matrix is
 * the pair A = D, B = 1; differences of biases and vectors are added to copies of them.
 */
#include "base/half.h"
#include "base/quant.h"
#include "dit/dit_internal.h"
#include "model/lora_names.h"
#include "model/tensor_names.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1024, LISTED = 4 };

/* ---- values of a file */

static bool is_readable(const vmt_tensor *t)
{
    return t->dtype == VMT_F32 || t->dtype == VMT_F16 || t->dtype == VMT_BF16 ||
           vmt_is_quantised(t->dtype);
}

/* Elements first..first+count-1 times a factor; false: one is NaN or infinite. */
static bool read_values(float *y, const vmt_tensor *t, int64_t first, int64_t count, double factor)
{
    const uint16_t *half = t->data;
    bool finite = true;

    if (vmt_is_quantised(t->dtype))
        vmt_tensor_unpack(y, t, first, count);
    for (int64_t i = 0; i < count; i++) {
        if (t->dtype == VMT_F32)
            y[i] = ((const float *)t->data)[first + i];
        else if (t->dtype == VMT_F16)
            y[i] = vmt_f32_of_f16(half[first + i]);
        else if (t->dtype == VMT_BF16)
            y[i] = vmt_f32_of_bf16(half[first + i]);
        y[i] = (float)(factor * (double)y[i]);
        finite = finite && isfinite(y[i]);
    }
    return finite;
}

/* An alpha: one number of any type. */
static bool read_alpha(const vmt_tensor *t, double *alpha)
{
    float value;

    if (vmt_numel(t) != 1)
        return false;
    if (t->dtype == VMT_I32 || t->dtype == VMT_I64 || t->dtype == VMT_F64) {
        *alpha = t->dtype == VMT_I32   ? (double)*(const int32_t *)t->data
                 : t->dtype == VMT_I64 ? (double)*(const int64_t *)t->data
                                       : *(const double *)t->data;
        return isfinite(*alpha) && fabs(*alpha) <= 1e6;
    }
    if (!is_readable(t) || vmt_is_quantised(t->dtype) || !read_values(&value, t, 0, 1, 1.0))
        return false;
    *alpha = (double)value;
    return fabs(*alpha) <= 1e6;
}

static void store(void *to, enum vmt_dtype dtype, int64_t at, float value)
{
    if (dtype == VMT_BF16)
        ((uint16_t *)to)[at] = vmt_bf16_of_f32(value);
    else
        ((float *)to)[at] = value;
}

/* ---- reading a file */

/* The tensors that a file has for one matrix; data NULL: none. */
typedef struct slot {
    vmt_tensor part[VMT_LORA_PARTS];
} slot;

/* A tensor of the model under one of its plain names. */
typedef struct target {
    char name[VMT_TENSOR_NAME_BYTES];
    const vmt_need *need;
} target;

typedef struct reader {
    vmt_dit *dit;
    const vmt_tensor_file *file;
    double weight;
    vmt_lora_scaling scaling;
    target *targets; /* sorted by name */
    size_t target_count;
    slot *slots; /* [matrix_count] */
    bool *taken; /* [needs.count]: a difference of this vector was added */
    int64_t matched, unmatched;
    char names[512]; /* of the first unmatched ones */
} reader;

static enum vmt_status fail(vmt_ctx *ctx, enum vmt_status status, const reader *r, const char *what,
                            const char *why)
{
    return vmt_fail(ctx, status, "%s: %.120s: %s", vmt_tensor_file_path(r->file), what, why);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const target *)a)->name, ((const target *)b)->name);
}

static enum vmt_status list_targets(vmt_ctx *ctx, reader *r)
{
    const vmt_needs *needs = &r->dit->needs;
    char theirs[VMT_TENSOR_NAME_BYTES];

    VMT_TRY(vmt_alloc(ctx, (void **)&r->targets, 2 * (size_t)needs->count, sizeof *r->targets));
    for (int64_t i = 0; i < needs->count; i++) {
        const vmt_need *need = &needs->items[i];
        target *t = &r->targets[r->target_count++];
        t->need = need;
        vmt_lora_plain(need->name, t->name);
        if (!vmt_name_to_diffusers(need->name, theirs))
            continue;
        t = &r->targets[r->target_count++];
        t->need = need;
        vmt_lora_plain(theirs, t->name);
    }
    qsort(r->targets, r->target_count, sizeof *r->targets, by_name);
    return VMT_OK;
}

/* The model's tensor MODULE + `end`, or NULL. */
static const vmt_need *find_target(const reader *r, const char *module, const char *end)
{
    target key = {.need = NULL};
    const size_t length = strlen(module);

    if (length + strlen(end) >= sizeof key.name)
        return NULL;
    memcpy(key.name, module, length);
    strcpy(key.name + length, end);
    const target *found = bsearch(&key, r->targets, r->target_count, sizeof *r->targets, by_name);
    return found ? found->need : NULL;
}

/* The matrix whose w or bias a need is; -1: none. */
static int64_t matrix_of(const vmt_dit *dit, const vmt_need *need, bool bias)
{
    for (int64_t i = 0; need && i < dit->matrix_count; i++)
        if (need->view == (bias ? &dit->matrices[i]->bias : &dit->matrices[i]->w))
            return i;
    return -1;
}

/* ---- differences of vectors */

/* The factor of a low-rank pair. */
static enum vmt_status factor_of(vmt_ctx *ctx, const reader *r, const slot *s, const char *name,
                                 double *factor)
{
    const double rank = (double)s->part[VMT_LORA_DOWN].shape[0];
    double alpha = r->scaling.alpha != 0 ? r->scaling.alpha : rank;

    if (s->part[VMT_LORA_ALPHA].data && !read_alpha(&s->part[VMT_LORA_ALPHA], &alpha))
        return fail(ctx, VMT_E_FORMAT, r, name, "its alpha is no finite number up to 1e6");
    *factor = r->weight * alpha / (r->scaling.by_root ? sqrt(rank) : rank);
    return VMT_OK;
}

/* bias of matrix i += factor · d, in memory of ours. */
static enum vmt_status add_to_bias(vmt_ctx *ctx, const reader *r, int64_t i, const vmt_tensor *d,
                                   double factor, const char *name)
{
    vmt_weight *w = r->dit->matrices[i];
    dit_lora_branch *b = &r->dit->lora->branches[i];
    const int64_t out = w->w.shape[0];
    float change;

    if (vmt_numel(d) != out)
        return fail(ctx, VMT_E_MODEL, r, name, "a difference of another length than the bias");
    if (!b->bias) {
        VMT_TRY(vmt_alloc(ctx, (void **)&b->bias, (size_t)out, sizeof *b->bias));
        if (w->bias.data && !read_values(b->bias, &w->bias, 0, out, 1.0))
            return fail(ctx, VMT_E_NUMERIC, r, name, "the model's bias holds NaN or infinity");
        w->bias = vmt_tensor_over(b->bias, VMT_F32, VMT_SHAPE(out));
    }
    for (int64_t o = 0; o < out; o++) {
        if (!read_values(&change, d, o, 1, factor))
            return fail(ctx, VMT_E_NUMERIC, r, name, "holds NaN or infinity");
        b->bias[o] += change;
    }
    return VMT_OK;
}

/* A norm's or modulation's vector, which the backend has a copy of. */
static enum vmt_status add_to_vector(vmt_ctx *ctx, const reader *r, vmt_tensor *vector,
                                     const vmt_tensor *d, const char *name)
{
    const int64_t count = vmt_numel(vector);
    float *values;

    if (vmt_numel(d) != count)
        return fail(ctx, VMT_E_MODEL, r, name, "a difference of another length than the vector");
    VMT_TRY(vmt_alloc(ctx, (void **)&values, 2 * (size_t)count, sizeof *values));
    float *const changes = values + count;
    vmt_tensor host = vmt_tensor_over(values, VMT_F32, vector->rank, vector->shape);
    enum vmt_status status = vmt_download(ctx, &host, vector);
    if (status == VMT_OK && !read_values(changes, d, 0, count, r->weight))
        status = fail(ctx, VMT_E_NUMERIC, r, name, "holds NaN or infinity");
    for (int64_t i = 0; i < count; i++)
        values[i] += changes[i];
    if (status == VMT_OK)
        status = vmt_upload(ctx, vector, &host);
    vmt_free(values);
    return status;
}

/* ---- pairs */

/* Room for `more` ranks of matrix i, behind those that are there. */
static enum vmt_status grow(vmt_ctx *ctx, const reader *r, int64_t i, int64_t more)
{
    const enum vmt_dtype dtype = ctx->act == VMT_BF16 ? VMT_BF16 : VMT_F32;
    const vmt_tensor *w = &r->dit->matrices[i]->w;
    dit_lora_branch *b = &r->dit->lora->branches[i];
    vmt_weight *const pair[2] = {&b->a, &b->b};
    const int64_t widths[2] = {w->shape[1], w->shape[0]};

    for (int k = 0; k < 2; k++) {
        vmt_tensor *old = &pair[k]->w, grown;
        const int64_t rank = old->data ? old->shape[0] : 0;
        void *memory;
        VMT_TRY(
            vmt_alloc(ctx, &memory, (size_t)((rank + more) * widths[k]), vmt_dtype_bytes(dtype)));
        grown = vmt_tensor_over(memory, dtype, VMT_SHAPE(rank + more, widths[k]));
        if (old->data)
            memcpy(memory, old->data, vmt_tensor_bytes(old));
        vmt_free(old->data);
        *old = grown;
    }
    const int64_t rank = b->a.w.shape[0];
    r->dit->lora->rank = rank > r->dit->lora->rank ? rank : r->dit->lora->rank;
    return VMT_OK;
}

/* Row `first` of A on: all of `down`; false: not finite. */
static bool fill_a(vmt_tensor *a, int64_t first, const vmt_tensor *down)
{
    const int64_t count = vmt_numel(down), from = first * a->shape[1];
    float values[PIECE];

    for (int64_t at = 0; at < count; at += PIECE) {
        const int64_t n = count - at < PIECE ? count - at : PIECE;
        if (!read_values(values, down, at, n, 1.0))
            return false;
        for (int64_t i = 0; i < n; i++)
            store(a->data, a->dtype, from + at + i, values[i]);
    }
    return true;
}

/* Row `first` of B turned on: `up` times the factor; data NULL: the identity. */
static bool fill_b(vmt_tensor *b, int64_t first, int64_t rank, const vmt_tensor *up, double factor)
{
    const int64_t out = b->shape[1];
    float values[VMT_LORA_MAX_RANK] = {0};

    for (int64_t o = 0; o < out; o++) {
        if (up->data && !read_values(values, up, o * rank, rank, factor))
            return false;
        for (int64_t k = 0; k < rank; k++)
            store(b->data, b->dtype, (first + k) * out + o,
                  up->data ? values[k]
                  : k == o ? (float)factor
                           : 0.0F);
    }
    return true;
}

static enum vmt_status add_pair(vmt_ctx *ctx, const reader *r, int64_t i, const vmt_tensor *down,
                                const vmt_tensor *up, double factor, const char *name)
{
    const vmt_tensor *w = &r->dit->matrices[i]->w;
    dit_lora_branch *b = &r->dit->lora->branches[i];
    const int64_t first = b->a.w.data ? b->a.w.shape[0] : 0;
    const int64_t rank = down->rank ? down->shape[0] : 0;
    char have[2][128], want[128];

    if (rank < 1 || first + rank > VMT_LORA_MAX_RANK)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                        "%s: %.120s: ranks of %" PRId64 " in all, 1 to %d can be applied",
                        vmt_tensor_file_path(r->file), name, first + rank, VMT_LORA_MAX_RANK);
    if (vmt_numel(down) != rank * w->shape[1] ||
        (up->data ? up->shape[0] != w->shape[0] || vmt_numel(up) != w->shape[0] * rank
                  : rank != w->shape[0]))
        return vmt_fail(ctx, VMT_E_MODEL,
                        "%s: %.120s: %s and %s do not fit the transformer's %s: made for a model "
                        "of another size?",
                        vmt_tensor_file_path(r->file), name, vmt_shape_text(down, have[0]),
                        up->data ? vmt_shape_text(up, have[1]) : "nothing",
                        vmt_shape_text(w, want));
    VMT_TRY(grow(ctx, r, i, rank));
    if (!fill_a(&b->a.w, first, down) || !fill_b(&b->b.w, first, rank, up, factor))
        return fail(ctx, VMT_E_NUMERIC, r, name, "holds NaN or infinity");
    return VMT_OK;
}

static enum vmt_status add_slot(vmt_ctx *ctx, const reader *r, int64_t i, const char *name)
{
    static const vmt_tensor identity;
    const slot *s = &r->slots[i];
    const vmt_tensor *down = &s->part[VMT_LORA_DOWN], *up = &s->part[VMT_LORA_UP];
    double factor;

    if (s->part[VMT_LORA_DIFF].data)
        VMT_TRY(add_pair(ctx, r, i, &s->part[VMT_LORA_DIFF], &identity, r->weight, name));
    if (s->part[VMT_LORA_DIFF_BIAS].data)
        VMT_TRY(add_to_bias(ctx, r, i, &s->part[VMT_LORA_DIFF_BIAS], r->weight, name));
    if (!down->data && !up->data && !s->part[VMT_LORA_UP_BIAS].data)
        return VMT_OK;
    if (!down->data || !up->data)
        return fail(ctx, VMT_E_FORMAT, r, name, "one matrix of the pair is missing");
    VMT_TRY(factor_of(ctx, r, s, name, &factor));
    VMT_TRY(add_pair(ctx, r, i, down, up, factor, name));
    return s->part[VMT_LORA_UP_BIAS].data
               ? add_to_bias(ctx, r, i, &s->part[VMT_LORA_UP_BIAS], factor, name)
               : VMT_OK;
}

/* ---- a whole file */

static void note_unmatched(reader *r, const char *name)
{
    const size_t used = strlen(r->names);

    if (r->unmatched++ < LISTED)
        snprintf(r->names + used, sizeof r->names - used, "%s%.120s", used ? ", " : "", name);
}

/* Puts a tensor into its slot, or adds it to the vector it changes. */
static enum vmt_status take_tensor(vmt_ctx *ctx, reader *r, const char *name)
{
    const vmt_tensor *t = vmt_tensor_file_find(r->file, name);
    const vmt_need *need = NULL;
    char module[VMT_TENSOR_NAME_BYTES];
    enum vmt_lora_part part;

    if (vmt_lora_name_of_others(name))
        return fail(ctx, VMT_E_UNSUPPORTED, r, name,
                    "a kind of adapter (DoRA, LoHa, LoKr) that this version cannot apply");
    if (vmt_lora_name(name, &part, module)) {
        need = find_target(r, module, part == VMT_LORA_DIFF_BIAS ? "_bias" : "_weight");
        if (!need && part == VMT_LORA_DIFF)
            need = find_target(r, module, "");
    }
    const int64_t i = matrix_of(r->dit, need, need && part == VMT_LORA_DIFF_BIAS);
    const bool whole = i >= 0 && part == VMT_LORA_DIFF;
    if (!need || (i < 0 && part != VMT_LORA_DIFF && part != VMT_LORA_DIFF_BIAS) ||
        (whole && r->dit->matrices[i]->w.shape[0] > VMT_LORA_MAX_RANK)) {
        note_unmatched(r, name);
        return VMT_OK;
    }
    if (vmt_numel(t) < 1 || (part != VMT_LORA_ALPHA && !is_readable(t)))
        return fail(ctx, VMT_E_FORMAT, r, name, "no floating-point values");
    r->matched++;
    bool *const taken = &r->taken[need - r->dit->needs.items];
    if (i < 0 ? *taken : r->slots[i].part[part].data != NULL)
        return fail(ctx, VMT_E_FORMAT, r, name, "the same tensor was named before");
    if (i < 0) {
        *taken = true;
        return add_to_vector(ctx, r, need->view, t, name);
    }
    r->slots[i].part[part] = *t;
    return VMT_OK;
}

static enum vmt_status take_all(vmt_ctx *ctx, reader *r)
{
    for (int64_t i = 0; i < vmt_tensor_file_count(r->file); i++)
        VMT_TRY(take_tensor(ctx, r, vmt_tensor_file_name(r->file, i)));
    if (!r->matched)
        return vmt_fail(ctx, VMT_E_MODEL,
                        "%s: none of its %" PRId64 " keys is of this transformer (%s%s): no LoRA "
                        "of it",
                        vmt_tensor_file_path(r->file), vmt_tensor_file_count(r->file), r->names,
                        r->unmatched > LISTED ? ", …" : "");
    for (int64_t k = 0; k < r->dit->needs.count; k++) {
        const vmt_need *need = &r->dit->needs.items[k];
        const int64_t i = matrix_of(r->dit, need, false);
        if (i >= 0)
            VMT_TRY(add_slot(ctx, r, i, need->name));
    }
    return VMT_OK;
}

/* Of every matrix, none of them there yet; both allocations or neither. */
static enum vmt_status open_branches(vmt_ctx *ctx, vmt_dit *dit)
{
    void *lora = NULL, *branches = NULL;

    if (dit->lora)
        return VMT_OK;
    VMT_TRY(vmt_alloc(ctx, &branches, (size_t)dit->matrix_count, sizeof(dit_lora_branch)));
    const enum vmt_status status = vmt_alloc(ctx, &lora, 1, sizeof *dit->lora);
    if (status != VMT_OK) {
        vmt_free(branches);
        return status;
    }
    dit->lora = lora;
    dit->lora->branches = branches;
    return VMT_OK;
}

static enum vmt_status read_file(vmt_ctx *ctx, reader *r)
{
    VMT_TRY(vmt_lora_scaling_read(ctx, r->file, &r->scaling));
    VMT_TRY(list_targets(ctx, r));
    VMT_TRY(vmt_alloc(ctx, (void **)&r->slots, (size_t)r->dit->matrix_count, sizeof *r->slots));
    VMT_TRY(vmt_alloc(ctx, (void **)&r->taken, (size_t)r->dit->needs.count, sizeof *r->taken));
    VMT_TRY(open_branches(ctx, r->dit));
    VMT_TRY(take_all(ctx, r));
    vmt_log(ctx, r->unmatched ? VMT_LOG_WARNING : VMT_LOG_INFO,
            "lora %s: %" PRId64 " of %" PRId64 " keys matched%s%s%s", vmt_tensor_file_path(r->file),
            r->matched, r->matched + r->unmatched, r->unmatched ? "; not " : "", r->names,
            r->unmatched > LISTED ? ", …" : "");
    return VMT_OK;
}

enum vmt_status vmt_dit_add_lora(vmt_ctx *ctx, vmt_dit *dit, const vmt_tensor_file *file,
                                 double weight)
{
    reader r = {.dit = dit, .file = file, .weight = weight};

    if (!(fabs(weight) <= VMT_LORA_MAX_WEIGHT))
        return vmt_fail(ctx, VMT_E_ARG, "%s: a weight of %g, from -%d to %d are taken",
                        vmt_tensor_file_path(file), weight, VMT_LORA_MAX_WEIGHT,
                        VMT_LORA_MAX_WEIGHT);
    vmt_dit_release(ctx, dit); /* packed forms are of what was there before */
    const enum vmt_status status = read_file(ctx, &r);
    vmt_free(r.targets);
    vmt_free(r.slots);
    vmt_free(r.taken);
    return status;
}
