#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cli/calibration.h"
#include "core/error.h"
#include "core/file.h"
#include "core/random.h"
#include "data/dataset.h"
#include "graph/build.h"
#include "model/model_file.h"
#include "runtime/kernels_name.h"
#include "tests/cli/program.h"

namespace offramp::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kSide = 4;  // of the images
constexpr std::size_t kTrain = 50, kTune = 400, kCertify = 800;

/// What an image shows: exit k reads channel k, below 0 is "cat" and above "dog". The last channel
/// is dark at the top and light at the bottom of a dog, which only a reference model sees.
struct Scene {
  std::array<float, 3> means{};  // in [-1, 1]
  std::int64_t label = 0;
};

/// Half of the scenes are easy; the others deceive exit 1 often, exit 2 less, exit 3 seldom.
Scene scene(std::uint64_t index) {
  KeyedRandom random(1, index);
  Scene result;
  result.label = random.flip() ? 1 : 0;
  const float sign = result.label == 1 ? 1.0f : -1.0f;
  const float hard = random.flip() ? 0.0f : random.uniform();
  constexpr std::array kReach = {2.0f, 1.6f, 1.3f};
  for (std::size_t k = 0; k < 3; ++k)
    result.means[k] = sign * 0.7f * (1 - kReach[k] * hard * random.uniform());
  return result;
}

void add(Dataset& data, const Scene& shown) {
  KeyedRandom random(2, static_cast<std::uint64_t>(data.size()));
  std::vector<std::uint8_t> pixels;
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x)
      for (std::size_t c = 0; c < 3; ++c) {
        const float sign = shown.label == 1 ? 1.0f : -1.0f;
        const float shade = c < 2 ? 0 : y < kSide / 2 ? -0.2f * sign : 0.2f * sign;
        const float value = shown.means[c] + shade + random.uniform(-0.02f, 0.02f);
        pixels.push_back(
            static_cast<std::uint8_t>(std::clamp(127.5f * (value + 1) + 0.5f, 0.0f, 255.0f)));
      }
  data.pixels.insert(data.pixels.end(), pixels.begin(), pixels.end());
  data.labels.push_back(shown.label);
  data.names.push_back("scene " + std::to_string(data.size()));
  data.hashes.push_back(image_hash(kSide, kSide, pixels));
}

LoadedData empty_data() {
  LoadedData loaded;
  loaded.dataset.height = loaded.dataset.width = kSide;
  loaded.dataset.classes = {"cat", "dog"};
  loaded.source = "scenes";
  loaded.sizes.add(kSide, kSide);
  return loaded;
}

/// Three segments of one convolution that changes nothing; exit k reads channel k.
Graph three_eyes() {
  Graph graph{"three_eyes", {3, kSide, kSide}, 2, {}};
  std::string x(kInput);
  for (int k = 1; k <= 3; ++k) {
    const std::string number = std::to_string(k);
    std::vector<Node> nodes;
    x = append(nodes, "conv" + number, Conv{.out_channels = 3}, {x});
    Segment segment = unit("part" + number, nodes);
    if (k == 3) {
      append_classifier(segment.head, x, 2);
    } else {
      append(segment.head, "exits." + number + ".pool", GlobalAvgPool{}, {x});
      append(segment.head, "exits." + number + ".fc", Linear{.out_features = 2},
             {"exits." + number + ".pool"});
    }
    graph.segments.push_back(segment);
  }
  return graph;
}

ModelFile three_eyed_model() {
  ModelFile model;
  model.graph = three_eyes();
  for (int k = 1; k <= 3; ++k) {
    const std::string number = std::to_string(k);
    model.weights["conv" + number + ".weight"] =
        HostTensor::of({3, 3, 1, 1}, std::vector<float>{1, 0, 0, 0, 1, 0, 0, 0, 1});
    const std::string head = k == 3 ? "fc" : "exits." + number + ".fc";
    std::vector<float> eye(6);
    eye[static_cast<std::size_t>(k - 1)] = -5;
    eye[static_cast<std::size_t>(k + 2)] = 5;
    model.weights[head + ".weight"] = HostTensor::of({2, 3}, eye);
    model.weights[head + ".bias"] = HostTensor::of({2}, std::vector<float>(2));
  }
  model.classes = {"cat", "dog"};
  model.preprocessing = {kSide, kSide, Fit::squeeze, {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}};
  model.loss_weights = {0.2, 0.3, 0.5};
  return model;
}

