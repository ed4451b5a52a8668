#include "engine/certificate_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <thread>

#include "core/error.h"
#include "engine/opened_model.h"
#include "graph/random_weights.h"
#include "runtime/kernels_name.h"
#include "tests/support/graphs.h"

namespace offramp::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr int kImages = 5;

/// A model with an int8 certificate that names the arithmetic, and images whose logits are stored.
/// No int8 kernel runs in these tests: the computed logits are given.
class CertificateCheckTest : public testing::Test {
 protected:
  CertificateCheckTest() {
    model.graph = small_resnet();
    const auto& input = model.graph.input;
    model.preprocessing.height = static_cast<int>(input[1]);
    model.preprocessing.width = static_cast<int>(input[2]);
    model.policy = policy::ChosenPolicy{policy::never_stop(3)};
    model.policy->guarantee =
        policy::Guarantee{"harm", 0.01,   0.05,
                          0.05,   4000,   20,
                          0.009,  "int8", runtime::arithmetic_name(runtime::Precision::int8)};
    auto& stored = model.stored_images;
    stored.count = kImages;
    stored.pixels.resize(static_cast<std::size_t>(kImages * core::element_count(input)));
    for (std::size_t i = 0; i < stored.pixels.size(); ++i)
      stored.pixels[i] = static_cast<std::uint8_t>(i * 37);
    stored.logits.resize(static_cast<std::size_t>(kImages * 3 * model.graph.classes));
    for (std::size_t i = 0; i < stored.logits.size(); ++i)
      stored.logits[i] = std::sin(static_cast<float>(i));
    computed = stored.logits;
  }

  static RunningCode int8() {
    return {runtime::Precision::int8, "onednn 2.6.3 avx512_core_amx",
            runtime::arithmetic_name(runtime::Precision::int8), ""};
  }
  CertificateCheck certificate(const RunningCode& code) {
    return CertificateCheck(model, code,
                            {[this](std::span<const float> images) {
                               ++runs;
                               num_values = images.size();
                               return computed;
                             },
                             [this] {
                               ++hashes;
                               return hash;
                             }});
  }
  policy::Guarantee& given() { return *model.policy->guarantee; }

  model::ModelFile model;
  std::vector<float> computed;
  std::string hash = "0123456789abcdef";
  int runs = 0, hashes = 0;
  std::size_t num_values = 0;
};

TEST_F(CertificateCheckTest, IsInForceUnderEveryInstructionSetThatComputesTheStoredLogits) {
  const CertificateCheck here = certificate(int8());
  EXPECT_EQ(here.so_far().in_force, InForce::unknown);
  EXPECT_THAT(here.so_far().why, HasSubstr("have not been checked yet"));
  EXPECT_EQ(runs, 0) << "nothing runs before the guarantee is asked for";
  EXPECT_EQ(here.status(), (CertificateStatus{InForce::yes, ""}));
  EXPECT_EQ(here.so_far(), (CertificateStatus{InForce::yes, ""}));
  here.status();
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(num_values, model.stored_images.pixels.size());
}

TEST_F(CertificateCheckTest, IsNotInForceIfASingleBitOfALogitDiffers) {
  computed[7] = std::nextafter(computed[7], 2.0f);
  computed[8] = std::nextafter(computed[8], 2.0f);  // of the same image
  computed.back() = -computed.back();
  const CertificateCheck here = certificate(int8());
  EXPECT_EQ(here.status().in_force, InForce::no);
  EXPECT_THAT(here.status().why, HasSubstr("2 of the 5 images that the file stores give other"));
  EXPECT_EQ(here.so_far(), here.status());

  computed = model.stored_images.logits;
  model.stored_images.logits[0] = 0.0f;
  computed[0] = -0.0f;
  EXPECT_EQ(certificate(int8()).status().in_force, InForce::no) << "the bits differ";
  computed.pop_back();
  EXPECT_EQ(certificate(int8()).status().in_force, InForce::no);
}

