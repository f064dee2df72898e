// What a node's attributes and its session's entries say about its crossbars, checked.
#ifndef HETC_CROSSBAR_SETTINGS_H_
#define HETC_CROSSBAR_SETTINGS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "crossbar/device.h"
#include "ort/kernel_info.h"
#include "ort/session.h"
#include "vector/types.h"

namespace hetc {

enum class WeightNoise { kAdditive, kPcmRead };

// What every product adds to a crossbar's output, in units of the normalised tile.
struct Disturbance {
  float output_noise;
  float weight_noise;
  WeightNoise weight_noise_form;
  float ir_drop;

  bool draws() const { return output_noise > 0 || weight_noise > 0; }
  bool any() const { return draws() || ir_drop > 0; }
};

// The crossbar attributes that AnalogMatMul and AnalogExpert share, session entries applied.
struct Settings {
  Mode mode;
  bool transpose_weight;
  size_t tile_rows;
  size_t tile_columns;
  int dac_bits;
  int adc_bits;
  float out_bound;
  bool scale_per_tile;
  bool manages_bounds;
  bool rounds_randomly;  // the DAC, in mode noisy
  Device device;
  Disturbance disturbance;
  Store store;
  int64_t digital_count;   // neurons of a lower rank are digital
  std::string stats_file;  // where to record what enters the crossbars; empty: nowhere

  bool programs() const { return mode == Mode::kNoisy && device.programs(); }
  bool disturbs() const { return mode == Mode::kNoisy && disturbance.any(); }
  float levels() const;     // L: DAC codes on each side of 0; 1 without DAC
  float adc_limit() const;  // A: ADC codes on each side of 0; 0 without ADC
};

Settings read_settings(const KernelInfo& info);

}  // namespace hetc

#endif  // HETC_CROSSBAR_SETTINGS_H_