/// Names every image rightly: it sees how the last channel is shaded.
ModelFile all_seeing_model() {
  ModelFile model = three_eyed_model();
  model.graph.segments.resize(1);
  Segment& only = model.graph.segments[0];
  only.outputs.clear();
  only.head.clear();
  append(only.head, "flat", Flatten{}, {"conv1"});
  append(only.head, "fc", Linear{.out_features = 2}, {"flat"});
  std::vector<float> shades(2 * 48);
  for (std::size_t i = 0; i < 16; ++i) shades[48 + 32 + i] = i < 8 ? -1.0f : 1.0f;
  model.weights = {{"conv1.weight", model.weights.at("conv1.weight")},
                   {"fc.weight", HostTensor::of({2, 48}, shades)},
                   {"fc.bias", HostTensor::of({2}, std::vector<float>(2))}};
  model.loss_weights = {1};
  return model;
}

std::vector<std::uint64_t> sorted_part(const Dataset& data, std::size_t first, std::size_t count) {
  const auto begin = data.hashes.begin() + static_cast<std::ptrdiff_t>(first);
  std::vector<std::uint64_t> hashes(begin, begin + static_cast<std::ptrdiff_t>(count));
  std::ranges::sort(hashes);
  return hashes;
}

/// A model of known manners, its data, and the program.
class Calibrate : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    for (std::uint64_t i = 0; i < kTrain + kTune + kCertify; ++i) add(train.dataset, scene(i));
    for (std::uint64_t i = 0; i < 100; ++i) add(test_images.dataset, scene(10'000 + i));
    // Others for certify, which exits 1 and 2 take for their opposite.
    trap = empty_data();
    for (std::uint64_t i = 0; i < kTrain + kTune + kCertify; ++i) {
      Scene shown = scene(i);
      if (i >= kTrain + kTune) shown.means[0] = shown.means[1] = shown.label == 1 ? -1.0f : 1.0f;
      add(trap.dataset, shown);
    }
    shared = std::make_unique<TemporaryFolder>();
    write_packed(data(), train, test_images);
    write_packed(trap_data(), trap, test_images);
  }
  static void TearDownTestSuite() { shared.reset(); }
  static std::string data() { return shared->path() / "scenes.pack"; }
  static std::string trap_data() { return shared->path() / "trap.pack"; }

  Calibrate() {
    split(train);
    save();
  }

  void split(const LoadedData& images) {
    model.provenance.data = {"scenes", sorted_part(images.dataset, 0, kTrain),
                             sorted_part(images.dataset, kTrain, kTune),
                             sorted_part(images.dataset, kTrain + kTune, kCertify)};
  }

  void save() { save_model(path, model); }

  Ended run(std::vector<std::string> flags, const std::string& images = data()) const {
    flags.insert(flags.begin(), {"calibrate", path, "--data", images, "--threads", "1"});
    return offramp(flags);
  }

  json calibrated(std::vector<std::string> flags, const std::string& images = data()) const {
    flags.emplace_back("--json");
    const Ended ended = run(std::move(flags), images);
    EXPECT_EQ(ended.status, 0) << ended.err;
    return ended.status == 0 ? json::parse(ended.out) : json();
  }

  /// What `offramp test` says of a part of the model's own images.
  json tested(const std::string& part, const std::string& file = {}) const {
    const Ended ended = offramp({"test", file.empty() ? path : file, "--data", data(), "--part",
                                 part, "--json", "--threads", "1"});
    EXPECT_EQ(ended.status, 0) << ended.err;
    return ended.status == 0 ? json::parse(ended.out) : json();
  }

  void expect_refused(const std::vector<std::string>& flags, const std::string& message,
                      int status = 1, const std::string& images = data()) {
    const std::string before = read_text(path);
    const Ended ended = run(flags, images);
    EXPECT_EQ(ended.status, status) << testing::PrintToString(flags);
    EXPECT_EQ(ended.err, "offramp: " + message + "\n");
    EXPECT_EQ(ended.out, "");
    EXPECT_EQ(read_text(path), before);
  }

  static inline LoadedData train = empty_data(), test_images = empty_data(), trap;
  static inline std::unique_ptr<TemporaryFolder> shared;
  TemporaryFolder folder;
  ModelFile model = three_eyed_model();
  std::string path = folder.path() / "model.safetensors";
  std::string out = folder.path() / "out.safetensors";
};

cli::CalibrateFlags with(const std::function<void(cli::CalibrateFlags&)>& edit) {
  cli::CalibrateFlags flags;
  edit(flags);
  return flags;
}

