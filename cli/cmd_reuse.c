/* SPDX-License-Identifier: MIT
 *
 * bench reuse: how much gradients of a run agree with earlier ones, which is what reusing them
 * rests on.  Keeps the gradients that a run computes, every one unless --reuse says otherwise, and
 * compares all pairs.
 */
#include "cli.h"

#include "base/atomic_file.h"
#include "motion/reuse.h"
#include "table/plot.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct kept {
    int64_t step, inner_step;
    float *values;
} kept;

typedef struct reuse_job {
    cli_session s;
    cli_reporter reporter;
    double seconds;
    vmt_clip reference, result;
    kept *all;
    int64_t count, size; /* gradients, elements of each */
    int64_t per;         /* inner steps of a guided step */
    double *cosines;     /* [count, count] */
    bool full;           /* out of memory */
} reuse_job;

static int tell(void *user, const vmt_progress *progress)
{
    reuse_job *j = user;

    j->seconds = progress->seconds;
    return cli_reporter_tell(&j->reporter, progress);
}

static int keep(void *user, int64_t step, int64_t inner_step, const float *values, int64_t size)
{
    reuse_job *j = user;
    kept *k = &j->all[j->count];

    *k = (kept){step, inner_step, malloc((size_t)size * sizeof *k->values)};
    j->full = !k->values;
    if (j->full)
        return 1;
    memcpy(k->values, values, (size_t)size * sizeof *k->values);
    j->size = size;
    j->count++;
    return 0;
}

static enum vmt_status compare_all(reuse_job *j)
{
    const int64_t n = j->count;

    VMT_TRY(vmt_alloc(j->s.ctx, (void **)&j->cosines, (size_t)(n * n), sizeof *j->cosines));
    for (int64_t a = 0; a < n; a++)
        for (int64_t b = 0; b <= a; b++)
            j->cosines[a * n + b] = j->cosines[b * n + a] =
                vmt_cosine(j->all[a].values, j->all[b].values, j->size);
    return VMT_OK;
}

/* ---- what the pairs say */

/* Which pairs: all, those of one guided step, those at one inner step.  Distances are inner steps;
 * at one inner step guided steps. */
enum pairs { OF_RUN, OF_STEP, AT_INNER, PAIRS_COUNT };

static const char *const pair_names[PAIRS_COUNT] = {"run", "guided step", "same inner step"};

typedef struct agreement {
    double mean, least, most;
    int64_t pairs;
} agreement;

static bool belongs(const kept *a, const kept *b, enum pairs which, int64_t per, int64_t distance)
{
    switch (which) {
    case OF_STEP:
        return a->step == b->step && b->inner_step - a->inner_step == distance;
    case AT_INNER:
        return a->inner_step == b->inner_step && b->step - a->step == distance;
    case OF_RUN:
    case PAIRS_COUNT:
        break;
    }
    return (b->step - a->step) * per + b->inner_step - a->inner_step == distance;
}

static agreement agree(const reuse_job *j, enum pairs which, int64_t distance)
{
    agreement g = {.least = 1, .most = -1};

    for (int64_t a = 0; a < j->count; a++)
        for (int64_t b = a + 1; b < j->count; b++) {
            const double c = j->cosines[a * j->count + b];
            if (!belongs(&j->all[a], &j->all[b], which, j->per, distance))
                continue;
            g.mean += c;
            g.least = c < g.least ? c : g.least;
            g.most = c > g.most ? c : g.most;
            g.pairs++;
        }
    g.mean /= g.pairs ? (double)g.pairs : 1;
    return g;
}

/* Inner steps from the first gradient to the last. */
static int64_t longest(const reuse_job *j)
{
    const kept *first = &j->all[0], *last = &j->all[j->count - 1];

    return (last->step - first->step) * j->per + last->inner_step - first->inner_step;
}

static double norm_of(const reuse_job *j, const kept *k)
{
    double sum = 0;

    for (int64_t i = 0; i < j->size; i++)
        sum += (double)k->values[i] * (double)k->values[i];
    return sqrt(sum);
}

