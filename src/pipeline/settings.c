/* SPDX-License-Identifier: MIT
 *
 * Settings: one table of options, from which parsing, printing, --help and the JSON beside a result
 * all follow; and the presets.
 */
#include "pipeline/pipeline.h"

#include "model/setting_text.h"

#include <cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { INT, LONG, ULONG, REAL, DOUBLE, CHOICE, PAIR, SIZE, TEXT, EXTENT, WORDS, RANGE };

typedef struct option_row {
    vmt_option shown;
    enum kind kind;
    size_t offset;
    double low, high; /* inclusive; LONG and ULONG: the low end only */
} option_row;

#define FIELD(member) offsetof(vmt_settings, member)
#define MOTION(member) offsetof(vmt_settings, motion.member)
#define ATTENTION(member) offsetof(vmt_settings, attention.member)

/* Choices are the words of the placeholder; their order is the enum's. */
static const option_row rows[] = {
    {{"prompt", "TEXT", "what the new video shows", "Result"}, TEXT, FIELD(prompt), 0, 0},
    {{"negative", "TEXT", "what it should not show", "Result"}, TEXT, FIELD(negative), 0, 0},
    {{"size", "WxH", "pixels of the result (default: the reference's, else the model's)", "Result"},
     SIZE,
     FIELD(width),
     1,
     16384},
    {{"frames", "N", "frames of the result (default: the reference's, else the model's)", "Result"},
     LONG,
     FIELD(frames),
     0,
     100000},
    {{"fps", "X", "frames per second of the result (default: the reference's, else the model's)",
      "Result"},
     DOUBLE,
     FIELD(fps),
     0,
     1000},
    {{"seed", "N", "seed of the start noise", "Result"}, ULONG, FIELD(seed), 0, 0},

    {{"method", "fastvmt|ditflow|ditflow-10|moft|smm|motionclone|flowmotion|none|noise",
      "how motion is measured and imposed, with its schedule; fastvmt methods lists them",
      "Method"},
     CHOICE,
     MOTION(method),
     0,
     0},

    {{"mode", "exact|fast",
      "every approximation off, or as measured to be worth it; other options change single ones",
      "Method"},
     CHOICE,
     FIELD(mode),
     0,
     0},

    {{"steps", "N", "denoising steps", "Sampling"}, INT, FIELD(steps), 1, 10000},
    {{"shift", "X", "sigma shift of the schedule", "Sampling"}, REAL, FIELD(shift), 0.01, 100},
    {{"strength", "X", "where the schedule starts, before the shift: 1 = at pure noise",
      "Sampling"},
     REAL,
     FIELD(strength),
     0.01,
     1},
    {{"cfg", "X", "classifier-free guidance scale; 1: off", "Sampling"},
     REAL,
     FIELD(cfg_scale),
     0,
     100},
    {{"cfg-low", "X", "of a model of two transformers, the same below --boundary; 0: as --cfg",
      "Sampling"},
     REAL,
     FIELD(cfg_low),
     0,
     100},
    {{"boundary", "SIGMA",
      "of a model of two transformers: the low-noise one computes the steps below this",
      "Sampling"},
     REAL,
     FIELD(boundary),
     0,
     1},
    {{"cfg-until", "SIGMA",
      "both passes of --cfg while sigma is at least this, then the prompt's alone; 0: always",
      "Sampling"},
     REAL,
     FIELD(cfg_until),
     0,
     1},
    {{"cache", "X",
      "a step is not computed while the estimated change since is below this; 0: all are",
      "Sampling"},
     REAL,
     FIELD(cache),
     0,
     10},
    {{"cache-from", "velocity|residual",
      "it takes the line through the last two velocities, or the blocks' last residual",
      "Sampling"},
     CHOICE,
     FIELD(cache_from),
     0,
     0},
    {{"cache-scale", "auto|published|measured",
      "that estimate: a polynomial known for Wan2.1 1.3B and 14B, or what the run measures",
      "Sampling"},
     CHOICE,
     FIELD(cache_scale),
     0,
     0},
    {{"fp8", "off|on",
      "matrix products of sampling in e4m3, a scale for each token and each channel "
      "(approximation)",
      "Sampling"},
     CHOICE,
     FIELD(fp8),
     0,
     0},
    {{"sampler", "euler|unipc|dpmpp", "solver of generate; transfer always uses euler", "Sampling"},
     CHOICE,
     FIELD(sampler),
     0,
     0},
    {{"init", "reference|noise", "start from the noised reference or from noise alone", "Sampling"},
     CHOICE,
     FIELD(init),
     0,
     0},

    {{"variant", "paper|released", "arithmetic of the flow: the method, or the released code's",
      "Motion"},
     CHOICE,
     MOTION(variant),
     0,
     0},
    {{"ref-time", "step|clean",
      "reference flow from its latents noised to the step, or clean, once", "Motion"},
     CHOICE,
     MOTION(ref_time),
     0,
     0},
    {{"ref-interval", "N", "guided steps served by one pass of the reference", "Motion"},
     INT,
     MOTION(ref_interval),
     1,
     1000},
    {{"ref-seed", "N", "seed of the noise on the reference (default: --seed)", "Motion"},
     ULONG,
     FIELD(ref_seed),
     0,
     0},
    {{"block", "N", "DiT block whose attention gives the flow, from 0", "Motion"},
     INT,
     MOTION(block),
     0,
     999},
    {{"guided-steps", "N", "steps that are guided, from the first on; 0: none", "Motion"},
     INT,
     MOTION(guided_steps),
     0,
     10000},
    {{"guide-until", "SIGMA", "guide while sigma is at least this, instead of counting; 0: count",
      "Motion"},
     REAL,
     MOTION(guide_until),
     0,
     1},
    {{"inner-steps", "N", "optimiser steps per guided step", "Motion"},
     INT,
     MOTION(inner_steps),
     1,
     1000},
    {{"lr-first", "X", "learning rate of the first inner step", "Motion"},
     REAL,
     MOTION(lr_first),
     0,
     10},
    {{"lr-last", "X", "learning rate the inner steps fall towards", "Motion"},
     REAL,
     MOTION(lr_last),
     0,
     10},
    {{"grad-reuse-interval", "N",
      "inner steps of a guided step served by one computed gradient; 1: no reuse", "Motion"},
     INT,
     MOTION(grad_reuse_interval),
     1,
     1000},
    {{"reuse", "inner|none|steps|adaptive",
      "gradients serve their guided step, their inner step alone, later guided steps, or those "
      "until they turn",
      "Motion"},
     CHOICE,
     MOTION(reuse),
     0,
     0},
    {{"reuse-steps", "N",
      "--reuse steps: guided steps served by one's gradients; adaptive: at most", "Motion"},
     INT,
     MOTION(reuse_steps),
     1,
     1000},
    {{"reuse-cosine", "X",
      "--reuse adaptive: compute anew when the cosine with the last gradient should be below this",
      "Motion"},
     REAL,
     MOTION(reuse_cosine),
     1e-3,
     0.9999},
    {{"adamw-state", "reset|carry",
      "AdamW's moments begin anew in each guided step, or are those of the one before", "Motion"},
     CHOICE,
     MOTION(adamw_state),
     0,
     0},
    {{"amf-window", "N", "side of the key window, tokens; 0: no windows, the whole frame",
      "Motion"},
     INT,
     MOTION(amf_window),
     0,
     1024},
    {{"amf-tile", "RxC", "query tile, rows x columns of tokens", "Motion"},
     PAIR,
     MOTION(amf_tile),
     1,
     1024},
    {{"max-frame-gap", "N", "frame i is compared with frames i to i + N - 1", "Motion"},
     INT,
     MOTION(max_frame_gap),
     1,
     1000},
    {{"logit-scale", "X", "factor on the attention logits of the flow", "Motion"},
     REAL,
     MOTION(logit_scale),
     1e-3,
     1000},
    {{"amf-weight", "X", "weight of the flow distance in the loss", "Motion"},
     REAL,
     MOTION(amf_weight),
     0,
     1e6},
    {{"track-weight", "X", "weight of the corresponding-window loss", "Motion"},
     REAL,
     MOTION(track_weight),
     0,
     1e6},
    {{"last-pair-weight", "X", "weight of the farthest frame pair; the nearest has 1", "Motion"},
     REAL,
     MOTION(last_pair_weight),
     0,
     1},
    {{"top-k", "N", "method motionclone: attention weights that a token keeps", "Motion"},
     INT,
     MOTION(top_k),
     2,
     1000},
    {{"smm-pool", "N", "method smm: cells of a frame's side", "Motion"},
     INT,
     MOTION(smm_pool),
     2,
     64},
    {{"moft-channels", "X", "method moft: share of the channels kept, those that change most",
      "Motion"},
     REAL,
     MOTION(moft_channels),
     1e-4,
     1},
    {{"weight-decay", "X", "AdamW's decay", "Motion"}, REAL, MOTION(weight_decay), 0, 1},
    {{"beta1", "X", "AdamW's first moment", "Motion"}, REAL, MOTION(beta1), 0, 0.9999999},
    {{"beta2", "X", "AdamW's second moment", "Motion"}, REAL, MOTION(beta2), 0, 0.9999999},
    {{"adam-eps", "X", "AdamW's epsilon", "Motion"}, REAL, MOTION(adam_eps), 1e-30, 1},

    {{"attention", "full|local",
      "self-attention: every token sees all, or a box of them around it (approximation)",
      "Attention"},
     CHOICE,
     ATTENTION(kind),
     0,
     0},
    {{"attention-window", "T,H,W",
      "local: frames, rows and columns of tokens in a box; 50%: of the grid's", "Attention"},
     EXTENT,
     ATTENTION(window),
     1,
     0},
    {{"attention-tile", "T,H,W", "local: of the queries that share a box; 0: chosen by the window",
      "Attention"},
     EXTENT,
     ATTENTION(tile),
     0,
     0},
    {{"local-phases", VMT_LOCAL_PHASES, "local: in the reference's features, gradients, sampling",
      "Attention"},
     WORDS,
     ATTENTION(phases),
     0,
     0},
    {{"local-blocks", "A-B", "local: DiT blocks A to B, from 0", "Attention"},
     RANGE,
     ATTENTION(blocks),
     0,
     999},

    {{"recompute", "N",
      "gradient: 0 keeps all, 1 block inputs and attention, 2 inputs; -1: the fastest that "
      "fits",
      "Memory"},
     INT,
     FIELD(recompute),
     -1,
     2},
    {{"vae-tile", "RxC", "VAE tile in latent rows x columns; 0x0: untiled", "Memory"},
     PAIR,
     FIELD(vae_tile),
     0,
     4096},
    {{"vae-tiling", "exact|blend",
      "tiles that give what the whole frame gives, or overlapping weighted ones (released code)",
      "Memory"},
     CHOICE,
     FIELD(vae_tiling),
     0,
     0},
    {{"vae-tile-stride", "RxC", "distance of blended VAE tiles; 0x0: half a tile", "Memory"},
     PAIR,
     FIELD(vae_tile_stride),
     0,
     4096},
};

