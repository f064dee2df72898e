#define HETC_VARIANT avx512
#include "vector_variant.inc"
