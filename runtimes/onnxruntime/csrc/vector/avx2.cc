// The vector code for AVX2, FMA and F16C.
#define HETC_VARIANT avx2
#include "vector/variant.inc"