TEST(CalibrateFlags, ThatMakeNoSenseAreRefused) {
  const std::string one_aim =
      "calibrate: give one of --threshold, --max-accuracy-drop, --max-cost and --guarantee, got ";
  const std::string drop =
      "--max-accuracy-drop: expected a fraction of 1 (0.005 is half a point), ";
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const struct {
    cli::CalibrateFlags flags;
    std::string message;
  } cases[] = {
      {with([](auto&) {}), one_aim + "none"},
      {with([&](auto& f) {
         f.threshold = 0.5;
         f.max_cost = 1;
       }),
       one_aim + "2"},
      {with([&](auto& f) { f.threshold = 1.5; }),
       "--threshold: expected a score from 0 to 1, got 1.5"},
      {with([&](auto& f) { f.threshold = -0.1; }),
       "--threshold: expected a score from 0 to 1, got -0.1"},
      {with([&](auto& f) { f.threshold = nan; }),
       "--threshold: expected a score from 0 to 1, got nan"},
      {with([&](auto& f) {
         f.criterion = "patience";
         f.threshold = 1.5;
       }),
       "--threshold: expected a number of exits that agree, from 1, got 1.5"},
      {with([&](auto& f) {
         f.criterion = "patience";
         f.threshold = 0;
       }),
       "--threshold: expected a number of exits that agree, from 1, got 0"},
      {with([&](auto& f) { f.max_accuracy_drop = 5; }), drop + "got 5"},
      {with([&](auto& f) { f.max_accuracy_drop = -0.01; }), drop + "got -0.01"},
      {with([&](auto& f) { f.max_cost = 0; }),
       "--max-cost: expected a relative cost above 0, got 0"},
      {with([&](auto& f) { f.max_cost = infinity; }),
       "--max-cost: expected a relative cost above 0, got inf"},
      {with([&](auto& f) { f.guarantee = 1; }),
       "--guarantee: expected a rate between 0 and 1, got 1"},
      {with([&](auto& f) { f.guarantee = 0; }),
       "--guarantee: expected a rate between 0 and 1, got 0"},
      {with([&](auto& f) {
         f.guarantee = 0.01;
         f.delta = 0;
       }),
       "--delta: expected a probability between 0 and 1, got 0"},
      {with([&](auto& f) {
         f.max_cost = 1;
         f.delta = 0.1;
       }),
       "--delta: is for --guarantee only"},
      {with([&](auto& f) {
         f.max_cost = 1;
         f.label_free = true;
       }),
       "--label-free: is for --guarantee only"},
      {with([&](auto& f) {
         f.max_cost = 1;
         f.per_class = true;
       }),
       "--per-class: is for --guarantee only"},
      {with([&](auto& f) {
         f.reference = "other";
         f.max_cost = 1;
       }),
       "--reference: is for --max-accuracy-drop only"},
      {with([&](auto& f) {
         f.criterion = "margins";
         f.max_cost = 1;
       }),
       R"(unknown criterion "margins"; did you mean "margin"?)"},
      {with([&](auto& f) {
         f.ensemble = "all";
         f.max_cost = 1;
       }),
       R"(unknown ensemble "all"; known: off, mean, geometric, weighted)"},
  };
  for (const auto& one : cases)
    EXPECT_THAT([&] { cli::check(one.flags); }, testing::ThrowsMessage<UsageError>(one.message));
}

TEST_F(Calibrate, RefusesToCertifyKernelsThatAMachineChooses) {
  expect_refused({"--guarantee", "0.05", "--tune"},
                 "--tune: excludes --guarantee: which kernels a machine chooses, and with them the "
                 "logits, is not certain",
                 2);
}

TEST(CalibrateFlags, AreKeptAsTheAim) {
  const auto aim_text = [](const cli::CalibrateFlags& flags) { return describe(aim_of(flags)); };
  EXPECT_EQ(aim_text(with([&](auto& f) { f.threshold = 0.9; })), "--threshold 0.9");
  EXPECT_EQ(aim_text(with([&](auto& f) {
              f.reference = "runs/plain.safetensors";
              f.max_accuracy_drop = 0.005;
            })),
            "--max-accuracy-drop 0.005 --reference plain.safetensors");
  // A name that no JSON text can hold.
  EXPECT_EQ(aim_text(with([&](auto& f) {
              f.reference = "a\xff";
              f.max_accuracy_drop = 0;
            })),
            "--max-accuracy-drop 0 --reference ?");
  EXPECT_EQ(aim_text(with([&](auto& f) {
              f.cost = "ms";
              f.max_cost = 0.5;
            })),
            "--max-cost 0.5 --cost ms");
  EXPECT_EQ(aim_text(with([&](auto& f) { f.guarantee = 0.01; })), "--guarantee 0.01 --delta 0.05");
  EXPECT_EQ(aim_text(with([&](auto& f) {
              f.guarantee = 0.01;
              f.delta = 0.1;
              f.label_free = true;
            })),
            "--guarantee 0.01 --delta 0.1 --label-free");
}

