#ifndef GREEDY_MEMORY_PLANNER_H
#define GREEDY_MEMORY_PLANNER_H
namespace tflite {
class MicroMemoryPlanner {
  public:
    virtual int GetBufferCount() = 0;
};
class GreedyMemoryPlanner : public MicroMemoryPlanner {
  public:
    GreedyMemoryPlanner();
    int GetBufferCount() override;
};
} // namespace tflite
#endif