/* ---- files */

static void write_csv(const reuse_job *j, FILE *to)
{
    fputs("pairs,distance,mean,least,most,count\n", to);
    for (int which = 0; which < PAIRS_COUNT; which++)
        for (int64_t d = 1; d <= longest(j); d++) {
            const agreement g = agree(j, (enum pairs)which, d);
            if (g.pairs)
                fprintf(to, "%s,%" PRId64 ",%.6f,%.6f,%.6f,%" PRId64 "\n", pair_names[which], d,
                        g.mean, g.least, g.most, g.pairs);
        }
    for (int64_t i = 0; i < j->count; i++)
        if (j->all[i].inner_step == 0)
            fprintf(to, "norm of the first,%" PRId64 ",%.6g,,,1\n", j->all[i].step,
                    norm_of(j, &j->all[i]));
}

/* Distances of both kinds on one axis of inner steps: `per` of them make a guided step. */
static void write_plot(const reuse_job *j, FILE *to)
{
    const int64_t per = j->per;
    const int64_t most = longest(j) < 4 * per ? longest(j) : 4 * per;
    const plot_axes a = {0, (double)(most > 0 ? most : 1), -0.5, 1};

    plot_begin(to, PLOT_TOP + PLOT_HIGH + 50);
    plot_draw_axes(to, &a, "inner steps between two gradients", "mean cosine");
    fprintf(to, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#888\"/>\n",
            plot_x(&a, 0), plot_x(&a, a.high_x), plot_y(&a, 0), plot_y(&a, 0));
    for (int which = 0; which < PAIRS_COUNT; which++) {
        const int64_t unit = which == AT_INNER ? per : 1;
        const char *colour = plot_colour(which);
        fprintf(to, "<polyline fill=\"none\" stroke=\"%s\" points=\"%.1f,%.1f ", colour,
                plot_x(&a, 0), plot_y(&a, 1));
        for (int64_t d = 1; d * unit <= most; d++) {
            const agreement g = agree(j, (enum pairs)which, d);
            if (g.pairs)
                fprintf(to, "%.1f,%.1f ", plot_x(&a, (double)(d * unit)), plot_y(&a, g.mean));
        }
        fputs("\"/>\n", to);
        plot_label(to, PLOT_LEFT + PLOT_WIDE + 10, PLOT_TOP + 14 + 16 * which, pair_names[which],
                   colour);
    }
    fputs("</svg>\n", to);
}

static enum vmt_status write_file(const reuse_job *j, const char *folder, const char *name,
                                  void (*write)(const reuse_job *, FILE *))
{
    char path[4300], *text = NULL;
    size_t length = 0;
    vmt_atomic_file file;
    FILE *to = open_memstream(&text, &length);

    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (to)
        write(j, to);
    const bool good = to && !ferror(to);
    if (!to || fclose(to) || !good) {
        free(text);
        return vmt_fail(j->s.ctx, VMT_E_MEMORY, "out of memory");
    }
    enum vmt_status status = vmt_atomic_file_open(j->s.ctx, &file, path);
    if (status == VMT_OK) {
        status = vmt_atomic_file_write(j->s.ctx, &file, text, length);
        if (status == VMT_OK)
            status = vmt_atomic_file_commit(j->s.ctx, &file);
        else
            vmt_atomic_file_abort(&file);
    }
    free(text);
    return status;
}

static void print_table(const reuse_job *j)
{
    static const char *const units[PAIRS_COUNT] = {"inner steps", "inner steps", "guided steps"};

    printf("%" PRId64 " gradients; cosine of two of them by their distance\n", j->count);
    printf("%-16s %21s %7s %7s %7s %6s\n", "pairs", "distance", "mean", "least", "most", "count");
    for (int which = 0; which < PAIRS_COUNT; which++)
        for (int64_t d = 1; d <= longest(j) && d <= 20; d++) {
            const agreement g = agree(j, (enum pairs)which, d);
            if (g.pairs)
                printf("%-16s %8" PRId64 " %-12s %+7.3f %+7.3f %+7.3f %6" PRId64 "\n",
                       pair_names[which], d, units[which], g.mean, g.least, g.most, g.pairs);
        }
}

