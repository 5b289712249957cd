/* SPDX-License-Identifier: MIT
 *
 * A named limit holds: the process's anonymous memory, looked at every millisecond, is at most what
 * the plan says and 3 %; results are the same; a limit that cannot be kept is refused before
 * anything is loaded.
 */
#include "testing.h"

#include "cli_run.h"
#include "fastvmt/fastvmt.h"
#include "pipeline/budget.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Under a sanitizer freed memory stays in quarantine. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { WIDTH = 256, HEIGHT = 160, FRAMES = 9, MIB = 1 << 20 };
enum { PIXELS = 3 * FRAMES * HEIGHT * WIDTH };

/* What a child tells. */
typedef struct outcome {
    enum vmt_status status;
    char message[256];
    vmt_plan plan;
    size_t peak;      /* anonymous memory of the process */
    size_t told;      /* the most of it that progress told */
    uint64_t planned; /* that progress told */
    int64_t reports;  /* of progress */
    uint8_t pixels[PIXELS];
} outcome;

static struct {
    atomic_int stop;
    size_t most;
} watch;

static void *look(void *unused)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    (void)unused;
    while (!atomic_load(&watch.stop)) {
        const size_t now = vmt_process_memory();
        watch.most = now > watch.most ? now : watch.most;
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static int count_reports(void *user, const vmt_progress *progress)
{
    outcome *o = user;

    o->told = progress->memory_taken;
    o->planned = progress->memory_planned;
    o->reports++;
    return 0;
}

static void fill(vmt_clip *clip)
{
    for (int64_t t = 0; t < clip->frames; t++)
        for (int64_t i = 0; i < clip->width * clip->height * 3; i++)
            clip->pixels[t * clip->width * clip->height * 3 + i] = (uint8_t)(i / 7 + 11 * t);
}

static enum vmt_status transfer(vmt_ctx *ctx, vmt_model **model, outcome *o)
{
    vmt_settings settings;
    vmt_clip reference, result = {0};

    VMT_TRY(vmt_model_open(ctx, model, &(vmt_model_paths){.dir = SOURCE_ROOT "/models/tiny"}));
    VMT_TRY(vmt_settings_init(ctx, &settings, *model, NULL));
    settings.steps = 2;
    settings.motion.guided_steps = 1;
    settings.motion.inner_steps = 2;
    VMT_TRY(vmt_clip_new(ctx, &reference, FRAMES, HEIGHT, WIDTH, 8));
    fill(&reference);
    const vmt_transfer_io io = {.reference = &reference,
                                .result = &result,
                                .embeddings = TEST_DATA "/prompt.safetensors",
                                .progress = count_reports,
                                .progress_user = o};
    enum vmt_status status = vmt_plan_make(ctx, *model, &settings, &io, &o->plan);
    if (status == VMT_OK)
        status = vmt_transfer(ctx, *model, &settings, &io);
    if (status == VMT_OK)
        memcpy(o->pixels, result.pixels, sizeof o->pixels);
    vmt_clip_free(&reference);
    vmt_clip_free(&result);
    return status;
}

/* There and back; clips of this size take far more than a process does in any case. */
static enum vmt_status encode_decode(vmt_ctx *ctx, vmt_model **model, outcome *o)
{
    vmt_settings settings;
    vmt_clip reference, result = {0};

    VMT_TRY(vmt_model_open(ctx, model, &(vmt_model_paths){.dir = SOURCE_ROOT "/models/tiny"}));
    VMT_TRY(vmt_settings_init(ctx, &settings, *model, NULL));
    VMT_TRY(vmt_clip_new(ctx, &reference, FRAMES, 384, 640, 8));
    fill(&reference);
    const vmt_transfer_io io = {
        .reference = &reference, .result = &result, .progress = count_reports, .progress_user = o};
    settings.width = settings.height = settings.frames = 0;
    enum vmt_status status = vmt_encode(ctx, *model, &settings, &io, "budget.latent");
    vmt_clip_free(&reference);
    if (status == VMT_OK)
        status = vmt_decode(ctx, *model, &settings, "budget.latent", &io);
    unlink("budget.latent");
    vmt_clip_free(&result);
    return status;
}

/* What a child does. */
static enum vmt_status (*work)(vmt_ctx *, vmt_model **, outcome *) = transfer;

/* Private memory of the process that can be written, touched or not: what RLIMIT_DATA limits. */
static size_t data_bytes(void)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");

    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmData: %llu kB", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return (size_t)kib * 1024;
}

