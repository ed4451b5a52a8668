#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/augment.h"
#include "graph/network_spec.h"

namespace offramp::recipe {

enum class Optimizer { sgd, adamw };
/// Learning rate over the run. one_cycle: increases linearly to `lr` over the share `warmup` of the
/// steps, then follows a cosine to 0. cosine: the same, with no warm-up by default. step:
/// multiplied by `step_factor` every `step_every` epochs. constant: always `lr`.
enum class Schedule { one_cycle, cosine, step, constant };
/// Which parameters are trained, and when (Kubaty et al., 2024). joint: all parameters, always.
/// frozen: only the heads of early exits; the backbone keeps its given weights (--from).
/// mixed: the backbone with its own classifier for `backbone_epochs`, then all parameters.
enum class Mode { joint, frozen, mixed };
enum class PrecisionChoice { automatic, f32, bf16 };
/// Whether the batch norms of several processes that train together use the images of all of them.
/// automatic: if a process has fewer than 64 images of a batch.
enum class SyncBatchNorm { automatic, on, off };

struct DataRecipe {
  std::string source = "synthetic";
  int height = 0, width = 0;  ///< input size in pixels; 0: the size of the images
  core::Fit fit = core::Fit::squeeze;
  std::uint64_t split_seed = 1;  ///< seed of the split into train, tune and certify
  /// [3] mean and standard deviation of red, green and blue, for pixel values scaled to [0, 1]: the
  /// values with which the weights to start from were trained. Empty: the values in the model file
  /// to start from if there is one, otherwise those of the training images.
  std::vector<float> mean, std;
};

struct TrainRecipe {
  int epochs = 20;
  int batch = 128;
  std::uint64_t seed = 1;
  Optimizer optimizer = Optimizer::sgd;
  double lr = 0.1;
  double momentum = 0.9;
  bool nesterov = true;
  /// Factor of the weight decay, not applied to normalisation parameters and biases.
  double weight_decay = 5e-4;
  Schedule schedule = Schedule::one_cycle;
  /// Share of all steps in which the rate increases; ignored by the schedules step and constant.
  double warmup = 0.2;
  int step_every = 25;
  double step_factor = 0.5;
  /// Progressive resizing (EfficientNetV2, Tan & Le, 2021, section 4): images of the first epoch
  /// are resized by this factor, and the factor grows with the epochs; 1: always full size.
  double first_scale = 1;
  double full_scale_at = 0.6;  ///< share of the epochs after which images have their full size
  double label_smoothing = 0;
  double ema = 0;  ///< decay per step of the exponential moving average of weights; 0: no average
  Mode mode = Mode::joint;
  int backbone_epochs = 0;  ///< epochs of the first phase of Mode::mixed, included in `epochs`
  std::vector<double> loss_weights;  ///< [K] weights of the exits' losses; empty: each is 1/K
  /// Weight of the distillation loss KL(last exit ‖ early exit) (Be Your Own Teacher, Zhang et al.,
  /// 2019).
  double distill = 0;
  double distill_temperature = 3;
  bool gradient_equilibrium = false;  ///< scales the gradients at exits as in Li et al., ICCV 2019
  data::Augmentation augmentation;
  PrecisionChoice precision = PrecisionChoice::automatic;
  std::string device = "cpu";
  SyncBatchNorm sync_batch_norm = SyncBatchNorm::automatic;
  int threads = 0;              ///< number of threads; 0: one for each core
  double checkpoint_every = 0;  ///< minutes between checkpoints; 0: only at the end of each epoch
  std::string from;             ///< path of the weights to start from; empty: random weights
};

/// Where the early exits of a network come from. `listed`: `network.exits` lists their places. The
/// others are written as one word, `exits = "auto"`, and take the backbone from the model file of
/// `train.from`, whatever `network.backbone` is:
enum class ExitPlaces {
  listed,
  every,      ///< an exit for each cut point and each kind in `network.heads`; only heads train
  from,       ///< the exits of that model, unchanged
  automatic,  ///< "auto": as every, then a few are chosen (`exits`), then the run continues with
              ///< them
};

/// How exits are chosen with `exits = "auto"`.
struct ExitsRecipe {
  int max_exits = 0;                 ///< largest number of early exits; 0: no limit
  double max_accuracy_drop = 0.005;  ///< a fraction of 1, as in policy::AccuracyDrop
  int head_epochs = 3;               ///< epochs in which the heads at all cut points are trained
};

/// All settings of a training run, which a run folder stores in `config.toml`.
struct Recipe {
  /// The input size and number of classes are not stored in the file: the data determine them.
  graph::NetworkSpec network;
  ExitsRecipe exits;
  DataRecipe data;
  TrainRecipe train;
};

/// Returns where the exits of a recipe come from.
ExitPlaces exit_places(const Recipe& recipe);

/// Reads a recipe from a TOML file.
/// @throws UsageError with path and line (`recipe.toml:14: unknown key "epoch"; did you mean
/// "epochs"?`) for an unknown key, a wrong type, a value out of range, or settings that cannot be
/// combined
Recipe read_recipe(const std::filesystem::path& path);
/// Reads a recipe from TOML text. @param place  the path that error messages begin with
Recipe parse_recipe(const std::string& text, const std::string& place);
/// Overrides one key, for example "train.epochs" or "epochs" with "3". The value is checked as in a
/// file. Quotes and brackets may be left out: "exits" with "2,45%". Changing the schedule also sets
/// the default warm-up of the new schedule, as in a file.
/// @throws UsageError that begins with the key's full name and has no path
void set_key(Recipe& recipe, const std::string& key, const std::string& value);
/// Returns the full name of a key: "train.epochs" for "epochs".
/// @throws UsageError if there is no such key
std::string full_key_name(const std::string& key);
/// Checks settings that depend on each other, and that the network can be built.
/// @throws UsageError without a path, which begins with the key at fault if it can be named
void check(const Recipe& recipe);
/// Returns the complete recipe as TOML, with defaults. Reading it gives an equal Recipe.
std::string to_toml(const Recipe& recipe);

}  // namespace offramp::recipe