enum { ROWS = sizeof rows / sizeof *rows };

const vmt_option *vmt_option_at(size_t index)
{
    return index < ROWS ? &rows[index].shown : NULL;
}

static const option_row *find_row(const char *name)
{
    for (size_t i = 0; i < ROWS; i++)
        if (!strcmp(rows[i].shown.name, name))
            return &rows[i];
    return NULL;
}

/* ---- text to value */

static enum vmt_status bad_value(vmt_ctx *ctx, const option_row *row, const char *value)
{
    if (!*value)
        value = "\"\"";
    if (row->kind == CHOICE)
        return vmt_fail(ctx, VMT_E_ARG, "--%s %s: one of %s", row->shown.name, value,
                        row->shown.value);
    if (row->kind == ULONG)
        return vmt_fail(ctx, VMT_E_ARG, "--%s %s: a whole number from 0 to 2^64 - 1",
                        row->shown.name, value);
    if (row->kind == EXTENT)
        return vmt_fail(ctx, VMT_E_ARG,
                        "--%s %s: %s, each a number of tokens from %g on or a share such as 50%%",
                        row->shown.name, value, row->shown.value, row->low);
    if (row->kind == WORDS)
        return vmt_fail(ctx, VMT_E_ARG, "--%s %s: some of %s", row->shown.name, value,
                        row->shown.value);
    return vmt_fail(ctx, VMT_E_ARG, "--%s %s: %s from %g to %g", row->shown.name, value,
                    row->shown.value, row->low, row->high);
}

