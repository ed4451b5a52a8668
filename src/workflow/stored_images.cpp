#include "workflow/stored_images.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "image/image.h"
#include "model/certified_hash.h"
#include "policy/calibration.h"
#include "runtime/kernels_name.h"
#include "workflow/evaluate.h"
#include "workflow/output_file.h"
#include "workflow/provenance.h"
#include "workflow/selected_images.h"

namespace offramp::workflow {
namespace {

void expect_count(std::string_view place, std::int64_t here, std::int64_t certified) {
  if (here != certified)
    throw Error(
        fmt::format("{}: {} images are counted here, {} in the certificate; it cannot be "
                    "converted",
                    place, here, certified));
}

}  // namespace

model::StoredImages images_to_store(engine::OpenedModel& model, const data::Dataset& data,
                                    const std::vector<std::int64_t>& indices) {
  model::StoredImages stored;
  stored.count = static_cast<std::int64_t>(indices.size());
  const auto size = static_cast<std::size_t>(model.image_size());
  const auto exits = static_cast<std::size_t>(model.num_exits());
  const auto classes = static_cast<std::size_t>(model.num_classes());
  std::vector<float> inputs(indices.size() * size);
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const auto pixels = data.image(indices[i]);
    stored.pixels.insert(stored.pixels.end(), pixels.begin(), pixels.end());
    image::normalise(pixels, model.file().preprocessing, std::span(inputs).subspan(i * size, size));
  }
  stored.logits.resize(indices.size() * exits * classes);
  model.run(inputs, [&](std::int64_t image, const core::ExitOutput& output) {
    const std::size_t row =
        static_cast<std::size_t>(image) * exits + static_cast<std::size_t>(output.exit_index);
    std::ranges::copy(output.logits,
                      stored.logits.begin() + static_cast<std::ptrdiff_t>(row * classes));
    return false;
  });
  return stored;
}

std::int64_t count_of(const policy::Guarantee& guarantee, const policy::Policy& policy,
                      const policy::LogitsView& certify) {
  const StoppedAnswers stopped = replay(certify, policy);
  const std::vector<std::int64_t> last =
      policy::reference_answers(policy, certify, guarantee.against);
  std::int64_t counted = 0;
  for (std::size_t i = 0; i < last.size(); ++i)
    counted += guarantee.of == "harm"
                   ? last[i] == certify.labels[i] && stopped.answers[i] != certify.labels[i]
                   : stopped.answers[i] != last[i];
  return counted;
}

Converted convert_certificate(model::ModelFile& model, const policy::LogitsView& certify,
                              model::StoredImages images) {
  const std::string arithmetic = runtime::arithmetic_name(runtime::Precision::int8, model.graph);
  if (arithmetic.empty())
    throw Error("the network has operations whose int8 results depend on the instruction set");
  if (!model.policy || !model.policy->guarantee)
    throw Error("the model has no certificate, so there is nothing to convert");
  policy::Guarantee& given = *model.policy->guarantee;
  if (given.precision != "int8")
    throw Error(fmt::format("the certificate is for {}; only those for int8 can name an arithmetic",
                            given.precision));
  if (given.kernels == arithmetic) throw Error("the certificate names the arithmetic already");
  if (model.policy->policy.ensemble != policy::Ensemble::off)
    throw Error("the policy has an ensemble; certify it again with \"offramp calibrate\"");
  if (certify.images() != given.images)
    throw Error(fmt::format("{} certify images were found, but the certificate is of {}",
                            certify.images(), given.images));
  policy::Guarantee disagreement = given;
  disagreement.of = "disagreement";
  if (given.disagreement)
    expect_count("disagreement", count_of(disagreement, model.policy->policy, certify),
                 given.disagreement->counted);
  Converted result;
  result.certify = given.images;
  result.counted = count_of(given, model.policy->policy, certify);
  expect_count("policy", result.counted, given.counted);
  if (model.policy->path)
    for (const policy::PathStep& step : model.policy->path->steps) {
      policy::Policy policy = model.policy->policy;
      policy.thresholds = step.thresholds;
      const std::string place = fmt::format("path.steps[{}]", result.steps);
      expect_count(place, count_of(given, policy, certify), step.counted);
      if (step.disagreed)
        expect_count(place + ".disagreed", count_of(disagreement, policy, certify),
                     *step.disagreed);
      ++result.steps;
    }
  result.stored = images.count;
  model.stored_images = std::move(images);
  given.kernels = arithmetic;
  given.hash = model::certified_hash(model);
  return result;
}

Converted convert_certificate(const ConvertOptions& options, const Progress& progress) {
  refuse_same_file("out", options.out, {options.data, options.images});
  core::Tensors extra;
  model::ModelFile model = model::load_model(options.model, &extra);
  if (!runtime::has_instructions_for(runtime::Precision::int8))
    throw Error("this CPU has no instructions for int8, so the counts cannot be computed again");
  const data::LoadedData train =
      data::load_data(options.data, data::Part::train, load_options(model));
  const data::LoadedData others =
      data::load_data(options.images, data::Part::test, load_options(model));
  ListedImages listed = find_listed_images(options.model, model, train.dataset,
                                           model.provenance.data.certify, "certify", options.data);
  if (listed.missing > 0)
    throw Error(
        fmt::format("{}: {} of the certify images are missing", options.data, listed.missing));
  leave_out_copies(train.dataset, listed.indices);  // calibrate() leaves out the same copies
  RunOptions run = options.run;
  run.precision = "int8";
  const auto opened = open_model(model, run, progress);
  if (opened->precision() != runtime::Precision::int8)
    throw Error(fmt::format("{}: does not run in int8 here", options.model.string()));
  const eval::SavedLogits certify = run_all_exits(
      *opened, {&train.dataset, listed.indices, &model.preprocessing, options.run.images_at_once()},
      progress);
  model::StoredImages images = images_to_store(
      *opened, others.dataset, take_evenly(all_indices(others.dataset), model::kStoredImages));
  Converted result;
  try {
    result = convert_certificate(model, certify.view(), std::move(images));
  } catch (const Error& error) {
    core::throw_with_place(options.model.string(), error);
  }
  model::save_model(options.out, model, extra);
  return result;
}

}  // namespace offramp::workflow
