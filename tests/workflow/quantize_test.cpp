#include "workflow/quantize.h"
#include "tests/support/models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/file.h"
#include "data/dataset.h"
#include "engine/opened_model.h"
#include "runtime/kernels_name.h"
#include "runtime/precision.h"

namespace offramp::workflow {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// A network of random weights whose provenance lists synthetic images as trained on.
class Quantize : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const data::LoadOptions few = {.synthetic_train = 700, .synthetic_test = 10};
    train = data::load_data("synthetic", data::Part::train, few);
    shared = std::make_unique<core::TemporaryFolder>();
    data::write_packed(data(), train, data::load_data("synthetic", data::Part::test, few));
  }
  static void TearDownTestSuite() { shared.reset(); }
  static std::string data() { return shared->path() / "images.pack"; }

  Quantize() {
    model = test::small_model(train.dataset.classes);
    const auto& hashes = train.dataset.hashes;
    model.provenance.data.train.assign(hashes.begin(), hashes.begin() + 100);
    model.provenance.data.tune.assign(hashes.begin() + 100, hashes.begin() + 260);
    std::ranges::sort(model.provenance.data.train);
    std::ranges::sort(model.provenance.data.tune);
    policy::ChosenPolicy chosen;
    chosen.policy = policy::never_stop(3);
    chosen.policy.criterion = policy::Criterion::margin;
    chosen.aim = policy::MaxCost{0.5};
    model.policy = chosen;
    model::save_model(path, model);
  }

  /// The number of images in the certify part, which come after the tune part.
  void list_for_certify(int count) {
    const auto& hashes = train.dataset.hashes;
    model.provenance.data.certify.assign(hashes.begin() + 260, hashes.begin() + 260 + count);
    std::ranges::sort(model.provenance.data.certify);
  }

  QuantizeOptions options(const std::string& precision = "int8", const fs::path& to = {}) const {
    QuantizeOptions result;
    result.model = path;
    result.data = data();
    result.out = to;
    result.precision = precision;
    result.images = 40;
    result.threads = 1;
    return result;
  }

  static inline data::LoadedData train;
  static inline std::unique_ptr<core::TemporaryFolder> shared;
  core::TemporaryFolder folder;
  fs::path path = folder.path() / "model.safetensors",
           out = folder.path() / "model.int8.safetensors";
  model::ModelFile model;
};

TEST_F(Quantize, WritesAFileThatRunsInItsOwnPrecision) {
  if (!runtime::has_instructions_for(runtime::Precision::int8))
    GTEST_SKIP() << "no instructions for int8";
  const Quantized result = quantize(options());
  EXPECT_EQ(result.observed, 40);
  EXPECT_EQ(result.tune_images, 160);
  ASSERT_EQ(result.exits.size(), 3u);
  for (const ExitLoss& exit : result.exits) {
    EXPECT_GE(exit.agreement, 0.8);
    EXPECT_LE(exit.difference.low, exit.accuracy - exit.reference_accuracy);
    EXPECT_GE(exit.difference.high, exit.accuracy - exit.reference_accuracy);
  }
  // The aim and the shape are those of the model's own policy.
  ASSERT_TRUE(result.policy);
  EXPECT_EQ(result.policy->chosen.policy.criterion, policy::Criterion::margin);
  EXPECT_EQ(result.policy->chosen.aim, policy::Aim(policy::MaxCost{0.5}));

  const model::ModelFile deployed = model::load_model(out);
  EXPECT_EQ(deployed.deployment->precision, "int8");
  EXPECT_EQ(deployed.deployment->measured.images, 160);
  EXPECT_EQ(deployed.policy->aim, policy::Aim(policy::MaxCost{0.5}));
  EXPECT_EQ(result.within_bounds, model::is_within_bounds(*deployed.deployment));
  EXPECT_EQ(static_cast<std::uintmax_t>(result.bytes), fs::file_size(out));
  const auto opened = engine::OpenedModel::open(out, {"int8", 1});
  EXPECT_EQ(opened->precision(), runtime::Precision::int8);
  EXPECT_THAT(opened->notes(), testing::IsEmpty());
}

TEST_F(Quantize, WritesBf16) {
  if (!runtime::has_instructions_for(runtime::Precision::bf16))
    GTEST_SKIP() << "no instructions for bf16";
  quantize(options("bf16"));
  EXPECT_EQ(model::load_model(folder.path() / "model.bf16.safetensors").deployment->precision,
            "bf16");
}

TEST_F(Quantize, SaysWhyThereIsNoPolicy) {
  if (!runtime::has_instructions_for(runtime::Precision::bf16))
    GTEST_SKIP() << "no instructions for bf16";
  model.policy->aim = policy::AccuracyDrop{0.01, "plain.safetensors"};
  model::save_model(path, model);
  const Quantized result = quantize(options("bf16", out));
  EXPECT_THAT(result.no_policy, HasSubstr("needs more than this model"));
  EXPECT_FALSE(model::load_model(out).policy);
}