static bool in_range(const option_row *row, double value)
{
    return value >= row->low && value <= row->high; /* false for NaN */
}

static bool parse_whole(const char *text, const char **end, int64_t *value)
{
    char *stop;

    errno = 0;
    const long long number = strtoll(text, &stop, 10);
    if (stop == text || errno)
        return false;
    *end = stop;
    *value = number;
    return true;
}

/* "3x4", "3,4" */
static bool parse_two(const char *text, int64_t values[2])
{
    const char *end;

    return parse_whole(text, &end, &values[0]) && (*end == 'x' || *end == ',') &&
           parse_whole(end + 1, &end, &values[1]) && !*end;
}

static bool parse_choice(const option_row *row, const char *text, int32_t *value)
{
    const size_t length = strlen(text);
    const char *word = row->shown.value;

    for (int32_t i = 0; word; i++) {
        const char *bar = strchr(word, '|');
        const size_t chars = bar ? (size_t)(bar - word) : strlen(word);
        if (chars == length && !memcmp(word, text, length)) {
            *value = i;
            return true;
        }
        word = bar ? bar + 1 : NULL;
    }
    return false;
}

static bool parse_seed(const char *text, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno;
}

static bool parse_real(const option_row *row, const char *text, double *value)
{
    char *end;

    *value = strtod(text, &end);
    return end != text && !*end && in_range(row, *value);
}