static void limit_data(uint64_t more)
{
    const rlim_t most = data_bytes() + more;
    setrlimit(RLIMIT_DATA, &(struct rlimit){most, most});
}

/* most_data: that the system lets it take beyond what there is, from the moment that the context is
 * open or, from_start, before. */
static void child(outcome *o, const char *backend, const char *dtype, uint64_t limit,
                  uint64_t most_data, bool from_start)
{
    const vmt_config config = {.threads = 1, .backend = backend, .dtype = dtype, .max_ram = limit};
    vmt_model *model = NULL;
    vmt_ctx *ctx = NULL;
    pthread_t watcher;

    /* what is freed goes back to the system, as in the program with --max-ram */
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    mallopt(M_TRIM_THRESHOLD, 128 << 10);
    if (pthread_create(&watcher, NULL, look, NULL))
        _exit(2);
    if (from_start)
        limit_data(most_data);
    o->status = vmt_ctx_open(&ctx, &config);
    if (most_data && !from_start)
        limit_data(most_data);
    if (o->status == VMT_OK)
        o->status = work(ctx, &model, o);
    atomic_store(&watch.stop, 1);
    pthread_join(watcher, NULL);
    o->peak = watch.most;
    snprintf(o->message, sizeof o->message, "%s", vmt_message(ctx));
    vmt_model_close(ctx, model);
    vmt_ctx_close(ctx);
}

/* In a process of its own. */
static outcome *run_within(const char *backend, const char *dtype, uint64_t limit,
                           uint64_t most_data, bool from_start)
{
    outcome *o = test_calloc(1, sizeof *o);
    int ends[2], code = 0;
    size_t got = 0;
    ssize_t n = 0;

    assert_int_equal(pipe(ends), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka's handler would go on with the tests */
        close(ends[0]);
        child(o, backend, dtype, limit, most_data, from_start);
        for (size_t at = 0; at < sizeof *o; at += (size_t)n)
            if ((n = write(ends[1], (char *)o + at, sizeof *o - at)) <= 0)
                _exit(2);
        _exit(0);
    }
    close(ends[1]);
    while (got < sizeof *o && (n = read(ends[0], (char *)o + got, sizeof *o - got)) > 0)
        got += (size_t)n;
    close(ends[0]);
    assert_int_equal(waitpid(pid, &code, 0), pid);
    if (WIFSIGNALED(code) && most_data) {
        o->status = VMT_E_MEMORY;
        snprintf(o->message, sizeof o->message, "ended by signal %d", WTERMSIG(code));
        return o;
    }
    assert_int_equal(code, 0);
    return o;
}

static outcome *run(const char *backend, const char *dtype, uint64_t limit)
{
    return run_within(backend, dtype, limit, 0, false);
}

static uint64_t total(const vmt_plan *p)
{
    return p->peak_bytes + p->fixed_bytes;
}

