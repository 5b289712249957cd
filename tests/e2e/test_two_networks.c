/* SPDX-License-Identifier: MIT
 *
 * Models of two transformers (Wan2.2 A14B): each step by its own, as if done by hand; the same one
 * twice is a plain run; guided steps, reused steps and stored runs go across; folders of both
 * layouts.  The second transformer is the bundled one with a LoRA.
 */
#include "bad_input.h"

#include "base/rng.h"
#include "dit/dit_internal.h"
#include "pipeline/sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WIDTH = 48, HEIGHT = 32, FRAMES = 5, STEPS = 6, DIM = 256, RANK = 4 };

#define LORA "second.safetensors"
#define STATE "two.state.safetensors"
#define LATENT "two.latent.safetensors"

typedef struct rig {
    vmt_ctx *ctx;
    vmt_model *model;
    vmt_clip reference;
} rig;

static void write_lora(void)
{
    static float a[RANK * DIM], b[DIM * RANK];
    static vmt_ctx ctx;
    test_rng rng = {5};
    vmt_named_tensor tensors[4];
    char names[4][80];

    vmt_ctx_init(&ctx);
    for (int i = 0; i < RANK * DIM; i++) {
        a[i] = 0.2F * (float)test_uniform(&rng);
        b[i] = 0.2F * (float)test_uniform(&rng);
    }
    for (int i = 0; i < 4; i++) {
        snprintf(names[i], sizeof names[i], "diffusion_model.blocks.%d.self_attn.v.lora_%s.weight",
                 i / 2, i % 2 ? "up" : "down");
        tensors[i] =
            (vmt_named_tensor){names[i], i % 2 ? vmt_tensor_over(b, VMT_F32, VMT_SHAPE(DIM, RANK))
                                               : vmt_tensor_over(a, VMT_F32, VMT_SHAPE(RANK, DIM))};
    }
    CHECK_OK(&ctx, vmt_safetensors_write(&ctx, LORA, tensors, 4, NULL));
}

enum kind { ONE, SAME_TWICE, TWO };

static void open_rig(rig *r, enum kind kind)
{
    const char *backend = test_backend_built("cpu", "f32") ? "cpu" : "ref";
    vmt_model_paths paths = {.dir = MODEL};

    if (kind != ONE)
        paths.dit_low = MODEL "/dit.safetensors";
    if (kind == TWO)
        paths.loras_low[0] = LORA;
    write_lora();
    r->ctx = test_ctx_open(backend, "f32");
    CHECK_OK(r->ctx, vmt_model_open(r->ctx, &r->model, &paths));
    CHECK_OK(r->ctx, vmt_clip_new(r->ctx, &r->reference, FRAMES, HEIGHT, WIDTH, 8));
    for (int64_t i = 0; i < FRAMES * HEIGHT * WIDTH * 3; i++)
        r->reference.pixels[i] = (uint8_t)(i / 7 + i / (HEIGHT * WIDTH * 3) * 11);
}

static void close_rig(rig *r)
{
    unlink(LORA);
    vmt_clip_free(&r->reference);
    vmt_model_close(r->ctx, r->model);
    test_ctx_close(r->ctx);
}

static vmt_settings settings_with(rig *r, const char *options)
{
    vmt_settings s;
    char copy[256];

    CHECK_OK(r->ctx, vmt_settings_init(r->ctx, &s, r->model, NULL));
    s.steps = STEPS;
    s.sampler = VMT_SAMPLER_EULER;
    s.width = WIDTH;
    s.height = HEIGHT;
    s.frames = FRAMES;
    s.motion.guided_steps = s.motion.inner_steps = 2;
    snprintf(copy, sizeof copy, "%s", options);
    for (char *name = strtok(copy, " "); name; name = strtok(NULL, " "))
        CHECK_OK(r->ctx, vmt_settings_set(r->ctx, &s, name, strtok(NULL, " ")));
    return s;
}

static int stop_at(void *user, const vmt_progress *p)
{
    const int64_t *stop = user;
    return p->phase == VMT_PHASE_SAMPLE && p->step == *stop;
}

