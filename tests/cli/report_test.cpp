#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <regex>

#include "core/file.h"
#include "core/safetensors.h"
#include "data/dataset.h"
#include "eval/logits_file.h"
#include "graph/random_weights.h"
#include "model/model_file.h"
#include "tests/cli/program.h"
#include "tests/support/models.h"

namespace offramp::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

/// A run folder with a network of random weights for the classes of the synthetic images.
class ReportCommand : public testing::Test {
 protected:
  ReportCommand() {
    data::LoadOptions options;
    options.synthetic_train = 200;
    options.synthetic_test = 20;
    const data::LoadedData train = data::load_data("synthetic", data::Part::train, options);
    model = small_model(train.dataset.classes);
    const auto& hashes = train.dataset.hashes;
    model.provenance.data.tune.assign(hashes.begin(), hashes.begin() + 40);
    std::ranges::sort(model.provenance.data.tune);
    fs::create_directory(run);
    save();
  }

  void save() { model::save_model(run / "model.safetensors", model); }
  ProgramResult report(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"report", run,    "--data",    "synthetic",
                                          "-o",     page(), "--threads", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return offramp(arguments);
  }
  std::string page() const { return folder.path() / "page.html"; }

  core::TemporaryFolder folder;
  fs::path run = folder.path() / "my <run>";
  model::ModelFile model;
};

TEST_F(ReportCommand, WritesOnePageAndKeepsTheLogits) {
  core::write_text_atomic(run / "metrics.jsonl",
                          "{\"epoch\":1,\"loss\":2.5,\"train_accuracy\":[0.1,0.2,0.3],"
                          "\"tune_accuracy\":[0.4,0.5,0.6]}\n{\"epoch\":2,\"lo");
  const ProgramResult ended = report();
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr(page() + ": "));
  EXPECT_TRUE(is_one_line(ended.out)) << ended.out;
  const std::string html = core::read_text(page());
  EXPECT_THAT(html, HasSubstr("my &lt;run&gt;"));
  EXPECT_THAT(html, Not(HasSubstr("<run>")));
  EXPECT_THAT(html, HasSubstr("2,000"));              // synthetic test images
  EXPECT_THAT(html, HasSubstr("offramp calibrate"));  // there is no policy yet
  const eval::SavedLogits kept = eval::load_logits(run / "model.test-logits.safetensors");
  EXPECT_EQ(kept.exits, 3);
  EXPECT_EQ(kept.labels.size(), 2000u);
  EXPECT_EQ(eval::load_logits(run / "model.tune-logits.safetensors").labels.size(), 40u);

  // Equal input gives an equal page. The second time the stored logits are used, so their file is
  // unchanged.
  const auto written = fs::last_write_time(run / "model.test-logits.safetensors");
  ASSERT_EQ(report().status, 0);
  // Only the measured times differ, and where the logits came from.
  const auto without_times = [](const std::string& text) {
    return std::regex_replace(text,
                              std::regex("[0-9.,]+\u00a0(ms|images/s)|"
                                         "<td>(computed for this report|read from [^<]*)</td>"),
                              "");
  };
  EXPECT_NE(without_times(html), html);
  EXPECT_EQ(without_times(core::read_text(page())), without_times(html));
  EXPECT_EQ(fs::last_write_time(run / "model.test-logits.safetensors"), written);
  const std::string reads = core::read_text(run / "test_reads.jsonl");
  EXPECT_EQ(std::ranges::count(reads, '\n'), 2);
}

TEST_F(ReportCommand, ComparesWithOtherRuns) {
  model::ModelFile other = model;
  other.weights = graph::random_weights(model.graph, 3);
  const fs::path file = folder.path() / "second & last.safetensors";
  model::save_model(file, other);
  const ProgramResult ended = report({file});
  ASSERT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(core::read_text(page()),
              HasSubstr("second &amp; last.safetensors, its last exit alone"));
}

TEST_F(ReportCommand, RefusesWhatTheModelWasTrainedOn) {
  const data::LoadedData test = data::load_data("synthetic", data::Part::test, {});
  model.provenance.data.train = {test.dataset.hashes[3]};
  save();
  const ProgramResult ended = report();
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.err, HasSubstr("the model was trained on"));
  EXPECT_THAT(ended.err, HasSubstr("(--skip-trained leaves them out)"));
  EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
  EXPECT_FALSE(fs::exists(page()));
}

TEST_F(ReportCommand, IsNotWrittenOverTheModel) {
  const std::string before = core::read_text(run / "model.safetensors");
  for (const fs::path& named : {run, run / "model.safetensors"}) {
    const ProgramResult ended = offramp(
        {"report", named, "--data", "synthetic", "-o", (run / "model.safetensors").string()});
    EXPECT_EQ(ended.status, 2);
    EXPECT_THAT(ended.err, HasSubstr("--out: "));
    EXPECT_THAT(ended.err,
                HasSubstr("is an input, so it cannot be the output; choose another file"));
  }
  EXPECT_EQ(core::read_text(run / "model.safetensors"), before);
  core::write_text_atomic(run / "metrics.jsonl", "");
  const ProgramResult ended =
      offramp({"report", run, "--data", "synthetic", "-o", (run / "metrics.jsonl").string()});
  EXPECT_EQ(ended.status, 2);
  EXPECT_EQ(core::read_text(run / "metrics.jsonl"), "");
}

TEST_F(ReportCommand, NamesWhatIsMissingInOneLine) {
  const auto expect = [&](const ProgramResult& ended, int status, const std::string& message) {
    EXPECT_EQ(ended.status, status);
    EXPECT_THAT(ended.err, HasSubstr(message));
    EXPECT_TRUE(is_one_line(ended.err)) << ended.err;
  };
  const std::string nowhere = folder.path() / "nowhere", empty = folder.path() / "empty";
  fs::create_directory(empty);
  expect(offramp({"report", nowhere, "--data", "synthetic"}), 1, nowhere + ": ");
  expect(offramp({"report", empty, "--data", "synthetic"}), 1,
         empty + ": contains no model.safetensors");
  expect(offramp({"report", run}), 2,
         "--data: " + (run / "model.safetensors").string() +
             " does not name the source of its images");
  core::write_text_atomic(run / "config.toml", "[data]\nsauce = \"x\"\n");
  expect(offramp({"report", run}), 2, "unknown key \"sauce\"");
}

}  // namespace
}  // namespace offramp::test
