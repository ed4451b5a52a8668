#include "workflow/provenance.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_set>

#include "core/error.h"
#include "core/file.h"

namespace offramp::workflow {
namespace {

bool is_listed(const data::Dataset& data, std::int64_t index,
               const std::vector<std::uint64_t>& hashes) {
  return std::binary_search(hashes.begin(), hashes.end(),
                            data.hashes[static_cast<std::size_t>(index)]);
}

}  // namespace

data::LoadOptions load_options(const model::ModelFile& model) {
  data::LoadOptions options;
  options.height = model.preprocessing.height;
  options.width = model.preprocessing.width;
  options.fit = model.preprocessing.fit;
  options.classes = model.classes;
  return options;
}

void check_same_classes(const model::ModelFile& model, const data::Dataset& data) {
  const std::size_t common = std::min(model.classes.size(), data.classes.size());
  for (std::size_t i = 0; i < common; ++i)
    if (model.classes[i] != data.classes[i])
      throw Error(fmt::format("classes differ: class {} is {} in the model, {} in the data", i + 1,
                              core::quote(model.classes[i]), core::quote(data.classes[i])));
  if (model.classes.size() != data.classes.size())
    throw Error(fmt::format("classes differ: {} in the model, {} in the data", model.classes.size(),
                            data.classes.size()));
}

std::vector<std::int64_t> all_indices(const data::Dataset& data) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(data.size()));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

std::vector<std::int64_t> indices_of_listed(const data::Dataset& data,
                                            const std::vector<std::uint64_t>& hashes) {
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < data.size(); ++i)
    if (is_listed(data, i, hashes)) indices.push_back(i);
  return indices;
}

void refuse_trained_images(const std::filesystem::path& path, const model::ModelFile& model,
                           const data::Dataset& data, const std::vector<std::int64_t>& indices) {
  const std::vector<std::uint64_t>& trained = model.provenance.data.train;
  const auto listed = [&](std::int64_t i) { return is_listed(data, i, trained); };
  const auto first = std::find_if(indices.begin(), indices.end(), listed);
  if (first == indices.end()) return;
  throw TrainedOnImages(
      fmt::format("{}: the model was trained on {} of these {} images, the first is {}",
                  path.string(), std::count_if(first, indices.end(), listed), indices.size(),
                  core::quote(data.names[static_cast<std::size_t>(*first)])));
}

std::vector<std::int64_t> without_trained_images(const model::ModelFile& model,
                                                 const data::Dataset& data,
                                                 const std::vector<std::int64_t>& indices) {
  std::vector<std::int64_t> rest;
  for (const std::int64_t i : indices)
    if (!is_listed(data, i, model.provenance.data.train)) rest.push_back(i);
  return rest;
}

std::vector<std::int64_t> images_to_test(const std::filesystem::path& path,
                                         const model::ModelFile& model,
                                         const data::LoadedData& data, bool skip_trained) {
  try {
    check_same_classes(model, data.dataset);
  } catch (const Error& error) {
    core::throw_with_place(path.string(), error);
  }
  std::vector<std::int64_t> indices = all_indices(data.dataset);
  if (skip_trained) indices = without_trained_images(model, data.dataset, indices);
  refuse_trained_images(path, model, data.dataset, indices);
  if (indices.empty())
    throw Error(
        fmt::format("{}: the model was trained on all images of {}, so none is left to test it on",
                    path.string(), data.source));
  return indices;
}

ListedImages find_listed_images(const std::filesystem::path& path, const model::ModelFile& model,
                                const data::Dataset& data, const std::vector<std::uint64_t>& hashes,
                                const std::string& part, const std::string& source) {
  if (hashes.empty())
    throw Error(
        fmt::format("{}: the model does not list the images of its {} part", path.string(), part));
  ListedImages listed;
  listed.indices = indices_of_listed(data, hashes);
  if (listed.indices.empty())
    throw Error(fmt::format("{}: contains no image of the model's {} part", source, part));
  refuse_trained_images(path, model, data, listed.indices);
  std::unordered_set<std::uint64_t> found;
  for (const std::int64_t i : listed.indices)
    found.insert(data.hashes[static_cast<std::size_t>(i)]);
  const std::unordered_set<std::uint64_t> wanted(hashes.begin(), hashes.end());
  listed.missing = static_cast<std::int64_t>(wanted.size() - found.size());
  return listed;
}

std::int64_t leave_out_copies(const data::Dataset& data, std::vector<std::int64_t>& indices) {
  std::unordered_set<std::uint64_t> seen;
  return static_cast<std::int64_t>(std::erase_if(indices, [&](std::int64_t i) {
    return !seen.insert(data.hashes[static_cast<std::size_t>(i)]).second;
  }));
}

void log_test_read(const std::filesystem::path& model, const TestRead& read) {
  const std::string time = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  const nlohmann::ordered_json line = {
      {"time", time},      {"command", read.command}, {"model", model.filename().string()},
      {"data", read.data}, {"part", read.part},       {"images", read.images}};
  // A path may contain bytes that are not valid UTF-8; these are replaced.
  core::append_line(model.parent_path() / "test_reads.jsonl",
                    line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void log_test_read(const std::filesystem::path& model, const TestRead& read,
                   const Progress& progress) {
  try {
    log_test_read(model, read);
  } catch (const Error& error) {
    progress.remark(
        fmt::format("this use of the test images could not be recorded: {}", error.what()));
  }
}

}  // namespace offramp::workflow
