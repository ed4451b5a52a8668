#pragma once

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "recipe/recipe.h"
#include "train/run.h"
#include "workflow/calibrate.h"
#include "workflow/place_exits.h"
#include "workflow/progress.h"
#include "workflow/run_folder.h"

namespace offramp::train {

/// The files of a search for exits. Where one exists already, the search goes on from it.
class ExitsFolder {
 public:
  explicit ExitsFolder(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  /// The run that trains heads at all cut points.
  workflow::RunFolder heads() const { return workflow::RunFolder(whole().heads()); }
  /// The folder itself, whose lock a search holds. It has a config.toml if a recipe asked for the
  /// search, and no checkpoint.
  workflow::RunFolder whole() const { return workflow::RunFolder(path_); }
  /// Logits of all these heads on the tune images, from which the exits are chosen.
  std::filesystem::path tune_logits() const { return path_ / "tune-logits.safetensors"; }
  /// The network with the chosen exits and the heads of that run.
  std::filesystem::path chosen() const { return path_ / "chosen.safetensors"; }
  /// The run that trains this network as a whole, if that was asked for.
  workflow::RunFolder joint() const { return workflow::RunFolder(path_ / "joint"); }
  /// The result: the network with the chosen exits and its policy.
  std::filesystem::path model() const { return whole().model(); }
  std::filesystem::path json() const { return path_ / "exits.json"; }
  std::filesystem::path page() const { return path_ / "exits.html"; }

 private:
  std::filesystem::path path_;
};

/// Returns the recipe by which heads at all cut points of a model are trained: batch, augmentation
/// and split of the model's own recipe, AdamW, and a backbone that stays as it is.
/// @param model  path of a model file  @param label_free  learn from the network's own answers
recipe::Recipe recipe_of_heads(const std::filesystem::path& model, const std::string& data,
                               const std::vector<std::string>& kinds, bool label_free);

/// Returns the recipe by which a network with chosen exits is trained as a whole: the model's own
/// recipe, or the default one, for `epochs` epochs. @param model  the network before exits were
/// chosen
recipe::Recipe recipe_of_joint_training(const std::filesystem::path& model, const std::string& data,
                                        int epochs);

struct FindExitsRequest {
  std::filesystem::path model;       ///< a trained network; early exits it has are ignored
  std::string source;                ///< source of the images, as load_data() takes it
  data::LoadedData* data = nullptr;  ///< the training part; label-free, its labels are replaced
  ExitsFolder out{std::filesystem::path()};
  recipe::Recipe heads;                 ///< see recipe_of_heads()
  std::optional<recipe::Recipe> joint;  ///< no value: only the heads are trained
  /// The recipe that asked for the search, written to config.toml of the folder; no value: none.
  std::optional<recipe::Recipe> recipe;
  workflow::PlaceExitsOptions place;
  const std::atomic<bool>* stop = nullptr;  ///< if it becomes true, the training saves and returns
};

struct FoundExits {
  bool interrupted = false;  ///< true: a training was stopped, so there is no result yet
  workflow::ExitPlacement placement;
  double head_seconds = 0;  ///< time in which the heads were trained
  /// The policy of the result; no value if no early exit was chosen.
  std::optional<workflow::Calibration> calibration;
};

/// Checks, without reading images, that the folder of a request holds nothing but an earlier part
/// of the same search: heads and a training with the same settings, of the same network.
/// @throws UsageError if it holds something else
void check_exits_folder(const FindExitsRequest& request);

/// Trains heads at all cut points of a network, chooses exits from their logits on the tune images,
/// trains the network with them as a whole if asked to, and calibrates it for the same aim. An
/// interrupted call goes on where it was; a finished one trains nothing again, but chooses again,
/// for an aim that may be another. A guarantee is counted as a certificate of the given model if
/// any of its certify images is one of that model's.
/// @throws UsageError as check_exits_folder(); Error if there are too few certify images for a
/// guarantee or another process works in the folder, and as train(), place_exits() and calibrate()
FoundExits find_exits(const FindExitsRequest& request, const TrainEvents& events,
                      const workflow::Progress& progress);

}  // namespace offramp::train
