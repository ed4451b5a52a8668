#include "train/find_exits.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "graph/graph.h"
#include "model/model_file.h"
#include "policy/calibration.h"
#include "train/predictor.h"
#include "workflow/certificate_count.h"
#include "workflow/evaluate.h"
#include "workflow/open_model.h"
#include "workflow/provenance.h"

namespace offramp::train {
namespace {

namespace fs = std::filesystem;

/// The recipe that a model was trained with; the default one if it is not known.
recipe::Recipe own_recipe(const model::ModelFile& model, const fs::path& path) {
  const std::string text = workflow::training_details(model).recipe;
  if (text.empty()) return {};
  try {
    return recipe::parse_recipe(text, path.string());
  } catch (const Error&) {  // the recipe is of another version of the program
    return {};
  }
}

/// Returns a recipe with the settings that both trainings take from the model: split, size and
/// augmentation of the images.
recipe::Recipe base_recipe(const fs::path& path, const std::string& data) {
  const model::ModelFile model = model::map_model(path).model;
  recipe::Recipe recipe = own_recipe(model, path);
  recipe.network = {};
  recipe.data.source = data;
  recipe.data.height = model.preprocessing.height;
  recipe.data.width = model.preprocessing.width;
  recipe.data.fit = model.preprocessing.fit;
  recipe.data.mean.clear();
  recipe.data.std.clear();
  recipe.train.loss_weights.clear();
  recipe.train.backbone_epochs = 0;
  recipe.train.distill = 0;
  recipe.train.gradient_equilibrium = false;
  return recipe;
}

/// Sets the settings that may differ in a resumed run to fixed values, so that the others can be
/// compared.
recipe::Recipe without_machine(recipe::Recipe recipe) {
  const recipe::TrainRecipe other;
  recipe.data.source.clear();
  recipe.train.device = other.device;
  recipe.train.threads = other.threads;
  recipe.train.checkpoint_every = other.checkpoint_every;
  return recipe;
}

/// Whether the network with all heads has the same weights as the given one, apart from the heads.
bool has_same_network(const fs::path& with_heads, const fs::path& given) {
  const model::MappedModel heads = model::map_model(with_heads), own = model::map_model(given);
  const int last = graph::exit_segments(heads.model.graph).back();
  const std::vector<graph::Parameter> of_own = graph::parameters(own.model.graph);
  return std::ranges::all_of(graph::parameters(heads.model.graph), [&](const auto& p) {
    if (p.in_head && p.segment != last) return true;
    return std::ranges::find(of_own, p.name, &graph::Parameter::name) != of_own.end() &&
           heads.weights_of(p.name) == own.weights_of(p.name);
  });
}

void check_settings(const recipe::Recipe& recipe, const workflow::RunFolder& folder,
                    const char* what) {
  if (!fs::exists(folder.checkpoint())) return;
  if (to_toml(without_machine(recipe::read_recipe(folder.config()))) !=
      to_toml(without_machine(recipe)))
    throw UsageError(fmt::format(
        "out: {} holds {} with other settings; give those of its config.toml, or choose another "
        "folder",
        folder.path().string(), what));
}

/// The recipe for training the whole network, starting from the chosen exits.
recipe::Recipe recipe_of_whole(const FindExitsRequest& request) {
  recipe::Recipe recipe = *request.joint;
  recipe.train.from = request.out.chosen().string();
  return recipe;
}

class Finder {
 public:
  Finder(const FindExitsRequest& request, const TrainEvents& events,
         const workflow::Progress& progress)
      : request_(request), events_(events), progress_(progress) {}

  FoundExits run() {
    FoundExits result;
    std::error_code ignored;
    fs::create_directories(request_.out.path(), ignored);
    const core::FileLock lock = request_.out.whole().lock();
    check_exits_folder(request_);
    splits_ = data::split_training(request_.data->dataset, request_.heads.data.split_seed);
    if (const auto* aim = std::get_if<policy::HarmGuarantee>(&request_.place.aim))
      check_certify_images(*aim);
    if (request_.recipe)
      core::write_text_atomic(request_.out.whole().config(), to_toml(*request_.recipe));
    if (request_.place.label_free) use_own_answers();
    result.interrupted = true;
    if (!train_heads()) return result;
    model::ModelFile heads = model::load_model(request_.out.heads().last());
    result.head_seconds = workflow::training_details(heads).seconds.value_or(0);
    const eval::SavedLogits logits = tune_logits(heads);
    result.placement = workflow::place_exits(heads, logits, request_.place, progress_);
    model::ModelFile chosen = workflow::with_chosen_exits(heads, result.placement);
    if (result.placement.chosen.set.empty()) {
      model::save_model(request_.out.model(), chosen);
      result.interrupted = false;
      return result;
    }
    if (request_.joint) {
      if (!train_jointly(chosen)) return result;
      chosen = model::load_model(request_.out.joint().model());
    }
    result.calibration = calibrate(std::move(chosen));
    result.interrupted = false;
    return result;
  }

