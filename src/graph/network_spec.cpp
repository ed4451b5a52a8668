#include "graph/network_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/tensor.h"
#include "graph/cost.h"

namespace offramp::graph {
namespace {

constexpr std::int64_t kMinInput = 32;

/// Lower-case letters and digits of a name: "ResNet-18" becomes "resnet18".
std::string letters_and_digits(std::string_view name) {
  std::string result;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0) result += static_cast<char>(std::tolower(byte));
  }
  return result;
}

/// Finds an entry by its name. A name that is only spelled in another way is suggested. A similar
/// name is not, because it may be that of another network: resnet50 is not resnet18.
template <typename Entry>
const Entry& find(const std::vector<Entry>& table, const std::string& name, std::string_view what) {
  std::string known;
  for (const Entry& entry : table) {
    if (entry.name == name) return entry;
    known += (known.empty() ? "" : ", ") + entry.name;
  }
  for (const Entry& entry : table)
    if (letters_and_digits(entry.name) == letters_and_digits(name))
      throw UsageError(
          fmt::format("unknown {} {}; did you mean \"{}\"?", what, core::quote(name), entry.name));
  throw UsageError(fmt::format("unknown {} {}; known: {}", what, core::quote(name), known));
}

/// Returns the number that `text` consists of, or nullopt if it is not a number.
template <typename Number>
std::optional<Number> parse(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// The places where a network can have exits: its units, and the share of MACs at the end of each.
class Positions {
 public:
  explicit Positions(const Graph& units) : units_(units) {
    const Cost cost = cost_of(units);
    std::int64_t so_far = 0;
    for (const SegmentCost& segment : cost.segments) {
      so_far += segment.body.macs;
      shares_.push_back(static_cast<double>(so_far) / static_cast<double>(cost.plain_macs));
    }
  }

  /// Returns the 0-based index of the unit that "2" or "15%" stands for.
  int unit_of(const std::string& exit) const {
    const auto count = static_cast<std::int64_t>(shares_.size());
    if (!exit.empty() && exit.back() == '%') return nearest(exit);
    const auto number = parse<std::int64_t>(exit);
    if (!number || *number < 1)
      throw UsageError(
          fmt::format("exit {} is neither the number of a unit nor a share such as \"15%\"",
                      core::quote(exit)));
    if (*number >= count)
      throw UsageError(
          fmt::format("exit {} is beyond {}: it has {} units, early exits go after unit 1 to {}",
                      core::quote(exit), units_.name, count, count - 1));
    return static_cast<int>(*number - 1);
  }

 private:
  int nearest(const std::string& exit) const {
    const auto percent = parse<double>(std::string_view(exit).substr(0, exit.size() - 1));
    if (!percent || !(*percent > 0 && *percent < 100))
      throw UsageError(fmt::format("exit {}: a share of the MACs must lie between 0% and 100%",
                                   core::quote(exit)));
    std::size_t best = 0;
    for (std::size_t i = 1; i < shares_.size(); ++i)
      if (std::abs(shares_[i] - *percent / 100) < std::abs(shares_[best] - *percent / 100))
        best = i;
    if (best + 1 == shares_.size())
      throw UsageError(
          fmt::format("exit \"{}\" is at the end of {}, which has its own classifier; the last "
                      "place for an early exit is after unit {}, at {:.1f}%",
                      exit, units_.name, best, best == 0 ? 0.0 : 100 * shares_[best - 1]));
    return static_cast<int>(best);
  }

  const Graph& units_;
  std::vector<double> shares_;
};

void check_levels(const std::vector<int>& levels) {
  if (levels.empty()) throw UsageError("spp_levels: there must be at least one level");
  for (const int level : levels)
    if (level < 1 || level > 64)
      throw UsageError(fmt::format("spp_levels: a level must lie between 1 and 64, got {}", level));
}

void check_options(const BackboneOptions& options) {
  if (options.input.size() != 3)
    throw UsageError(
        fmt::format("the input must be [C,H,W], got {}", core::to_string(options.input)));
  if (options.input[0] < 1)
    throw UsageError(
        fmt::format("the input must have at least 1 channel, got {}", options.input[0]));
  if (options.input[1] < kMinInput || options.input[2] < kMinInput)
    throw UsageError(fmt::format("the input must be at least {}x{}, got {}x{}", kMinInput,
                                 kMinInput, options.input[1], options.input[2]));
  if (options.classes < 2)
    throw UsageError(fmt::format("a classifier needs at least 2 classes, got {}", options.classes));
  if (options.width < 1)
    throw UsageError(fmt::format("the width must be at least 1, got {}", options.width));
}

/// Returns the first units of a network, with a head as its classifier.
Graph truncated(Graph units, int count, const std::string& head, const std::vector<int>& levels) {
  const auto size = static_cast<int>(units.segments.size());
  if (count >= size)
    throw UsageError(
        fmt::format("units: {} has {} units, so a truncated network can have 1 to {}, got {}",
                    units.name, size, size - 1, count));
  check_levels(levels);
  const auto shapes = infer_shapes(units);
  units.segments.resize(static_cast<std::size_t>(count));
  Segment& last = units.segments.back();
  find(heads(), head, "head")
      .append(last, shapes.at(last.feature), {"classifier", levels, units.classes});
  return units;
}

Graph build(const NetworkSpec& spec, const Backbone& backbone) {
  Graph units = backbone.build(spec.options);
  if (spec.units == 0) return with_exits(units, spec.exits, spec.heads, spec.spp_levels);
  const std::size_t exits = spec.exits.size() + 1;
  if (spec.heads.size() != 1 && spec.heads.size() != exits)
    throw UsageError(
        fmt::format("{} heads for {} exits, the last included: give one for all, or one for each",
                    spec.heads.size(), exits));
  std::vector<std::string> early = spec.heads;
  if (early.size() > 1) early.pop_back();
  return with_exits(truncated(std::move(units), spec.units, spec.heads.back(), spec.spp_levels),
                    spec.exits, early, spec.spp_levels);
}

}  // namespace

