/* TFLite Micro's current interface as far as the firmware uses it, declared anew: no checkout is at hand here, and the
 * half of runtimes/tflm/tflm.h that is written for it must compile nevertheless. This header marks the generation. */
#ifndef MICRO_LOG_H
#define MICRO_LOG_H
#endif
