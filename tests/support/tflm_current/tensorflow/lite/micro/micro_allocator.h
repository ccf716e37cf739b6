#ifndef MICRO_ALLOCATOR_H
#define MICRO_ALLOCATOR_H
#include <cstddef>
#include <cstdint>
#include "tensorflow/lite/micro/arena_allocator/single_arena_buffer_allocator.h"
namespace tflite {
class MicroMemoryPlanner;
class MicroAllocator {
  public:
    static MicroAllocator *Create(uint8_t *tensor_arena, size_t arena_size);
    static MicroAllocator *Create(SingleArenaBufferAllocator *memory_allocator, MicroMemoryPlanner *memory_planner);
};
} // namespace tflite
#endif
