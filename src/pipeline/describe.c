/* SPDX-License-Identifier: MIT
 *
 * A model, or a file of ours, in words and checked: what `fastvmt info` prints.
 */
#include "model/lora_names.h"
#include "pipeline/record.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { TEXT_BYTES = 16384 };

typedef struct text_buffer {
    char *bytes;
    size_t used;
} text_buffer;

static void say(text_buffer *t, const char *format, ...) VMT_PRINTF(2, 3);

/* Appends; what does not fit is cut. */
static void say(text_buffer *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    const int length = vsnprintf(t->bytes + t->used, TEXT_BYTES - t->used, format, args);
    va_end(args);
    if (length > 0)
        t->used +=
            (size_t)length < TEXT_BYTES - t->used ? (size_t)length : TEXT_BYTES - t->used - 1;
}

static double gib(size_t bytes)
{
    return (double)bytes / (1024.0 * 1024 * 1024);
}

static void say_tensors(text_buffer *t, const vmt_tensor_file *file)
{
    size_t bytes = 0;
    int64_t elements = 0;
    const int64_t count = vmt_tensor_file_count(file);

    for (int64_t i = 0; i < count; i++) {
        const vmt_tensor *x = vmt_tensor_file_find(file, vmt_tensor_file_name(file, i));
        bytes += vmt_tensor_bytes(x);
        elements += vmt_numel(x);
    }
    say(t, "  %" PRId64 " tensors, %.4g M values, %.3f GiB\n", count, (double)elements / 1e6,
        gib(bytes));
    if (vmt_tensor_file_copied_bytes(file))
        say(t, "  %zu bytes copied to memory: unaligned, or 8-bit vectors\n",
            vmt_tensor_file_copied_bytes(file));
}

static const char *scheme_of(const vmt_tensor_file *file)
{
    const char *scheme = vmt_tensor_file_scheme(file);
    return scheme ? scheme : "unknown";
}

static void say_model(vmt_ctx *ctx, text_buffer *t, const vmt_model *m)
{
    const vmt_dit_config *d = &m->dit_config;
    const vmt_vae_config *v = &m->vae_config;
    const vmt_text_config *x = &m->text_config;
    vmt_clip native;
    size_t packed, mapped;

    for (int part = 0; part < VMT_PART_TOKENIZER; part++) {
        if (!m->files[part])
            continue;
        say(t, "%s  %s\n", vmt_part_name((enum vmt_part)part),
            vmt_tensor_file_path(m->files[part]));
        say_tensors(t, m->files[part]);
        say(t, "  names %s, hash %s\n", scheme_of(m->files[part]), m->hashes[part]);
        if (part == VMT_PART_DIT || part == VMT_PART_DIT_LOW) {
            vmt_dit_weight_bytes(ctx, part == VMT_PART_DIT ? m->dit : m->dit_low, &packed, &mapped);
            say(t,
                "  dim %" PRId64 ", ffn %" PRId64 ", %" PRId64 " heads, %" PRId64
                " blocks, text %" PRId64 " x %" PRId64 "\n",
                d->dim, d->ffn_dim, d->heads, d->layers, d->text_len, d->text_dim);
            say(t, "  on backend %s: %.3f GiB converted, %.3f GiB used in place\n", ctx->ops->name,
                gib(packed), gib(mapped));
        } else if (part == VMT_PART_VAE) {
            say(t, "  dim %" PRId64 ", %" PRId64 " latent channels\n", v->dim, v->z_dim);
        } else {
            say(t, "  dim %" PRId64 ", %" PRId64 " layers, vocabulary %" PRId64 "\n", x->dim,
                x->layers, x->vocab);
        }
    }
    say(t, "tokenizer  %s\n", m->tokenizer ? m->tokenizer : "none");
    vmt_model_native(m, &native);
    say(t, "made for  %" PRId64 "x%" PRId64 ", %" PRId64 " frames at %g fps\n", native.width,
        native.height, native.frames, native.fps);
    say(t, "settings  %s\n",
        m->defaults.has_motion ? "its own (section motion of config.json)"
                               : "none of its own: preset paper");
}

static enum vmt_status describe_folder(vmt_ctx *ctx, text_buffer *t, const char *path)
{
    const vmt_model_paths paths = {.dir = path};
    vmt_settings settings;
    vmt_model *model;

    VMT_TRY(vmt_model_open(ctx, &model, &paths));
    say_model(ctx, t, model);
    enum vmt_status status = vmt_settings_init(ctx, &settings, model, NULL);
    const vmt_option *option;
    for (size_t i = 0; status == VMT_OK && (option = vmt_option_at(i)); i++) {
        char value[256];
        if (strcmp(option->section, "Result") &&
            vmt_settings_get(ctx, &settings, option->name, value, sizeof value) == VMT_OK)
            say(t, "  --%s %s\n", option->name, value);
    }
    vmt_model_close(ctx, model);
    return status;
}

