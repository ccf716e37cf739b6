#include "commands.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "console.h"
#include "hal.h"
#include "harness.h"
#include "runtime.h"
#include "stack.h"
#include "text.h"

#define BUILD_ID_SIZE 20u /* SHA-1 */

/* The note that the linker writes with --build-id: 12 bytes of header, "GNU\0", then the identity. */
extern const uint8_t firmware_build_id[];

/* ---- words ---- */

/* Cuts the next word off *rest; NULL at the end of the line. */
static char *next_word(char **rest) {
    char *word = *rest;
    while (*word == ' ') {
        word++;
    }
    if (!*word) {
        *rest = word;
        return NULL;
    }
    char *end = word;
    while (*end && *end != ' ') {
        end++;
    }
    if (*end) {
        *end++ = '\0';
    }
    *rest = end;
    return word;
}

/* A decimal number up to 999,999,999; false where the word is anything else. */
static bool parse_uint(const char *word, uint32_t *value) {
    uint32_t result = 0, digits = 0;
    for (; *word; word++, digits++) {
        if (*word < '0' || *word > '9' || digits == 9u) {
            return false;
        }
        result = result * 10u + (uint32_t)(*word - '0');
    }
    *value = result;
    return digits > 0;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20; /* lower case */
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void error(const char *text) {
    console_text("e-[");
    console_text(text);
    console_line("]");
}

static void error_about(const char *text, const char *what) {
    console_text("e-[");
    console_text(text);
    /* The closing word of a reply must stand nowhere else, whatever the host sent. */
    console_text(text_contains(what, "m-ready") ? "?" : what);
    console_line("]");
}

/* ---- commands without state ---- */

static void run_name(char *rest) {
    (void)rest;
    console_text("m-name-dut-[");
    console_text(hal_board_name);
    console_line("]");
}

/* What is compared to the last bit ends with a checksum over its lines, so that a damaged line is noticed. */
static void print_checksum(void) {
    const uint16_t crc = console_checksum();
    console_text("m-crc-");
    console_uint(crc);
    console_line("");
}

static void run_id(char *rest) {
    (void)rest;
    console_checksum_start();
    console_text("m-id-[");
    for (uint32_t i = 0; i < BUILD_ID_SIZE; i++) {
        console_hex8(firmware_build_id[16u + i]);
    }
    console_line("]");
    print_checksum();
}

static void run_profile(char *rest) {
    (void)rest;
    console_line("m-profile-[ULPMark for tinyML Firmware V0.0.1]");
    console_text("m-model-[");
    console_text(runtime_info()->model);
    console_line("]");
}

static void print_lap(uint64_t ticks) {
    console_text("m-lap-us-");
    /* Under an emulator the ratio is 1 and the number counts instructions. */
    divide_wide(&ticks, hal_ticks_per_lap_unit);
    console_uint(ticks);
    console_line("");
}

void commands_timestamp(void) { print_lap(lap_now()); }

static void run_timestamp(char *rest) {
    (void)rest;
    commands_timestamp();
}

static void run_mem(char *rest) {
    (void)rest;
    const harness_figures_t *figures = harness_figures();
    console_checksum_start();
    console_text("m-mem-[runtime=");
    console_text(runtime_info()->runtime);
    console_key_uint("input", runtime_info()->input_size);
    console_key_uint("output", runtime_info()->output_size);
    console_key_uint("row", runtime_info()->row_size);
    console_key_uint("arena", runtime_info()->arena_size);
    console_key_uint("payload", runtime_info()->payload_size);
    if (runtime_info()->slot_crc) {
        console_key_uint("arena_head", runtime_info()->arena_head);
        console_key_uint("arena_tail", runtime_info()->arena_tail);
        console_key_uint("slot_crc", runtime_info()->slot_crc);
        console_key_uint("failure", (uint32_t)runtime_info()->failure);
    }
    console_key_uint("stack_size", stack_size());
    console_key_uint("stack_peak", stack_peak());
    console_key_uint("stack_idle", figures->stack_idle);
    console_key_uint("stack_invoke", figures->stack_invoke);
    console_key_uint("ticks", figures->ticks);
    console_key_uint("ticks_empty", figures->ticks_empty);
    console_key_text("tick", hal_tick_unit);
    console_key_uint("ticks_per_lap", hal_ticks_per_lap_unit);
    console_line("]");
    print_checksum();
}

/* ---- db: the input buffer ---- */

static uint32_t db_expected, db_loaded;

static void db_load(char *rest) {
    uint32_t size;
    const char *word = next_word(&rest);
    if (!word || !parse_uint(word, &size) || size == 0) {
        error("Command 'db load' requires the number of bytes");
    } else if (size > runtime_info()->db_capacity) {
        console_text("e-[The buffer holds ");
        console_uint(runtime_info()->db_capacity);
        console_line(" bytes]");
    } else {
        db_expected = size;
        db_loaded = 0;
        console_text("m-[Expecting ");
        console_uint(size);
        console_line(" bytes]");
    }
}

static void db_bytes(const char *hex) {
    const uint32_t digits = text_length(hex);
    /* All checks come before the first byte is stored, so that the host may repeat a refused line. */
    for (uint32_t i = 0; i < digits; i++) {
        if (hex_value(hex[i]) < 0) {
            error_about("Invalid hex digits: ", hex);
            return;
        }
    }
    if (digits % 2u) {
        error("Insufficient number of hex digits");
        return;
    }
    if (db_loaded + digits / 2u > db_expected) {
        error("More bytes than 'db load' announced");
        return;
    }
    for (uint32_t i = 0; i < digits; i += 2u) {
        runtime_info()->db[db_loaded++] = (uint8_t)(hex_value(hex[i]) << 4 | hex_value(hex[i + 1u]));
    }
    if (db_loaded == db_expected) {
        console_line("m-load-done");
    }
}

/* A block is binary: LEN bytes and a CRC-16 over them, so that an input costs half the characters of the hex form and
 * damage is noticed. A host that lost bytes on the way fills the block up with anything and is told of the checksum. */

#define BLOCK_MAX 1024u

static uint32_t block_size, block_received;
static uint16_t block_crc_sent, block_crc;

static void db_block(char *rest) {
    uint32_t size, crc;
    const char *size_word = next_word(&rest), *crc_word = next_word(&rest);
    if (!size_word || !crc_word || !parse_uint(size_word, &size) || !parse_uint(crc_word, &crc) || crc > 0xFFFFu) {
        error("Command 'db block' requires the number of bytes and their CRC-16, both decimal");
    } else if (size == 0 || size > BLOCK_MAX) {
        error("A block holds 1 to 1024 bytes");
    } else if (db_loaded + size > db_expected) {
        error("More bytes than 'db load' announced");
    } else {
        block_size = size;
        block_received = 0;
        block_crc_sent = (uint16_t)crc;
        block_crc = CRC16_START;
        console_text("m-[Expecting a block of ");
        console_uint(size);
        console_line(" bytes]");
    }
}

uint32_t commands_block_left(void) { return block_size - block_received; }

void commands_block_byte(uint8_t byte) {
    runtime_info()->db[db_loaded + block_received++] = byte;
    block_crc = crc16(block_crc, byte);
    if (block_received < block_size) {
        return;
    }
    if (block_crc != block_crc_sent) {
        error("The block's checksum is wrong: send it again");
        return;
    }
    db_loaded += block_size;
    console_line(db_loaded == db_expected ? "m-load-done" : "m-block-done");
}

static void db_print(void) {
    for (uint32_t i = 0; i < db_loaded; i++) {
        console_text(i % 8u == 0 ? "m-buffer-" : "-");
        console_hex8(runtime_info()->db[i]);
        if (i % 8u == 7u || i + 1u == db_loaded) {
            console_line("");
        }
    }
}

static void run_db(char *rest) {
    const char *word = next_word(&rest);
    if (!word) {
        error("Command 'db' requires a subcommand");
    } else if (text_equal(word, "load")) {
        db_load(rest);
    } else if (text_equal(word, "block")) {
        db_block(rest);
    } else if (text_equal(word, "print")) {
        db_print();
    } else {
        db_bytes(word);
    }
}

/* ---- inference ---- */

static bool output_valid;

static void print_results(void) {
    console_text("m-results-[");
    const int8_t *output = runtime_output();
    for (uint32_t i = 0; i < runtime_info()->output_size; i++) {
        const float value = (float)(output[i] - runtime_info()->output_zero_point) * runtime_info()->output_scale * 1000.0f;
        if (i) {
            console_char(',');
        }
        console_thousandths((int32_t)(value < 0.0f ? value - 0.5f : value + 0.5f));
    }
    console_line("]");
}

/* Number of a run's argument; `fallback` where the line has none. */
static bool next_count(char **rest, uint32_t fallback, uint32_t *value) {
    const char *word = next_word(rest);
    *value = fallback;
    return !word || parse_uint(word, value);
}

static bool inferences_ok(uint32_t count, uint64_t *ticks) {
    const int code = harness_run(count, ticks);
    output_valid = code == 0;
    if (code) {
        console_text("e-[The model failed with code ");
        console_uint((uint32_t)code);
        console_line("]");
        return false;
    }
    if (stack_peak() == stack_size()) {
        output_valid = false;
        error("Stack overflow: every byte of the stack was used");
        return false;
    }
    return true;
}

static void run_infer(char *rest) {
    uint32_t count, warmups;
    uint64_t ignored = 0, ticks = 0;
    if (!next_count(&rest, 1, &count) || !next_count(&rest, 10, &warmups) || count == 0) {
        error("Command 'infer' takes the number of inferences, at least 1, and of warm-ups");
        return;
    }
    if (runtime_info()->input_size == 0) {
        error("This firmware holds no model");
        return;
    }
    if (db_loaded != runtime_info()->input_size) {
        console_text("e-[The model needs an input of ");
        console_uint(runtime_info()->input_size);
        console_line(" bytes: use 'db load' first]");
        return;
    }
    console_text("m-warmup-start-");
    console_uint(warmups);
    console_line("");
    if (!inferences_ok(warmups, &ignored)) {
        return;
    }
    console_line("m-warmup-done");
    console_text("m-infer-start-");
    console_uint(count);
    console_line("");
    const uint64_t start = lap_now();
    print_lap(start);
    if (!inferences_ok(count, &ticks)) {
        return;
    }
    lap_set(start + ticks);
    print_lap(start + ticks);
    console_line("m-infer-done");
    print_results();
}

static bool have_output(void) {
    if (!output_valid) {
        error("There are no results: use 'infer' first");
    }
    return output_valid;
}

static void run_results(char *rest) {
    (void)rest;
    if (have_output()) {
        print_results();
    }
}

/* The output as the model wrote it, for comparisons byte for byte; 32 bytes a line. */
static void run_output(char *rest) {
    (void)rest;
    if (!have_output()) {
        return;
    }
    console_checksum_start();
    const int8_t *output = runtime_output();
    for (uint32_t i = 0; i < runtime_info()->output_size; i++) {
        if (i % 32u == 0) {
            console_text("m-output-");
        }
        console_hex8((uint8_t)output[i]);
        if (i % 32u == 31u || i + 1u == runtime_info()->output_size) {
            console_line("");
        }
    }
    print_checksum();
}

/* ---- table ---- */

typedef struct {
    const char *name;
    void (*run)(char *rest);
    const char *help;
} command_t;

static void run_help(char *rest);

/* A second line of help. */
static void run_nothing(char *rest) { (void)rest; }

static const command_t commands[] = {
    {"help", run_help, "          : this list"},
    {"name", run_name, "          : the device"},
    {"id", run_id, "            : the firmware's build id"},
    {"profile", run_profile, "       : protocol and model"},
    {"timestamp", run_timestamp, "     : m-lap-us-<time>"},
    {"mem", run_mem, "           : sizes, stack and ticks of the last inference"},
    {"db", run_db, " load N     : announce N input bytes; db HH.. sends them; db print shows them"},
    {"", run_nothing, "   block N C  : N binary bytes with the CRC-16 C come next"},
    {"infer", run_infer, " N W     : N inferences after W warm-ups (1, 10)"},
    {"results", run_results, "       : the last output, as numbers"},
    {"output", run_output, "        : the last output, as bytes"},
};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void run_help(char *rest) {
    (void)rest;
    for (uint32_t i = 0; i < COMMAND_COUNT; i++) {
        console_text(commands[i].name);
        console_line(commands[i].help);
    }
}

void commands_run(char *line) {
    char *rest = line;
    const char *word = next_word(&rest);
    if (!word) {
        return;
    }
    for (uint32_t i = 0; i < COMMAND_COUNT; i++) {
        if (text_equal(word, commands[i].name)) {
            commands[i].run(rest);
            return;
        }
    }
    error_about("Unknown command: ", word);
}
