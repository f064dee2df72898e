// Makes operators known to an ONNX Runtime.
#ifndef HETC_ORT_REGISTRATION_H_
#define HETC_ORT_REGISTRATION_H_

#include <initializer_list>

#include "ort/abi.h"
#include "ort/operator.h"

namespace hetc {

using Operators = std::initializer_list<const Operator*>;

// Adds the domain "hetc" with these operators, which outlive the process's sessions, to a session's options.
OrtStatus* register_operators(OrtSessionOptions* options, const OrtApiBase* base, Operators operators);

}  // namespace hetc

#endif  // HETC_ORT_REGISTRATION_H_
