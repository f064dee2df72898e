// The vector code for AVX-512.
#define HETC_VARIANT avx512
#include "vector/variant.inc"
