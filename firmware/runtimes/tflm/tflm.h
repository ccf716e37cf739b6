/* TFLite Micro's headers, and the two generations of its interface: that of 2020 has ErrorReporter, the current one
 * micro_log.h. Everything that differs between them stands in this file.
 */
#ifndef TFLM_H
#define TFLM_H

#include <cstddef>
#include <cstdint>
#include <new>

#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
/* Its place in a checkout has changed. */
#if __has_include("tensorflow/lite/micro/schema/schema_generated.h")
#include "tensorflow/lite/micro/schema/schema_generated.h"
#else
#include "tensorflow/lite/schema/schema_generated.h"
#endif

/* Defined in operators.cc: the kernels that the model needs, no others. */
const tflite::MicroOpResolver &tflm_operators();

namespace tflm {

/* Room for one object that is made at start-up and never destroyed: no constructor before main(), no destructor. */
template <typename T>
struct Place {
    template <typename... Arguments>
    T *make(Arguments &&...arguments) {
        return new (bytes) T(static_cast<Arguments &&>(arguments)...);
    }
    alignas(T) uint8_t bytes[sizeof(T)];
};

struct ArenaUse {
    size_t head, tail; /* bytes: activations; what lives as long as the interpreter */
};

} // namespace tflm

#if __has_include("tensorflow/lite/micro/micro_log.h")

#include "tensorflow/lite/micro/arena_allocator/single_arena_buffer_allocator.h"
#include "tensorflow/lite/micro/memory_planner/greedy_memory_planner.h"

#define TFLM_CURRENT
#define TFLM_ADD(resolver, NAME, Name) (resolver).Add##Name()

namespace tflm {

static const uint32_t schema_version = TFLITE_SCHEMA_VERSION;

/* The interpreter on an allocator of its own, which can be asked how it is filled. */
class Interpreter {
  public:
    Interpreter(const tflite::Model *model, uint8_t *arena, size_t size)
        : memory_(tflite::SingleArenaBufferAllocator::Create(arena, size)),
          interpreter_(model, tflm_operators(), tflite::MicroAllocator::Create(memory_, &planner_)) {}

    tflite::MicroInterpreter *operator->() { return &interpreter_; }
    ArenaUse use() const { return {memory_->GetNonPersistentUsedBytes(), memory_->GetPersistentUsedBytes()}; }

  private:
    tflite::GreedyMemoryPlanner planner_;
    tflite::SingleArenaBufferAllocator *memory_;
    tflite::MicroInterpreter interpreter_;
};

} // namespace tflm

#else

#include "tensorflow/lite/micro/kernels/micro_ops.h"
#include "tensorflow/lite/micro/micro_error_reporter.h"
#include "tensorflow/lite/micro/simple_memory_allocator.h"
#include "tensorflow/lite/version.h"

namespace tflm {
using namespace tflite::ops::micro;
/* In place of its own, in kernels_2020.cc. */
TfLiteRegistration *Register_FULLY_CONNECTED();
TfLiteRegistration *Register_MEAN();
} // namespace tflm

#define TFLM_ADD(resolver, NAME, Name)                                                                                 \
    (resolver).AddBuiltin(tflite::BuiltinOperator_##NAME, tflm::Register_##NAME(), tflite::MicroOpResolverAnyVersion())

namespace tflm {

static const uint32_t schema_version = TFLITE_SCHEMA_VERSION;

/* The allocator is private in this generation. An explicit instantiation may name private members ([temp.spec] in the
 * C++ standard): the one way to its figures that changes none of the sources. */
template <typename Member, typename Member::type pointer>
struct Reveal {
    friend typename Member::type reveal(Member) { return pointer; }
};
struct OfInterpreter {
    typedef tflite::MicroAllocator tflite::MicroInterpreter::*type;
    friend type reveal(OfInterpreter);
};
struct OfAllocator {
    typedef tflite::SimpleMemoryAllocator *tflite::MicroAllocator::*type;
    friend type reveal(OfAllocator);
};
template struct Reveal<OfInterpreter, &tflite::MicroInterpreter::allocator_>;
template struct Reveal<OfAllocator, &tflite::MicroAllocator::memory_allocator_>;

class Interpreter {
  public:
    Interpreter(const tflite::Model *model, uint8_t *arena, size_t size)
        : interpreter_(model, tflm_operators(), arena, size, &reporter_) {}

    tflite::MicroInterpreter *operator->() { return &interpreter_; }
    ArenaUse use() {
        const tflite::SimpleMemoryAllocator *memory = (interpreter_.*reveal(OfInterpreter())).*reveal(OfAllocator());
        return {memory->GetHeadUsedBytes(), memory->GetTailUsedBytes()};
    }

  private:
    tflite::MicroErrorReporter reporter_;
    tflite::MicroInterpreter interpreter_;
};

} // namespace tflm

#endif

#endif
