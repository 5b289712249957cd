/* SPDX-License-Identifier: MIT */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_command *find_command(const char *name)
{
    for (const cli_command *c = cli_commands; c->name; c++)
        if (!strcmp(c->name, name))
            return c;
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *known[32];
    int count = 0;

    for (const cli_command *c = cli_commands; c->name; c++)
        known[count++] = c->name;
    const char *near = cli_nearest(name, known, count);
    return cli_fail_text(VMT_E_ARG, "no command \"%s\"%s%s; see fastvmt --help", name,
                         near ? ": did you mean " : "", near ? near : "");
}

/* Threads that wait for one another spin for some 300,000 rounds by default: with another program
 * on the same cores that costs ten times the run.  The runtime reads its setting at load, hence the
 * second start. */
static void limit_spinning(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    setenv("GOMP_SPINCOUNT", "2000", 1);
    execv("/proc/self/exe", argv); /* when that fails, the run is slower at worst */
}

int main(int argc, char **argv)
{
    cli_options options;
    char message[512];

    limit_spinning(argv);
    if (argc < 2)
        return cli_fail_text(VMT_E_ARG, "no command; see fastvmt --help");
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        const cli_command *of = argc > 2 ? find_command(argv[2]) : NULL;
        if (argc > 2 && !of)
            return unknown_command(argv[2]);
        cli_print_help(of, stdout);
        return 0;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "version")) {
        printf("fastvmt %s\n", vmt_version());
        return 0;
    }
    const cli_command *command = find_command(argv[1]);
    if (!command)
        return unknown_command(argv[1]);
    const enum vmt_status status =
        cli_parse(&options, command, argc, argv, message, sizeof message);
    if (status != VMT_OK)
        return cli_fail_text(status, "%s", message);
    if (options.help) {
        cli_print_help(command, stdout);
        return 0;
    }
    return command->run(&options);
}