/* ---- command */

static int check_options(const cli_options *o)
{
    struct stat info;

    if (o->operand_count != 2)
        return cli_fail_text(VMT_E_ARG, "bench reuse takes a reference: bench reuse VIDEO");
    if (!o->paths.dir && !o->paths.dit)
        return cli_fail_text(VMT_E_ARG, "bench reuse needs a model: -m DIR");
    if (!o->output)
        return cli_fail_text(VMT_E_ARG, "bench reuse needs a folder: -o DIR");
    if (strlen(o->output) > 4000)
        return cli_fail_text(VMT_E_ARG, "the folder's path is too long");
    if (o->parts || o->op || o->full || o->shape || o->runs || o->json || o->jobs || o->shard ||
        o->videos || o->clip || o->list || o->report)
        return cli_fail_text(VMT_E_ARG, "bench reuse takes a transfer's settings alone");
    if (o->setting_count == CLI_MAX_SETTINGS)
        return cli_fail_text(VMT_E_ARG, "more than %d settings", CLI_MAX_SETTINGS - 1);
    if (mkdir(o->output, 0777) && (stat(o->output, &info) || !S_ISDIR(info.st_mode)))
        return cli_fail_text(VMT_E_IO, "%s: cannot make this folder", o->output);
    return 0;
}

static enum vmt_status run(reuse_job *j)
{
    const cli_options *o = j->s.options;
    const vmt_settings *settings = &j->s.settings;
    const vmt_transfer_io io = {.reference = &j->reference,
                                .result = &j->result,
                                .embeddings = o->embeddings,
                                .progress = tell,
                                .progress_user = j,
                                .gradient = keep,
                                .gradient_user = j};

    j->per = settings->motion.inner_steps;
    VMT_TRY(vmt_alloc(j->s.ctx, (void **)&j->all,
                      (size_t)settings->steps * (size_t)settings->motion.inner_steps,
                      sizeof *j->all));
    VMT_TRY(cli_read_reference(&j->s, &j->reference, true));
    cli_reporter_init(&j->reporter, o);
    enum vmt_status status = vmt_transfer(j->s.ctx, j->s.model, settings, &io);
    cli_reporter_finish(&j->reporter, j->seconds);
    if (j->full)
        return vmt_fail(j->s.ctx, VMT_E_MEMORY, "out of memory for %" PRId64 " gradients",
                        j->count + 1);
    if (status == VMT_OK && j->count < 2)
        status = vmt_fail(j->s.ctx, VMT_E_ARG, "this run computes fewer than two gradients");
    if (status == VMT_OK)
        status = compare_all(j);
    if (status == VMT_OK)
        status = write_file(j, o->output, "reuse.csv", write_csv);
    if (status == VMT_OK)
        status = write_file(j, o->output, "reuse.svg", write_plot);
    if (status == VMT_OK && !o->quiet) {
        print_table(j);
        printf("wrote %s/reuse.csv and reuse.svg\n", o->output);
    }
    return status;
}

int cli_bench_reuse(cli_options *o)
{
    reuse_job j = {0};
    int code = check_options(o);

    if (code)
        return code;
    o->reference = o->operands[1];
    memmove(o->settings + 1, o->settings, sizeof *o->settings * (size_t)o->setting_count);
    o->settings[0] = (cli_setting){"reuse", "none"}; /* unless a later one says otherwise */
    o->setting_count++;
    code = cli_session_open(&j.s, o, true);
    if (!code) {
        const enum vmt_status status = run(&j);
        code = status == VMT_OK ? 0 : cli_fail(&j.s, status);
    }
    for (int64_t i = 0; i < j.count; i++)
        free(j.all[i].values);
    vmt_free(j.all);
    vmt_free(j.cosines);
    vmt_clip_free(&j.reference);
    vmt_clip_free(&j.result);
    cli_session_close(&j.s);
    return code;
}