TEST_F(CertificateCheckTest, IsNotInForceForOtherWeightsThanTheCertifiedOnes) {
  given().hash = "fedcba9876543210";
  const CertificateCheck here = certificate(int8());
  EXPECT_EQ(here.so_far().in_force, InForce::unknown);
  EXPECT_EQ(hashes, 0) << "nothing is computed before the guarantee is asked for";
  EXPECT_EQ(here.status().in_force, InForce::no);
  EXPECT_THAT(here.status().why, HasSubstr("are not those that were certified"));
  EXPECT_EQ(here.so_far(), here.status());
  EXPECT_EQ(hashes, 1);
  EXPECT_EQ(runs, 0) << "the images need not run any more";
  given().hash = hash;
  EXPECT_EQ(certificate(int8()).status(), (CertificateStatus{InForce::yes, ""}));
  EXPECT_EQ(runs, 1);
}

TEST_F(CertificateCheckTest, OfKernelsIsBoundToItsWeightsToo) {
  given().precision = "f32";
  given().kernels = "onednn 2.6.3 avx2";
  given().hash = hash;
  const RunningCode same = {runtime::Precision::f32, "onednn 2.6.3 avx2", "", ""};
  EXPECT_EQ(certificate(same).so_far().in_force, InForce::unknown);
  EXPECT_EQ(certificate(same).status().in_force, InForce::yes);
  RunningCode other = same;
  other.kernels = "onednn 2.6.3 avx512_core";
  model.policy->verified = {{"f32", other.kernels, 1000, 0, 0.01, 0.0046}};
  EXPECT_EQ(certificate(other).status().in_force, InForce::yes);
  hash = "changed";
  EXPECT_EQ(certificate(same).status().in_force, InForce::no);
  EXPECT_EQ(certificate(other).status().in_force, InForce::no);
  EXPECT_EQ(runs, 0);
}

TEST_F(CertificateCheckTest, NeedsStoredImages) {
  model.stored_images = {};
  const CertificateCheck here = certificate(int8());
  EXPECT_EQ(here.status().in_force, InForce::no);
  EXPECT_THAT(here.status().why, HasSubstr("stores no images"));
  EXPECT_EQ(runs, 0);
}

TEST_F(CertificateCheckTest, OfAnotherArithmeticOrOfOtherKernelsIsNotInForce) {
  given().kernels = "int8 arithmetic 0";
  EXPECT_EQ(certificate(int8()).status().in_force, InForce::no);
  given().kernels = "onednn 2.6.3 avx512_core_bf16";
  EXPECT_EQ(certificate(int8()).status().in_force, InForce::no);
  EXPECT_THAT(certificate(int8()).status().why,
              AllOf(HasSubstr("avx512_core_bf16"), HasSubstr("avx512_core_amx")));
  given().kernels = int8().kernels;
  EXPECT_EQ(certificate(int8()).status().in_force, InForce::yes);
  EXPECT_EQ(runs, 0);
}

TEST_F(CertificateCheckTest, SaysInPlainWordsThatACpuCannotComputeInt8) {
  const RunningCode f32 = {runtime::Precision::f32, "onednn 2.6.3 avx2", "",
                           "this CPU has no instructions for int8"};
  const CertificateCheck here = certificate(f32);
  EXPECT_EQ(here.status().in_force, InForce::no);
  EXPECT_EQ(here.status().why,
            "this CPU has no instructions for int8: the model runs in f32, for which nothing was "
            "certified");
  RunningCode asked = f32;
  asked.fallback = "";
  EXPECT_EQ(certificate(asked).status().why,
            "the model runs in f32, for which nothing was certified; its certificate is for int8");
}

