/* Kernels that the generation of 2020 lacks and that today's converters ask for: fully connected layers with one scale
 * for each unit, and means over height and width in int8. Written as its own kernels are, with its arithmetic.
 */
#include "tflm.h"

#ifndef TFLM_CURRENT

#include "tensorflow/lite/kernels/internal/common.h"
#include "tensorflow/lite/kernels/internal/quantization_util.h"
#include "tensorflow/lite/kernels/internal/tensor_ctypes.h"
#include "tensorflow/lite/kernels/kernel_util.h"

namespace {

template <typename T>
T *allocate(TfLiteContext *context, size_t count) {
    void *memory = nullptr;
    return context->AllocatePersistentBuffer(context, count * sizeof(T), &memory) == kTfLiteOk ? static_cast<T *>(memory)
                                                                                                : nullptr;
}

int32_t clamped(int32_t value, int32_t low, int32_t high) { return value < low ? low : value > high ? high : value; }

struct Dense {
    int32_t *multiplier; /* [units] */
    int *shift;          /* [units] */
    int32_t low, high;   /* of the fused activation */
};

void *dense_init(TfLiteContext *context, const char *, size_t) { return allocate<Dense>(context, 1); }

TfLiteStatus dense_prepare(TfLiteContext *context, TfLiteNode *node) {
    Dense *const data = static_cast<Dense *>(node->user_data);
    const TfLiteTensor *input = tflite::GetInput(context, node, 0), *weights = tflite::GetInput(context, node, 1);
    TfLiteTensor *output = tflite::GetOutput(context, node, 0);
    TF_LITE_ENSURE(context, data && input->type == kTfLiteInt8 && weights->type == kTfLiteInt8);
    const int units = weights->dims->data[0];
    data->multiplier = allocate<int32_t>(context, static_cast<size_t>(units));
    data->shift = allocate<int>(context, static_cast<size_t>(units));
    TF_LITE_ENSURE(context, data->multiplier && data->shift);
    int32_t one_multiplier;
    int one_shift;
    return tflite::PopulateConvolutionQuantizationParams(
        context, input, weights, tflite::GetOptionalInputTensor(context, node, 2), output,
        static_cast<const TfLiteFullyConnectedParams *>(node->builtin_data)->activation, &one_multiplier, &one_shift,
        &data->low, &data->high, data->multiplier, data->shift, units);
}

TfLiteStatus dense_invoke(TfLiteContext *context, TfLiteNode *node) {
    const Dense &data = *static_cast<const Dense *>(node->user_data);
    const TfLiteTensor *input = tflite::GetInput(context, node, 0), *weights = tflite::GetInput(context, node, 1);
    const TfLiteTensor *bias = tflite::GetOptionalInputTensor(context, node, 2);
    TfLiteTensor *output = tflite::GetOutput(context, node, 0);
    const int units = weights->dims->data[0], depth = weights->dims->data[1];
    const int batches = static_cast<int>(output->bytes) / units;
    const int32_t input_offset = -input->params.zero_point;
    for (int batch = 0; batch < batches; batch++) {
        const int8_t *const row = input->data.int8 + batch * depth;
        for (int unit = 0; unit < units; unit++) {
            const int8_t *const weight = weights->data.int8 + unit * depth;
            int32_t sum = bias ? bias->data.i32[unit] : 0;
            for (int i = 0; i < depth; i++) {
                sum += weight[i] * (row[i] + input_offset);
            }
            sum = tflite::MultiplyByQuantizedMultiplier(sum, data.multiplier[unit], data.shift[unit]);
            output->data.int8[batch * units + unit] =
                static_cast<int8_t>(clamped(sum + output->params.zero_point, data.low, data.high));
        }
    }
    return kTfLiteOk;
}

struct Mean {
    int32_t multiplier; /* of the sum: input scale / output scale / elements */
    int shift;
};

void *mean_init(TfLiteContext *context, const char *, size_t) { return allocate<Mean>(context, 1); }

TfLiteStatus mean_prepare(TfLiteContext *context, TfLiteNode *node) {
    Mean *const data = static_cast<Mean *>(node->user_data);
    const TfLiteTensor *input = tflite::GetInput(context, node, 0), *axis = tflite::GetInput(context, node, 1);
    const TfLiteTensor *output = tflite::GetOutput(context, node, 0);
    TF_LITE_ENSURE(context, data && input->type == kTfLiteInt8 && output->type == kTfLiteInt8);
    TF_LITE_ENSURE(context, input->dims->size == 4 && axis->bytes == 8);
    TF_LITE_ENSURE(context, axis->data.i32[0] + axis->data.i32[1] == 3 && axis->data.i32[0] * axis->data.i32[1] == 2);
    const int elements = input->dims->data[1] * input->dims->data[2];
    const double scale = static_cast<double>(input->params.scale) / output->params.scale / elements;
    tflite::QuantizeMultiplier(scale, &data->multiplier, &data->shift);
    return kTfLiteOk;
}

TfLiteStatus mean_invoke(TfLiteContext *context, TfLiteNode *node) {
    const Mean &data = *static_cast<const Mean *>(node->user_data);
    const TfLiteTensor *input = tflite::GetInput(context, node, 0);
    TfLiteTensor *output = tflite::GetOutput(context, node, 0);
    const int elements = input->dims->data[1] * input->dims->data[2], channels = input->dims->data[3];
    for (int batch = 0; batch < input->dims->data[0]; batch++) {
        for (int channel = 0; channel < channels; channel++) {
            const int8_t *const values = input->data.int8 + batch * elements * channels + channel;
            int32_t sum = -elements * input->params.zero_point;
            for (int i = 0; i < elements; i++) {
                sum += values[i * channels];
            }
            sum = tflite::MultiplyByQuantizedMultiplier(sum, data.multiplier, data.shift);
            output->data.int8[batch * channels + channel] =
                static_cast<int8_t>(clamped(sum + output->params.zero_point, -128, 127));
        }
    }
    return kTfLiteOk;
}

TfLiteRegistration registration(void *(*init)(TfLiteContext *, const char *, size_t),
                                TfLiteStatus (*prepare)(TfLiteContext *, TfLiteNode *),
                                TfLiteStatus (*invoke)(TfLiteContext *, TfLiteNode *)) {
    TfLiteRegistration result = {};
    result.init = init;
    result.prepare = prepare;
    result.invoke = invoke;
    return result;
}

} // namespace

namespace tflm {

TfLiteRegistration *Register_FULLY_CONNECTED() {
    static TfLiteRegistration result;
    result = registration(dense_init, dense_prepare, dense_invoke);
    return &result;
}

TfLiteRegistration *Register_MEAN() {
    static TfLiteRegistration result;
    result = registration(mean_init, mean_prepare, mean_invoke);
    return &result;
}

} // namespace tflm

#endif