static void check_limit(const char *backend, const char *dtype, uint64_t limit, const outcome *free)
{
    outcome *o = run(backend, dtype, limit);
    const vmt_plan *p = &o->plan;
    int most = 0;

    print_message("%s %s, limit %.0f MiB: planned %.1f, taken %.1f; level %d, %d of %d blocks, by "
                  "%d tokens, tiles %d, %d, estimated %.2f x\n",
                  backend, dtype, (double)limit / MIB, (double)total(p) / MIB,
                  (double)o->peak / MIB, p->recompute, p->resident_blocks, p->blocks,
                  (int)p->ffn_tokens, p->vae_tile[0][0], p->vae_tile[1][0], p->slowdown);
    if (o->status != VMT_OK)
        fail_msg("%s", o->message);
    assert_true(p->fits && total(p) <= limit);
    assert_true(o->peak > 0 && (double)o->peak <= 1.03 * (double)total(p));
    assert_true((double)o->told > 0.8 * (double)o->peak &&
                (double)o->told < 1.02 * (double)o->peak);
    for (size_t i = 0; i < PIXELS; i++) {
        const int difference = abs(o->pixels[i] - free->pixels[i]);
        most = difference > most ? difference : most;
    }
    /* products and convolutions of other sizes may sum in another order */
    const bool cut =
        p->ffn_tokens < p->grid_f * p->grid_h * p->grid_w || p->vae_tile[0][0] || p->vae_tile[1][0];
    assert_true(most <= (cut && strcmp(backend, "ref") ? 3 : 0));
    test_free(o);
}

/* Without a limit; skips where that cannot be, or memory cannot be looked at. */
static outcome *run_free(const char *backend, const char *dtype)
{
    if (SANITIZED)
        skip();
    outcome *o = run(backend, dtype, 0);
    if (o->status == VMT_E_UNSUPPORTED) {
        print_message("SKIPPED: %s\n", o->message);
        test_free(o);
        skip();
    }
    return o;
}

/* From what it wants to the least it needs; and one MiB less is refused, before anything is done.
 */
static void limits_hold(const char *backend, const char *dtype)
{
    outcome *free = run_free(backend, dtype);
    assert_int_equal(free->status, VMT_OK);
    const uint64_t most = total(&free->plan), least = free->plan.least_bytes;
    print_message("%s %s: wants %.1f MiB, needs %.1f\n", backend, dtype, (double)most / MIB,
                  (double)least / MIB);
    assert_true(least < most);
    check_limit(backend, dtype, (most + least) / 2, free);
    check_limit(backend, dtype, least + MIB, free);
    outcome *refused = run(backend, dtype, least - MIB);
    assert_int_equal(refused->status, VMT_E_MEMORY);
    assert_int_equal(refused->reports, 0);
    assert_non_null(strstr(refused->message, "at least"));
    assert_true(!refused->plan.fits && refused->plan.fitting_frames > 0 &&
                refused->plan.fitting_frames < FRAMES);
    test_free(refused);
    test_free(free);
}

/* The system itself refuses more: beyond what there was when the context was open, the plan's peak
 * and 3 %, the 24 MiB it counts for allocator and compiled products, the stack of a thread that
 * reads ahead, and 24 MiB that are reserved and not touched (alignment to large pages, pages of
 * code).  A run without the limit does not live within that; oneDNN, which leaves some of its
 * allocations unchecked, may end it. */
static void kept_by_the_system(void **state)
{
    enum { OWN = 24 * MIB, STACK = 8 * MIB + 4096, RESERVED = 24 * MIB };

    (void)state;
    outcome *free = run_free("cpu", "f32");
    const uint64_t least = free->plan.least_bytes + MIB;
    const uint64_t data = (least - free->plan.fixed_bytes) * 103 / 100 + OWN + STACK + RESERVED;
    outcome *o = run_within("cpu", "f32", least, data, false);
    if (o->status != VMT_OK)
        fail_msg("within %.1f MiB: %s", (double)data / MIB, o->message);
    test_free(o);
    o = run_within("cpu", "f32", 0, data, false);
    print_message("%.1f MiB more than at the beginning: done; without a limit: %s\n",
                  (double)data / MIB, o->message);
    assert_int_equal(o->status, VMT_E_MEMORY);
    test_free(o);
    test_free(free);
}

