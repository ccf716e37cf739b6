/* TFLite Micro behind runtime.h. The model lies in a flash slot of its own, so that a new one needs no new image. */
#include "runtime.h"

#include <cstring>

#include "tflm.h"

namespace {

const char MAGIC[] = {'T', 'F', 'L', 'M'};
const size_t ALIGNMENT = 16; /* of the arena and of the model, as TFLite asks */

struct Slot { /* written by hil.tflm.slot_image() */
    char magic[4];
    uint32_t size; /* bytes of the .tflite */
    char name[24]; /* ends with a zero */
    uint8_t model[];
};

enum Failure : int { /* hil.tflm.FAILURES says them in words */
    INVOKE_FAILED = 1,
    OTHER_SCHEMA,
    ARENA_FAILED, /* too little RAM, or a kernel refuses what it is to do */
    NOT_INT8,
};

} // namespace

extern "C" {
extern const Slot _model_slot; /* by the linker: where the board's flash slot begins */
extern uint8_t _bss_end[], _ram_end[];
}

static tflm::Place<tflm::Interpreter> place;
static tflm::Interpreter *interpreter;
static runtime_info_t info;

/* CRC-32 of IEEE 802.3, bit by bit: a table would cost 1 kB. */
static uint32_t crc32(const uint8_t *bytes, uint32_t size) {
    uint32_t crc = ~0u;
    for (uint32_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1u ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
        }
    }
    return ~crc;
}

static uint8_t *aligned(uint8_t *address, bool up) {
    const uintptr_t value = reinterpret_cast<uintptr_t>(address) + (up ? ALIGNMENT - 1 : 0);
    return reinterpret_cast<uint8_t *>(value & ~(ALIGNMENT - 1));
}

/* Elements of the model's first input. */
static uint32_t input_elements(const tflite::Model *model) {
    const auto *graph = model->subgraphs()->Get(0);
    const auto *shape = graph->tensors()->Get(graph->inputs()->Get(0))->shape();
    uint32_t count = 1;
    for (uint32_t i = 0; i < shape->size(); i++) {
        count *= static_cast<uint32_t>(shape->Get(i) > 0 ? shape->Get(i) : 1);
    }
    return count;
}

/* All RAM that the image leaves: the arena from below, the harness's copy of the input at the end. */
static int start(const Slot &slot) {
    const tflite::Model *model = tflite::GetModel(slot.model);
    if (model->version() != tflm::schema_version) {
        return OTHER_SCHEMA;
    }
    uint8_t *const arena = aligned(_bss_end, true);
    const uint32_t input_size = input_elements(model);
    if (static_cast<size_t>(_ram_end - arena) < input_size + 2 * ALIGNMENT) {
        return ARENA_FAILED;
    }
    info.db = aligned(_ram_end - input_size, false);
    info.db_capacity = input_size;
    interpreter = place.make(model, arena, static_cast<size_t>(info.db - arena));
    if ((*interpreter)->AllocateTensors() != kTfLiteOk) {
        return ARENA_FAILED;
    }
    const TfLiteTensor *input = (*interpreter)->input(0), *output = (*interpreter)->output(0);
    if (input->type != kTfLiteInt8 || output->type != kTfLiteInt8) {
        return NOT_INT8;
    }
    const tflm::ArenaUse use = interpreter->use();
    info.output_size = output->bytes;
    info.output_scale = output->params.scale;
    info.output_zero_point = output->params.zero_point;
    info.arena_head = use.head;
    info.arena_tail = use.tail;
    info.arena_size = (*interpreter)->arena_used_bytes();
    return 0;
}

void runtime_start(void) {
    const Slot &slot = _model_slot;
    info.runtime = "tflm";
    info.model = "none";
    if (std::memcmp(slot.magic, MAGIC, sizeof MAGIC)) {
        return; /* an empty slot */
    }
    info.model = slot.name;
    info.payload_size = slot.size;
    info.slot_crc = crc32(slot.model, slot.size);
    info.input_size = input_elements(tflite::GetModel(slot.model));
    info.failure = start(slot);
}

const runtime_info_t *runtime_info(void) { return &info; }

int8_t *runtime_input(void) { return info.failure ? reinterpret_cast<int8_t *>(info.db) : (*interpreter)->input(0)->data.int8; }

const int8_t *runtime_output(void) { return (*interpreter)->output(0)->data.int8; }

int runtime_invoke(void) {
    if (info.failure) {
        return info.failure;
    }
    return (*interpreter)->Invoke() == kTfLiteOk ? 0 : INVOKE_FAILED;
}

/* What a C++ library would bring for things that never happen here; its versions take kilobytes. */
extern "C" void __cxa_pure_virtual(void) { __builtin_trap(); }
extern "C" void abort(void) { __builtin_trap(); }
#ifndef TFLM_CURRENT
extern "C" void DebugLog(const char *) {}
#endif
void operator delete(void *) noexcept {}
void operator delete(void *, size_t) noexcept {}