static bool parse_value(const option_row *row, char *field, const char *text)
{
    const char *end;
    int64_t whole[2];
    double real;

    switch (row->kind) {
    case INT:
    case LONG:
        if (!parse_whole(text, &end, whole) || *end || !in_range(row, (double)whole[0]))
            return false;
        if (row->kind == INT)
            *(int32_t *)(void *)field = (int32_t)whole[0];
        else
            *(int64_t *)(void *)field = whole[0];
        return true;
    case ULONG:
        return parse_seed(text, (uint64_t *)(void *)field);
    case REAL:
    case DOUBLE:
        if (!parse_real(row, text, &real))
            return false;
        if (row->kind == REAL)
            *(float *)(void *)field = (float)real;
        else
            *(double *)(void *)field = real;
        return true;
    case CHOICE:
        return parse_choice(row, text, (int32_t *)(void *)field);
    case PAIR:
    case SIZE:
        if (!parse_two(text, whole) || !in_range(row, (double)whole[0]) ||
            !in_range(row, (double)whole[1]))
            return false;
        for (int i = 0; i < 2; i++)
            if (row->kind == PAIR)
                ((int32_t *)(void *)field)[i] = (int32_t)whole[i];
            else
                ((int64_t *)(void *)field)[i] = whole[i]; /* width, then height */
        return true;
    case TEXT:
        *(const char **)(void *)field = text;
        return true;
    case EXTENT:
        return vmt_extent_parse(text, (int32_t)row->low, (int32_t *)(void *)field);
    case WORDS:
        return vmt_words_parse(text, row->shown.value, (int32_t *)(void *)field);
    case RANGE:
        return vmt_range_parse(text, (int32_t)row->low, (int32_t)row->high,
                               (int32_t *)(void *)field);
    }
    return false;
}

