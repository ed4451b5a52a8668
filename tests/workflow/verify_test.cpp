#include "workflow/verify.h"
#include "tests/support/models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "core/error.h"
#include "core/file.h"
#include "model/certified_hash.h"
#include "policy/binomial.h"
#include "runtime/kernels_name.h"
#include "workflow/evaluate.h"
#include "workflow/model_evaluation.h"
#include "workflow/provenance.h"

namespace offramp::workflow {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr const char* kCertified = "onednn 9.9.9 elsewhere";
constexpr int kImages = 400;

/// A model that was certified in f32 with code that does not exist here, and logits from there: the
/// logits computed here, but for three images whose answers are exchanged.
class Verify : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const data::LoadOptions few = {.synthetic_train = 100, .synthetic_test = kImages};
    test_part = data::load_data("synthetic", data::Part::test, few);
    shared = std::make_unique<core::TemporaryFolder>();
    data::write_packed(data(), data::load_data("synthetic", data::Part::train, few), test_part);
  }
  static void TearDownTestSuite() { shared.reset(); }
  static std::string data() { return shared->path() / "images.pack"; }

  Verify() {
    model = test::small_model(test_part.dataset.classes);
    const auto opened = engine::OpenedModel::open(model, {.precision = "f32", .threads = 1});
    there = run_all_exits(
        *opened, {&test_part.dataset, all_indices(test_part.dataset), &model.preprocessing, 100});
    there.metadata = {{"precision", "f32"}, {"kernels", kCertified}};
    policy::ChosenPolicy chosen;
    chosen.policy = policy::never_stop(3);
    chosen.policy.thresholds = {0.12f, std::nullopt};
    chosen.aim = policy::HarmGuarantee{0.01};
    chosen.guarantee =
        policy::Guarantee{"harm", 0.01, 0.05, 0.045, 4000, 20, 0.009, "f32", kCertified};
    const StoppedAnswers stopped = replay(there.view(), chosen.policy);
    std::vector<double> shares(3);
    for (const int k : stopped.exit_index) shares[static_cast<std::size_t>(k)] += 1.0 / kImages;
    chosen.seen = policy::TuneExitShares{2000, shares};
    model.policy = chosen;
    model::save_model(path, model);
    for (const std::size_t i : {3u, 50u, 399u}) flip(i);
    save();
  }

  /// Negates the logits of an image at every exit.
  void flip(std::size_t image) {
    const auto classes = static_cast<std::size_t>(there.classes);
    for (std::size_t k = 0; k < 3; ++k)
      for (std::size_t c = 0; c < classes; ++c)
        there.logits[(k * kImages + image) * classes + c] *= -1;
  }
  void save() const { eval::save_logits(logits, there); }

  VerifyOptions options(bool with_logits = true) const {
    VerifyOptions result;
    result.model = path;
    result.data = data();
    if (with_logits) result.logits = logits;
    result.run.threads = 1;
    return result;
  }
  void expect_refused(const std::string& why) {
    save();
    EXPECT_THAT([&] { verify(options()); }, ThrowsMessage<Error>(HasSubstr(why)));
    EXPECT_TRUE(model::load_model(path).policy->verified.empty());
  }

  static inline data::LoadedData test_part;
  static inline std::unique_ptr<core::TemporaryFolder> shared;
  core::TemporaryFolder folder;
  model::ModelFile model;
  eval::SavedLogits there;
  std::filesystem::path path = folder.path() / "model.safetensors",
                        logits = folder.path() / "logits.safetensors";
};

TEST_F(Verify, SaysWhyACertificateIsNotInForce) {
  const Verification result = verify(options(false));
  EXPECT_EQ(result.images, kImages);
  EXPECT_EQ(result.certificate.in_force, InForce::no);
  EXPECT_THAT(result.certificate.why, HasSubstr(kCertified));
  EXPECT_FALSE(result.verified);
  EXPECT_TRUE(model::load_model(path).policy->verified.empty());
}

TEST_F(Verify, AddsTheBoundOfTheDifferenceToTheCertificate) {
  const Verification result = verify(options());
  ASSERT_TRUE(result.verified);
  EXPECT_EQ(result.verified->differing, 3);
  EXPECT_EQ(result.verified->images, kImages);
  // P(X <= 3) = alpha for X ~ Binomial(400, rho): the definition of the bound.
  EXPECT_NEAR(policy::binomial_cdf(3, kImages, result.verified->rho), 0.01, 1e-9);
  EXPECT_DOUBLE_EQ(result.guarantee->epsilon, 0.01 + result.verified->rho);
  EXPECT_DOUBLE_EQ(result.guarantee->delta, 0.05 + 0.01);
  EXPECT_EQ(result.certificate, (engine::CertificateStatus{InForce::yes, ""}));

  // From now on the certificate is in force here, for every command, with the larger bound.
  const auto opened = engine::OpenedModel::open(path, {.threads = 1});
  EXPECT_THAT(opened->notes(), testing::IsEmpty());
  EXPECT_EQ(opened->certificate().status().in_force, InForce::yes);
  EXPECT_DOUBLE_EQ(opened->certificate().guarantee()->epsilon, 0.01 + result.verified->rho);
  EvaluateOptions how;
  how.model = path;
  how.data = data();
  how.run.threads = 1;
  EXPECT_DOUBLE_EQ(evaluate(how).policy->guarantee->delta, 0.06);
  EXPECT_EQ(model::load_model(path).policy->guarantee, model.policy->guarantee) << "as certified";

  // A second result for the same code replaces the first one.
  VerifyOptions again = options();
  again.alpha = 0.02;
  EXPECT_LT(verify(again).verified->rho, result.verified->rho);
  EXPECT_EQ(model::load_model(path).policy->verified.size(), 1u);
}