Graph with_exits(const Graph& units, const std::vector<std::string>& exits,
                 const std::vector<std::string>& kinds, const std::vector<int>& spp_levels) {
  std::vector<const Head*> head_of;
  for (const std::string& kind : kinds) head_of.push_back(&find(heads(), kind, "head"));
  if (head_of.size() == 1) head_of.resize(std::max<std::size_t>(exits.size(), 1), head_of[0]);
  if (!exits.empty() && head_of.size() != exits.size())
    throw UsageError(fmt::format("{} heads for {} early exits: give one for all, or one for each",
                                 head_of.size(), exits.size()));
  check_levels(spp_levels);
  const Positions positions(units);
  std::vector<int> after;
  for (std::size_t k = 0; k < exits.size(); ++k) {
    const int unit = positions.unit_of(exits[k]);
    const std::string& unit_name = units.segments[static_cast<std::size_t>(unit)].name;
    if (!after.empty() && unit == after.back())
      throw UsageError(
          fmt::format("exits \"{}\" and \"{}\" are at the same place: after unit {} ({})",
                      exits[k - 1], exits[k], unit + 1, unit_name));
    if (!after.empty() && unit < after.back())
      throw UsageError(
          fmt::format("exit \"{}\" (after unit {}) comes before exit \"{}\" (after unit {}): list "
                      "exits in the order of the network",
                      exits[k], unit + 1, exits[k - 1], after.back() + 1));
    after.push_back(unit);
  }

  const auto shapes = infer_shapes(units);
  Graph graph = merge_segments(units, after);
  for (std::size_t k = 0; k + 1 < graph.segments.size(); ++k) {
    Segment& segment = graph.segments[k];
    const auto feature = shapes.find(segment.feature);
    if (feature == shapes.end() || feature->second.size() != 3)
      throw UsageError(fmt::format(
          "exit \"{}\": {} has no [C,H,W] feature there for a head to read", exits[k], units.name));
    head_of[k]->append(segment, feature->second,
                       {fmt::format("exits.{}", k + 1), spp_levels, graph.classes});
  }
  infer_shapes(graph);
  return graph;
}

Graph build_network(const NetworkSpec& spec) {
  const Backbone& backbone = find(backbones(), spec.backbone, "backbone");
  check_options(spec.options);
  try {
    return build(spec, backbone);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    // The graph was built here, so an error in it comes from the options that the user gave.
    throw UsageError(fmt::format("{}", error.what()));
  }
}

}  // namespace offramp::graph