TEST_F(Calibrate, ExitsWithTwoOnWrongUsage) {
  expect_refused({},
                 "calibrate: give one of --threshold, --max-accuracy-drop, --max-cost and "
                 "--guarantee, got none",
                 2);
  expect_refused({"--max-cost", "1", "--out", data()},
                 "--out: " + data() + " is what is read, it must not be written over", 2);
  expect_refused(
      {"--max-costs", "1"},
      R"(unexpected flag "--max-costs"; did you mean "--max-cost"?; see offramp calibrate --help)",
      2);
}

TEST_F(Calibrate, RefusesFilesItCannotUseBeforeItRuns) {
  const std::string nowhere = folder.path() / "nowhere" / "out.safetensors";
  expect_refused({"--max-cost", "1", "--out", nowhere},
                 nowhere + ": cannot write: No such file or directory");
  expect_refused({"--max-accuracy-drop", "0", "--reference", nowhere},
                 nowhere + ": cannot open: No such file or directory");
  model = all_seeing_model();
  split(train);
  save();
  expect_refused({"--max-cost", "1"}, path + ": has no early exit, so there is nothing to choose");
}

TEST_F(Calibrate, RefusesImagesThatCannotJudgeTheModel) {
  const std::uint64_t tune = model.provenance.data.tune[3];
  model.provenance.data.train = {tune};
  save();
  Ended ended = run({"--max-cost", "1"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.err, HasSubstr(path + ": the model was trained on 1 of these 400 images"));
  EXPECT_TRUE(is_one_line(ended.err)) << ended.err;

  split(train);
  model.provenance.data.certify = model.provenance.data.tune;
  save();
  expect_refused({"--guarantee", "0.05"},
                 path +
                     ": 400 images are both in its tune and its certify part: what was chosen "
                     "on them cannot be certified on them");
  model.provenance.data = {};
  save();
  expect_refused({"--max-cost", "1"},
                 path + ": the model does not say which images are its tune part");
}

TEST_F(Calibrate, RefusesACertificateOfWhichNothingIsLeft) {
  model.certificates = 300;
  save();
  expect_refused({"--guarantee", "0.05"},
                 path +
                     ": 300 certificates were drawn from its certify images: nothing of delta "
                     "0.05 is left");
}

TEST_F(Calibrate, ChoosesOnTuneWhatTestThenFollows) {
  const json result = calibrated({"--max-accuracy-drop", "0.02"});
  EXPECT_EQ(result["met"], true);
  const json& tune = result["tune"];
  EXPECT_EQ(tune["images"], kTune);
  EXPECT_EQ(tune["executed"], false);
  EXPECT_GE(tune["accuracy"], static_cast<double>(tune["accuracy_of_last_exit"]) - 0.02);
  EXPECT_GE(tune["held_out_accuracy"], static_cast<double>(tune["accuracy_of_last_exit"]) - 0.02);
  EXPECT_LT(tune["relative_cost"], 0.9);  // else nothing is tested here

  const json test = tested("tune"), policy = test["policy"];
  EXPECT_EQ(policy["from"], "model");
  EXPECT_EQ(policy["aim"], "--max-accuracy-drop 0.02");
  EXPECT_EQ(policy["executed"], true);
  EXPECT_EQ(policy["replay_differs"], 0);
  for (const char* key : {"criterion", "ensemble", "thresholds"})
    EXPECT_EQ(policy[key], result[key]) << key;
  for (const char* key :
       {"accuracy", "accuracy_interval", "relative_cost", "shares", "harm", "help"})
    EXPECT_EQ(policy[key], tune[key]) << key;
  EXPECT_TRUE(policy["guarantee"].is_null());
  EXPECT_EQ(test["exits"][2]["accuracy"], tune["accuracy_of_last_exit"]);
  EXPECT_EQ(test["exits"][1]["relative_cost"], result["relative_costs"][1]);
  EXPECT_EQ(test["controls"].size(), 5u);

  const std::optional<ExitsSeen> seen = load_model(path).policy->seen;
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->images, kTune);
  EXPECT_EQ(json(seen->shares), tune["shares"]);
}