TEST(QuantizedPolicy, IsChosenAgainIfTheModelHoldsAllThatIsNeeded) {
  policy::ChosenPolicy chosen;
  EXPECT_FALSE(can_be_chosen_anew(chosen)) << "the aim is not recorded";
  for (const policy::Aim& aim :
       {policy::Aim(policy::FixedThreshold{0.9}), policy::Aim(policy::AccuracyDrop{0.01}),
        policy::Aim(policy::MaxCost{0.5}), policy::Aim(policy::HarmGuarantee{0.01})}) {
    chosen.aim = aim;
    EXPECT_TRUE(can_be_chosen_anew(chosen)) << describe(aim);
  }
  for (const policy::Aim& aim : {policy::Aim(policy::AccuracyDrop{0.01, "plain.safetensors"}),
                                 policy::Aim(policy::MaxCost{0.5, policy::CostUnit::ms})}) {
    chosen.aim = aim;
    EXPECT_FALSE(can_be_chosen_anew(chosen)) << describe(aim);
  }
}

TEST_F(Quantize, CertifiesAgainAndCountsItInTheModelFirst) {
  if (!runtime::has_instructions_for(runtime::Precision::bf16))
    GTEST_SKIP() << "no instructions for bf16";
  const auto certified = [&](const fs::path& to) {
    return quantize(options("bf16", to)).policy->certification->result;
  };
  list_for_certify(400);
  model.policy->aim = policy::HarmGuarantee{0.3, 0.1};
  model.policy->guarantee =
      policy::Guarantee{"harm", 0.3, 0.1, 0.09, 400, 20, 0.2, "f32", runtime::kernels_name()};
  model.certificates = 1;
  model::save_model(path, model);
  const fs::path one = folder.path() / "one.safetensors", two = folder.path() / "two.safetensors";

  const policy::CertificationResult first = certified(one);
  EXPECT_EQ(first.attempt, 2);
  EXPECT_DOUBLE_EQ(first.level, 0.98 * 0.009);
  EXPECT_EQ(first.images, 400);
  const model::ModelFile made = model::load_model(one);
  ASSERT_TRUE(made.policy->guarantee) << "certified in the precision of the file";
  EXPECT_EQ(made.policy->guarantee->precision, "bf16");
  EXPECT_DOUBLE_EQ(made.policy->guarantee->level, 0.98 * 0.009);
  EXPECT_EQ(made.certificates, 2);
  EXPECT_EQ(model::load_model(path).certificates, 2);
  EXPECT_EQ(model::load_model(path).weights, model.weights);
  EXPECT_EQ(model::load_model(path).policy->guarantee, model.policy->guarantee);

  EXPECT_EQ(certified(two).attempt, 3) << "another file made of the same images";
  EXPECT_EQ(model::load_model(path).certificates, 3);

  // The output file has a higher count of certificates than the model.
  model::ModelFile drawn = model::load_model(one);
  drawn.certificates = 5;
  model::save_model(one, drawn);
  EXPECT_EQ(certified(one).attempt, 6);
  EXPECT_EQ(model::load_model(one).certificates, 6);
  EXPECT_EQ(model::load_model(path).certificates, 6);
}

TEST_F(Quantize, LeavesTheOldFileWhereItFails) {
  if (!runtime::has_instructions_for(runtime::Precision::bf16))
    GTEST_SKIP() << "no instructions for bf16";
  quantize(options("bf16", out));
  const std::string before = core::read_text(out);
  // Choosing the policy, which is the last step, fails.
  model.policy->aim = policy::HarmGuarantee{0.3, 0.1};
  model.provenance.data.certify = {1, 2, 3};
  model::save_model(path, model);
  EXPECT_THAT([&] { quantize(options("bf16", out)); },
              ThrowsMessage<Error>(data() + ": contains no image of the model's certify part"));
  EXPECT_TRUE(core::read_text(out) == before);
  EXPECT_EQ(model::load_model(path).certificates, 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 2)
      << "nothing is left beside the two files";
}

TEST_F(Quantize, RefusesInvalidRequests) {
  EXPECT_THAT([&] { quantize(options("f32")); },
              ThrowsMessage<UsageError>("precision: a deployment file holds bf16 or int8, got "
                                        "\"f32\""));
  EXPECT_THAT(
      [&] { quantize(options("int7")); },
      ThrowsMessage<UsageError>(HasSubstr("unknown precision \"int7\"; did you mean \"int8\"?")));
  if (!runtime::has_instructions_for(runtime::Precision::int8))
    GTEST_SKIP() << "no instructions for int8";
  EXPECT_THAT([&] { quantize(options("int8", path)); },
              ThrowsMessage<UsageError>(
                  HasSubstr("is an input, so it cannot be the output; choose another file")));
  EXPECT_THAT([&] { quantize(options("int8", folder.path() / "none" / "x")); },
              ThrowsMessage<Error>(HasSubstr("cannot write")));
  quantize(options());
  QuantizeOptions twice = options("int8", folder.path() / "twice");
  twice.model = out;
  EXPECT_THAT([&] { quantize(twice); },
              ThrowsMessage<Error>(HasSubstr("already a deployment file in int8")));
  model.provenance.data.tune.clear();
  model::save_model(path, model);
  EXPECT_THAT([&] { quantize(options()); },
              ThrowsMessage<Error>(HasSubstr("does not list the images of its tune part")));
  model.provenance.data.train = {1, 2};
  model::save_model(path, model);
  EXPECT_THAT([&] { quantize(options()); },
              ThrowsMessage<Error>(HasSubstr("contains no image that the model was trained on")));
  model.provenance.data.train.clear();
  model::save_model(path, model);
  EXPECT_THAT([&] { quantize(options()); },
              ThrowsMessage<Error>(HasSubstr("does not list the images of its train part")));
}

}  // namespace
}  // namespace offramp::workflow
