#define HETC_VARIANT avx2
#include "vector_variant.inc"