TEST_F(CertificateCheckTest, OfF32HoldsForItsKernelsOnly) {
  given().precision = "f32";
  given().kernels = "onednn 2.6.3 avx2";
  const RunningCode same = {runtime::Precision::f32, "onednn 2.6.3 avx2", "", ""};
  EXPECT_EQ(certificate(same).so_far(), (CertificateStatus{InForce::yes, ""}));
  RunningCode other = same;
  other.kernels = "onednn 2.6.3 avx512_core";
  EXPECT_EQ(certificate(other).status().in_force, InForce::no);
  EXPECT_EQ(runs, 0);
}

TEST_F(CertificateCheckTest, IsComparedOnceByManyThreads) {
  const CertificateCheck here = certificate(int8());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] { EXPECT_EQ(here.status().in_force, InForce::yes); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(runs, 1);
}

TEST_F(CertificateCheckTest, AModelWithoutOneHasNoReason) {
  model.policy->guarantee.reset();
  EXPECT_EQ(certificate(int8()).status(), CertificateStatus{});
  model.policy.reset();
  EXPECT_EQ(certificate(int8()).status(), CertificateStatus{});
}

TEST(CertificateUnderDrift, IsNotInForceAndSaysWhy) {
  using policy::Drift;
  const CertificateStatus yes{InForce::yes, ""}, no{InForce::no, "reason"},
      unknown{InForce::unknown, "later"};
  const policy::DriftVerdict drifted{Drift::drifted, 1e-9, 0.3}, none{Drift::none, 0.5, 0.01},
      few{Drift::unknown, 1, 0.01};
  EXPECT_EQ(with_drift(yes, none, 1000), yes);
  EXPECT_EQ(with_drift(unknown, none, 1000), unknown);
  for (const CertificateStatus& before : {yes, unknown}) {
    EXPECT_EQ(with_drift(before, drifted, 1000).in_force, InForce::no);
    EXPECT_THAT(with_drift(before, drifted, 1000).why,
                HasSubstr("the images have changed: 30 % of them stop at other exits"));
  }
  for (const auto& verdict : {std::optional(drifted), std::optional(none), std::optional(few)})
    EXPECT_EQ(with_drift(no, verdict, 1000), no);
  EXPECT_EQ(with_drift(yes, few, 12).in_force, InForce::unknown);
  EXPECT_THAT(with_drift(yes, few, 12).why, AllOf(HasSubstr("12 images"), HasSubstr("200")));
  EXPECT_EQ(with_drift(yes, std::nullopt, 1000).in_force, InForce::unknown);
}

TEST(CertificateText, NamesTheStateBeforeTheReason) {
  EXPECT_EQ(describe(CertificateStatus{InForce::yes, ""}), "in force");
  EXPECT_EQ(describe(CertificateStatus{InForce::no, "why"}), "not in force: why");
  EXPECT_EQ(describe(CertificateStatus{InForce::unknown, "why"}), "not known to be in force: why");
}

/// An int8 file opened under every cap that computes int8 exactly must give the same logits; here
/// the file's own path from open() to the comparison is run.
TEST_F(CertificateCheckTest, OfAnOpenedInt8FileIsComparedWhenItIsAskedFor) {
  const bool can = runtime::has_instructions_for(runtime::Precision::int8);
  model.weights = graph::random_weights(model.graph, 1);
  const auto opened = OpenedModel::open(model, {.precision = "f32", .threads = 1});
  EXPECT_EQ(opened->certified_code(), opened->kernels());
  EXPECT_EQ(opened->certificate().status().in_force, InForce::no);
  EXPECT_THAT(opened->notes(), testing::ElementsAre(HasSubstr("for which nothing was certified")));
  if (can) GTEST_SKIP() << "the rest is about a CPU without int8";
  const auto fallen = OpenedModel::open(model, {.precision = "int8", .threads = 1});
  EXPECT_THAT(fallen->notes(),
              testing::ElementsAre("this CPU has no instructions for int8: the model runs in f32, "
                                   "for which nothing was certified"));
}

}  // namespace
}  // namespace offramp::engine