/* stop: after so many steps, -1: never. */
static vmt_clip run(rig *r, bool transfer, const char *options, int64_t stop, const char *resume)
{
    const vmt_settings s = settings_with(r, options);
    vmt_clip clip = {0};
    const vmt_transfer_io io = {.reference = transfer && !resume ? &r->reference : NULL,
                                .result = &clip,
                                .latent_path = stop < 0 ? LATENT : NULL,
                                .embeddings = TEST_DATA "/prompt.safetensors",
                                .checkpoint_path = stop < 0 ? NULL : STATE,
                                .resume = resume,
                                .progress = stop_at,
                                .progress_user = &stop};
    const enum vmt_status status =
        (transfer ? vmt_transfer : vmt_generate)(r->ctx, r->model, &s, &io);

    if (stop >= 0)
        assert_int_equal(status, VMT_E_CANCELLED);
    else if (status != VMT_OK)
        fail_msg("%s: %s", options, vmt_message(r->ctx));
    return clip;
}

static bool same(const vmt_clip *a, const vmt_clip *b)
{
    return !memcmp(a->pixels, b->pixels, (size_t)FRAMES * HEIGHT * WIDTH * 3);
}

/* Sigmas of 6 steps at shift 5 from 1: 1, 0.962, 0.909, 0.833, …; from strength 0.9: 0.978, 0.94,
 * 0.886, …: three steps of the first, or two. */
#define BOUNDARY "boundary 0.9"

/* Wrong if the switch loses the sampler's, the optimiser's or the latent's state. */
static void same_one_twice(void **state)
{
    (void)state;
    for (int transfer = 0; transfer < 2; transfer++) {
        rig one, twice, two;
        open_rig(&one, ONE);
        vmt_clip a = run(&one, transfer, BOUNDARY " sampler unipc cfg 4 guided-steps 4", -1, NULL);
        close_rig(&one);
        open_rig(&twice, SAME_TWICE);
        vmt_clip b =
            run(&twice, transfer, BOUNDARY " sampler unipc cfg 4 guided-steps 4", -1, NULL);
        vmt_clip c = run(&twice, transfer, BOUNDARY " sampler unipc cfg 4 guided-steps 4 cfg-low 3",
                         -1, NULL);
        close_rig(&twice);
        open_rig(&two, TWO);
        vmt_clip d = run(&two, transfer, BOUNDARY " sampler unipc cfg 4 guided-steps 4", -1, NULL);
        vmt_clip e = run(&two, transfer, "boundary 0 sampler unipc cfg 4 guided-steps 4", -1, NULL);
        close_rig(&two);
        assert_true(same(&a, &b));
        assert_false(same(&a, &c));
        assert_false(same(&a, &d));
        assert_true(same(&a, &e)); /* every step is of the first */
        vmt_clip_free(&a);
        vmt_clip_free(&b);
        vmt_clip_free(&c);
        vmt_clip_free(&d);
        vmt_clip_free(&e);
    }
}

/* One step by hand: v = negative + cfg (prompt - negative) of the given transformer. */
static void velocity_of(vmt_ctx *ctx, vmt_dit *dit, vmt_tensor v[2], const vmt_tensor *latent,
                        float timestep, double cfg)
{
    const vmt_dit_plan plan = {.grid_f = 2,
                               .grid_h = HEIGHT / 16,
                               .grid_w = WIDTH / 16,
                               .timesteps = &timestep,
                               .timestep_count = 1,
                               .keep_blocks = -1};
    vmt_tensor_file *file;
    vmt_dit_run *forward;

    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &file, TEST_DATA "/prompt.safetensors"));
    CHECK_OK(ctx, vmt_dit_prepare(ctx, dit));
    CHECK_OK(ctx, vmt_dit_run_open(ctx, &forward, dit, &plan));
    for (int i = 0; i < 2; i++) {
        const vmt_tensor *rows = vmt_tensor_file_find(file, i ? "negative" : "prompt");
        vmt_dit_text *text;
        CHECK_OK(ctx, vmt_dit_text_open(ctx, &text, dit, rows->data, rows->shape[0]));
        CHECK_OK(ctx, vmt_dit_forward(ctx, forward, &v[i], latent, timestep, text, false));
        vmt_dit_text_close(ctx, text);
    }
    vmt_dit_run_close(ctx, forward);
    vmt_tensor_file_close(file);
    CHECK_OK(ctx, vmt_lincomb(ctx, &v[0], &v[0], &v[1], 1.0, -1.0));
    CHECK_OK(ctx, vmt_lincomb(ctx, &v[0], &v[1], &v[0], 1.0, cfg));
}