TEST_F(Calibrate, ChangesNothingButThePolicy) {
  const Tensors state = {{"optimiser.step", HostTensor::of({1}, std::vector<std::int64_t>{7})}};
  model.provenance.details_json = R"({"seed":3})";
  model.certificates = 2;
  save_model(path, model, state);
  calibrated({"--max-cost", "0.7"});
  calibrated({"--threshold", "0.8", "--out", out});
  for (const std::string& file : {path, out}) {
    Tensors extra;
    const ModelFile after = load_model(file, &extra);
    EXPECT_EQ(after.graph, model.graph);
    EXPECT_EQ(after.weights, model.weights);
    EXPECT_EQ(extra, state);
    EXPECT_EQ(after.preprocessing, model.preprocessing);
    EXPECT_EQ(after.loss_weights, model.loss_weights);
    EXPECT_EQ(after.provenance.data.tune, model.provenance.data.tune);
    EXPECT_EQ(after.provenance.details_json, model.provenance.details_json);
    EXPECT_EQ(after.certificates, 2);
  }
  EXPECT_EQ(load_model(path).policy->aim, Aim(MaxCost{0.7}));
  EXPECT_EQ(load_model(out).policy->aim, Aim(FixedThreshold{0.8}));
}

TEST_F(Calibrate, TakesEveryCriterionAndEnsemble) {
  const std::vector<std::array<std::string, 3>> cases = {{"confidence", "geometric", "0.8"},
                                                         {"entropy", "mean", "0.5"},
                                                         {"margin", "weighted", "0.8"},
                                                         {"patience", "off", "2"}};
  for (const auto& [criterion, ensemble, threshold] : cases) {
    SCOPED_TRACE(criterion);
    const json result =
        calibrated({"--threshold", threshold, "--criterion", criterion, "--ensemble", ensemble});
    const Policy policy = load_model(path).policy->policy;
    EXPECT_EQ(to_string(policy.criterion), criterion);
    EXPECT_EQ(to_string(policy.ensemble), ensemble);
    EXPECT_THAT(policy.thresholds, Each(std::optional(std::stof(threshold))));
    EXPECT_EQ(result["shared_threshold"], true);
    EXPECT_EQ(result["ensemble_weights"].size(), ensemble == "weighted" ? 3u : 0u);
    for (const float temperature : policy.temperatures) EXPECT_NE(temperature, 1);
    if (criterion != "margin") continue;  // one that really stops is enough
    const json test = tested("tune")["policy"];
    EXPECT_EQ(test["accuracy"], result["tune"]["accuracy"]);
    EXPECT_EQ(test["shares"], result["tune"]["shares"]);
  }
}

TEST_F(Calibrate, KeepsToABudgetAndSaysWhereItCannot) {
  const json result = calibrated({"--max-cost", "0.6"});
  EXPECT_EQ(result["met"], true);
  EXPECT_LE(result["tune"]["relative_cost"], 0.6);
  EXPECT_TRUE(result["tune"]["held_out_accuracy"].is_null());
  // What it buys: exit 1 alone, for 0.342, is right for fewer.
  EXPECT_GT(result["tune"]["accuracy"], tested("tune")["exits"][0]["accuracy"]);
  // Exit 1 for every image is the cheapest there is: 150 of 438 multiply-accumulates.
  const Ended text = run({"--max-cost", "0.3", "--ensemble", "weighted"});
  EXPECT_EQ(text.status, 0);
  EXPECT_THAT(text.out, AllOf(HasSubstr("the aim cannot be met on tune: the cheapest there is, "
                                        "exit 1 for every image, costs 0.342; every image goes to "
                                        "the last exit\n"),
                              HasSubstr("replaces the policy chosen by --max-cost 0.6\n")));
  EXPECT_THAT(load_model(path).policy->policy.thresholds, Each(std::optional<float>()));
  // The last exit itself: an ensemble of all may be worse.
  EXPECT_EQ(load_model(path).policy->policy.ensemble, Ensemble::off);
}

TEST_F(Calibrate, MeasuresTheDropFromAnotherModelIfAsked) {
  ModelFile reference = all_seeing_model();
  const std::string other = folder.path() / "all_seeing.safetensors";
  reference.provenance.data = {"scenes", {}, {}, {}};
  save_model(other, reference);
  const json unmet = calibrated({"--max-accuracy-drop", "0", "--reference", other});
  EXPECT_EQ(unmet["met"], false);
  EXPECT_EQ(unmet["aim"], "--max-accuracy-drop 0 --reference all_seeing.safetensors");
  EXPECT_LT(unmet["tune"]["accuracy"], 1);
  const double missed = 1 - static_cast<double>(unmet["tune"]["accuracy"]);
  const json met =
      calibrated({"--max-accuracy-drop", std::to_string(missed + 0.01), "--reference", other});
  EXPECT_EQ(met["met"], true);
  EXPECT_GE(met["tune"]["accuracy"], 1 - (missed + 0.01) - 1e-6);

  reference.provenance.data.train = model.provenance.data.tune;
  save_model(other, reference);
  const Ended ended = run({"--max-accuracy-drop", "0.01", "--reference", other});
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.err, HasSubstr(other + ": the model was trained on 400 of these 400 images"));
}

