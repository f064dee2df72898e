// Decimals as whole numbers of 128 bits: F has no rounding of its own.
#include "ort/digital_fraction.h"

#include "ort/status.h"

namespace hetc {
namespace {

Error refusal(const std::string& fraction) {
  return Error("session entry hetc.digital_frac: '" + fraction +
               "' is not allowed; give a decimal from 0 to 1 with at most 18 decimals, such as 0.25");
}

}  // namespace

int64_t digital_count(const std::string& fraction, int64_t group_size) {
  constexpr size_t kMostDecimals = 18;
  const size_t point = fraction.find('.');
  std::string whole = fraction.substr(0, point);
  std::string decimals = point == std::string::npos ? "" : fraction.substr(point + 1);
  if ((whole + decimals).empty() || (whole + decimals).find_first_not_of("0123456789") != std::string::npos)
    throw refusal(fraction);
  while (!decimals.empty() && decimals.back() == '0') decimals.pop_back();
  whole.erase(
      0, whole.find_first_not_of('0') == std::string::npos ? whole.size() : whole.find_first_not_of('0'));
  if (decimals.size() > kMostDecimals || whole.size() > 1) throw refusal(fraction);
  __int128 numerator = 0, denominator = 1;
  for (char digit : whole + decimals) numerator = numerator * 10 + (digit - '0');
  for (size_t i = 0; i < decimals.size(); ++i) denominator *= 10;
  if (numerator > denominator) throw refusal(fraction);
  return static_cast<int64_t>((2 * numerator * group_size + denominator) / (2 * denominator));
}

}  // namespace hetc
