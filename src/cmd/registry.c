/* SPDX-License-Identifier: BSD-3-Clause */
/* registry: the rows of all families made ready for use, and their look-up by name. */
#include "src/cmd/cmd.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/check.h"
#include "src/base/mem.h"

#define FAMILY(prefix, group, title, category) extern const struct command prefix##_commands[];
#include "src/cmd/families.def"
#undef FAMILY

static const struct family families[] = {
#define FAMILY(prefix, group, title, category) {#prefix, group, title, CATEGORY_##category, prefix##_commands},
#include "src/cmd/families.def"
#undef FAMILY
};

enum {
    FAMILY_COUNT = sizeof(families) / sizeof(families[0]),
    TABLE_SIZE = 1024, /* sparse: about one probe a look-up */
    MAX_NAME = 16,     /* of a top-level command: two 8-byte loads hold it */
    MAX_COMMANDS = 512
};

/* A name folded to lower case in two words. Setting bit 5 maps exactly the two cases of a letter onto each other;
 * other bytes it merges ('-' with CR, '_' with DEL) are no names a client would send by accident. */
struct folded {
    uint64_t lo, hi;
};

struct slot {
    struct folded name;
    size_t len;
    struct cmd *cmd;
};

static struct slot table[TABLE_SIZE];
static struct cmd commands[MAX_COMMANDS];
static struct cmd *tops[MAX_COMMANDS];
static unsigned command_count, top_count;

