/* The kernels of one set of operators. operators.h is written by hil.tflm: TFLM_OPERATORS(X) and TFLM_OPERATOR_COUNT. */
#include "operators.h"

#include "tflm.h"

typedef tflite::MicroMutableOpResolver<TFLM_OPERATOR_COUNT> Resolver;

static tflm::Place<Resolver> place;

const tflite::MicroOpResolver &tflm_operators() {
    Resolver *const resolver = place.make();
#define ADD(NAME, Name) TFLM_ADD(*resolver, NAME, Name);
    TFLM_OPERATORS(ADD)
    return *resolver;
}