/* ulimit -d, and nothing said to the program: it lives within it. */
static void within_the_shells_limit(void **state)
{
    (void)state;
    outcome *free = run_free("cpu", "f32");
    const uint64_t middle = (total(&free->plan) + free->plan.least_bytes) / 2;
    outcome *o = run_within("cpu", "f32", 0, middle + 96 * MIB, true);
    const vmt_plan *p = &o->plan;
    print_message("ulimit: limit %.1f MiB, planned %.1f, taken %.1f\n",
                  (double)p->limit_bytes / MIB, (double)total(p) / MIB, (double)o->peak / MIB);
    if (o->status != VMT_OK)
        fail_msg("%s", o->message);
    assert_true(p->limit_bytes > 0 && p->limit_bytes < total(&free->plan));
    assert_true(total(p) <= p->limit_bytes && (double)o->peak <= 1.03 * (double)total(p));
    test_free(o);
    test_free(free);
}

/* A run stopped under one limit goes on under another. */
static void resumed_under_another_limit(void **state)
{
    (void)state;
#define RUN                                                                                        \
    "transfer", "-m", SOURCE_ROOT "/models/tiny", "-r", SOURCE_ROOT "/demo/refs/00_across.mkv",    \
        "--embeddings", TEST_DATA "/prompt.safetensors", "-q", "-y", "--size", "128x80",           \
        "--frames", "9", "--steps", "3", "--guided-steps", "2", "--inner-steps", "2"
#define STATE "--checkpoint", "2", "--checkpoint-file", "budget.state.safetensors"
    if (!TEST_HAS_LIBAV)
        skip();
    folder_new("budget");
    assert_int_equal(chdir("budget"), 0);
    cli_result all = CLI(120, RUN, "-o", "all.y4m", STATE);
    assert_int_equal(all.code, 0);
    cli_free(&all);
    cli_result rest =
        CLI(120, RUN, "-o", "rest.y4m", "--max-ram", "64M", "--resume", "budget.state.safetensors");
    if (rest.code)
        fail_msg("%s", rest.errors);
    cli_free(&rest);
    size_t a, b;
    unsigned char *first = file_read("all.y4m", &a), *second = file_read("rest.y4m", &b);
    assert_true(a == b && a > 1000 && !memcmp(first, second, a));
    free(first);
    free(second);
    assert_int_equal(chdir(".."), 0);
}

static void cpu_f32(void **state)
{
    (void)state;
    limits_hold("cpu", "f32");
}

static void cpu_bf16(void **state)
{
    (void)state;
    limits_hold("cpu", "bf16");
}

/* The autoencoder alone keeps to what it said, and bf16 halves it. */
static void autoencoder_alone(void **state)
{
    static const char *const dtypes[] = {"f32", "bf16"};
    uint64_t planned[2];

    (void)state;
    if (SANITIZED)
        skip();
    for (int i = 0; i < 2; i++) {
        work = encode_decode;
        outcome *o = run("cpu", dtypes[i], 0);
        work = transfer;
        if (o->status == VMT_E_UNSUPPORTED) {
            test_free(o);
            skip();
        }
        print_message("VAE %s: planned %.1f MiB, taken %.1f\n", dtypes[i], (double)o->planned / MIB,
                      (double)o->peak / MIB);
        assert_int_equal(o->status, VMT_OK);
        assert_true(o->peak > 0 && (double)o->peak <= 1.03 * (double)o->planned);
        planned[i] = o->planned;
        test_free(o);
    }
    assert_true(planned[0] > 256 * (uint64_t)MIB && planned[1] < planned[0] * 6 / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(autoencoder_alone),
                                       cmocka_unit_test(cpu_f32),
                                       cmocka_unit_test(cpu_bf16),
                                       cmocka_unit_test(kept_by_the_system),
                                       cmocka_unit_test(within_the_shells_limit),
                                       cmocka_unit_test(resumed_under_another_limit)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
