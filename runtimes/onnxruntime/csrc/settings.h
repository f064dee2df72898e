// What a node's attributes and its session's "hetc." entries say, checked.
#ifndef HETC_SETTINGS_H_
#define HETC_SETTINGS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ort.h"
#include "vector_code.h"

namespace hetc {

enum class Mode { kExact, kConverters, kNoisy };

// The crossbar attributes that AnalogMatMul and AnalogExpert share, session entries applied.
struct Settings {
  Mode mode;
  bool transpose_weight;
  size_t tile_rows;
  int dac_bits;
  int adc_bits;
  float out_bound;
  NoiseForm noise_form;
  std::vector<float> noise_sigma;
  float noise_scale;
  uint64_t seed;
  Store store;
  std::string stats_file;  // where to record what enters the crossbars; empty: nowhere

  float levels() const;     // L: DAC codes on each side of 0; 1 without DAC
  float adc_limit() const;  // A: ADC codes on each side of 0; 0 without ADC
};

// The session's entries; what is absent is left to the node.
struct SessionEntries {
  std::optional<Mode> mode;
  std::optional<uint64_t> seed;
  std::optional<float> noise_scale;
  std::optional<Store> store;
  std::optional<std::string> digital_fraction;
  std::string stats_file;
};

// Throws for a "hetc." key that is not known, or a value that is not allowed.
SessionEntries read_session(const KernelInfo& info);

Settings read_settings(const KernelInfo& info);

// An int attribute within [low, high].
int64_t integer_between(const KernelInfo& info, const char* attribute, int64_t low, int64_t high);

}  // namespace hetc

#endif  // HETC_SETTINGS_H_
