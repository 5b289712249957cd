/* SPDX-License-Identifier: MIT
 *
 * Source: ComfyUI comfy/ops.py (scaled_fp8), comfy/quant_ops.py.
 */
#include "model/tensor_scales.h"

#include "base/half.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Endings of names beside X.weight: factors of the weight; what this program has no use for, since
 * its activations are not in few bits. */
static const char *const FACTORS[] = {".scale_weight", ".weight_scale"};
static const char *const UNUSED[] = {".scale_input", ".input_scale", ".comfy_quant"};
static const char MARK[] = "scaled_fp8";

static vmt_tensor_entry *entry_at(const vmt_tensor_file *file, size_t i)
{
    return (vmt_tensor_entry *)file->entries.items + i;
}

/* The matrix of 8-bit floats X.weight of a name X.ending, or NULL. */
static vmt_tensor *weight_of(const vmt_tensor_file *file, const char *name, const char *ending)
{
    char weight[VMT_TENSOR_NAME_BYTES + 8];
    const size_t length = strlen(name), tail = strlen(ending);

    if (length <= tail || length >= VMT_TENSOR_NAME_BYTES || strcmp(name + length - tail, ending))
        return NULL;
    memcpy(weight, name, length - tail);
    memcpy(weight + length - tail, ".weight", sizeof ".weight");
    const int64_t found = vmt_table_find(file, weight);
    vmt_tensor *t = found < 0 ? NULL : &entry_at(file, (size_t)found)->tensor;
    return t && t->dtype == VMT_F8_E4M3 ? t : NULL;
}

static bool read_factor(const vmt_tensor *t, int64_t i, float *factor)
{
    if (t->dtype == VMT_F32)
        *factor = ((const float *)t->data)[i];
    else if (t->dtype == VMT_BF16)
        *factor = vmt_f32_of_bf16(((const uint16_t *)t->data)[i]);
    else if (t->dtype == VMT_F16)
        *factor = vmt_f32_of_f16(((const uint16_t *)t->data)[i]);
    else
        return false;
    return isfinite(*factor);
}

/* Factors of F32 are used where they lie. */
static enum vmt_status attach(vmt_ctx *ctx, vmt_tensor_file *file, vmt_tensor *weight,
                              const vmt_tensor_entry *factors)
{
    const int64_t count = vmt_numel(&factors->tensor);
    void *memory;

    if (weight->rank < 1 || vmt_numel(weight) == 0 || (count != 1 && count != weight->shape[0]) ||
        weight->scale)
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: tensor '%.200s' has %" PRId64
                        " factors, expected 1 or one for each row of its weight, and only once",
                        file->path, factors->name, count);
    const bool in_place = factors->tensor.dtype == VMT_F32;
    if (in_place)
        memory = factors->tensor.data;
    else
        VMT_TRY(vmt_table_own(ctx, file, (size_t)count * sizeof(float), &memory));
    for (int64_t i = 0; i < count; i++) {
        float factor;
        if (!read_factor(&factors->tensor, i, &factor))
            return vmt_fail(ctx, VMT_E_FORMAT,
                            "%s: tensor '%.200s': factor %" PRId64 " is no finite F32, F16 or BF16",
                            file->path, factors->name, i);
        if (!in_place)
            ((float *)memory)[i] = factor;
    }
    weight->scale = memory;
    weight->scales = count;
    return VMT_OK;
}

/* *is_taken: the entry is no tensor of the model. */
static enum vmt_status take_entry(vmt_ctx *ctx, vmt_tensor_file *file,
                                  const vmt_tensor_entry *entry, bool *is_taken)
{
    vmt_tensor *weight;

    *is_taken = strcmp(entry->name, MARK) == 0;
    for (size_t i = 0; i < sizeof UNUSED / sizeof *UNUSED; i++)
        *is_taken = *is_taken || weight_of(file, entry->name, UNUSED[i]);
    for (size_t i = 0; i < sizeof FACTORS / sizeof *FACTORS && !*is_taken; i++)
        if ((weight = weight_of(file, entry->name, FACTORS[i]))) {
            VMT_TRY(attach(ctx, file, weight, entry));
            *is_taken = true;
        }
    return VMT_OK;
}

/* Vectors, filters and the table of positions are small, and nothing else reads 8 bits. */
static enum vmt_status widen(vmt_ctx *ctx, vmt_tensor_file *file, vmt_tensor_entry *entry)
{
    vmt_tensor *t = &entry->tensor;
    const size_t count = (size_t)vmt_numel(t);
    void *memory;

    if (t->dtype != VMT_F8_E4M3 || count == 0 ||
        (t->rank == 2 && !strstr(entry->name, ".pos_embedding.")))
        return VMT_OK;
    VMT_TRY(vmt_table_own(ctx, file, count * sizeof(float), &memory));
    vmt_tensor_unpack(memory, t, 0, (int64_t)count);
    *t = vmt_tensor_over(memory, VMT_F32, t->rank, t->shape);
    return VMT_OK;
}

enum vmt_status vmt_scales_attach(vmt_ctx *ctx, vmt_tensor_file *file)
{
    bool any = false;

    for (size_t i = 0; i < file->entries.count; i++)
        any = any || entry_at(file, i)->tensor.dtype == VMT_F8_E4M3;
    if (!any || !file->scheme)
        return VMT_OK;
    file->copy_limit *= 5; /* a factor beside every value, each value widened: far above any */
    void *drop;
    enum vmt_status status = vmt_alloc(ctx, &drop, file->entries.count, sizeof(bool));
    for (size_t i = 0; i < file->entries.count && status == VMT_OK; i++)
        status = take_entry(ctx, file, entry_at(file, i), (bool *)drop + i);
    if (status == VMT_OK)
        vmt_table_drop(file, drop);
    vmt_free(drop);
    VMT_TRY(status);
    for (size_t i = 0; i < file->entries.count; i++)
        VMT_TRY(widen(ctx, file, entry_at(file, i)));
    return vmt_table_seal(ctx, file);
}
