#include "mish.h"

mish_status again(const float *x, float *y);

mish_status again(const float *x, float *y) {
    return mish_forward(MISH_DEVICE_CPU, MISH_DTYPE_F32, x, y, 1, NULL);
}
