/* SPDX-License-Identifier: MIT
 *
 * Reading weights ahead: whoever waits goes on, whatever lies in the file, in memory or nowhere;
 * what the mapping holds is what was written.
 */
#include "testing.h"

#include "model/read_ahead.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WEIGHTS = 4, ROWS = 300, COLS = 1000 };

static const char PATH[] = "read_ahead.safetensors";
static vmt_ctx ctx;

static void write_file(float *values)
{
    vmt_named_tensor tensors[WEIGHTS];
    static const char *const names[WEIGHTS] = {"a", "b", "c", "d"};

    for (int64_t i = 0; i < (int64_t)WEIGHTS * ROWS * COLS; i++)
        values[i] = (float)i;
    for (int t = 0; t < WEIGHTS; t++)
        tensors[t] = (vmt_named_tensor){
            names[t], vmt_tensor_over(values + t * ROWS * COLS, VMT_F32, VMT_SHAPE(ROWS, COLS))};
    CHECK_OK(&ctx, vmt_safetensors_write(&ctx, PATH, tensors, WEIGHTS, NULL));
}

/* So that the thread has something to read. */
static void forget_file(void)
{
    const int fd = open(PATH, O_RDONLY);

    assert_true(fd >= 0);
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

static void reads_what_is_there(void **state)
{
    static const char *const names[WEIGHTS] = {"a", "b", "c", "d"};
    float *values = malloc(sizeof(float) * WEIGHTS * ROWS * COLS), elsewhere[4] = {0};
    vmt_weight weights[WEIGHTS + 1] = {0}, *list[WEIGHTS + 1];
    vmt_tensor_file *file = NULL;
    vmt_read_ahead *ahead = NULL;

    (void)state;
    assert_non_null(values);
    write_file(values);
    for (int stop = -1; stop <= WEIGHTS; stop++) {
        forget_file();
        CHECK_OK(&ctx, vmt_tensor_file_open(&ctx, &file, PATH));
        for (int i = 0; i < WEIGHTS; i++) {
            weights[i].w = *vmt_tensor_file_find(file, names[i]);
            list[i] = &weights[i];
        }
        weights[WEIGHTS].w = vmt_tensor_over(elsewhere, VMT_F32, VMT_SHAPE(2, 2));
        list[WEIGHTS] = &weights[WEIGHTS];
        CHECK_OK(&ctx, vmt_read_ahead_open(&ctx, &ahead, file, list, WEIGHTS + 1));
        for (int i = 0; i <= stop; i++) { /* closed early, too */
            vmt_read_ahead_wait(ahead, i);
            if (i < WEIGHTS)
                assert_memory_equal(weights[i].w.data, values + i * ROWS * COLS,
                                    sizeof(float) * ROWS * COLS);
        }
        vmt_read_ahead_close(ahead);
        assert_memory_equal(weights[0].w.data, values, sizeof(float) * ROWS * COLS);
        vmt_tensor_file_close(file);
    }
    free(values);
    unlink(PATH);
}

/* A file in memory, of a kind whose pages cannot be asked for by preadv2: no thread reads it, since
 * one alone is slower than what waits for it. */
static void leaves_memory_alone(void **state)
{
    enum { MOST = WEIGHTS * ROWS * COLS * 4 + 65536 };
    float *values = malloc(sizeof(float) * WEIGHTS * ROWS * COLS);
    unsigned char *bytes = malloc(MOST);
    const int memory = memfd_create("weights", MFD_CLOEXEC);
    FILE *from;
    char path[64];
    vmt_weight weights[WEIGHTS] = {0}, *list[WEIGHTS];
    vmt_tensor_file *file = NULL;
    vmt_read_ahead *ahead = NULL;

    (void)state;
    assert_true(values && bytes && memory >= 0);
    write_file(values);
    from = fopen(PATH, "rb");
    assert_non_null(from);
    const size_t count = fread(bytes, 1, MOST, from);
    fclose(from);
    assert_int_equal(write(memory, bytes, count), (ssize_t)count);
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    CHECK_OK(&ctx, vmt_tensor_file_open(&ctx, &file, path));
    for (int i = 0; i < WEIGHTS; i++) {
        weights[i].w = *vmt_tensor_file_find(file, (const char[2]){(char)('a' + i), 0});
        list[i] = &weights[i];
    }
    CHECK_OK(&ctx, vmt_read_ahead_open(&ctx, &ahead, file, list, WEIGHTS));
    assert_null(ahead);
    vmt_tensor_file_close(file);
    close(memory);
    unlink(PATH);
    free(bytes);
    free(values);
}

/* Pages of files that this process holds, in KiB. */
static long held(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[128];
    long kib = -1;

    assert_non_null(status);
    while (fgets(line, sizeof line, status))
        sscanf(line, "RssFile: %ld", &kib);
    fclose(status);
    return kib;
}

/* A tensor that is left takes no memory here, and is the same when it is read again. */
static void leaves(void **state)
{
    enum { SLACK = 256 }; /* KiB: the edges, the program's own pages */
    static const char *const names[WEIGHTS] = {"a", "b", "c", "d"};
    float *values = malloc(sizeof(float) * WEIGHTS * ROWS * COLS);
    const long kib = WEIGHTS * ROWS * COLS * (long)sizeof(float) / 1024;
    vmt_tensor_file *file;

    (void)state;
    assert_non_null(values);
    write_file(values);
    CHECK_OK(&ctx, vmt_tensor_file_open(&ctx, &file, PATH));
    for (int round = 0; round < 2; round++) {
        const long before = held();
        for (int i = 0; i < WEIGHTS; i++)
            assert_memory_equal(vmt_tensor_file_find(file, names[i])->data,
                                values + i * ROWS * COLS, sizeof(float) * ROWS * COLS);
        if (before >= 0) /* else this system does not count them */
            assert_true(held() >= before + kib - SLACK);
        for (int i = 0; i < WEIGHTS; i++)
            vmt_tensor_file_leave(file, vmt_tensor_file_find(file, names[i]));
        assert_true(held() <= before + SLACK);
    }
    const vmt_tensor own = vmt_tensor_over(values, VMT_F32, VMT_SHAPE(ROWS, COLS));
    vmt_tensor_file_leave(file, &own); /* not the file's: stays as it is */
    assert_true(values[ROWS * COLS - 1] == (float)(ROWS * COLS - 1));
    vmt_tensor_file_close(file);
    unlink(PATH);
    free(values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_what_is_there),
                                       cmocka_unit_test(leaves_memory_alone),
                                       cmocka_unit_test(leaves)};

    vmt_ctx_init(&ctx);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
