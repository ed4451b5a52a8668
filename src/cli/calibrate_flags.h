#pragma once

#include <optional>
#include <string>

#include "workflow/calibrate.h"

namespace offramp::cli {

/// Flags of `offramp calibrate`.
struct CalibrateFlags {
  std::string model, data, out, reference;
  std::string criterion = "confidence", ensemble = "off", cost = "macs";
  std::optional<double> threshold, max_accuracy_drop, max_cost, guarantee, delta;
  std::optional<std::string> against;
  bool label_free = false, per_class = false, drop_useless_exits = false, json = false;
  workflow::RunOptions run;
};

/// Turns the flags into options.
/// @throws UsageError naming the flag unless exactly one aim is given and every number is valid
///         for it
workflow::CalibrateOptions calibrate_options(const CalibrateFlags& flags);

}  // namespace offramp::cli
