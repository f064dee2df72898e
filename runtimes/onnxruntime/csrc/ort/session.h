// The session's "hetc." entries, which beat a node's attributes.
#ifndef HETC_ORT_SESSION_H_
#define HETC_ORT_SESSION_H_

#include <cstdint>
#include <optional>
#include <string>

#include "ort/attributes.h"
#include "ort/kernel_info.h"
#include "vector/types.h"

namespace hetc {

enum class Mode { kExact, kConverters, kNoisy };

inline constexpr Choice<Mode> kModes[] = {
    {"exact", Mode::kExact}, {"converters", Mode::kConverters}, {"noisy", Mode::kNoisy}};

// What is absent is left to the node.
struct SessionEntries {
  std::optional<Mode> mode;
  std::optional<uint64_t> seed;
  std::optional<uint64_t> read_seed;
  std::optional<float> noise_scale;
  std::optional<float> drift_time;
  std::optional<Store> store;
  std::optional<std::string> digital_fraction;
  std::string stats_file;  // empty: nothing is recorded
};

// Throws for a "hetc." key that is not known, or a value that is not allowed.
SessionEntries read_session(const KernelInfo& info);

}  // namespace hetc

#endif  // HETC_ORT_SESSION_H_