static vmt_schedule schedule_of(const vmt_settings *settings)
{
    const vmt_motion_settings *m = &settings->motion;

    return (vmt_schedule){.guided_steps = m->guided_steps,
                          .inner_steps = m->inner_steps,
                          .grad_reuse_interval = m->grad_reuse_interval,
                          .init = settings->init,
                          .guide_until = m->guide_until,
                          .lr_first = m->lr_first,
                          .lr_last = m->lr_last,
                          .logit_scale = m->logit_scale,
                          .strength = settings->strength};
}

/* The method's own schedule, from that of fastvmt that the preset has. */
static enum vmt_status set_schedule(vmt_ctx *ctx, vmt_settings *settings)
{
    vmt_motion_settings *m = &settings->motion;
    const vmt_schedule *own = &settings->fastvmt;
    const vmt_motion_method *method;

    VMT_TRY(vmt_method_get(ctx, &method, m->method));
    const vmt_method_schedule *s = &method->schedule;
    const bool guides = method->tap != VMT_TAP_NONE;
    const int32_t inner = (int32_t)lround(s->inner_steps * (double)own->inner_steps);
    m->guided_steps = (int32_t)lround(s->guided_steps * (double)own->guided_steps);
    m->guide_until = guides ? own->guide_until : 0.0F;
    m->inner_steps = !guides ? own->inner_steps : inner < 1 ? 1 : inner;
    m->lr_first = guides ? (float)(s->lr_first * (double)own->lr_first) : own->lr_first;
    m->lr_last = guides ? (float)(s->lr_last * (double)own->lr_last) : own->lr_last;
    m->grad_reuse_interval = s->interval ? s->interval : own->grad_reuse_interval;
    m->logit_scale = s->logit_scale > 0 ? (float)s->logit_scale : own->logit_scale;
    settings->init = m->method == VMT_METHOD_NOISE ? VMT_INIT_NOISE : own->init;
    settings->strength = m->method == VMT_METHOD_NOISE ? 1.0F : own->strength;
    return VMT_OK;
}

enum vmt_status vmt_settings_set(vmt_ctx *ctx, vmt_settings *settings, const char *name,
                                 const char *value)
{
    const option_row *row = find_row(name);

    if (!row)
        return vmt_fail(ctx, VMT_E_ARG, "--%s: no such option", name);
    if (!parse_value(row, (char *)settings + row->offset, value))
        return bad_value(ctx, row, value);
    if (row->offset == FIELD(ref_seed))
        settings->ref_seed_set = 1;
    if (row->offset == FIELD(mode))
        return vmt_settings_set_mode(ctx, settings);
    return row->offset == MOTION(method) ? set_schedule(ctx, settings) : VMT_OK;
}

/* ---- value to text */

static int print_choice(const option_row *row, int32_t value, char *text, size_t size)
{
    const char *word = row->shown.value;

    for (; value > 0 && word; value--) {
        word = strchr(word, '|');
        word = word ? word + 1 : NULL;
    }
    if (!word)
        return -1;
    return snprintf(text, size, "%.*s", (int)strcspn(word, "|"), word);
}

/* The shortest text that gives the same number again. */
static int print_real(char *text, size_t size, double value, bool single)
{
    int length = 0;

    for (int digits = single ? 6 : 15; digits <= 17; digits++) {
        length = snprintf(text, size, "%.*g", digits, value);
        const double back = strtod(text, NULL);
        if (single ? (float)back == (float)value : back == value)
            break;
    }
    return length;
}

