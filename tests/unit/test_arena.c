/* SPDX-License-Identifier: MIT */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

static void blocks_are_aligned_and_apart(void **state)
{
    (void)state;
    unsigned char *memory = aligned_alloc(VMT_ARENA_ALIGN, 4096);
    vmt_arena arena = {.base = memory, .capacity = 4096};
    unsigned char *last = NULL;
    size_t last_bytes = 0;

    assert_non_null(memory);
    for (size_t bytes = 1; bytes < 300; bytes += 37) {
        unsigned char *block = vmt_arena_take(&arena, bytes);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % VMT_ARENA_ALIGN, 0);
        if (last)
            assert_true(block >= last + last_bytes);
        memset(block, (int)bytes, bytes);
        last = block;
        last_bytes = bytes;
    }
    vmt_arena_reset(&arena, 0);
    free(memory);
}

static void take_more_than_there_is_fails(void **state)
{
    (void)state;
    unsigned char *memory = aligned_alloc(VMT_ARENA_ALIGN, 256);
    vmt_arena arena = {.base = memory, .capacity = 256};

    assert_non_null(memory);
    assert_null(vmt_arena_take(&arena, 257));
    assert_null(vmt_arena_take(&arena, SIZE_MAX));
    assert_null(vmt_arena_take(&arena, SIZE_MAX - 63));
    assert_int_equal(arena.used, 0);
    assert_non_null(vmt_arena_take(&arena, 100));
    const size_t used = arena.used;
    assert_null(vmt_arena_take(&arena, 200));
    assert_int_equal(arena.used, used);
    vmt_arena_reset(&arena, 0);
    free(memory);
}

/* Sums near SIZE_MAX must not wrap around to small places. */
static void measuring_does_not_wrap(void **state)
{
    (void)state;
    vmt_arena arena = vmt_arena_measure();

    assert_true(vmt_arena_measures(&arena));
    assert_non_null(vmt_arena_take(&arena, SIZE_MAX - 4096));
    assert_null(vmt_arena_take(&arena, 8192));
    assert_null(vmt_arena_take(&arena, SIZE_MAX));
    assert_true(arena.used <= arena.capacity);
}

static size_t lay_out(vmt_arena *arena)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 5};
    const size_t mark = arena->used;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_non_null(vmt_arena_take(arena, sizes[i]));
    vmt_arena_reset(arena, mark);
    assert_non_null(vmt_arena_take(arena, 128));
    return arena->peak;
}

static void measured_size_is_exactly_enough(void **state)
{
    (void)state;
    vmt_arena counted = vmt_arena_measure();
    const size_t bytes = lay_out(&counted);
    unsigned char *memory = aligned_alloc(VMT_ARENA_ALIGN, (bytes + 63) & ~(size_t)63);
    vmt_arena real = {.base = memory, .capacity = bytes};

    assert_non_null(memory);
    assert_false(vmt_arena_measures(&real));
    assert_int_equal(lay_out(&real), bytes);
    assert_int_equal(real.used, counted.used);

    /* One byte less is too little. */
    vmt_arena_reset(&real, 0);
    real.capacity = bytes - 1;
    bool failed = false;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 5};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        failed = failed || !vmt_arena_take(&real, sizes[i]);
    assert_true(failed);
    vmt_arena_reset(&real, 0);
    free(memory);
}

static void reset_gives_the_same_place_again(void **state)
{
    (void)state;
    unsigned char *memory = aligned_alloc(VMT_ARENA_ALIGN, 1024);
    vmt_arena arena = {.base = memory, .capacity = 1024};

    assert_non_null(memory);
    assert_non_null(vmt_arena_take(&arena, 10));
    const size_t mark = arena.used;
    unsigned char *first = vmt_arena_take(&arena, 100);
    vmt_arena_reset(&arena, mark);
    assert_ptr_equal(vmt_arena_take(&arena, 100), first);
    memset(first, 1, 100);
    assert_true(arena.peak >= arena.used);
    vmt_arena_reset(&arena, 0);
    assert_int_equal(arena.used, 0);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_apart),
        cmocka_unit_test(take_more_than_there_is_fails),
        cmocka_unit_test(measuring_does_not_wrap),
        cmocka_unit_test(measured_size_is_exactly_enough),
        cmocka_unit_test(reset_gives_the_same_place_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