 private:
  /// Checks that a guarantee could be certified, before hours of training.
  void check_certify_images(const policy::HarmGuarantee& aim) const {
    std::vector<std::int64_t> certify = splits_->certify;
    workflow::leave_out_copies(request_.data->dataset, certify);
    model::ModelFile with_parts;
    for (const std::int64_t i : certify)
      with_parts.provenance.data.certify.push_back(
          request_.data->dataset.hashes[static_cast<std::size_t>(i)]);
    std::ranges::sort(with_parts.provenance.data.certify);
    int earlier = 0;
    for (const fs::path& file : {request_.model, request_.out.heads().last()}) {
      if (!fs::exists(file)) continue;
      const model::ModelFile counted = model::map_model(file).model;
      if (workflow::share_certify_images(counted, with_parts))
        earlier = std::max(earlier, counted.certificates);
    }
    const policy::CertificationResult needed =
        policy::prepare_certification(policy::never_stop(2), aim, std::ssize(certify), earlier + 1);
    if (!needed.has_enough_images())
      throw Error(fmt::format("{}: for {}, {} certify images are too few, {} are needed",
                              request_.source, policy::describe_bounds(aim), needed.images,
                              needed.images_needed));
  }

  /// Replaces the labels of the images to train and to tune on by the network's answers. The
  /// certify images are not run; nothing reads their labels. The images were split before, by the
  /// labels that they had, so that the network's own tune and certify images stay what they are.
  void use_own_answers() {
    data::Dataset& set = request_.data->dataset;
    const auto model = workflow::open_model(request_.model, request_.place.run, progress_);
    const core::Preprocessing preprocessing = model->file().preprocessing;
    std::vector<std::int64_t> indices = splits_->train;
    indices.insert(indices.end(), splits_->tune.begin(), splits_->tune.end());
    const workflow::StoppedAnswers last = workflow::run_with_policy(
        *model, {&set, indices, &preprocessing}, policy::never_stop(model->num_exits()), progress_);
    std::ranges::fill(set.labels, 0);
    for (std::size_t i = 0; i < indices.size(); ++i)
      set.labels[static_cast<std::size_t>(indices[i])] = last.answers[i];
    set.classes = model->file().classes;
  }

  bool train(const recipe::Recipe& recipe, const workflow::RunFolder& folder) {
    TrainRequest training;
    training.recipe = recipe;
    training.data = request_.data;
    training.splits = splits_;
    training.run = folder.path();
    training.resume = fs::exists(folder.checkpoint());
    training.stop = request_.stop;
    return train::train(training, events_) != TrainOutcome::interrupted;
  }

  bool train_heads() { return train(request_.heads, request_.out.heads()); }

  bool train_jointly(const model::ModelFile& chosen) {
    const workflow::RunFolder folder = request_.out.joint();
    if (fs::exists(folder.checkpoint()) &&
        model::map_model(folder.checkpoint()).model.graph != chosen.graph)
      throw UsageError(
          fmt::format("out: {} holds the training of a network with other exits; choose another "
                      "folder",
                      folder.path().string()));
    model::save_model(request_.out.chosen(), chosen);
    return train(recipe_of_whole(request_), folder);
  }

  /// The logits of all heads on the tune images, which are also written to a file.
  eval::SavedLogits tune_logits(const model::ModelFile& heads) {
    const data::Dataset& set = request_.data->dataset;
    const auto listed =
        workflow::find_listed_images(request_.out.heads().last(), heads, set,
                                     heads.provenance.data.tune, "tune", request_.source);
    TorchPredictorOptions options;
    options.threads = request_.heads.train.threads;
    options.device = request_.heads.train.device;
    const auto predictor = make_torch_predictor(heads, options);
    eval::SavedLogits logits = workflow::run_all_exits(
        *predictor, {&set, listed.indices, &heads.preprocessing}, progress_);
    for (std::size_t k = 0; k + 1 < heads.graph.segments.size(); ++k)
      logits.metadata[fmt::format("exit {}", k + 1)] =
          fmt::format("{} after {}", request_.place.kinds[k % request_.place.kinds.size()],
                      heads.graph.segments[k].name);
    eval::save_logits(request_.out.tune_logits(), logits);
    return logits;
  }