/* Wrong if a step is computed by the other transformer, with the other's prompt or scale. */
static void by_hand(void **state)
{
    enum { LATENTS = 16 * 2 * (HEIGHT / 8) * (WIDTH / 8) };
    static float x[LATENTS], v[2][LATENTS];
    const int64_t shape[4] = {16, 2, HEIGHT / 8, WIDTH / 8};
    vmt_sampler_state sampler = {0};
    vmt_tensor_file *file;
    vmt_rng rng;
    rig r;

    (void)state;
    open_rig(&r, TWO);
    vmt_clip clip = run(&r, false, BOUNDARY " cfg 4 cfg-low 3 seed 7", -1, NULL);
    vmt_rng_seed(&rng, 7);
    vmt_rng_normal(&rng, x, LATENTS);
    vmt_tensor latent = vmt_tensor_over(x, VMT_F32, 4, shape);
    vmt_tensor velocity[2] = {vmt_tensor_over(v[0], VMT_F32, 4, shape),
                              vmt_tensor_over(v[1], VMT_F32, 4, shape)};
    CHECK_OK(r.ctx, vmt_sampler_open(r.ctx, &sampler, VMT_SAMPLER_EULER, STEPS, 5, 1));
    for (int i = 0; i < STEPS; i++) {
        const bool low = i >= 3;
        velocity_of(r.ctx, low ? r.model->dit_low : r.model->dit, velocity, &latent,
                    sampler.timesteps[i], low ? 3 : 4);
        CHECK_OK(r.ctx, vmt_sampler_step(r.ctx, &sampler, &latent, &velocity[0]));
    }
    vmt_sampler_close(&sampler);
    CHECK_OK(r.ctx, vmt_tensor_file_open(r.ctx, &file, LATENT));
    const vmt_tensor *got = vmt_tensor_file_find(file, "latent");
    assert_true(got && vmt_same_shape(got, &latent));
    assert_memory_equal(got->data, x, sizeof x);
    vmt_tensor_file_close(file);
    unlink(LATENT);
    vmt_clip_free(&clip);
    close_rig(&r);
}

/* Stopped in any step, before, at and after the switch, with guided steps on both sides and with
 * reused steps. */
static void resumes(void **state)
{
    static const struct {
        bool transfer;
        const char *options;
    } cases[] = {{true, BOUNDARY " guided-steps 4 cfg 4 cfg-low 3"},
                 {true, BOUNDARY " guided-steps 1 cfg 4 cache 10"},
                 {true, BOUNDARY " guided-steps 1 cfg 1 cfg-low 3 cache 10 cache-from residual"},
                 {true, BOUNDARY " method flowmotion guided-steps 3 cfg 4 cfg-low 3"},
                 {false, BOUNDARY " sampler unipc cfg 4 cfg-low 3"}};
    rig r;

    (void)state;
    open_rig(&r, TWO);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const bool transfer = cases[i].transfer;
        vmt_clip whole = run(&r, transfer, cases[i].options, -1, NULL);
        for (int64_t stop = 1; stop < STEPS; stop++) {
            (void)run(&r, transfer, cases[i].options, stop, NULL);
            vmt_clip rest = run(&r, transfer, cases[i].options, -1, STATE);
            if (!same(&whole, &rest))
                fail_msg("%s, stopped at %d", cases[i].options, (int)stop);
            vmt_clip_free(&rest);
        }
        vmt_clip_free(&whole);
    }
    unlink(STATE);
    unlink(LATENT);
    close_rig(&r);
}

/* One transformer is packed at a time. */
static void one_at_a_time(void **state)
{
    rig r;

    (void)state;
    if (!test_backend_built("cpu", "f32"))
        return;
    open_rig(&r, TWO); /* BF16 weights on F32: packed */
    vmt_clip clip = run(&r, true, BOUNDARY " guided-steps 4", -1, NULL);
    assert_false(r.model->dit->blocks[0].ffn_in.packed);
    assert_true(r.model->dit_low->blocks[0].ffn_in.packed);
    vmt_clip_free(&clip);
    clip = run(&r, true, "boundary 0", -1, NULL);
    assert_true(r.model->dit->blocks[0].ffn_in.packed);
    assert_false(r.model->dit_low->blocks[0].ffn_in.packed);
    vmt_clip_free(&clip);
    unlink(LATENT);
    close_rig(&r);
}

