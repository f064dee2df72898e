#define HETC_VARIANT portable
#include "vector/variant.inc"
