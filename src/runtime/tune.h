#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>

#include "runtime/compile.h"

namespace offramp {

/// Convolutions, by their output, that are to use Winograd's algorithm.
using WinogradSet = std::set<std::string, std::less<>>;

/// Times every convolution that Winograd's algorithm could compute both ways, in its network, at
/// the largest batch size of `options`, and takes those that are faster with it; none if the
/// network as a whole is not. Takes about a second; what else the machine does disturbs it.
/// @param options  `winograd` is not looked at
WinogradSet choose_winograd(const Graph& graph, const WeightSource& weights,
                            const CompileOptions& options, WeightStore& store);

/// Keeps choices in files of a folder, one for each CPU model, oneDNN, network, precision, number
/// of threads and batch size. A file that is damaged, or of something else, is as if it were not
/// there; a folder that cannot be written keeps nothing.
class TuneCache {
 public:
  /// @param folder  nullopt: keeps nothing
  explicit TuneCache(std::optional<std::filesystem::path> folder) : folder_(std::move(folder)) {}

  std::optional<WinogradSet> find(const Graph& graph, const CompileOptions& options) const;
  void keep(const Graph& graph, const CompileOptions& options, const WinogradSet& chosen) const;

  /// Where that choice lies; empty without a folder.
  std::filesystem::path file_of(const Graph& graph, const CompileOptions& options) const;

 private:
  std::optional<std::filesystem::path> folder_;
};

/// The choice that `cache` keeps; else chooses, and keeps that.
WinogradSet tuned(const Graph& graph, const WeightSource& weights, const CompileOptions& options,
                  WeightStore& store, const TuneCache& cache);

/// $XDG_CACHE_HOME/offramp, or ~/.cache/offramp; nullopt where neither is known.
std::optional<std::filesystem::path> user_cache_folder();

}  // namespace offramp