static void refuses(rig *r, const char *options, const char *says)
{
    const vmt_settings s = settings_with(r, options);
    vmt_clip clip = {0};
    const vmt_transfer_io io = {
        .reference = &r->reference, .result = &clip, .embeddings = TEST_DATA "/prompt.safetensors"};

    assert_int_equal(vmt_transfer(r->ctx, r->model, &s, &io), VMT_E_ARG);
    if (!strstr(vmt_message(r->ctx), says))
        fail_msg("%s", vmt_message(r->ctx));
}

/* Features of one transformer are not compared with the other's. */
static void references(void **state)
{
    rig r;

    (void)state;
    open_rig(&r, TWO);
    refuses(&r, BOUNDARY " ref-time clean", "--ref-time clean");
    refuses(&r, BOUNDARY " guided-steps 3 ref-interval 3", "guided step 2");
    vmt_clip clip = run(&r, true, BOUNDARY " guided-steps 4 ref-interval 2", -1, NULL);
    vmt_clip_free(&clip);
    unlink(LATENT);
    close_rig(&r);
}

/* ---- folders and the command line */

static void says(const char *folder, int code, const char *text)
{
    cli_result r = CLI(60, "info", folder);

    if (r.code != code || !strstr(code ? r.errors : r.output, text))
        fail_msg("%s: exit code %d, no \"%s\" in %s%s", folder, r.code, text, r.output, r.errors);
    cli_free(&r);
}

static void link_part(const char *from, const char *to)
{
    char *target = realpath(from, NULL);

    assert_non_null(target);
    assert_int_equal(symlink(target, to), 0);
    free(target);
}

static void folders(void **state)
{
    static const char index[] = "{\"boundary_ratio\": 0.9}";

    (void)state;
    folder_remove("w22");
    folder_remove("w22d");
    cli_result r =
        CLI(60, "make-model", "w22", "--two-transformers", "--tokenizer", MODEL "/spiece.model");
    assert_int_equal(r.code, 0);
    cli_free(&r);
    says("w22", 0, "dit-low  w22/low_noise_model/diffusion_pytorch_model.safetensors");
    says("w22", 0, "--boundary 0.875\n");
    says("w22", 0, "--shift 12\n");
    says("w22", 0, "--cfg-low 3\n");
    r = CLI(120, "generate", "-m", "w22", "-p", "x", "--size", "32x32", "--frames", "5", "--steps",
            "3", "-o", "w22/out.y4m", "--cache-dir", "none", "-v");
    if (r.code != 0 || !strstr(r.errors, "the transformer of low noise"))
        fail_msg("exit code %d: %s", r.code, r.errors);
    cli_free(&r);
    r = CLI(30, "info", "w22/out.y4m.json");
    assert_int_equal(r.code, 0);
    cli_free(&r);

    folder_new("w22d");
    mkdir("w22d/vae", 0700);
    link_part("w22/high_noise_model", "w22d/transformer");
    link_part("w22/low_noise_model", "w22d/transformer_2");
    file_write("w22d/model_index.json", index, sizeof index - 1);
    says("w22d", 0, "dit-low  w22d/transformer_2/diffusion_pytorch_model.safetensors");
    says("w22d", 0, "--boundary 0.9\n");
    file_write("w22d/model_index.json", "{}", 2);
    says("w22d", 6, "no boundary_ratio");
    unlink("w22d/transformer_2");
    mkdir("w22d/transformer_2", 0700);
    says("w22d", 6, "of which that of low noise has no weights there");
    REFUSED("low alone", 2, "name the transformer of high noise, too", "generate", "--dit-low",
            "w22/low_noise_model/diffusion_pytorch_model.safetensors", "-p", "x", "-o", "x.y4m");
    REFUSED("other sizes", 6, "of other sizes", "generate", "-m", MODEL, "--dit-low",
            "w22/low_noise_model/diffusion_pytorch_model.safetensors", "-p", "x", "-o", "x.y4m");
    REFUSED("no second", 2, "--lora-low a: the model has no second transformer", "generate", "-m",
            MODEL, "--lora-low", "a", "-p", "x", "-o", "x.y4m");
    folder_remove("w22");
    folder_remove("w22d");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_one_twice), cmocka_unit_test(by_hand),    cmocka_unit_test(resumes),
        cmocka_unit_test(one_at_a_time),  cmocka_unit_test(references), cmocka_unit_test(folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
