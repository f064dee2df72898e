// Statistics of what enters a crossbar, for calibration: |x| counted by its top 16 bits, sums in fixed point.
// Both add up exactly, so recordings can be merged in any order.
#ifndef HETC_CROSSBAR_RECORDER_H_
#define HETC_CROSSBAR_RECORDER_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "crossbar/slices.h"

namespace hetc {

class Recorder {
 public:
  // `site` says which input of the unit this is: "in", "mid", or the name of a weight. Begins with a line
  // `unit site slices` in the file, which tells a reader what is missing if the end can't be written.
  Recorder(std::string file, std::string unit, std::string site, std::vector<Slice> slices);

  // Appends one line per K-slice to the file.
  ~Recorder();

  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  void add(const float* x, size_t rows);

 private:
  struct Seen {
    std::map<uint32_t, uint64_t> bins;  // top 16 bits of |x| -> how many; finite x alone
    uint64_t elements = 0;
    __int128 sum = 0;      // of x, in units of 2^-24
    __int128 squares = 0;  // of x^2, in units of 2^-24
  };

  void add_slice(const float* x, size_t count, Seen* seen);

  std::string file_, unit_, site_;
  std::vector<Slice> slices_;
  std::mutex mutex_;
  std::vector<Seen> seen_;
  std::vector<uint32_t> counts_;  // scratch of add_slice
  uint64_t rows_ = 0;
};

}  // namespace hetc

#endif  // HETC_CROSSBAR_RECORDER_H_
