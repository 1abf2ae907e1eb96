#include "config.h"

#include "memory.h"
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 1 << 16 };

static const struct function *const functions[] = {&firewall, &nat, &monitor, &balancer};

static bool choose_function(struct config *config, const struct words *line, char *error)
{
    if (config->function != NULL)
        return fail(error, "function given twice");
    if (!expect_words(line, 1, 1, error))
        return false;
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (strcmp(functions[i]->name, line->word[1]) == 0)
            config->function = functions[i];
    if (config->function == NULL)
        return fail(error, "not a function (firewall, nat, monitor, balancer): %.40s", line->word[1]);
    config->self = config->function->create();
    return true;
}

static bool set_non_ipv4(struct config *config, const struct words *line, char *error)
{
    bool accept = true;
    if (!expect_words(line, 1, 1, error) || !parse_accept(line->word[1], &accept, error))
        return false;
    config->deny_non_ipv4 = !accept;
    return true;
}

static bool apply(struct config *config, const struct words *line, char *error)
{
    const char *name = line->word[0];
    if (strcmp(name, "function") == 0)
        return choose_function(config, line, error);
    if (config->function == NULL)
        return fail(error, "the first option must be: function NAME");
    if (strcmp(name, "work_us") == 0)
        return expect_words(line, 1, 1, error) && parse_decimal(line->word[1], 0, 100000, &config->work_us, error);
    if (strcmp(name, "non_ipv4") == 0)
        return set_non_ipv4(config, line, error);
    return config->function->option(config->self, line, error);
}

/* False when there are too many words; no words at all is a blank line. */
static bool split(char *text, struct words *line, char *error)
{
    char *rest, *comment = strchr(text, '#');
    if (comment != NULL)
        *comment = '\0';
    line->count = 0;
    for (char *word = strtok_r(text, " \t\r", &rest); word != NULL; word = strtok_r(NULL, " \t\r", &rest)) {
        if (line->count == MAX_WORDS)
            return fail(error, "more than %d words", MAX_WORDS);
        line->word[line->count++] = word;
    }
    return true;
}

static bool parse_lines(char *text, struct config *out, char *error)
{
    int number = 0;
    for (char *next = text; next != NULL;) {
        char *line_text = next, reason[ERROR_BYTES];
        struct words line;
        number++;
        next = strchr(next, '\n');
        if (next != NULL)
            *next++ = '\0';
        if (!split(line_text, &line, reason) || (line.count > 0 && !apply(out, &line, reason)))
            return fail(error, "line %d: %.180s", number, reason);
    }
    return true;
}

bool config_parse(char *text, struct config *out, char *error)
{
    memset(out, 0, sizeof *out);
    bool good = parse_lines(text, out, error);
    if (good && out->function == NULL)
        good = fail(error, "line 1: no function given (function NAME)");
    if (good)
        good = out->function->finish(out->self, error);
    if (!good)
        config_free(out);
    return good;
}

void config_free(struct config *config)
{
    if (config->function != NULL)
        config->function->destroy(config->self);
    memset(config, 0, sizeof *config);
}

char *config_read(const char *path, char *error)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fail(error, "%.120s: %s", path, strerror(errno));
        return NULL;
    }
    char *text = zeroed(MAX_CONFIG_BYTES + 1, 1);
    const size_t length = fread(text, 1, MAX_CONFIG_BYTES + 1, file);
    const bool bad = ferror(file) != 0 || length > MAX_CONFIG_BYTES;
    fclose(file);
    if (!bad)
        return text;
    fail(error, "%.120s: cannot be read, or longer than %d bytes", path, MAX_CONFIG_BYTES);
    free(text);
    return NULL;
}

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)(at - digits);
}

char *config_decode(const char *base64, char *error)
{
    const size_t length = strcspn(base64, "=");
    char *text = zeroed(length + 1, 1), *out = text;
    uint32_t bits = 0, held = 0;
    for (size_t i = 0; i < length; i++) {
        const int value = base64_value(base64[i]);
        if (value < 0) {
            free(text);
            fail(error, "not base64 at character %zu", i + 1);
            return NULL;
        }
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            *out++ = (char)(bits >> held);
        }
    }
    return text;
}
