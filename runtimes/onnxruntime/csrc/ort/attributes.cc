// Numbers among the attributes, and their bounds.
#include "ort/attributes.h"

#include <cmath>

namespace hetc {

int64_t integer_between(const KernelInfo& info, const char* attribute, int64_t low, int64_t high) {
  const int64_t value = info.integer(attribute);
  if (value < low || value > high)
    throw Error("attribute '" + std::string(attribute) + "' is " + std::to_string(value) +
                "; allowed: " + std::to_string(low) + ".." + std::to_string(high));
  return value;
}

float real_at_least(const KernelInfo& info, const char* attribute, float low, bool open) {
  const float value = info.real(attribute);
  if (!std::isfinite(value) || value < low || (open && value == low))
    throw Error("attribute '" + std::string(attribute) + "' is " + std::to_string(value) +
                "; allowed: finite, " + (open ? "> " : ">= ") + std::to_string(low));
  return value;
}

std::vector<float> finite_reals(const KernelInfo& info, const char* attribute) {
  std::vector<float> values = info.reals(attribute);
  for (float value : values)
    if (!std::isfinite(value))
      throw Error("attribute '" + std::string(attribute) + "' has a number that is not finite");
  return values;
}

}  // namespace hetc
