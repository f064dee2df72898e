#define HETC_VARIANT portable
#include "vector_variant.inc"
