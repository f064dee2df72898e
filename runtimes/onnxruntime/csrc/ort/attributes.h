// Attributes of a node, held against what is allowed.
#ifndef HETC_ORT_ATTRIBUTES_H_
#define HETC_ORT_ATTRIBUTES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ort/kernel_info.h"
#include "ort/status.h"

namespace hetc {

// A value that is written as a word.
template <typename Value>
struct Choice {
  const char* name;
  Value value;
};

template <typename Value, size_t count>
Value choose(const Choice<Value> (&choices)[count], const std::string& text, const std::string& what) {
  std::string allowed;
  for (const Choice<Value>& choice : choices) {
    if (text == choice.name) return choice.value;
    allowed += (allowed.empty() ? "" : ", ") + std::string(choice.name);
  }
  throw Error(what + ": '" + text + "' is not allowed; allowed: " + allowed);
}

template <typename Value, size_t count>
Value choose_attribute(const KernelInfo& info, const Choice<Value> (&choices)[count], const char* attribute) {
  return choose(choices, info.text(attribute), "attribute '" + std::string(attribute) + "'");
}

// An int attribute within [low, high].
int64_t integer_between(const KernelInfo& info, const char* attribute, int64_t low, int64_t high);

// A finite float attribute of at least `low`, or above it if `open`.
float real_at_least(const KernelInfo& info, const char* attribute, float low, bool open = false);

// A list of finite floats.
std::vector<float> finite_reals(const KernelInfo& info, const char* attribute);

}  // namespace hetc

#endif  // HETC_ORT_ATTRIBUTES_H_
