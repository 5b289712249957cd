/* SPDX-License-Identifier: MIT
 *
 * Inside of the bench: what its parts share.  A part makes random weights, opens what it measures,
 * and reports rows; products are counted and timed by an op table laid over the backend's.
 */
#ifndef VMT_BENCH_H
#define VMT_BENCH_H

#include "dit/dit.h"
#include "model/model_config.h"
#include "model/tensor_list.h"

enum { BENCH_RUNS = 5, BENCH_TEXT_BYTES = 128 };

enum bench_kind { BENCH_LINEAR = 0, BENCH_ATTENTION, BENCH_CONV, BENCH_KINDS };

/* The backend's table with counting entries in place of the products; ctx->ops points at `ops`, so
 * it must be the first member. */
typedef struct bench_counter {
    vmt_ops ops;
    const vmt_ops *backend;
    double flop[BENCH_KINDS], seconds[BENCH_KINDS];
    bool watches;        /* looks at the memory in use after each product */
    bool waits;          /* before and after each product, for its own time on a device */
    size_t before, most; /* memory when the part began; the largest seen since */
} bench_counter;

void bench_counter_begin(vmt_ctx *ctx, bench_counter *counter);
void bench_counter_end(vmt_ctx *ctx, bench_counter *counter);

typedef struct bench {
    vmt_ctx *ctx;
    vmt_bench_options options; /* defaults filled in */
    vmt_bench_head head;
    vmt_dit_config dit;
    vmt_vae_config vae;
    vmt_text_config text;
    int64_t latent_f, latent_h, latent_w;
    vmt_dit_local local; /* attention of the transformer's parts */
    bench_counter counter;
} bench;

const char *bench_dtype(const vmt_ctx *ctx); /* of activations, as the program spells it */

/* ---- bench_measure.c */

double bench_now(void);       /* seconds by the clock on the wall */
double bench_processor(void); /* of all threads */
/* Memory in use, of which differences count: of the process, what no file backs (0: not known); of
 * a device, everything. */
size_t bench_used(vmt_ctx *ctx);
/* Returns when a device has done what was asked for. */
enum vmt_status bench_wait(vmt_ctx *ctx);

typedef enum vmt_status bench_call(vmt_ctx *ctx, void *user);

/* Memory that a part takes counts from here. */
void bench_mark_memory(bench *b);

/* Calls once for the counts and the memory, then options.runs times for the clocks; a short call is
 * repeated within a run.  Fills times, flop, shares and taken of the row. */
enum vmt_status bench_measure(bench *b, vmt_bench_row *row, bench_call *call, void *user);

/* The clocks alone, with `before` called before each run, which is one call. */
enum vmt_status bench_time(bench *b, vmt_bench_row *row, bench_call *before, bench_call *call,
                           void *user);

/* Tells the row; VMT_E_CANCELLED when the user wants no more. */
enum vmt_status bench_tell(bench *b, const vmt_bench_row *row);

/* Median, least and most of `count` values (sorted here). */
void bench_sort(double *values, int count, double *median, double *least, double *most);

/* ---- bench_weights.c: a file of tensors that lies in memory or is deleted already */

typedef struct bench_weights {
    int fd;
    char path[32]; /* by which the process itself can open it */
    size_t bytes;
} bench_weights;

enum bench_place {
    BENCH_MEMORY,  /* filled, in memory */
    BENCH_UNDRAWN, /* zeros that take no memory until they are read */
    BENCH_DISK     /* filled, in TMPDIR or /tmp */
};

/* Frees the list. */
enum vmt_status bench_weights_open(vmt_ctx *ctx, bench_weights *weights, vmt_tensor_list *list,
                                   enum vmt_dtype dtype, enum bench_place place);
void bench_weights_close(bench_weights *weights);

/* The same, opened: *file holds the tensors after the weights were closed. */
enum vmt_status bench_weights_file(vmt_ctx *ctx, vmt_tensor_file **file, vmt_tensor_list *list,
                                   enum vmt_dtype dtype, enum bench_place place);

/* `count` numbers between -1 and 1 in memory of the caller. */
void bench_fill(float *values, int64_t count);
/* A tensor of them in memory of the backend; freed with ctx->ops->release(ctx, tensor->data). */
enum vmt_status bench_tensor(vmt_ctx *ctx, vmt_tensor *t, enum vmt_dtype dtype, int rank,
                             const int64_t *shape);

/* ---- parts */

enum vmt_status bench_ceiling(bench *b);
enum vmt_status bench_dit(bench *b);
enum vmt_status bench_block(bench *b);
enum vmt_status bench_attention(bench *b);
enum vmt_status bench_text(bench *b);
enum vmt_status bench_encode(bench *b);
enum vmt_status bench_decode(bench *b);
enum vmt_status bench_load(bench *b);
enum vmt_status bench_memory(bench *b);
enum vmt_status bench_ops(bench *b);
/* Whether each name of the list is an op's, once. */
bool bench_has_ops(const char *list);

/* ---- whole transfers */

#define BENCH_PROMPT "a pumpkin in the desert"

/* A made clip to transfer from, of the settings' size or the model's; free it. */
enum vmt_status bench_reference(vmt_ctx *ctx, const vmt_model *model, const vmt_settings *settings,
                                vmt_clip *clip);

#endif
