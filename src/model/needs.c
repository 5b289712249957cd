/* SPDX-License-Identifier: MIT */
#include "model/tensor_table.h"

#include "base/quant.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LISTED = 4 }; /* names of each kind in one message; the rest is counted */

enum vmt_status vmt_needs_add(vmt_ctx *ctx, vmt_needs *needs, vmt_tensor *view, int rank,
                              const int64_t *shape, const char *name, ...)
{
    vmt_need *need;
    va_list args;

    if (needs->count == needs->capacity) {
        const int64_t capacity = needs->capacity ? 2 * needs->capacity : 256;
        void *grown = realloc(needs->items, (size_t)capacity * sizeof *needs->items);
        if (!grown)
            return vmt_fail(ctx, VMT_E_MEMORY, "out of memory: %lld tensor names",
                            (long long)capacity);
        needs->items = grown;
        needs->capacity = capacity;
    }
    need = &needs->items[needs->count];
    *need = (vmt_need){.rank = rank, .view = view};
    memcpy(need->shape, shape, (size_t)rank * sizeof *shape);
    va_start(args, name);
    const int length = vsnprintf(need->name, sizeof need->name, name, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof need->name)
        return vmt_fail(ctx, VMT_E_INTERNAL, "tensor name of %d bytes: %.100s…", length,
                        need->name);
    needs->count++;
    return VMT_OK;
}

void vmt_needs_packs(vmt_needs *needs)
{
    needs->items[needs->count - 1].packs = true;
}

void vmt_needs_free(vmt_needs *needs)
{
    free(needs->items);
    *needs = (vmt_needs){0};
}

/* One kind of complaint: its first names as text, and how many there are. */
struct complaint {
    char text[VMT_MESSAGE_BYTES / 4];
    int64_t count;
};

static void VMT_PRINTF(2, 3) complain(struct complaint *c, const char *format, ...)
{
    const size_t used = strlen(c->text);
    va_list args;

    if (c->count++ >= LISTED)
        return;
    if (c->count > 1 && used + 3 < sizeof c->text)
        strcat(c->text, ", ");
    va_start(args, format);
    vsnprintf(c->text + strlen(c->text), sizeof c->text - strlen(c->text), format, args);
    va_end(args);
}

/* "; 3 missing: a, b, c" appended to text. */
static void report(char *text, size_t size, const char *kind, const struct complaint *c)
{
    const size_t used = strlen(text);

    if (c->count == 0)
        return;
    snprintf(text + used, size - used, "%s%lld %s: %s%s", used ? "; " : "", (long long)c->count,
             kind, c->text, c->count > LISTED ? ", …" : "");
}

static bool is_float(enum vmt_dtype dtype)
{
    return dtype == VMT_F32 || dtype == VMT_F16 || dtype == VMT_BF16;
}

static bool shape_fits(const vmt_need *need, const vmt_tensor *t)
{
    if (t->rank != need->rank)
        return false;
    for (int i = 0; i < need->rank; i++)
        if (t->shape[i] != need->shape[i])
            return false;
    return true;
}

static void bind_one(const vmt_need *need, const vmt_tensor *t, struct complaint *missing,
                     struct complaint *misshapen, struct complaint *not_float)
{
    char actual[128], expected[128];

    if (!t) {
        complain(missing, "%s", need->name);
    } else if (!shape_fits(need, t)) {
        const vmt_tensor want = vmt_tensor_over(NULL, t->dtype, need->rank, need->shape);
        complain(misshapen, "%s is %s, expected %s", need->name, vmt_shape_text(t, actual),
                 vmt_shape_text(&want, expected));
    } else if (!is_float(t->dtype) && !(need->packs && vmt_is_quantised(t->dtype))) {
        complain(not_float, "%s is %s", need->name, vmt_dtype_name(t->dtype));
    } else {
        *need->view = *t;
    }
}

enum vmt_status vmt_needs_bind(vmt_ctx *ctx, const vmt_needs *needs, const vmt_tensor_file *file,
                               const char *what)
{
    struct complaint missing = {0}, surplus = {0}, misshapen = {0}, not_float = {0};
    const vmt_tensor_entry *entries = file->entries.items;
    char text[VMT_MESSAGE_BYTES - 512] = "";
    bool *used;
    void *memory;

    VMT_TRY(vmt_alloc(ctx, &memory, file->entries.count, sizeof(bool)));
    used = memory;
    for (int64_t i = 0; i < needs->count; i++) {
        const int64_t found = vmt_table_find(file, needs->items[i].name);
        bind_one(&needs->items[i], found < 0 ? NULL : &entries[found].tensor, &missing, &misshapen,
                 &not_float);
        if (found >= 0)
            used[found] = true;
    }
    for (size_t i = 0; i < file->entries.count; i++)
        if (!used[i])
            complain(&surplus, "%.100s", entries[i].name);
    vmt_free(used);
    report(text, sizeof text, "missing", &missing);
    report(text, sizeof text, "of another shape", &misshapen);
    report(text, sizeof text, "of a type that it cannot have", &not_float);
    report(text, sizeof text, "not part of this model", &surplus);
    if (text[0])
        return vmt_fail(ctx, VMT_E_MODEL, "%.400s: these are not the tensors of the %s: %s",
                        file->path, what, text);
    return VMT_OK;
}
