#ifndef MICRO_MUTABLE_OP_RESOLVER_H
#define MICRO_MUTABLE_OP_RESOLVER_H
#include "tensorflow/lite/c/common.h"
namespace tflite {
class MicroOpResolver {};
template <unsigned int tOpCount>
class MicroMutableOpResolver : public MicroOpResolver {
  public:
    TfLiteStatus AddConv2D();
    TfLiteStatus AddDepthwiseConv2D();
    TfLiteStatus AddFullyConnected();
    TfLiteStatus AddMaxPool2D();
    TfLiteStatus AddReshape();
};
} // namespace tflite
#endif
