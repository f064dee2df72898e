// How many members of a group run digital at a given fraction, in exact arithmetic.
#ifndef HETC_ORT_DIGITAL_FRACTION_H_
#define HETC_ORT_DIGITAL_FRACTION_H_

#include <cstdint>
#include <string>

namespace hetc {

// floor(F * group_size + 0.5) for F in 0..1, written as a decimal or as k/n; throws Error for any other text.
int64_t digital_count(const std::string& fraction, int64_t group_size);

}  // namespace hetc

#endif  // HETC_ORT_DIGITAL_FRACTION_H_
