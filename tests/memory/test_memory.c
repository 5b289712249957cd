/* SPDX-License-Identifier: MIT
 *
 * Every allocation of whole runs on the tiny model fails once: each time a clean refusal (or the
 * same result, where the memory was not needed), nothing left behind, nothing leaked.
 *
 *     test_memory [own|libc|lib] [EVERY]
 */
#include "sweep.h"

#include "bad_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A full sweep (make memory) takes minutes. */
#if defined(__SANITIZE_ADDRESS__)
enum { EVERY = 37 };
#else
enum { EVERY = 17 };
#endif

#define QUICK                                                                                      \
    "-q", "--threads", "1", "--size", "32x32", "--frames", "5", "--steps", "2", "--guided-steps",  \
        "1", "--inner-steps", "2"
#define MODEL_RUN "-m", "model", "-r", "reference.y4m", "-p", "a red car on snow"
#define RUN(...)                                                                                   \
    .arguments = (const char *const[])                                                             \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static const sweep opening = {.name = "info model", RUN("info", "model")};

static const sweep sweeps[] = {
    {.name = "transfer cpu",
     .output = "out.y4m",
     .kept = {"out.compare.y4m"},
     RUN("transfer", MODEL_RUN, "-o", "out.y4m", QUICK, "--compare", "out.compare.y4m")},
    {.name = "info latent", RUN("info", "clip.latent")},
    {.name = "info json", RUN("info", "run.json")},
    {.name = "probe adamw",
     .output = "out",
     RUN("probe", TEST_DATA "/golden/adamw_a.safetensors", "-o", "out")},
    {.name = "probe umt5",
     .output = "out",
     RUN("probe", TEST_DATA "/golden/umt5_a.safetensors", "-o", "out")},
    {.name = "encode",
     .output = "out.latent",
     .opens_model = true,
     RUN("encode", "-m", "model", "-r", "reference.y4m", "-o", "out.latent", QUICK)},
    {.name = "decode to pictures",
     .output = "out-00001.ppm",
     .opens_model = true,
     RUN("decode", "-m", "model", "clip.latent", "-o", "out-%05d.ppm", "-q", "--threads", "1")},
    {.name = "extract",
     .output = "out.fvm",
     .opens_model = true,
     RUN("extract", "-m", "model", "-r", "reference.y4m", "-o", "out.fvm", QUICK)},
    {.name = "embed",
     .output = "out.prompt",
     .opens_model = true,
     RUN("embed", "-m", "model", "-p", "a red car", "-o", "out.prompt", "-q", "--threads", "1")},
    {.name = "transfer ref",
     .output = "out.y4m",
     .opens_model = true,
     RUN("transfer", MODEL_RUN, "-o", "out.y4m", QUICK, "--backend", "ref")},
    {.name = "transfer from motion",
     .output = "out.y4m",
     .opens_model = true,
     .kept = {"out.y4m.state.safetensors"},
     RUN("transfer", "-m", "model", "--motion", "motion.fvm", "-p", "a red car on snow", "-o",
         "out.y4m", QUICK, "--checkpoint", "1")},
    {.name = "resume",
     .output = "out.y4m",
     .opens_model = true,
     RUN("transfer", MODEL_RUN, "-o", "out.y4m", QUICK, "--resume", "run.state")},
    {.name = "generate",
     .output = "out.y4m",
     .opens_model = true,
     RUN("generate", "-m", "model", "-p", "a cat", "-o", "out.y4m", QUICK)},
    {.name = "two transformers, with LoRAs",
     .output = "out.y4m",
     .opens_model = true,
     RUN("generate", "-m", "model", "--dit-low", "model/dit.safetensors", "-p", "a cat", "-o",
         "out.y4m", QUICK, "--lora", "lora.safetensors", "--lora-low", "lora.safetensors:0.5")},
};

/* Video files: libav and libx264 have threads of their own. */
static const sweep videos[] = {
    {.name = "encode mkv",
     .output = "out.latent",
     .anew = true,
     .opens_model = true,
     RUN("encode", "-m", "model", "-r", SOURCE_ROOT "/demo/refs/06_vertical.mkv", "-o",
         "out.latent", QUICK)},
    {.name = "decode to mp4",
     .output = "out.mp4",
     .anew = true,
     .opens_model = true,
     RUN("decode", "-m", "model", "clip.latent", "-o", "out.mp4", "-q", "--threads", "1")},
    {.name = "decode to PNG",
     .output = "out/00001.png",
     .anew = true,
     .opens_model = true,
     RUN("decode", "-m", "model", "clip.latent", "-o", "out/", "-q", "--threads", "1")},
    {.name = "info mp4", .anew = true, RUN("info", SOURCE_ROOT "/demo/refs/06_vertical.mkv")},
};