TEST_F(Calibrate, CertifiesOnceAndTestsEveryFurtherAttemptMoreStrictly) {
  const json first = calibrated({"--guarantee", "0.05", "--delta", "0.1", "--per-class"});
  const json& given = first["guarantee"];
  EXPECT_EQ(first["met"], true);
  EXPECT_EQ(given["certified"], true);
  EXPECT_EQ(given["attempt"], 1);
  EXPECT_DOUBLE_EQ(given["level"], 0.09);
  EXPECT_EQ(given["images"], kCertify);
  EXPECT_EQ(given["missing"], 0);
  EXPECT_LE(given["upper_bound"], 0.05);
  EXPECT_GT(given["counted"], 0);
  EXPECT_TRUE(given["worst_class"]["class"] == "cat" || given["worst_class"]["class"] == "dog");
  EXPECT_GT(given["worst_class"]["upper_bound"], given["upper_bound"]);
  ModelFile after = load_model(path);
  EXPECT_EQ(after.certificates, 1);
  const Guarantee kept = *after.policy->guarantee;
  EXPECT_EQ(kept, (Guarantee{"harm", 0.05, 0.1, given["level"], kCertify, given["counted"],
                             given["upper_bound"], "f32", kernels_name()}));
  // A server finds the more careful certified steps in the file.
  ASSERT_TRUE(after.policy->path.has_value());
  const CertifiedPath& steps = *after.policy->path;
  ASSERT_GT(steps.chosen, 0u);
  EXPECT_EQ(steps.steps[steps.chosen].counted, given["counted"]);
  EXPECT_EQ(steps.steps[steps.chosen].thresholds, after.policy->policy.thresholds);
  EXPECT_NEAR(steps.steps[steps.chosen].accuracy, first["tune"]["accuracy"], 1e-12);
  EXPECT_NEAR(steps.steps[steps.chosen].relative_cost, first["tune"]["relative_cost"], 1e-12);
  // The count is that of a run that really stops.
  const json certify = tested("certify")["policy"];
  EXPECT_NEAR(certify["harm"], static_cast<double>(given["counted"]) / kCertify, 1e-12);
  EXPECT_EQ(certify["guarantee"]["epsilon"], 0.05);
  const Ended bf16 = offramp({"test", path, "--data", data(), "--part", "tune", "--json",
                              "--precision", "bf16", "--threads", "1"});
  if (bf16.status == 0) {  // the machine has it
    EXPECT_TRUE(json::parse(bf16.out)["policy"]["guarantee"].is_null());
  }

  // Written elsewhere, counted here as well: the images were looked at again.
  const json second = calibrated({"--guarantee", "0.05", "--delta", "0.1", "--out", out});
  EXPECT_EQ(second["guarantee"]["attempt"], 2);
  EXPECT_DOUBLE_EQ(second["guarantee"]["level"], 0.009);
  EXPECT_LT(second["guarantee"]["counted"], given["counted"]);
  after = load_model(path);
  EXPECT_EQ(after.certificates, 2);
  EXPECT_EQ(after.policy->guarantee, kept);
  EXPECT_EQ(load_model(out).certificates, 2);

  const Ended text = run({"--guarantee", "0.05", "--delta", "0.1", "--label-free", "--per-class"});
  EXPECT_THAT(text.out, AllOf(HasSubstr("certified: answers other than the last exit's ≤ 0.05 with "
                                        "probability ≥ 0.9 on images like these"),
                              HasSubstr("certificate 3 drawn from these images: counted in " +
                                        path + " and tested at level 0.0009\n"),
                              HasSubstr("worst class: ")));
  EXPECT_EQ(load_model(path).policy->guarantee->of, "disagreement");
  EXPECT_EQ(load_model(path).policy->aim, Aim(HarmGuarantee{0.05, 0.1, true}));
  EXPECT_EQ(load_model(path).certificates, 3);
}

