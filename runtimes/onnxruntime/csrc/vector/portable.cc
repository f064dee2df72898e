// The vector code for any processor.
#define HETC_VARIANT portable
#include "vector/variant.inc"
