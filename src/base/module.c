/* SPDX-License-Identifier: MIT */
#include "base/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* In the folder of `path`, up to its last slash, or one that lies beside it. */
static void *open_near(const char *path, const char *file)
{
    static const char *const places[] = {"", "../", FASTVMT_MODULE_FROM_BIN, "fastvmt/"};
    char name[2 * PATH_MAX];
    const char *slash = strrchr(path, '/');
    void *module = NULL;

    for (size_t i = 0; i < sizeof places / sizeof *places && slash && !module; i++) {
        snprintf(name, sizeof name, "%.*s%s%s", (int)(slash - path) + 1, path, places[i], file);
        if (!access(name, R_OK))
            module = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
    return module;
}

void *vmt_module_open(const char *file)
{
    static const char here; /* an address in whatever this is linked into */
    char program[PATH_MAX];
    Dl_info self;
    void *module = NULL;
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);

    if (dladdr(&here, &self) && self.dli_fname)
        module = open_near(self.dli_fname, file);
    if (!module && length > 0) {
        program[length] = '\0';
        module = open_near(program, file);
    }
    return module ? module : dlopen(file, RTLD_NOW | RTLD_LOCAL);
}
