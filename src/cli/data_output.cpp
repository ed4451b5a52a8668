#include "cli/data_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "cli/json_text.h"
#include "cli/terminal.h"
#include "core/text.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;

json part_json(const data::LoadedData& part) {
  json skipped = json::array();
  for (const data::SkippedImage& image : part.skipped) {
    skipped.push_back({{"name", image.name}, {"reason", image.reason}});
  }
  return {{"images", part.dataset.size()},       {"min_width", part.sizes.min_width},
          {"max_width", part.sizes.max_width},   {"min_height", part.sizes.min_height},
          {"max_height", part.sizes.max_height}, {"skipped", std::move(skipped)}};
}

std::string range_text(int low, int high) {
  return low == high ? fmt::format("{}", low) : fmt::format("{} to {}", low, high);
}

}  // namespace

std::string imported_text(const std::string& output, const workflow::DataParts& parts) {
  const data::Dataset& train = parts.train.dataset;
  return fmt::format("{}: {} training and {} test images of {} classes, {}x{}, {} skipped\n",
                     printable(output), train.size(), parts.test.dataset.size(),
                     train.classes.size(), train.width, train.height, parts.skipped().size());
}

std::string skipped_text(const std::vector<data::SkippedImage>& skipped) {
  constexpr std::size_t kMaxListed = 20;
  std::string text;
  for (std::size_t i = 0; i < std::min(kMaxListed, skipped.size()); ++i) {
    text += fmt::format("  {}: {}\n", printable(skipped[i].name), printable(skipped[i].reason));
  }
  if (skipped.size() > kMaxListed)
    text += fmt::format("  and {} more\n", skipped.size() - kMaxListed);
  return text;
}

std::string to_json_text(const workflow::DataSummary& summary) {
  const data::Dataset& train = summary.parts.train.dataset;
  json object;
  object["source"] = summary.parts.train.source;
  object["width"] = nullptr;
  object["height"] = nullptr;
  if (summary.one_size) object["width"] = train.width, object["height"] = train.height;
  object["classes"] = json::array();
  for (const workflow::ClassCount& one : summary.classes)
    object["classes"].push_back({{"class", one.name}, {"train", one.train}, {"test", one.test}});
  object["train"] = part_json(summary.parts.train);
  object["test"] = part_json(summary.parts.test);
  object["mean"] = summary.statistics.mean;
  object["std"] = summary.statistics.std;
  // Class names come from files and may hold bytes that are not UTF-8; by default dump() would
  // throw for them.
  return json_text(object);
}

std::string to_text(const workflow::DataSummary& summary, bool color) {
  const data::Dataset& train = summary.parts.train.dataset;
  const data::SizeRange& sizes = summary.sizes;
  const auto& mean = summary.statistics.mean;
  const auto& std = summary.statistics.std;
  std::string text = fmt::format("source   {}\n", printable(summary.parts.train.source));
  text += fmt::format("images   {} training, {} test\n", core::with_commas(train.size()),
                      core::with_commas(summary.parts.test.dataset.size()));
  text +=
      fmt::format("stored   width {}, height {}\n", range_text(sizes.min_width, sizes.max_width),
                  range_text(sizes.min_height, sizes.max_height));
  text += summary.one_size ? fmt::format("loaded   {}x{}\n", train.width, train.height)
                           : "loaded   sizes differ: training needs --image-size\n";
  text += fmt::format("mean     {:.4f} {:.4f} {:.4f}\n", mean[0], mean[1], mean[2]);
  text += fmt::format("std      {:.4f} {:.4f} {:.4f}\n\n", std[0], std[1], std[2]);
  Table table({"class", "training", "test"});
  for (const workflow::ClassCount& one : summary.classes)
    table.add({printable(one.name), core::with_commas(one.train), core::with_commas(one.test)});
  text += table.text(color);
  const std::vector<data::SkippedImage> skipped = summary.parts.skipped();
  if (!skipped.empty())
    text += fmt::format("\nskipped  {} images\n{}", skipped.size(), skipped_text(skipped));
  return text;
}

}  // namespace offramp::cli
