/* SPDX-License-Identifier: MIT
 *
 * completion: scripts for shells, from the tables that also parse and print the options.  What a
 * value can be follows from its placeholder: "crop|pad" are words, DIR a folder, FILE or VIDEO any
 * file, FILE.fvm one of that ending; NAME is explained by the help, which then begins with the
 * words.
 */
#include "cli.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum take { FLAG, NOTHING, WORDS, FILES, FOLDERS };

typedef struct value {
    enum take take;
    const char *text; /* words, separated by "|", or an ending such as ".fvm" (may be empty) */
    int length;
} value;

/* Length of "word|word|…" at `text`, 0 if there is none. */
static int words_length(const char *text)
{
    const int length = (int)strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-|");

    return memchr(text, '|', (size_t)length) && !isalpha((unsigned char)text[length]) ? length : 0;
}

static value value_of(const char *placeholder, const char *help)
{
    const char *dot;

    if (!placeholder)
        return (value){FLAG, "", 0};
    const char *end = placeholder + strcspn(placeholder, " ");
    const char *words = strcmp(placeholder, "NAME") ? placeholder : help;
    const int length = words_length(words);
    if (length)
        return (value){WORDS, words, length};
    if (!strncmp(placeholder, "DIR", 3))
        return (value){FOLDERS, "", 0};
    if (isupper((unsigned char)placeholder[0]) && (dot = strchr(placeholder, '.')) && dot < end)
        return (value){FILES, dot, (int)(end - dot)};
    if (!strncmp(placeholder, "FILE", 4) || !strncmp(placeholder, "VIDEO", 5))
        return (value){FILES, "", 0};
    return (value){NOTHING, "", 0};
}

/* What a command takes beside options: in its usage, the first word that belongs to none. */
static value operand_of(const cli_command *command)
{
    const char *word = command->usage;

    if (!cli_takes_operands(command))
        return (value){NOTHING, "", 0};
    while (*word == '-') { /* -o FILE */
        for (int i = 0; i < 2; i++) {
            word += strcspn(word, " ");
            word += strspn(word, " ");
        }
    }
    return value_of(word, "");
}

static void print_words(value v)
{
    for (int i = 0; i < v.length; i++)
        putchar(v.text[i] == '|' ? ' ' : v.text[i]);
}

/* Text between single quotes; those inside as the shell wants them, `escaped` after a backslash. */
static void print_quoted(const char *text, const char *quote, const char *escaped)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs(quote, stdout);
        else if (strchr(escaped, *text))
            printf("\\%c", *text);
        else
            putchar(*text);
    }
}

/* ---- bash */

static void print_names(const cli_option *o, const char *between)
{
    printf("--%s", o->name);
    if (o->letter)
        printf("%s-%c", between, o->letter);
}

static void bash_take(value v)
{
    if (v.take == WORDS) {
        printf("words='");
        print_words(v);
        printf("'");
    } else {
        printf("take=%s", v.take == FILES ? "files" : v.take == FOLDERS ? "folders" : "nothing");
        if (v.length)
            printf(" ending=%.*s", v.length, v.text);
    }
}

/* The pattern of `case` for the options whose values are equal: those that need no text share one.
 */
static void bash_values(const cli_command *command, enum take take)
{
    const char *between = "        ";
    cli_option o;

    for (int i = 0; cli_option_at(command, i, &o); i++) {
        const value v = value_of(o.value, o.help);
        if (v.take != take || v.length)
            continue;
        fputs(between, stdout);
        print_names(&o, "|");
        between = "|";
    }
    if (!strcmp(between, "|")) {
        printf(") ");
        bash_take((value){take, "", 0});
        printf(" ;;\n");
    }
}

