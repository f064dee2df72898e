// The only entry of the library: it names the operators.
#include "operators/operators.h"
#include "ort/registration.h"

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  return hetc::register_operators(
      options, base, {&hetc::kAnalogMatMul, &hetc::kAnalogExpert, &hetc::kExpert16, &hetc::kRequireLibrary});
}
