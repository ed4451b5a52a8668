#include "workflow/provenance.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"

namespace offramp::cli {
namespace {

bool is_listed(const Dataset& data, std::int64_t index, const std::vector<std::uint64_t>& hashes) {
  return std::binary_search(hashes.begin(), hashes.end(),
                            data.hashes[static_cast<std::size_t>(index)]);
}

}  // namespace

LoadOptions load_options(const ModelFile& model) {
  LoadOptions options;
  options.height = model.preprocessing.height;
  options.width = model.preprocessing.width;
  options.fit = model.preprocessing.fit;
  return options;
}

void check_same_classes(const ModelFile& model, const Dataset& data) {
  const std::size_t common = std::min(model.classes.size(), data.classes.size());
  for (std::size_t i = 0; i < common; ++i)
    if (model.classes[i] != data.classes[i])
      throw Error("classes differ: class {} is {} in the model, {} in the data", i + 1,
                  quote(model.classes[i]), quote(data.classes[i]));
  if (model.classes.size() != data.classes.size())
    throw Error("classes differ: {} in the model, {} in the data", model.classes.size(),
                data.classes.size());
}

std::vector<std::int64_t> images_listed(const Dataset& data,
                                        const std::vector<std::uint64_t>& hashes) {
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < data.size(); ++i)
    if (is_listed(data, i, hashes)) indices.push_back(i);
  return indices;
}

void refuse_trained_images(const ModelFile& model, const Dataset& data,
                           const std::vector<std::int64_t>& indices, std::string_view advice) {
  const std::vector<std::uint64_t>& trained = model.provenance.data.train;
  const auto listed = [&](std::int64_t i) { return is_listed(data, i, trained); };
  const auto first = std::find_if(indices.begin(), indices.end(), listed);
  if (first == indices.end()) return;
  throw Error("the model was trained on {} of these {} images, the first is {}{}",
              std::count_if(first, indices.end(), listed), indices.size(),
              quote(data.names[static_cast<std::size_t>(*first)]), advice);
}

std::vector<std::int64_t> without_trained_images(const ModelFile& model, const Dataset& data,
                                                 const std::vector<std::int64_t>& indices) {
  std::vector<std::int64_t> rest;
  for (const std::int64_t i : indices)
    if (!is_listed(data, i, model.provenance.data.train)) rest.push_back(i);
  return rest;
}

void log_test_read(const std::filesystem::path& model, const TestRead& read) {
  const std::string time = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  const nlohmann::ordered_json line = {{"time", time},
                                       {"command", read.command},
                                       {"model", model.filename().string()},
                                       {"data", read.data},
                                       {"images", read.images}};
  // Paths may hold bytes that are no UTF-8.
  append_line(model.parent_path() / "test_reads.jsonl",
              line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace offramp::cli