TEST_F(Calibrate, SaysWhereNothingCanBeCertified) {
  // Too few images: known beforehand, so that none is looked at and nothing is spent.
  const json few = calibrated({"--guarantee", "0.001", "--delta", "0.05"});
  EXPECT_EQ(few["met"], false);
  EXPECT_EQ(few["guarantee"]["certified"], false);
  EXPECT_TRUE(few["guarantee"]["attempt"].is_null());
  EXPECT_EQ(few["guarantee"]["images_needed"], 3100);  // ln 0.045 / ln 0.999
  EXPECT_THAT(few["thresholds"], Each(json(nullptr)));
  EXPECT_EQ(load_model(path).certificates, 0);
  EXPECT_FALSE(load_model(path).policy->guarantee);
  const Ended text = run({"--guarantee", "0.001"});
  EXPECT_EQ(text.status, 0);
  EXPECT_THAT(text.out, HasSubstr("800 certify images are too few, 3,100 are needed; they were not "
                                  "looked at, and every image goes to the last exit\n"));

  // Certify images that early exits take for their opposite.
  split(trap);
  save();
  const json trapped = calibrated({"--guarantee", "0.05"}, trap_data());
  EXPECT_EQ(trapped["guarantee"]["certified"], false);
  EXPECT_EQ(trapped["guarantee"]["attempt"], 1);
  EXPECT_TRUE(trapped["guarantee"]["counted"].is_null());
  EXPECT_THAT(trapped["thresholds"], Each(json(nullptr)));
  EXPECT_FALSE(load_model(path).policy->guarantee);
  EXPECT_EQ(load_model(path).certificates, 1);
  EXPECT_THAT(run({"--guarantee", "0.05"}, trap_data()).out,
              HasSubstr("nothing is certified: even the most careful thresholds fail the test of "
                        "harm ≤ 0.05 with probability ≥ 0.95; every image goes to the last exit"));
}

TEST_F(Calibrate, CountsACertificateBeforeItLooks) {
  // Of all images a white one of the certify part alone makes exit 3 infinite: the run breaks off
  // in the middle of its look.
  LoadedData images = train;
  Scene white;
  white.means = {1.5f, 1.5f, 1.5f};
  add(images.dataset, white);
  const std::string with_white = folder.path() / "white.pack";
  write_packed(with_white, images, test_images);
  auto& certify = model.provenance.data.certify;
  certify.push_back(images.dataset.hashes.back());
  std::ranges::sort(certify);
  Segment& last = model.graph.segments[2];
  std::get<Conv>(last.nodes[0].op) = {.out_channels = 4, .bias = true};
  last.head.clear();
  append(last.head, "relu", Relu{}, {"conv3"});
  append(last.head, "pool", GlobalAvgPool{}, {"relu"});
  append(last.head, "fc", Linear{.out_features = 2}, {"pool"});
  const float huge = 1e37f;
  model.weights["conv3.weight"] =
      HostTensor::of({4, 3, 1, 1}, std::vector<float>{1, 0, 0, 0, 1, 0, 0, 0, 1, huge, huge, huge});
  model.weights["conv3.bias"] = HostTensor::of({4}, std::vector<float>{1, 1, 1, -2.9f * huge});
  model.weights["fc.weight"] =
      HostTensor::of({2, 4}, std::vector<float>{0, 0, -5, 0, 0, 0, 5, 1000});
  model.weights["fc.bias"] = HostTensor::of({2}, std::vector<float>{5, -5});
  save();
  const Ended ended = run({"--guarantee", "0.05", "--out", out}, with_white);
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.err, "offramp: " + path + ": exit 3 gives a logit of inf for \"scene 1251\": " +
                           "nothing can be calibrated\n");
  EXPECT_EQ(load_model(path).certificates, 1);
  EXPECT_FALSE(load_model(path).policy);
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(Calibrate, SaysHowManyImagesAreMissing) {
  // Hashes of no image, below those of all others.
  auto& parts = model.provenance.data;
  parts.tune.insert(parts.tune.begin(), {1, 2});
  parts.certify.insert(parts.certify.begin(), {3, 4, 5});
  save();
  const Ended text = run({"--guarantee", "0.05", "--out", out});
  EXPECT_THAT(text.out,
              AllOf(HasSubstr("2 images of its tune part are not in the data\n"),
                    HasSubstr("3 images of its certify part are not in the data: the certificate "
                              "is of the others\n")));
}