static int print_value(const option_row *row, const char *field, char *text, size_t size)
{
    const int32_t *i32 = (const int32_t *)(const void *)field;
    const int64_t *i64 = (const int64_t *)(const void *)field;
    const char *string;

    switch (row->kind) {
    case INT:
        return snprintf(text, size, "%" PRId32, *i32);
    case LONG:
        return snprintf(text, size, "%" PRId64, *i64);
    case ULONG:
        return snprintf(text, size, "%" PRIu64, *(const uint64_t *)(const void *)field);
    case REAL:
        return print_real(text, size, (double)*(const float *)(const void *)field, true);
    case DOUBLE:
        return print_real(text, size, *(const double *)(const void *)field, false);
    case CHOICE:
        return print_choice(row, *i32, text, size);
    case PAIR:
        return snprintf(text, size, "%" PRId32 "x%" PRId32, i32[0], i32[1]);
    case SIZE:
        return snprintf(text, size, "%" PRId64 "x%" PRId64, i64[0], i64[1]);
    case TEXT:
        string = *(const char *const *)(const void *)field;
        return snprintf(text, size, "%s", string ? string : "");
    case EXTENT:
        return vmt_extent_print(text, size, i32);
    case WORDS:
        return vmt_words_print(text, size, row->shown.value, *i32);
    case RANGE:
        return snprintf(text, size, "%" PRId32 "-%" PRId32, i32[0], i32[1]);
    }
    return -1;
}

enum vmt_status vmt_settings_get(vmt_ctx *ctx, const vmt_settings *settings, const char *name,
                                 char *text, size_t size)
{
    const option_row *row = find_row(name);

    if (!row)
        return vmt_fail(ctx, VMT_E_ARG, "--%s: no such option", name);
    const int length = print_value(row, (const char *)settings + row->offset, text, size);
    if (length < 0 || (size_t)length >= size)
        return vmt_fail(ctx, VMT_E_ARG, "--%s: %zu bytes do not hold its value", name, size);
    return VMT_OK;
}

/* ---- presets */

/* FastVMT's published constants; its examples use strength 0.75, its API 0.92. */
static const vmt_settings paper = {
    .steps = 50,
    .shift = 7.0F,
    .strength = 0.92F,
    .cfg_scale = 5.8F,
    .boundary = 0.875F,
    .sampler = VMT_SAMPLER_UNIPC,
    .recompute = -1,
    .attention = {.window = {-100, -67, -50}, .phases = 7, .blocks = {0, 999}},
    .motion = {.variant = VMT_VARIANT_PAPER,
               .block = 14,
               .guided_steps = 10,
               .inner_steps = 10,
               .lr_first = 0.003F,
               .lr_last = 0.002F,
               .grad_reuse_interval = 3,
               .reuse_steps = 3,
               .reuse_cosine = 0.5F,
               .ref_interval = 1,
               .amf_window = 21,
               .amf_tile = {3, 4},
               .max_frame_gap = 4,
               .logit_scale = 1.0F,
               .amf_weight = 5.0F,
               .track_weight = 1.0F,
               .last_pair_weight = 0.8F,
               .weight_decay = 0.01F,
               .beta1 = 0.9F,
               .beta2 = 0.999F,
               .adam_eps = 1e-8F,
               .top_k = 8,
               .smm_pool = 4,
               .moft_channels = 0.125F},
    .preset = "paper",
};

static void make_released(vmt_settings *s)
{
    *s = paper;
    s->strength = 0.75F;
    s->motion.variant = VMT_VARIANT_RELEASED;
    strcpy(s->preset, "released");
}

/* What the bundled model was tuned for; its config.json says the same. */
static void make_tiny(vmt_settings *s)
{
    *s = paper;
    s->steps = 25;
    s->shift = 5.0F;
    s->strength = 0.9F;
    s->cfg_scale = 5.0F;
    s->motion.block = 5;
    s->motion.guided_steps = 12;
    s->motion.lr_first = 0.01F;
    s->motion.lr_last = 0.007F;
    s->motion.grad_reuse_interval = 3;
    s->motion.amf_window = 5;
    s->motion.amf_tile[0] = s->motion.amf_tile[1] = 2;
    s->motion.logit_scale = 10.0F;
    strcpy(s->preset, "tiny");
}

