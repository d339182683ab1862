/* The header by itself, first and twice; with header_again.c also in two translation units. */
#include "mish.h"
#include "mish.h"

#include <stddef.h>

#include "check.h"

/* The layout that DLPack documents for DLTensor on 64-bit machines. */
typedef char data_at[offsetof(mish_tensor, data) == 0 ? 1 : -1];
typedef char device_type_at[offsetof(mish_tensor, device_type) == 8 ? 1 : -1];
typedef char device_id_at[offsetof(mish_tensor, device_id) == 12 ? 1 : -1];
typedef char ndim_at[offsetof(mish_tensor, ndim) == 16 ? 1 : -1];
typedef char code_at[offsetof(mish_tensor, dtype.code) == 20 ? 1 : -1];
typedef char bits_at[offsetof(mish_tensor, dtype.bits) == 21 ? 1 : -1];
typedef char lanes_at[offsetof(mish_tensor, dtype.lanes) == 22 ? 1 : -1];
typedef char shape_at[offsetof(mish_tensor, shape) == 24 ? 1 : -1];
typedef char strides_at[offsetof(mish_tensor, strides) == 32 ? 1 : -1];
typedef char byte_offset_at[offsetof(mish_tensor, byte_offset) == 40 ? 1 : -1];
typedef char tensor_size[sizeof(mish_tensor) == 48 ? 1 : -1];
typedef char status_size[sizeof(mish_status) == 4 && (mish_status)-1 < 0 ? 1 : -1];

mish_status again(const float *x, float *y);

int main(void) {
    float x = 1, y = 0;
    char version[32];
    CHECK(again(&x, &y) == MISH_STATUS_OK);
    CHECK(y > 0.8650983f && y < 0.8650986f);
    snprintf(version, sizeof version, "%d.%d.%d", MISH_VERSION_MAJOR, MISH_VERSION_MINOR,
             MISH_VERSION_PATCH);
    CHECK(strcmp(version, MISH_VERSION) == 0);
    CHECK(strcmp(mish_version(), MISH_VERSION) == 0);
    return summary();
}