static void bash_command(const cli_command *command)
{
    const value operand = operand_of(command);
    cli_option o;

    printf("    %s)\n        options='", command->name);
    for (int i = 0; cli_option_at(command, i, &o); i++) {
        fputs(i ? " " : "", stdout);
        print_names(&o, " ");
    }
    printf("'\n        case $previous in\n");
    bash_values(command, NOTHING);
    bash_values(command, FILES);
    bash_values(command, FOLDERS);
    for (int i = 0; cli_option_at(command, i, &o); i++) {
        const value v = value_of(o.value, o.help);
        if (!v.length)
            continue;
        printf("        ");
        print_names(&o, "|");
        printf(") ");
        bash_take(v);
        printf(" ;;\n");
    }
    if (operand.take != NOTHING) {
        printf("        *) ");
        bash_take(operand);
        printf(" ;;\n");
    }
    printf("        esac ;;\n");
}

static void print_bash(void)
{
    fputs("# bash completion of fastvmt, printed by: fastvmt completion bash\n"
          "_fastvmt()\n"
          "{\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
          "    local options='' words='' take='' ending=''\n"
          "    # bash hands --name=value over as three words\n"
          "    if [ \"$word\" = = ]; then\n"
          "        word=''\n"
          "    elif [ \"$previous\" = = ]; then\n"
          "        previous=${COMP_WORDS[COMP_CWORD - 2]}\n"
          "    fi\n"
          "    COMPREPLY=()\n"
          "    case ${COMP_WORDS[1]} in\n",
          stdout);
    for (const cli_command *c = cli_commands; c->name; c++)
        bash_command(c);
    fputs("    esac\n"
          "    if [ \"$COMP_CWORD\" = 1 ] || { [ \"${COMP_WORDS[1]}\" = help ] && "
          "[ \"$COMP_CWORD\" = 2 ]; }; then\n"
          "        options='' take='' words='",
          stdout);
    for (const cli_command *c = cli_commands; c->name; c++)
        printf("%s ", c->name);
    fputs("help'\n"
          "        [ \"$COMP_CWORD\" != 1 ] || words+=' --help --version'\n"
          "    fi\n"
          "    if [[ $word == -* && $options ]] && [[ $previous != -* || ! $words$take ]]; then\n"
          "        words=$options take=''\n"
          "    elif [[ ! $words$take ]]; then\n"
          "        words=$options\n"
          "    fi\n"
          "    if [ \"$words\" ]; then\n"
          "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
          "        return\n"
          "    fi\n"
          "    case $take in\n"
          "    folders) mapfile -t COMPREPLY < <(compgen -d -- \"$word\") ;;\n"
          "    files)\n"
          "        if [ \"$ending\" ]; then\n"
          "            mapfile -t COMPREPLY < <(compgen -d -- \"$word\"; "
          "compgen -f -X \"!*$ending\" -- \"$word\")\n"
          "        else\n"
          "            mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
          "        fi ;;\n"
          "    esac\n"
          "    compopt -o filenames 2>/dev/null\n"
          "}\n"
          "complete -F _fastvmt fastvmt\n",
          stdout);
}

/* ---- zsh */

/* The action of _arguments. */
static void zsh_action(value v)
{
    if (v.take == WORDS) {
        putchar('(');
        print_words(v);
        putchar(')');
    } else if (v.take == FOLDERS) {
        fputs("_files -/", stdout);
    } else if (v.take == FILES) {
        fputs("_files", stdout);
        if (v.length)
            printf(" -g \"*%.*s\"", v.length, v.text);
    } else {
        putchar(' '); /* a value, but no suggestion */
    }
}

static void zsh_option(const cli_option *o)
{
    const value v = value_of(o->value, o->help);

    printf(" \\\n            ");
    if (o->letter)
        printf("'(-%c --%s)'{-%c,--%s%s}", o->letter, o->name, o->letter, o->name,
               v.take == FLAG ? "" : "=");
    else
        printf("--%s%s", o->name, v.take == FLAG ? "" : "=");
    printf("'[");
    print_quoted(o->help, "'\\''", "[]\\");
    printf("]");
    if (v.take != FLAG) {
        printf(":%s:", o->name);
        zsh_action(v);
    }
    putchar('\'');
}