  /// Counts the attempt to certify in the given model, whose certify images are used, and in the
  /// model with all heads. @return the number of the attempt, from 1
  int count_attempt(const policy::HarmGuarantee& aim, const model::ModelFile& chosen) {
    const auto images = static_cast<std::int64_t>(chosen.provenance.data.certify.size());
    const auto may_count = [&](const model::ModelFile&, int use) {
      return policy::prepare_certification(policy::never_stop(2), aim, images, use)
          .has_enough_images();
    };
    int attempt = chosen.certificates + 1;
    const auto count_in = [&](const fs::path& file) {
      attempt = workflow::count_certify_use(file, attempt - 1, may_count).value_or(attempt);
    };
    const model::ModelFile own = model::map_model(request_.model).model;
    if (workflow::share_certify_images(own, chosen))
      count_in(request_.model);
    else if (own.provenance.data.certify.empty())
      progress_.remark(fmt::format(
          "{} lists no certify images, so attempts to certify are counted in {} alone; attempts in "
          "another folder are not known here",
          request_.model.string(), request_.out.path().string()));
    count_in(request_.out.heads().last());
    return attempt;
  }

  workflow::Calibration calibrate(model::ModelFile chosen) {
    if (const auto* aim = std::get_if<policy::HarmGuarantee>(&request_.place.aim))
      chosen.certificates = count_attempt(*aim, chosen) - 1;
    chosen.policy.reset();
    model::save_model(request_.out.model(), chosen);
    workflow::CalibrateOptions options;
    options.model = request_.out.model();
    options.data = request_.source;
    options.shape.criterion = request_.place.criterion;
    options.aim = request_.place.aim;
    options.label_free = request_.place.label_free;
    if (auto* harm = std::get_if<policy::HarmGuarantee>(&options.aim))
      harm->label_free = options.label_free;
    options.run = request_.place.run;
    return workflow::calibrate(options, progress_);
  }

  const FindExitsRequest& request_;
  const TrainEvents& events_;
  const workflow::Progress& progress_;
  std::optional<data::Splits> splits_;
};

}  // namespace

recipe::Recipe recipe_of_heads(const fs::path& model, const std::string& data,
                               const std::vector<std::string>& kinds, bool label_free) {
  recipe::Recipe recipe = base_recipe(model, data);
  recipe.network.exits = {"every"};
  recipe.network.heads = kinds;
  recipe::TrainRecipe& train = recipe.train;
  train.epochs = recipe.exits.head_epochs;
  train.mode = recipe::Mode::frozen;
  train.from = model.string();
  // The scale of the features differs between places. AdamW's steps do not depend on it.
  train.optimizer = recipe::Optimizer::adamw;
  train.lr = 0.002;
  train.weight_decay = 0.01;
  train.schedule = recipe::Schedule::one_cycle;
  train.warmup = 0.1;
  train.first_scale = 1;
  train.ema = 0;
  train.label_smoothing = 0;
  train.distill = label_free ? 1 : 0;
  return recipe;
}

recipe::Recipe recipe_of_joint_training(const fs::path& model, const std::string& data,
                                        int epochs) {
  recipe::Recipe recipe = base_recipe(model, data);
  recipe.network.exits = {"from"};
  recipe.train.from = model.string();
  recipe.train.epochs = epochs;
  recipe.train.mode = recipe::Mode::joint;
  return recipe;
}

void check_exits_folder(const FindExitsRequest& request) {
  const ExitsFolder& out = request.out;
  const bool has_heads = fs::exists(out.heads().checkpoint());
  if (fs::exists(out.whole().checkpoint()) || (fs::exists(out.model()) && !has_heads))
    throw UsageError(fmt::format("out: {} holds another run or model; choose another folder",
                                 out.path().string()));
  check_settings(request.heads, out.heads(), "heads that were trained");
  if (has_heads && !has_same_network(out.heads().checkpoint(), request.model))
    throw UsageError(
        fmt::format("out: {} holds heads of a network with other weights than {}; choose another "
                    "folder",
                    out.heads().path().string(), request.model.string()));
  if (request.joint) check_settings(recipe_of_whole(request), out.joint(), "a training");
}

FoundExits find_exits(const FindExitsRequest& request, const TrainEvents& events,
                      const workflow::Progress& progress) {
  return Finder(request, events, progress).run();
}

}  // namespace offramp::train
