#define HETC_VARIANT avx2
#include "vector/variant.inc"
