#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/augment.h"
#include "graph/network.h"

namespace offramp {

enum class Optimizer { sgd, adamw };
/// Learning rate over the run. one_cycle: linear up to `lr` over `warmup` of the steps, then cosine
/// to 0. cosine: the same with a default of no warm-up. step: times `step_factor` every
/// `step_every` epochs.
enum class Schedule { one_cycle, cosine, step, constant };
/// Which parameters learn when (Kubaty et al., 2024). joint: everything, all the time.
/// frozen: the backbone stays as given (--from), only heads of early exits learn.
/// mixed: the backbone with its own classifier first (`backbone_epochs`), then everything.
enum class Mode { joint, frozen, mixed };
enum class PrecisionChoice { automatic, f32, bf16 };

struct DataRecipe {
  std::string source = "synthetic";
  int height = 0, width = 0;  ///< 0: the images' own
  Fit fit = Fit::squeeze;
  std::uint64_t split_seed = 1;  ///< of tune and certify
  /// [3] for red, green, blue of values from 0 to 1: what a starting network was trained with;
  /// empty: those of a starting model file, else of the training images
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
  double weight_decay = 5e-4;  ///< not on norms and biases
  Schedule schedule = Schedule::one_cycle;
  double warmup = 0.2;  ///< share of all steps; ignored by step and constant
  int step_every = 25;
  double step_factor = 0.5;
  /// Progressive resizing (EfficientNetV2, Tan & Le, 2021, section 4): the first epoch sees images
  /// at this scale, later ones at larger ones; 1: full size always.
  double first_scale = 1;
  double full_scale_at = 0.6;  ///< share of the epochs after which images have their full size
  double label_smoothing = 0;
  double ema = 0;  ///< decay per step of a running average of the weights; 0: none
  Mode mode = Mode::joint;
  int backbone_epochs = 0;           ///< mixed: epochs of the first phase, part of `epochs`
  std::vector<double> loss_weights;  ///< [K]; empty: all 1/K
  double distill =
      0;  ///< weight of KL(last exit ‖ early exit), Be Your Own Teacher (Zhang et al., 2019)
  double distill_temperature = 3;
  bool gradient_equilibrium = false;  ///< Li et al., ICCV 2019
  Augmentation augmentation;
  PrecisionChoice precision = PrecisionChoice::automatic;
  std::string device = "cpu";
  int threads = 0;              ///< 0: all cores
  double checkpoint_every = 0;  ///< minutes; 0: every epoch only
  std::string from;             ///< weights to start from; empty: random
};

/// All of a training run: what `config.toml` of a run folder holds.
struct Recipe {
  /// Its input size and number of classes are not part of the file: the data decide.
  NetworkSpec network;
  DataRecipe data;
  TrainRecipe train;
};

/// Reads a recipe. @throws UsageError "recipe.toml:14: unknown key "epoch"; did you mean
/// "epochs"?", and the like for wrong types, values out of range, options that do not go together
Recipe read_recipe(const std::filesystem::path& path);
Recipe parse_recipe(const std::string& text, const std::string& place);
/// Overrides one key, "train.epochs" or "epochs" = "3", checked as in a file. Flags go this way.
/// Quotes and brackets may be left out: "exits" = "2,45%". Setting another schedule brings that
/// schedule's default warm-up, as in a file.
/// @throws UsageError without a place, beginning with the key's full name
void set_key(Recipe& recipe, const std::string& key, const std::string& value);
/// Checks what concerns several keys, and that the network can be built.
/// @throws UsageError without a place, beginning with the key at fault where there is one
void check(const Recipe& recipe);
/// The complete recipe as TOML, defaults included: read_recipe gives the same Recipe back.
std::string to_toml(const Recipe& recipe);

}  // namespace offramp
