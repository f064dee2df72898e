#include "ort/attributes.h"

#include <cmath>
#include <locale>
#include <sstream>

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

uint64_t parse_integer(const std::string& key, const std::string& text, int64_t most,
                       const std::string& most_text) {
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());
  int64_t value = -1;
  if (!digits || !(stream >> value) || value < 0 || value > most)
    throw Error("session entry " + key + ": '" + text + "' is not allowed; allowed: integers from 0 to " +
                most_text);
  return static_cast<uint64_t>(value);
}

float parse_number(const std::string& key, const std::string& text) {
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());
  float value = -1;
  const bool plain = !text.empty() && text.find_first_not_of("0123456789.eE+-") == std::string::npos;
  if (!plain || !(stream >> value) || stream.peek() != std::char_traits<char>::eof() || !(value >= 0) ||
      !std::isfinite(value))
    throw Error("session entry " + key + ": '" + text + "' is not allowed; allowed: numbers >= 0");
  return value;
}

}  // namespace hetc