static void say_lora(text_buffer *t, const vmt_tensor_file *file)
{
    const vmt_lora_summary s = vmt_lora_summarise(file);

    if (s.pairs + s.differences == 0)
        return;
    say(t, "LoRA  %" PRId64 " matrices", s.pairs);
    if (s.pairs)
        say(t, " of rank %" PRId64, s.least_rank);
    if (s.most_rank > s.least_rank)
        say(t, " to %" PRId64, s.most_rank);
    if (s.differences)
        say(t, ", %" PRId64 " differences", s.differences);
    say(t, "%s; transfer and generate take it with --lora FILE:WEIGHT\n",
        s.has_alpha ? ", with alpha" : "");
}

/* A motion file, latent file, run state or embeddings file: its metadata; any other: its tensors.
 */
static void describe_tensors(text_buffer *t, const vmt_tensor_file *file)
{
    static const char *const keys[] = {
        "format",    "format_version", "program",      "kind",     "backend",   "width",
        "height",    "frames",         "fps",          "method",   "feature",   "attention",
        "grid",      "guided",         "ref_seed",     "job",      "step",      "inner_step",
        "gradients", "hash.dit",       "hash.dit-low", "hash.vae", "hash.text", "lora"};
    const vmt_option *option;
    char shape[128], key[64];
    const char *value;

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if ((value = vmt_tensor_file_meta(file, keys[i])))
            say(t, "%s  %.200s\n", keys[i], value);
    for (size_t i = 0; (option = vmt_option_at(i)); i++) {
        snprintf(key, sizeof key, "option.%s", option->name);
        if ((value = vmt_tensor_file_meta(file, key)) && *value)
            say(t, "  --%s %.200s\n", option->name, value);
    }
    if (vmt_tensor_file_scheme(file))
        say(t, "names  %s\n", vmt_tensor_file_scheme(file));
    say_lora(t, file);
    say(t, "tensors\n");
    say_tensors(t, file);
    for (int64_t i = 0; i < vmt_tensor_file_count(file) && i < 12; i++) {
        const char *name = vmt_tensor_file_name(file, i);
        const vmt_tensor *x = vmt_tensor_file_find(file, name);
        say(t, "  %.100s  %s %s\n", name, vmt_dtype_name(x->dtype), vmt_shape_text(x, shape));
    }
    if (vmt_tensor_file_count(file) > 12)
        say(t, "  and %" PRId64 " more\n", vmt_tensor_file_count(file) - 12);
}

/* Names of files may hold what a terminal would obey. */
static void tame(char *text)
{
    for (; *text; text++)
        if (((unsigned char)*text < 0x20 && *text != '\n') || *text == 0x7f)
            *text = ' ';
}

enum vmt_status vmt_describe(vmt_ctx *ctx, const char *path, char **text)
{
    text_buffer t = {0};
    vmt_tensor_file *file;
    struct stat info;
    enum vmt_status status;

    *text = NULL;
    VMT_TRY(vmt_alloc(ctx, (void **)&t.bytes, TEXT_BYTES, 1));
    if (!stat(path, &info) && S_ISDIR(info.st_mode)) {
        status = describe_folder(ctx, &t, path);
    } else {
        status = vmt_tensor_file_open(ctx, &file, path);
        if (status == VMT_OK) {
            describe_tensors(&t, file);
            vmt_tensor_file_close(file);
        }
    }
    if (status != VMT_OK) {
        vmt_free(t.bytes);
        return status;
    }
    tame(t.bytes);
    *text = t.bytes;
    return VMT_OK;
}

static enum vmt_status check_folder(vmt_ctx *ctx, const char *path)
{
    enum vmt_status status = VMT_OK;
    vmt_model *model;

    VMT_TRY(vmt_model_open(ctx, &model, &(vmt_model_paths){.dir = path}));
    for (int part = 0; part < VMT_PART_COUNT && status == VMT_OK; part++)
        if (model->files[part])
            status = vmt_tensor_file_check(ctx, model->files[part]);
    vmt_model_close(ctx, model);
    return status;
}

enum vmt_status vmt_check_files(vmt_ctx *ctx, const char *path)
{
    vmt_tensor_file *file;
    struct stat info;

    if (!stat(path, &info) && S_ISDIR(info.st_mode))
        return check_folder(ctx, path);
    VMT_TRY(vmt_tensor_file_open(ctx, &file, path));
    const enum vmt_status status = vmt_tensor_file_check(ctx, file);
    vmt_tensor_file_close(file);
    return status;
}

void vmt_text_free(char *text)
{
    vmt_free(text);
}
