// The operators of the domain "hetc" that have kernels; docs/operators.md specifies them.
#ifndef HETC_OPERATORS_OPERATORS_H_
#define HETC_OPERATORS_OPERATORS_H_

#include "ort/operator.h"

namespace hetc {

extern const Operator kAnalogMatMul;
extern const Operator kAnalogExpert;
extern const Operator kExpert16;
extern const Operator kMatMul16;
extern const Operator kRequireLibrary;

}  // namespace hetc

#endif  // HETC_OPERATORS_OPERATORS_H_
