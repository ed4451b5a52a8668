#include "workflow/stored_images.h"
#include "tests/support/models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "model/certified_hash.h"
#include "runtime/kernels_name.h"
#include "workflow/evaluate.h"
#include "workflow/provenance.h"

namespace offramp::workflow {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

/// A model with an int8 certificate of kernels, and the logits of its certify images. The logits
/// are computed in f32: what is tested is the arithmetic of the conversion, not int8.
class Conversion : public testing::Test {
 protected:
  Conversion() {
    drawn = data::load_data("synthetic", data::Part::test,
                            {.synthetic_train = 100, .synthetic_test = 300});
    model = test::small_model(drawn.dataset.classes);
    opened = engine::OpenedModel::open(model, {.precision = "f32", .threads = 1});
    certify = run_all_exits(
        *opened, {&drawn.dataset, all_indices(drawn.dataset), &model.preprocessing, 100});
    policy::ChosenPolicy chosen;
    chosen.policy = policy::never_stop(3);
    chosen.policy.thresholds = {0.12f, 0.12f};
    chosen.aim = policy::HarmGuarantee{0.5};
    model.policy = chosen;
    // The counts, found by another way than count_of(): image by image.
    for (std::int64_t i = 0; i < certify.view().images(); ++i)
      harmed += is_harmed(chosen.policy, i);
    model.policy->guarantee = policy::Guarantee{
        "harm", 0.5, 0.05, 0.045, 300, harmed, 0.5, "int8", "onednn 2.6.3 avx512_core_bf16"};
    policy::Policy never = policy::never_stop(3);
    model.policy->path = policy::CertifiedPath{
        {{never.thresholds, 0, 1, 1}, {chosen.policy.thresholds, harmed, 1, 0.5}}, 1};
    images = images_to_store(*opened, drawn.dataset, {0, 7, 299});
  }

  bool is_harmed(const policy::Policy& policy, std::int64_t i) const {
    const policy::LogitsView view = certify.view();
    policy::ExitState state;
    int k = 0;
    while (!policy::should_exit(policy, k, view.at(k, i), state)) ++k;
    const std::int64_t label = view.labels[static_cast<std::size_t>(i)];
    return state.answer != label && policy::argmax(view.at(2, i)) == label;
  }

  data::LoadedData drawn;
  model::ModelFile model;
  std::shared_ptr<engine::OpenedModel> opened;
  eval::SavedLogits certify;
  model::StoredImages images;
  std::int64_t harmed = 0;
};

TEST_F(Conversion, KeepsEverythingButTheNameOfTheCode) {
  ASSERT_GT(harmed, 0);
  ASSERT_LT(harmed, 150);
  const policy::ChosenPolicy before = *model.policy;
  model.certificates = 1;
  const Converted result = convert_certificate(model, certify.view(), images);
  EXPECT_EQ(result.certify, 300);
  EXPECT_EQ(result.counted, harmed);
  EXPECT_EQ(result.steps, 2);
  EXPECT_EQ(result.stored, 3);
  EXPECT_EQ(model.certificates, 1) << "no new attempt";
  EXPECT_EQ(model.stored_images, images);
  policy::ChosenPolicy renamed = before;
  renamed.guarantee->kernels = runtime::arithmetic_name(runtime::Precision::int8);
  renamed.guarantee->hash = model::certified_hash(model);
  EXPECT_EQ(model.policy, renamed);
  // What was stored can be read again, and the certificate is in force on another CPU that computes
  // the same logits.
  const core::TemporaryFolder folder;
  model::save_model(folder.path() / "model.safetensors", model);
  const model::ModelFile read = model::load_model(folder.path() / "model.safetensors");
  const engine::RunningCode there = {runtime::Precision::int8, "onednn 3.7.2 avx512_core_amx",
                                     runtime::arithmetic_name(runtime::Precision::int8), ""};
  const engine::CertificateCheck same(
      read, there,
      {[&](std::span<const float>) { return read.stored_images.logits; },
       [&] { return model::certified_hash(read); }});
  EXPECT_EQ(same.status().in_force, InForce::yes);
}

TEST_F(Conversion, IsRefusedWhereACountDiffers) {
  const auto refused = [&](const std::string& why) {
    const std::optional<policy::ChosenPolicy> before = model.policy;
    EXPECT_THAT([&] { convert_certificate(model, certify.view(), images); },
                ThrowsMessage<Error>(HasSubstr(why)));
    EXPECT_EQ(model.policy, before);
    EXPECT_EQ(model.stored_images, model::StoredImages{});
  };
  model.policy->path->steps[0].counted = 1;
  refused("path.steps[0]: 0 images are counted here, 1 in the certificate");
  model.policy->path.reset();
  ++model.policy->guarantee->counted;
  refused("policy: ");
  --model.policy->guarantee->counted;
  ++model.policy->guarantee->images;
  refused("300 certify images were found, but the certificate is of 301");
  --model.policy->guarantee->images;
  model.policy->policy.ensemble = policy::Ensemble::mean;
  refused("ensemble");
  model.policy->policy.ensemble = policy::Ensemble::off;
  model.policy->guarantee->precision = "bf16";
  refused("the certificate is for bf16");
  model.policy->guarantee->precision = "int8";
  model.policy->guarantee->kernels = runtime::arithmetic_name(runtime::Precision::int8);
  refused("names the arithmetic already");
  model.policy->guarantee.reset();
  refused("has no certificate");
}

TEST_F(Conversion, CountsOtherAnswersForACertificateOfThem) {
  policy::Guarantee given = *model.policy->guarantee;
  EXPECT_EQ(count_of(given, model.policy->policy, certify.view()), harmed);
  given.of = "disagreement";
  EXPECT_GT(count_of(given, model.policy->policy, certify.view()), harmed);
  EXPECT_EQ(count_of(given, policy::never_stop(3), certify.view()), 0);
}

TEST_F(Conversion, StoresLogitsThatOneImageAtATimeGivesAgain) {
  ASSERT_EQ(images.count, 3);
  const policy::LogitsView view = certify.view();
  const auto classes = static_cast<std::size_t>(view.classes);
  for (std::size_t n = 0; n < 3; ++n)
    for (int k = 0; k < 3; ++k) {
      const auto expected = view.at(k, std::vector<std::int64_t>{0, 7, 299}[n]);
      const std::size_t row = (n * 3 + static_cast<std::size_t>(k)) * classes;
      for (std::size_t c = 0; c < classes; ++c)
        EXPECT_EQ(images.logits[row + c], expected[c]) << n << " " << k << " " << c;
    }
  const auto pixels = drawn.dataset.image(7);
  EXPECT_TRUE(
      std::ranges::equal(pixels, std::span(images.pixels).subspan(pixels.size(), pixels.size())));
}

}  // namespace
}  // namespace offramp::workflow