static uint64_t load64(const char *p) {
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static uint64_t load32(const char *p) {
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* n in 1..MAX_NAME. Overlapping loads: never past the end of the name. */
static inline struct folded fold(const char *p, size_t n) {
    const uint64_t lower = 0x2020202020202020ULL;
    if (n >= 8) {
        return (struct folded){load64(p) | lower, load64(p + n - 8) | lower};
    }
    if (n >= 4) {
        return (struct folded){(load32(p) | load32(p + n - 4) << 32) | lower, 0};
    }
    uint64_t three = (uint64_t)(uint8_t)p[0] | (uint64_t)(uint8_t)p[n / 2] << 8 |
                     (uint64_t)(uint8_t)p[n - 1] << 16;
    return (struct folded){three | lower, 0};
}

static inline unsigned home(struct folded f, size_t n) {
    uint64_t h = (f.lo ^ (f.hi * 0x9e3779b97f4a7c15ULL) ^ n) * 0xff51afd7ed558ccdULL;
    return (unsigned)(h >> 54) % TABLE_SIZE;
}

const struct cmd *registry_find(struct slice name) {
    if (unlikely(name.n == 0 || name.n > MAX_NAME)) {
        return NULL;
    }
    struct folded f = fold(name.p, name.n);
    for (unsigned i = home(f, name.n);; i = (i + 1) % TABLE_SIZE) {
        const struct slot *s = &table[i];
        if (s->cmd == NULL) {
            return NULL;
        }
        if (s->name.lo == f.lo && s->name.hi == f.hi && s->len == name.n) {
            return s->cmd;
        }
    }
}

const struct cmd *registry_find_sub(const struct cmd *parent, struct slice name) {
    for (unsigned i = 0; i < parent->sub_count; i++) {
        if (slice_eqi(name, parent->subs[i].row->name)) {
            return &parent->subs[i];
        }
    }
    return NULL;
}

const struct cmd *registry_find_full(struct slice full_name) {
    const char *bar = memchr(full_name.p, '|', full_name.n);
    if (bar == NULL) {
        return registry_find(full_name);
    }
    size_t head = (size_t)(bar - full_name.p);
    const struct cmd *parent = registry_find(slice_make(full_name.p, head));
    return parent == NULL
               ? NULL
               : registry_find_sub(parent, slice_make(bar + 1, full_name.n - head - 1));
}

static const char *parse_int(const char *p, int *out) {
    char *end;
    *out = (int)strtol(p, &end, 10);
    CHECK(end != p);
    return end;
}

/* "first[..last][/step]:access" separated by spaces. */
static void parse_specs(struct cmd *cmd, const char *text) {
    while (*text != '\0') {
        CHECK(cmd->spec_count < CMD_MAX_KEY_SPECS);
        struct key_spec *s = &cmd->specs[cmd->spec_count++];
        text = parse_int(text, &s->first);
        s->last = s->first;
        s->step = 1;
        if (strncmp(text, "..", 2) == 0) {
            text = parse_int(text + 2, &s->last);
        }
        if (*text == '/') {
            text = parse_int(text + 1, &s->step);
        }
        CHECK(*text == ':' && s->first > 0 && s->step > 0);
        text++;
        if (strncmp(text, "RW", 2) == 0) {
            s->access = KEY_RW;
            text += 2;
        } else {
            CHECK(*text == 'R' || *text == 'W' || *text == 'M' || *text == 'N');
            s->access = *text == 'R' ? KEY_R : *text == 'W' ? KEY_W : *text == 'M' ? KEY_M : KEY_N;
            text++;
        }
        while (*text == ' ') {
            text++;
        }
    }
}

static const char *join_name(const struct cmd *parent, const char *name) {
    if (parent == NULL) {
        return name;
    }
    size_t n = strlen(parent->row->name) + strlen(name) + 2;
    char *full = mem_alloc(n);
    snprintf(full, n, "%s|%s", parent->row->name, name);
    return full;
}

static void make_cmd(struct cmd *cmd, const struct command *row, const struct cmd *parent,
                     unsigned family) {
    CHECK(row->arity != 0 && row->summary != NULL && row->syntax != NULL);
    for (const char *p = row->name; *p != '\0'; p++) {
        CHECK(!isupper((unsigned char)*p));
    }
    *cmd = (struct cmd){.row = row,
                        .parent = parent,
                        .id = (uint16_t)(cmd - commands),
                        .family = (uint8_t)family,
                        .arity = (int16_t)row->arity,
                        .flags = row->flags,
                        .run = row->run,
                        .full_name = join_name(parent, row->name)};
    if (row->keys != NULL) {
        parse_specs(cmd, row->keys);
    }
    CHECK(row->run != NULL || row->sub != NULL);
}

static struct cmd *take_slot(void) {
    CHECK(command_count < MAX_COMMANDS);
    return &commands[command_count++];
}

static void add_command(const struct command *row, unsigned family) {
    struct cmd *cmd = take_slot();
    make_cmd(cmd, row, NULL, family);
    size_t n = strlen(row->name);
    CHECK(n <= MAX_NAME);
    CHECK(registry_find(slice_cstr(row->name)) == NULL);
    struct folded f = fold(row->name, n);
    unsigned i = home(f, n);
    while (table[i].cmd != NULL) {
        i = (i + 1) % TABLE_SIZE;
    }
    table[i] = (struct slot){f, n, cmd};
    tops[top_count++] = cmd;
    if (row->sub == NULL) {
        return;
    }
    cmd->subs = &commands[command_count];
    for (const struct command *sub = row->sub; sub->name != NULL; sub++) {
        make_cmd(take_slot(), sub, cmd, family);
        cmd->sub_count++;
    }
}

void registry_init(void) {
    if (command_count != 0) {
        return;
    }
    for (unsigned f = 0; f < FAMILY_COUNT; f++) {
        for (const struct command *row = families[f].rows; row->name != NULL; row++) {
            add_command(row, f);
        }
    }
}

unsigned registry_count(void) {
    return command_count;
}

const struct cmd *registry_at(unsigned id) {
    return &commands[id];
}

unsigned registry_top_count(void) {
    return top_count;
}

const struct cmd *registry_top(unsigned i) {
    return tops[i];
}

unsigned family_count(void) {
    return FAMILY_COUNT;
}

const struct family *family_at(unsigned i) {
    return &families[i];
}

int cmd_keys(const struct cmd *cmd, const struct slice *argv, int argc, int *pos,
             enum key_access *access, int max) {
    struct key_spec specs[CMD_MAX_KEY_SPECS];
    memcpy(specs, cmd->specs, sizeof(specs));
    if (cmd->row->adjust != NULL) {
        cmd->row->adjust(argv, argc, specs, cmd->spec_count);
    }
    int n = 0;
    for (int s = 0; s < cmd->spec_count; s++) {
        int last = specs[s].last < 0 ? argc + specs[s].last : specs[s].last;
        if (last >= argc) {
            return -1;
        }
        for (int i = specs[s].first; i <= last; i += specs[s].step) {
            if (n < max) {
                pos[n] = i;
                access[n] = specs[s].access;
            }
            n++;
        }
    }
    return n;
}
