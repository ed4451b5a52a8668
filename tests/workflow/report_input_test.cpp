#include "workflow/report_input.h"
#include "tests/support/models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include "core/error.h"
#include "core/file.h"
#include "data/dataset.h"
#include "eval/logits_file.h"
#include "graph/random_weights.h"
#include "model/model_file.h"
#include "workflow/provenance.h"

namespace offramp::workflow {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;
using testing::ThrowsMessage;

/// A run folder with a network of random weights for the synthetic images.
class ReportInputOfARun : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const data::LoadOptions few = {.synthetic_train = 200, .synthetic_test = 300};
    train = data::load_data("synthetic", data::Part::train, few);
    test_images = data::load_data("synthetic", data::Part::test, few);
    shared = std::make_unique<core::TemporaryFolder>();
    data::write_packed(data(), train, test_images);
  }
  static void TearDownTestSuite() { shared.reset(); }
  static std::string data() { return shared->path() / "images.pack"; }

  ReportInputOfARun() {
    model = test::small_model(train.dataset.classes);
    const auto& hashes = train.dataset.hashes;
    model.provenance.data.tune.assign(hashes.begin(), hashes.begin() + 40);
    std::ranges::sort(model.provenance.data.tune);
    fs::create_directory(run);
    save();
  }

  void save() { model::save_model(run / "model.safetensors", model); }
  GatheredReport gather(const std::vector<std::string>& others = {}) {
    ReportOptions options;
    options.runs = {run};
    options.runs.insert(options.runs.end(), others.begin(), others.end());
    options.data = data();
    options.run.threads = 1;
    notes.clear();
    Progress progress;
    progress.note = [&](std::string_view line) { notes.emplace_back(line); };
    return gather_report(options, progress);
  }

  static inline data::LoadedData train, test_images;
  static inline std::unique_ptr<core::TemporaryFolder> shared;
  core::TemporaryFolder folder;
  fs::path run = folder.path() / "run";
  fs::path test_logits = run / "model.test-logits.safetensors";
  model::ModelFile model;
  std::vector<std::string> notes;
};

TEST_F(ReportInputOfARun, IsGatheredOnceAndTheLogitsAreKept) {
  core::write_text_atomic(run / "metrics.jsonl",
                          "{\"epoch\":1,\"loss\":2.5,\"train_accuracy\":[0.1,0.2,0.3],"
                          "\"tune_accuracy\":[0.4,0.5,0.6]}\n{\"epoch\":2,\"lo");
  const GatheredReport first = gather();
  EXPECT_EQ(first.input.title, "run");
  EXPECT_EQ(first.input.test.images(), 300);
  EXPECT_EQ(first.input.policy.aim, "");
  EXPECT_EQ(first.input.curves.size(), 4u);
  ASSERT_EQ(first.input.trainings.size(), 1u);
  EXPECT_EQ(first.input.trainings[0].epochs.size(), 1u) << "a line cut short is skipped";
  const eval::SavedLogits kept = eval::load_logits(test_logits);
  EXPECT_EQ(kept.exits, 3);
  EXPECT_EQ(kept.labels.size(), 300u);
  EXPECT_EQ(eval::load_logits(run / "model.tune-logits.safetensors").labels.size(), 40u);

  // The second time the saved logits are read, which the report says, and the file is not written
  // again.
  const auto written = fs::last_write_time(test_logits);
  const GatheredReport second = gather();
  EXPECT_EQ(second.input.metrics.exits[2].accuracy, first.input.metrics.exits[2].accuracy);
  const auto logits_fact = [](const GatheredReport& report) {
    for (const auto& [name, value] : report.input.facts)
      if (name == "logits") return value;
    return std::string();
  };
  EXPECT_EQ(logits_fact(first), "computed for this report");
  EXPECT_THAT(logits_fact(second), StartsWith("read from model.test-logits.safetensors, "));
  EXPECT_EQ(fs::last_write_time(test_logits), written);
  EXPECT_EQ(std::ranges::count(core::read_text(run / "test_reads.jsonl"), '\n'), 2);
}