static void print_zsh(void)
{
    cli_option o;

    fputs("#compdef fastvmt\n"
          "# zsh completion of fastvmt, printed by: fastvmt completion zsh\n"
          "_fastvmt()\n"
          "{\n"
          "    local -a commands\n"
          "    commands=(\n",
          stdout);
    for (const cli_command *c = cli_commands; c->name; c++) {
        printf("        '%s:", c->name);
        print_quoted(c->about, "'\\''", "\\");
        printf("'\n");
    }
    fputs("        'help:Describes a command.'\n"
          "    )\n"
          "    if ((CURRENT == 2)) || { ((CURRENT == 3)) && [[ $words[2] == help ]] }; then\n"
          "        _describe -t commands command commands\n"
          "        return\n"
          "    fi\n"
          "    shift words\n"
          "    ((CURRENT--))\n"
          "    case $words[1] in\n",
          stdout);
    for (const cli_command *c = cli_commands; c->name; c++) {
        const value operand = operand_of(c);
        printf("    %s)\n        _arguments", c->name);
        for (int i = 0; cli_option_at(c, i, &o); i++)
            zsh_option(&o);
        if (operand.take != NOTHING) {
            printf(" \\\n            '*:%s:", operand.take == WORDS ? "word" : "file");
            zsh_action(operand);
            putchar('\'');
        }
        printf(" ;;\n");
    }
    fputs("    esac\n"
          "}\n"
          "if [ \"$funcstack[1]\" = _fastvmt ]; then # loaded from $fpath\n"
          "    _fastvmt \"$@\"\n"
          "else\n"
          "    compdef _fastvmt fastvmt\n"
          "fi\n",
          stdout);
}

/* ---- fish */

static void fish_take(value v)
{
    switch (v.take) {
    case FLAG:
        break;
    case NOTHING:
        printf(" -x");
        break;
    case WORDS:
        printf(" -x -a '");
        print_words(v);
        putchar('\'');
        break;
    case FOLDERS:
        printf(" -x -a '(__fish_complete_directories)'");
        break;
    case FILES:
        if (v.length)
            printf(" -x -a '(__fish_complete_suffix %.*s)'", v.length, v.text);
        else
            printf(" -r -F");
        break;
    }
}

static void fish_help(const char *help)
{
    printf(" -d '");
    print_quoted(help, "\\'", "\\");
    printf("'\n");
}

static void print_fish(void)
{
    cli_option o;

    fputs("# fish completion of fastvmt, printed by: fastvmt completion fish\n"
          "complete -c fastvmt -f\n"
          "complete -c fastvmt -n __fish_use_subcommand -l version -d 'Print the version'\n"
          "complete -c fastvmt -n __fish_use_subcommand -s h -l help -d 'List the commands'\n",
          stdout);
    for (const cli_command *c = cli_commands; c->name; c++) {
        const value operand = operand_of(c);
        printf("complete -c fastvmt -n '__fish_use_subcommand; or __fish_seen_subcommand_from "
               "help' -a %s",
               c->name);
        fish_help(c->about);
        for (int i = 0; cli_option_at(c, i, &o); i++) {
            printf("complete -c fastvmt -n '__fish_seen_subcommand_from %s'", c->name);
            if (o.letter)
                printf(" -s %c", o.letter);
            printf(" -l %s", o.name);
            fish_take(value_of(o.value, o.help));
            fish_help(o.help);
        }
        if (operand.take != NOTHING) {
            printf("complete -c fastvmt -n '__fish_seen_subcommand_from %s'", c->name);
            if (operand.take == FILES && !operand.length)
                printf(" -F\n");
            else {
                fish_take(operand);
                putchar('\n');
            }
        }
    }
}

int cli_completion(cli_options *o)
{
    const char *shell = o->operand_count == 1 ? o->operands[0] : NULL;

    if (!shell)
        return cli_fail_text(VMT_E_ARG, "completion needs a shell: bash, zsh or fish");
    if (!strcmp(shell, "bash"))
        print_bash();
    else if (!strcmp(shell, "zsh"))
        print_zsh();
    else if (!strcmp(shell, "fish"))
        print_fish();
    else
        return cli_fail_text(VMT_E_ARG, "completion %s: one of bash, zsh, fish", shell);
    return 0;
}
