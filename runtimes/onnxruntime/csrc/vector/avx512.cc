#define HETC_VARIANT avx512
#include "vector/variant.inc"