static int quiet_run(const char *const *arguments)
{
    cli_result result = cli_run(arguments, 120);

    if (result.code)
        fprintf(stderr, "preparation: %s", result.errors);
    const int code = result.code;
    cli_free(&result);
    return code;
}
#define PREPARE(...) quiet_run((const char *const[]){__VA_ARGS__, NULL})

/* What the runs read. */
static int prepare(void)
{
    write_y4m("reference.y4m", "YUV4MPEG2 W32 H32 F16:1 Ip A1:1 C444", 5, 3 * 32 * 32);
    link_model("model", NULL);
    write_safetensors("lora.safetensors",
                      "{\"diffusion_model.blocks.0.ffn.0.lora_A.weight\": {\"dtype\": \"BF16\", "
                      "\"shape\": [2, 256], \"data_offsets\": [0, 1024]}, "
                      "\"diffusion_model.blocks.0.ffn.0.lora_B.weight\": {\"dtype\": \"BF16\", "
                      "\"shape\": [640, 2], \"data_offsets\": [1024, 3584]}, "
                      "\"diffusion_model.blocks.0.ffn.0.diff_b\": {\"dtype\": \"BF16\", "
                      "\"shape\": [640], \"data_offsets\": [3584, 4864]}, "
                      "\"diffusion_model.blocks.1.norm3.diff\": {\"dtype\": \"BF16\", "
                      "\"shape\": [256], \"data_offsets\": [4864, 5376]}}",
                      5376);
    return PREPARE("encode", "-m", "model", "-r", "reference.y4m", "-o", "clip.latent", "-q") ||
           PREPARE("extract", "-m", "model", "-r", "reference.y4m", "-o", "motion.fvm", QUICK) ||
           PREPARE("transfer", MODEL_RUN, "-o", "run.y4m", QUICK, "--checkpoint", "1",
                   "--checkpoint-file", "run.state") ||
           rename("run.y4m.json", "run.json");
}

/* Opening the model takes nine tenths of the allocations: the first sweep has them all. */
static int run_all(const sweep *list, size_t count, enum caller caller, int every)
{
    const int opened = sweep_measure(&opening, caller);
    int bad = opened < 0;

    for (size_t i = 0; i < count; i++)
        bad += sweep_run(&list[i], caller, list[i].opens_model ? opened * 9 / 10 : 0, every);
    return bad;
}

int main(int argc, char **argv)
{
    static const char *const names[CALLER_COUNT] = {"own", "libc", "lib", "loader"};
    static char buffer[4096]; /* stdout's own would count as a leak */
    const char *only = argc > 1 ? argv[1] : NULL;
    const int every = argc > 2 ? atoi(argv[2]) : EVERY;
    int bad = 0;

    if (!TEST_HAS_SENTENCEPIECE) {
        puts("SKIPPED: this build reads no prompts");
        return 77;
    }
    setvbuf(stdout, buffer, _IOLBF, sizeof buffer);
    unsetenv("HOME"); /* runs keep nothing for the next one */
    unsetenv("XDG_CACHE_HOME");
    setenv("OMP_WAIT_POLICY", "passive", 1); /* or the program starts itself once more */
    setenv("OMP_NUM_THREADS", "1", 1);
    folder_new("memory");
    if (chdir("memory"))
        return 1;
    folder_new("run");
    if (chdir("run") || prepare())
        return 1;
    for (int caller = 0; caller < CALLER_COUNT; caller++) {
        if (only ? strcmp(only, names[caller]) != 0 : caller > CALLER_LIBC)
            continue;
        bad += run_all(sweeps, sizeof sweeps / sizeof *sweeps, (enum caller)caller, every);
        if (TEST_HAS_LIBAV && caller == CALLER_OWN)
            bad += run_all(videos, sizeof videos / sizeof *videos, (enum caller)caller, 3 * every);
    }
    return bad ? 1 : 0;
}