TEST_F(ReportInputOfARun, NeverUsesLogitsOfOtherWeights) {
  gather();
  const auto before = eval::load_logits(test_logits).logits;
  model.weights = graph::random_weights(model.graph, 2);
  save();
  gather();
  EXPECT_NE(eval::load_logits(test_logits).logits, before);
  core::write_text_atomic(test_logits, "damaged");
  gather();
  EXPECT_THAT(notes, testing::ElementsAre(
                         StartsWith("the saved logits are not usable and are computed again: ")));
  EXPECT_EQ(eval::load_logits(test_logits).labels.size(), 300u);
}

TEST_F(ReportInputOfARun, DoesNotUseLogitsThatCannotBeThoseOfItsImages) {
  gather();
  const auto spoil = [&](auto edit) {
    eval::SavedLogits kept = eval::load_logits(test_logits);
    edit(kept);
    eval::save_logits(test_logits, kept);
    notes.clear();
    gather();
    EXPECT_THAT(notes, testing::ElementsAre(
                           StartsWith("the saved logits are not usable and are computed again: ")));
  };
  spoil([](eval::SavedLogits& kept) { kept.labels[0] = 10; });
  spoil([](eval::SavedLogits& kept) { kept.labels[0] = (kept.labels[0] + 1) % 10; });
  spoil([](eval::SavedLogits& kept) { kept.logits[5] = std::nanf(""); });
  notes.clear();
  gather();
  EXPECT_TRUE(notes.empty());
}

TEST_F(ReportInputOfARun, ShowsAnyTimeThatAModelClaims) {
  model.provenance.details_json = R"({"seconds": 1e300})";
  save();
  EXPECT_THAT(gather().input.facts,
              testing::Contains(std::pair<std::string, std::string>("training: time", "1e+300 s")));
}

TEST_F(ReportInputOfARun, SaysWhetherThePolicyWasExecuted) {
  policy::ChosenPolicy chosen;
  chosen.policy = policy::never_stop(3);
  chosen.policy.thresholds = {0.14f, std::nullopt};
  chosen.aim = policy::MaxCost{0.5};
  model.policy = chosen;
  save();
  const report::ReportPolicy executed = gather().input.policy;
  EXPECT_EQ(executed.aim, "--max-cost 0.5");
  EXPECT_TRUE(executed.executed);
  EXPECT_TRUE(gather().input.policy.executed) << "the kept file says so as well";
  // The saved run is of another policy, so the new policy is replayed from the logits.
  model.policy->policy.thresholds = {0.13f, std::nullopt};
  save();
  EXPECT_FALSE(gather().input.policy.executed);
}

TEST_F(ReportInputOfARun, HoldsOtherRunsAsControls) {
  model::ModelFile other = model;
  other.weights = graph::random_weights(model.graph, 3);
  const fs::path file = folder.path() / "second.safetensors";
  model::save_model(file, other);
  const GatheredReport report = gather({file});
  EXPECT_EQ(report.input.controls.back().name, "second.safetensors, its last exit alone");
}

TEST_F(ReportInputOfARun, IsRefusedIfTheModelWasTrainedOnTheImages) {
  model.provenance.data.train = {test_images.dataset.hashes[3]};
  save();
  EXPECT_THAT([&] { gather(); },
              ThrowsMessage<TrainedOnImages>(HasSubstr("the model was trained on 1 of")));
  ReportOptions options;
  options.runs = {run};
  EXPECT_THAT(
      [&] { gather_report(options); },
      ThrowsMessage<UsageError>("data: " + (run / "model.safetensors").string() +
                                " does not name the source of its images, so it must be given"));
  EXPECT_EQ(report_path(run), run / "report.html");
}

}  // namespace
}  // namespace offramp::workflow