TEST_F(Verify, RefusesAModelThatWasChangedAfterItWasCertified) {
  model.policy->guarantee->hash = model::certified_hash(model);
  there.metadata["certified_hash"] = model.policy->guarantee->hash;
  model::save_model(path, model);
  save();
  EXPECT_TRUE(verify(options()).verified);

  model.policy->policy.thresholds[0] = 0.11f;
  model::save_model(path, model);
  expect_refused("are not those that were certified, so the certificate cannot be verified");
}

TEST_F(Verify, RefusesLogitsOfAnotherModel) {
  model.policy->guarantee->hash = model::certified_hash(model);
  model::save_model(path, model);
  there.metadata["certified_hash"] = "0123456789abcdef";
  expect_refused("the logits are not of the certified model (hash 0123456789abcdef instead of ");
  there.metadata.erase("certified_hash");
  expect_refused("the logits are not of the certified model (hash unknown instead of ");
}

TEST_F(Verify, FindsTheLogitsOfAnImageByItsHash) {
  // The images come in another order, with one more image among them.
  eval::SavedLogits other = there;
  const policy::LogitsView view = there.view();
  other.logits.clear();
  other.labels.assign(kImages + 1, 0);
  other.hashes.assign(kImages + 1, 0);
  for (int k = 0; k < 3; ++k)
    for (std::size_t row = 0; row <= kImages; ++row) {
      const std::size_t image = row == 0 ? 0 : kImages - row;
      const auto values = view.at(k, static_cast<std::int64_t>(image));
      other.logits.insert(other.logits.end(), values.begin(), values.end());
      other.labels[row] = there.labels[image];
      other.hashes[row] = row == 0 ? 12345 : there.hashes[image];
    }
  there = other;
  save();
  const Verification result = verify(options());
  ASSERT_TRUE(result.verified);
  EXPECT_EQ(result.verified->images, kImages);
  EXPECT_EQ(result.verified->differing, 3);
}

TEST_F(Verify, CountsCopiesOfAnImageOnce) {
  data::LoadedData twice = test_part;
  data::Dataset& images = twice.dataset;
  const data::Dataset& once = test_part.dataset;
  for (std::size_t i = 0; i < kImages; ++i) {
    const auto pixels = once.image(static_cast<std::int64_t>(i));
    images.pixels.insert(images.pixels.end(), pixels.begin(), pixels.end());
    images.labels.push_back(once.labels[i]);
    images.names.push_back(once.names[i] + " again");
    images.hashes.push_back(once.hashes[i]);
  }
  VerifyOptions how = options();
  how.data = folder.path() / "twice.pack";
  data::write_packed(how.data, twice, twice);
  const Verification result = verify(how);
  EXPECT_EQ(result.images, kImages);
  EXPECT_EQ(result.copies, kImages);
  ASSERT_TRUE(result.verified);
  EXPECT_EQ(result.verified->images, kImages);
}

TEST_F(Verify, CountsAnImageWhoseOutcomeDiffersInAnyWay) {
  const policy::Policy& policy = model.policy->policy;
  eval::SavedLogits here = there;
  EXPECT_EQ(differing_outcomes(policy, there.view(), here.view()), 0);
  // The last exit's answer alone differs, for an image that stops at exit 1.
  const StoppedAnswers stopped = replay(here.view(), policy);
  const auto early = std::ranges::find(stopped.exit_index, 0);
  ASSERT_NE(early, stopped.exit_index.end());
  const auto image = static_cast<std::size_t>(early - stopped.exit_index.begin());
  const auto classes = static_cast<std::size_t>(here.classes);
  for (std::size_t c = 0; c < classes; ++c) here.logits[(2 * kImages + image) * classes + c] *= -1;
  EXPECT_EQ(differing_outcomes(policy, there.view(), here.view()), 1);
  // Rounding that changes no answer does not count.
  eval::SavedLogits rounded = there;
  for (float& logit : rounded.logits) logit *= 1 + 1e-6f;
  EXPECT_LE(differing_outcomes(policy, there.view(), rounded.view()), 1);
}

TEST_F(Verify, TakesOnlyLogitsOfTheCertifiedCodeAndOfTheseImages) {
  there.metadata["kernels"] = "onednn 1.0 other";
  expect_refused("logits of f32 with onednn 1.0 other, but the certificate is for f32 with ");
  there.metadata["kernels"] = kCertified;
  there.metadata["precision"] = "bf16";
  expect_refused("logits of bf16 with ");
  there.metadata["precision"] = "f32";
  ++there.hashes[0];
  expect_refused("has no logits of 1 of the 400 images");
  there.hashes.clear();
  expect_refused("does not say of which images the logits are");
  VerifyOptions bad = options();
  for (const double alpha : {0.0, 1.0, -1.0}) {
    bad.alpha = alpha;
    EXPECT_THAT([&] { verify(bad); }, ThrowsMessage<UsageError>(HasSubstr("alpha: expected")));
  }
  model.policy->guarantee.reset();
  model::save_model(path, model);
  EXPECT_THAT([&] { verify(options()); }, ThrowsMessage<Error>(HasSubstr("has no certificate")));
}

TEST_F(Verify, GivesNoBoundForImagesThatHaveChanged) {
  model.policy->seen->shares = {0, 0, 1};
  model::save_model(path, model);
  const Verification result = verify(options());
  EXPECT_EQ(result.certificate.in_force, InForce::no);
  EXPECT_FALSE(result.verified);
  EXPECT_TRUE(model::load_model(path).policy->verified.empty());
}

}  // namespace
}  // namespace offramp::workflow