TEST_F(Calibrate, DropsExitsThatDoNotPay) {
  // Exit 1 is all but always wrong.
  model.weights["exits.1.fc.weight"] =
      HostTensor::of({2, 3}, std::vector<float>{1, 0, 0, -1, 0, 0});
  const Tensors state = {{"optimiser.step", HostTensor::of({1}, std::vector<std::int64_t>{7})}};
  save_model(path, model, state);
  const Ended text = run({"--max-accuracy-drop", "0.01", "--drop-useless-exits", "--out", out});
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_THAT(text.out,
              AllOf(HasSubstr("dropped: exit 1, not worth what asking costs; the exits left are "
                              "numbered anew, and the state of its training is left out\n"),
                    HasSubstr("\nheld out: accuracy ")));
  Tensors extra;
  const ModelFile left = load_model(out, &extra);
  EXPECT_THAT(extra, IsEmpty());
  ASSERT_EQ(left.policy->policy.thresholds.size(), 1u);
  EXPECT_TRUE(left.policy->policy.thresholds[0]);
  EXPECT_EQ(left.weights.at("exits.1.fc.weight"), model.weights.at("exits.2.fc.weight"));
  EXPECT_THAT(left.provenance.details_json, HasSubstr(R"("dropped_exits":[{"exits":[1],"of":3}])"));
  const json test = tested("tune", out);
  EXPECT_EQ(test["policy"]["replay_differs"], 0);
  EXPECT_EQ(test["exits"].size(), 2u);

  // Certified as it will run: without the head.
  const json sure = calibrated({"--guarantee", "0.05", "--drop-useless-exits", "--out", out});
  EXPECT_EQ(sure["dropped_exits"], json({1}));
  EXPECT_EQ(sure["guarantee"]["certified"], true);
  EXPECT_EQ(load_model(out).certificates, 1);
  EXPECT_NEAR(tested("certify", out)["policy"]["harm"],
              static_cast<double>(sure["guarantee"]["counted"]) / kCertify, 1e-12);
}

TEST_F(Calibrate, DropsNoneThatPays) {
  EXPECT_THAT(run({"--max-cost", "0.6", "--drop-useless-exits"}).out,
              HasSubstr("no exit was dropped: each pays for its head\n"));
  EXPECT_EQ(load_model(path).graph, model.graph);
}

TEST_F(Calibrate, MeasuresMillisecondsAsCosts) {
  const json result = calibrated({"--threshold", "0.9", "--cost", "ms", "--batch", "64"});
  const json &ms = result["ms_per_image"], &costs = result["relative_costs"];
  ASSERT_EQ(ms.size(), 3u);
  EXPECT_GT(ms[0], 0);
  EXPECT_LE(ms[0], ms[1]);
  EXPECT_LE(ms[1], ms[2]);
  EXPECT_EQ(costs[2], 1);
  EXPECT_NEAR(costs[0], static_cast<double>(ms[0]) / static_cast<double>(ms[2]), 1e-12);
  EXPECT_EQ(result["aim"], "--threshold 0.9 --cost ms");
}

TEST_F(Calibrate, PrintsATableForPeople) {
  const Ended ended = run({"--threshold", "0.9", "--ensemble", "weighted", "--out", out});
  ASSERT_EQ(ended.status, 0) << ended.err;
  for (const std::string& part :
       {std::string("Chosen on 400 tune images by --threshold 0.9; an exit answers with the "
                    "weighted mean of the exits so far\n"),
        std::string("stop where confidence ≥"), std::string("weight"), std::string("0.9000"),
        std::string("on tune (replayed): accuracy "),
        std::string("relative cost 1 is the network without early exits\n"),
        "written to " + out + ": the policy, beside the same weights\n"})
    EXPECT_THAT(ended.out, HasSubstr(part));
  EXPECT_EQ(ended.out.find('\x1b'), std::string::npos);
  EXPECT_EQ(ended.err, "");
  EXPECT_FALSE(load_model(path).policy);
}

/// Every key of an object, at any depth.
void collect_keys(const json& value, std::set<std::string>& keys) {
  for (const auto& [key, inner] : value.items()) {
    if (value.is_object()) keys.insert(key);
    if (inner.is_structured()) collect_keys(inner, keys);
  }
}

TEST_F(Calibrate, DocumentsEveryKeyOfItsJson) {
  const std::string page =
      read_text(std::filesystem::path(OFFRAMP_CONFIGS).parent_path() / "docs" / "command-line.md");
  const std::size_t begin = page.find("## calibrate"), end = page.find("\n## ", begin);
  ASSERT_NE(begin, std::string::npos);
  const std::string section = page.substr(begin, end - begin);
  std::set<std::string> keys;
  collect_keys(calibrated({"--guarantee", "0.05", "--per-class", "--cost", "ms"}), keys);
  EXPECT_GT(keys.size(), 30u);
  for (const std::string& key : keys)
    EXPECT_THAT(section, HasSubstr("`" + key + "`")) << "docs/command-line.md";
}

}  // namespace
}  // namespace offramp::test
