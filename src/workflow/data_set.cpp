#include "workflow/data_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>

#include "core/error.h"
#include "core/file.h"
#include "data/class_folders.h"
#include "data/contact_sheet.h"
#include "data/corruption.h"
#include "image/image.h"
#include "workflow/output_file.h"
#include "workflow/provenance.h"

namespace offramp::workflow {
namespace {

constexpr int kSideOfMixedSizes = 64;

void write_png(const std::filesystem::path& path, const image::Image& image) {
  const std::vector<std::byte> png = image::encode_png(image);
  const std::span<const std::byte> part = png;
  core::write_file_atomic(path, std::span(&part, 1));
}

std::vector<ClassCount> count_classes(const DataParts& parts) {
  std::vector<ClassCount> counts;
  for (const std::string& name : parts.train.dataset.classes) counts.push_back({name});
  for (const std::int64_t label : parts.train.dataset.labels)
    ++counts[static_cast<std::size_t>(label)].train;
  for (const std::int64_t label : parts.test.dataset.labels)
    ++counts[static_cast<std::size_t>(label)].test;
  return counts;
}

DataParts load_parts(const std::string& source, const data::LoadOptions& options) {
  return {data::load_data(source, data::Part::train, options),
          data::load_data(source, data::Part::test, options)};
}

std::optional<data::Corruption> corruption_of(const ExportOptions& options) {
  if (options.corruption.empty()) return std::nullopt;
  try {
    return data::parse_corruption(options.corruption);
  } catch (const Error& error) {
    core::throw_with_place("corruption", error);
  }
}

}  // namespace

std::vector<data::SkippedImage> DataParts::skipped() const {
  std::vector<data::SkippedImage> all = train.skipped;
  all.insert(all.end(), test.skipped.begin(), test.skipped.end());
  return all;
}

DataParts import_data(const std::string& source, const data::LoadOptions& options,
                      const std::filesystem::path& output) {
  check_output("output", output, {source});
  DataParts parts = load_parts(source, options);
  data::write_packed(output, parts.train, parts.test);
  return parts;
}

DataSummary summarise_data(const std::string& source, const data::LoadOptions& options) {
  DataSummary summary;
  try {
    summary.parts = load_parts(source, options);
    const data::Dataset &train = summary.parts.train.dataset, &test = summary.parts.test.dataset;
    summary.one_size = train.width == test.width && train.height == test.height;
  } catch (const UsageError&) {
    if (options.width > 0) throw;
    data::LoadOptions at_one_size = options;
    at_one_size.width = at_one_size.height = kSideOfMixedSizes;
    summary.one_size = false;
    summary.parts = load_parts(source, at_one_size);
  }
  summary.sizes = summary.parts.train.sizes;
  const data::SizeRange& test = summary.parts.test.sizes;
  summary.sizes.add(test.min_width, test.min_height);
  summary.sizes.add(test.max_width, test.max_height);
  summary.classes = count_classes(summary.parts);
  const data::Dataset& train = summary.parts.train.dataset;
  summary.statistics = data::channel_statistics(train, all_indices(train));
  return summary;
}

void write_contact_sheet(const DataSummary& summary, const std::filesystem::path& output) {
  write_png(output, data::contact_sheet(summary.parts.train.dataset));
}

ExportResult export_images(const ExportOptions& options) {
  const std::optional<data::Corruption> corruption = corruption_of(options);
  const data::LoadedData loaded = data::load_data(options.source, options.part, options.load);
  const data::Dataset& data = loaded.dataset;
  std::vector<std::string> folders;
  for (const std::string& name : data.classes) folders.push_back(data::folder_of_class(name));
  std::vector<std::pair<std::int64_t, std::filesystem::path>> chosen;  // image, its file
  std::vector<int> count(data.classes.size());
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const auto label = static_cast<std::size_t>(data.labels[static_cast<std::size_t>(i)]);
    if (count[label] == options.per_class) continue;
    ++count[label];
    chosen.emplace_back(i, options.folder / folders[label] / fmt::format("{:05}.png", i));
    refuse_same_file("out", chosen.back().second, {options.source});
  }
  ExportResult result{0, data.classes.size()};
  for (const auto& [i, file] : chosen) {
    std::filesystem::create_directories(file.parent_path());
    const auto pixels = data.image(i);
    image::Image image = {data.width, data.height, {pixels.begin(), pixels.end()}};
    if (corruption)
      image = data::corrupt(image, *corruption, data.hashes[static_cast<std::size_t>(i)]);
    write_png(file, image);
    ++result.images;
  }
  return result;
}

}  // namespace offramp::workflow
