// Failures: what a call of ONNX Runtime says becomes an exception, and an exception becomes a status again.
#ifndef HETC_ORT_STATUS_H_
#define HETC_ORT_STATUS_H_

#include <exception>
#include <stdexcept>
#include <string>

#include "ort/abi.h"

namespace hetc {

// What is wrong with a node or its input; the text becomes an OrtStatus, with the unit's id before it.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Releases a status and throws its text; returns if the call succeeded.
void check(const OrtApi& api, OrtStatus* status);

// True or false where a failure only means "not there".
bool succeeded(const OrtApi& api, OrtStatus* status);

// Runs `function`; what it throws becomes a status, with `where` before the text.
template <typename Function>
OrtStatus* guarded(const OrtApi& api, const std::string& where, const Function& function) {
  try {
    function();
    return nullptr;
  } catch (const Error& error) {
    return api.CreateStatus(ORT_INVALID_ARGUMENT, (where + ": " + error.what()).c_str());
  } catch (const std::exception& error) {
    return api.CreateStatus(ORT_FAIL, (where + ": " + error.what()).c_str());
  } catch (...) {
    return api.CreateStatus(ORT_FAIL, "hetc: unknown failure");
  }
}

}  // namespace hetc

#endif  // HETC_ORT_STATUS_H_
