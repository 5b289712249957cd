/* SPDX-License-Identifier: MIT
 *
 * What control groups leave, read from made-up files.
 */
#include "testing.h"

#include "cli_run.h"
#include "pipeline/budget.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
}

static void make(const char *path)
{
    mkdir(path, 0777);
}

static void second_version(void **state)
{
    (void)state;
    folder_new("groups2");
    make("groups2/a");
    make("groups2/a/b");
    put("groups2/self", "0::/a/b\n");
    put("groups2/a/b/memory.max", "max\n");
    put("groups2/a/b/memory.current", "500\n");
    assert_true(vmt_group_memory("groups2/self", "groups2") == SIZE_MAX);
    /* the limit of the group around it; its pages of files can go */
    put("groups2/a/memory.max", "10000\n");
    put("groups2/a/memory.current", "6000\n");
    assert_true(vmt_group_memory("groups2/self", "groups2") == 4000);
    put("groups2/a/memory.stat", "anon 3000\ninactive_file 1500\nactive_file 500\nshmem 7\n");
    assert_true(vmt_group_memory("groups2/self", "groups2") == 6000);
    /* its own is the tighter */
    put("groups2/a/b/memory.max", "2500\n");
    assert_true(vmt_group_memory("groups2/self", "groups2") == 2000);
    put("groups2/a/b/memory.current", "2600\n");
    assert_true(vmt_group_memory("groups2/self", "groups2") == 0);
    /* in a container the path is the host's, the mount the group itself */
    put("groups2/self", "0::/docker/123\n");
    put("groups2/memory.max", "900\n");
    put("groups2/memory.current", "100\n");
    assert_true(vmt_group_memory("groups2/self", "groups2") == 800);
}

static void first_version(void **state)
{
    (void)state;
    folder_new("groups1");
    make("groups1/memory");
    make("groups1/memory/job");
    put("groups1/self", "9:name=systemd:/\n4:cpu,memory:/job\n3:cpuset:/\n0::/\nnonsense\n");
    put("groups1/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("groups1/memory/memory.usage_in_bytes", "123\n");
    put("groups1/memory/job/memory.limit_in_bytes", "70000\n");
    put("groups1/memory/job/memory.usage_in_bytes", "30000\n");
    put("groups1/memory/job/memory.stat",
        "inactive_file 1\ntotal_inactive_file 9000\ntotal_active_file 1000\n");
    assert_true(vmt_group_memory("groups1/self", "groups1") == 50000);
    put("groups1/self", "4:memoryless:/job\n");
    assert_true(vmt_group_memory("groups1/self", "groups1") == SIZE_MAX);
    assert_true(vmt_group_memory("groups1/none", "groups1") == SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(second_version),
                                       cmocka_unit_test(first_version)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
