#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/engine.h"
#include "eval/policy_metrics.h"
#include "eval/worst_class.h"
#include "model/model_file.h"
#include "policy/calibration.h"

namespace offramp::cli {

/// What `offramp calibrate` was asked for.
struct CalibrateFlags {
  std::string model, data, out, reference;
  std::string criterion = "confidence", ensemble = "off", cost = "macs";
  std::optional<double> threshold, max_accuracy_drop, max_cost, guarantee, delta;
  bool label_free = false, per_class = false, drop_useless_exits = false, json = false;
  EngineFlags engine;

  double level() const { return delta.value_or(0.05); }
  const std::string& written_to() const { return out.empty() ? model : out; }
};

/// @throws UsageError unless there is one aim, and every number makes sense for it
void check(const CalibrateFlags& flags);

/// The aim that was asked for, as the model file keeps it.
Aim aim_of(const CalibrateFlags& flags);
/// Asks for an aim; the other way round.
void set_aim(const Aim& aim, CalibrateFlags& flags);

/// What an image costs that stops at each exit.
struct ExitCosts {
  std::vector<double> relative;  ///< [K] to the plain network's MACs, or to the last exit's time
  std::vector<double> ms;        ///< [K] an image, measured; empty where MACs are the cost
};

/// A policy on the images it was chosen on, replayed from logits.
struct OnTune {
  std::int64_t images = 0;
  std::int64_t missing = 0;                 ///< listed in the model, not found in the data
  double last_accuracy = 0;                 ///< of the last exit alone
  std::optional<double> held_out_accuracy;  ///< where an accuracy was the aim: Chosen
  PolicyMetrics metrics;
};

struct Certificate {
  bool drawn = false;        ///< else there were too few images, and none was looked at
  std::int64_t missing = 0;  ///< listed in the model, not found in the data
  CertificationResult result;
  std::optional<WorstClass> worst;
};

/// What was chosen and written.
struct Calibration {
  ChosenPolicy chosen;
  bool met = true;  ///< else the policy never stops early
  ExitCosts costs;
  OnTune tune;
  std::optional<double> least_accuracy;  ///< on tune, that an accuracy aim asks for
  std::optional<Certificate> certificate;
  std::vector<int> dropped;     ///< 0-based exits, as the model came
  bool state_left_out = false;  ///< tensors beside the weights, which spoke of the dropped exits
  std::optional<std::string> replaced;  ///< the aim of the policy that stood in the file
  std::vector<std::string> classes;
  Engine engine;
};

/// Chooses on the model's tune images; for a guarantee then certifies once on its certify images,
/// which is counted in the model's own file before anything is looked at; writes the result.
/// @throws Error if the data do not hold the model's images, the model was trained on them, or a
/// file cannot be written
Calibration calibrate(const CalibrateFlags& flags);

/// The same for a model that was made of the one in `flags.model` and is in no file yet; the result
/// goes to `flags.out`. A certificate is counted in `flags.model`, whose images it looks at.
Calibration calibrate(const CalibrateFlags& flags, ModelFile made);

}  // namespace offramp::cli