/* Wan2.1's own text-to-video. */
static void make_wan(vmt_settings *s)
{
    *s = paper;
    s->shift = 5.0F;
    s->strength = 1.0F;
    s->cfg_scale = 5.0F;
    strcpy(s->preset, "wan");
}

/* Wan2.2's two transformers.  Source: Wan-Video/Wan2.2 wan/configs/wan_t2v_A14B.py. */
static void make_two(vmt_settings *s)
{
    s->shift = 12.0F;
    s->cfg_scale = 4.0F;
    s->cfg_low = 3.0F;
    if (!strcmp(s->preset, "wan"))
        s->steps = 40;
}

enum vmt_status vmt_settings_init(vmt_ctx *ctx, vmt_settings *settings, const vmt_model *model,
                                  const char *preset)
{
    if (!preset || !strcmp(preset, "paper")) {
        *settings = paper;
    } else if (!strcmp(preset, "released")) {
        make_released(settings);
    } else if (!strcmp(preset, "tiny")) {
        make_tiny(settings);
    } else if (!strcmp(preset, "wan")) {
        make_wan(settings);
    } else {
        return vmt_fail(ctx, VMT_E_ARG, "--preset %s: one of paper|released|tiny|wan", preset);
    }
    if (model && model->dit_low)
        settings->boundary = model->boundary;
    if (!preset && model && model->defaults.has_motion) {
        vmt_model_defaults_apply(&model->defaults, settings);
        strcpy(settings->preset, "model");
    } else if (model && model->dit_low && strcmp(settings->preset, "tiny") != 0) {
        make_two(settings);
    }
    settings->fastvmt = schedule_of(settings);
    return VMT_OK;
}

/* ---- JSON */

enum vmt_status vmt_settings_json(vmt_ctx *ctx, const vmt_model *model,
                                  const vmt_settings *settings, char **text)
{
    cJSON *root = cJSON_CreateObject();
    cJSON *options = cJSON_AddObjectToObject(root, "settings");
    cJSON *hashes = cJSON_AddObjectToObject(root, "model");
    bool whole = root && options && hashes;

    *text = NULL;
    whole = whole && cJSON_AddStringToObject(root, "program", "fastvmt") &&
            cJSON_AddStringToObject(root, "version", vmt_version()) &&
            cJSON_AddStringToObject(root, "backend", vmt_backend_name(ctx)) &&
            cJSON_AddStringToObject(root, "dtype", vmt_dtype_name(ctx->act)) &&
            cJSON_AddStringToObject(root, "preset", settings->preset);
    for (size_t i = 0; whole && i < ROWS; i++) {
        const char *field = (const char *)settings + rows[i].offset;
        char value[128];
        if (rows[i].offset == FIELD(ref_seed) && !settings->ref_seed_set)
            continue;
        if (rows[i].kind == TEXT) {
            const char *string = *(const char *const *)(const void *)field;
            whole = cJSON_AddStringToObject(options, rows[i].shown.name, string ? string : "");
        } else if (print_value(&rows[i], field, value, sizeof value) >= 0) {
            whole = cJSON_AddStringToObject(options, rows[i].shown.name, value);
        }
    }
    for (int part = 0; whole && model && part < VMT_PART_COUNT; part++)
        if (model->files[part])
            whole = cJSON_AddStringToObject(hashes, vmt_part_name((enum vmt_part)part),
                                            model->hashes[part]);
    if (whole && model && model->loras[0])
        whole = cJSON_AddStringToObject(hashes, "lora", model->loras) != NULL;
    if (whole)
        *text = cJSON_Print(root);
    cJSON_Delete(root);
    return *text ? VMT_OK : vmt_fail(ctx, VMT_E_MEMORY, "out of memory for the settings' JSON");
}
