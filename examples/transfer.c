/* SPDX-License-Identifier: MIT
 *
 * Motion transfer with libfastvmt: frames in, frames out, as PPM pictures one after another.
 *
 *     cc transfer.c -o transfer $(pkg-config --cflags --libs fastvmt)
 *     ffmpeg -i ref.mp4 -f image2pipe -c:v ppm - |
 *         ./transfer models/tiny "a red car on snow" steps=20 seed=3 |
 *         ffmpeg -f image2pipe -framerate 16 -i - out.mp4
 *
 * What follows the prompt are settings: any option of the library's table, NAME=VALUE.
 * A prompt that ends with .safetensors is a file of encoded prompts (fastvmt embed).
 */
#include <fastvmt/fastvmt.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static vmt_ctx *running; /* a signal handler gets no argument */

static void on_signal(int number)
{
    vmt_cancel(running);
    signal(number, SIG_DFL); /* the second time ends the program at once */
}

/* ---- frames: all of one size */

static int read_frames(vmt_clip *clip)
{
    int width, height, most;

    *clip = (vmt_clip){.fps = 16};
    while (scanf(" P6 %5d %5d %3d", &width, &height, &most) == 3 && getchar() != EOF) {
        const size_t bytes = 3 * (size_t)width * (size_t)height;
        if (width < 1 || height < 1 || most != 255 ||
            (clip->frames && (width != clip->width || height != clip->height)))
            return 0;
        uint8_t *pixels = realloc(clip->pixels, bytes * (size_t)(clip->frames + 1));
        if (!pixels)
            return 0;
        clip->pixels = pixels;
        if (fread(pixels + bytes * (size_t)clip->frames, 1, bytes, stdin) != bytes)
            return 0;
        clip->width = width;
        clip->height = height;
        clip->frames++;
    }
    return clip->frames > 0 && feof(stdin);
}

static int write_frames(const vmt_clip *clip)
{
    const size_t bytes = 3 * (size_t)(clip->width * clip->height);

    for (int64_t i = 0; i < clip->frames; i++) {
        printf("P6\n%d %d\n255\n", (int)clip->width, (int)clip->height);
        fwrite(clip->pixels + bytes * (size_t)i, 1, bytes, stdout);
    }
    return !fflush(stdout) && !ferror(stdout);
}

/* ---- the run */

static int show(void *user, const vmt_progress *p)
{
    (void)user;
    fprintf(stderr, "\r%-8s %2d of %2d, %.1f s ", vmt_phase_name(p->phase), (int)p->step,
            (int)p->steps, p->seconds);
    return 0; /* anything else would stop the run */
}

static enum vmt_status set_all(vmt_ctx *ctx, vmt_settings *settings, int count, char **pairs)
{
    enum vmt_status status = VMT_OK;

    for (int i = 0; status == VMT_OK && i < count; i++) {
        char *equals = strchr(pairs[i], '=');
        if (equals)
            *equals = '\0';
        status = vmt_settings_set(ctx, settings, pairs[i], equals ? equals + 1 : "");
    }
    return status;
}

int main(int argc, char **argv)
{
    vmt_clip reference = {0}, result = {0};
    vmt_transfer_io io = {.reference = &reference, .result = &result, .progress = show};
    vmt_model *model = NULL;
    vmt_settings settings;
    vmt_ctx *ctx = NULL;

    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL PROMPT [NAME=VALUE ...] < frames.ppm > result.ppm\n",
                argv[0]);
        return VMT_E_ARG;
    }
    if (!read_frames(&reference)) {
        fprintf(stderr, "stdin: not a row of P6 pictures of one size\n");
        free(reference.pixels);
        return VMT_E_FORMAT;
    }
    enum vmt_status status = vmt_ctx_open(&ctx, NULL);
    running = ctx;
    if (status == VMT_OK) {
        signal(SIGINT, on_signal);
        signal(SIGTERM, on_signal);
        status = vmt_model_open(ctx, &model, &(vmt_model_paths){.dir = argv[1]});
    }
    if (status == VMT_OK)
        status = vmt_settings_init(ctx, &settings, model, NULL);
    if (status == VMT_OK)
        status = set_all(ctx, &settings, argc - 3, argv + 3);
    if (status == VMT_OK) {
        const char *ending = strrchr(argv[2], '.');
        if (ending && !strcmp(ending, ".safetensors"))
            io.embeddings = argv[2];
        else
            settings.prompt = argv[2];
        status = vmt_transfer(ctx, model, &settings, &io);
        fputc('\n', stderr);
    }
    if (status != VMT_OK)
        fprintf(stderr, "%s: %s\n", vmt_status_name(status), vmt_message(ctx));
    else if (!write_frames(&result))
        status = VMT_E_IO;
    signal(SIGINT, SIG_DFL); /* no context to stop from here on */
    signal(SIGTERM, SIG_DFL);
    vmt_clip_free(&result);
    free(reference.pixels);
    vmt_model_close(ctx, model);
    vmt_ctx_close(ctx);
    return (int)status;
}
