#ifndef SINGLE_ARENA_BUFFER_ALLOCATOR_H
#define SINGLE_ARENA_BUFFER_ALLOCATOR_H
#include <cstddef>
#include <cstdint>
namespace tflite {
namespace micro {
class SingleArenaBufferAllocator {
  public:
    static SingleArenaBufferAllocator *Create(uint8_t *buffer_head, size_t buffer_size);
    virtual size_t GetNonPersistentUsedBytes() const;
    virtual size_t GetPersistentUsedBytes() const;
};
} // namespace micro
using micro::SingleArenaBufferAllocator;
} // namespace tflite
#endif
