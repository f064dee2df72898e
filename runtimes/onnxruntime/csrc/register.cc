// The entries of the library: what names the operators, and what other programs ask of it.
#include <cstdint>

#include "crossbar/programmed_cache.h"
#include "operators/operators.h"
#include "ort/registration.h"
#include "vector/vector_code.h"

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  return hetc::register_operators(options, base,
                                  {&hetc::kAnalogMatMul, &hetc::kAnalogExpert, &hetc::kExpert16,
                                   &hetc::kMatMul16, &hetc::kRequireLibrary});
}

extern "C" __attribute__((visibility("default"))) uint64_t hetc_programmings() {
  return hetc::count_programmings();
}

extern "C" __attribute__((visibility("default"))) const char* hetc_instructions() {
  return hetc::instructions_name();
}
