#ifndef MICRO_INTERPRETER_H
#define MICRO_INTERPRETER_H
#include "tensorflow/lite/c/common.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#define TFLITE_SCHEMA_VERSION (3)
namespace tflite {
struct Model;
class MicroResourceVariables;
class MicroProfilerInterface;
class MicroInterpreter {
  public:
    MicroInterpreter(const Model *model, const MicroOpResolver &op_resolver, uint8_t *tensor_arena,
                     size_t tensor_arena_size, MicroResourceVariables *resource_variables = nullptr,
                     MicroProfilerInterface *profiler = nullptr, bool preserve_all_tensors = false);
    MicroInterpreter(const Model *model, const MicroOpResolver &op_resolver, MicroAllocator *allocator,
                     MicroResourceVariables *resource_variables = nullptr, MicroProfilerInterface *profiler = nullptr);
    TfLiteStatus AllocateTensors();
    TfLiteStatus Invoke();
    TfLiteTensor *input(size_t index);
    TfLiteTensor *output(size_t index);
    size_t arena_used_bytes() const;
};
} // namespace tflite
#endif
