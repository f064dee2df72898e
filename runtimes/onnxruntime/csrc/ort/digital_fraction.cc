// Decimals and ratios as whole numbers of 128 bits: F has no rounding of its own.
#include "ort/digital_fraction.h"

#include "ort/status.h"

namespace hetc {
namespace {

constexpr size_t kMostDigits = 18;

Error refusal(const std::string& fraction) {
  return Error(
      "session entry hetc.digital_frac: '" + fraction +
      "' is not allowed; give a decimal from 0 to 1 with at most 18 decimals, such as 0.25, or a ratio "
      "such as 1/3");
}

// Digits as a whole number, up to 10^18.
__int128 whole_number(const std::string& digits, const std::string& fraction) {
  if (digits.find_first_not_of("0123456789") != std::string::npos) throw refusal(fraction);
  const size_t first = digits.find_first_not_of('0');
  if (first == std::string::npos) return 0;
  if (digits.size() - first > kMostDigits + 1) throw refusal(fraction);
  __int128 number = 0;
  for (const char digit : digits.substr(first)) number = number * 10 + (digit - '0');
  return number;
}

struct Ratio {
  __int128 numerator;
  __int128 denominator;
};

Ratio parse_decimal(const std::string& fraction) {
  const size_t point = fraction.find('.');
  const std::string whole = fraction.substr(0, point);
  std::string decimals = point == std::string::npos ? "" : fraction.substr(point + 1);
  if ((whole + decimals).empty()) throw refusal(fraction);
  while (!decimals.empty() && decimals.back() == '0') decimals.pop_back();
  if (decimals.size() > kMostDigits) throw refusal(fraction);
  __int128 denominator = 1;
  for (size_t i = 0; i < decimals.size(); ++i) denominator *= 10;
  return {whole_number(whole + decimals, fraction), denominator};
}

Ratio parse(const std::string& fraction) {
  const size_t slash = fraction.find('/');
  if (slash == std::string::npos) return parse_decimal(fraction);
  const std::string above = fraction.substr(0, slash), below = fraction.substr(slash + 1);
  if (above.empty() || below.empty()) throw refusal(fraction);
  return {whole_number(above, fraction), whole_number(below, fraction)};
}

}  // namespace

int64_t digital_count(const std::string& fraction, int64_t group_size) {
  const auto [numerator, denominator] = parse(fraction);
  if (denominator == 0 || numerator > denominator) throw refusal(fraction);
  return static_cast<int64_t>((2 * numerator * group_size + denominator) / (2 * denominator));
}

}  // namespace hetc
