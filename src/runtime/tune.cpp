#include "runtime/tune.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <map>
#include <sstream>
#include <vector>

#include "core/bf16.h"
#include "core/error.h"
#include "core/file.h"
#include "core/random.h"
#include "runtime/kernels_name.h"
#include "runtime/omp_threads.h"
#include "runtime/workspace.h"

namespace offramp {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kFirstLine = "offramp tune 1";
constexpr int kRounds = 7;
/// Less is within what two timings of the same differ by.
constexpr double kWorthwhile = 0.95;

template <typename Work>
double seconds_of(const Work& work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// 3×3 convolutions of stride 1, by what they are called once compiled: their own output, or that
/// of what was joined to them.
WinogradSet candidates(const CompiledNetwork& network) {
  WinogradSet names;
  for (const CompiledStage& stage : network.stages)
    for (const Step& step : stage.sizes.back().body)
      if (step.kind.starts_with("conv 3x3")) names.insert(step.output);
  return names;
}

/// A network's least times.
class Timed {
 public:
  explicit Timed(std::shared_ptr<const CompiledNetwork> network)
      : workspace_(std::move(network)), size_(this->network().batches.size() - 1) {}

  const CompiledNetwork& network() const { return workspace_.network(); }

  void run() {
    const OmpThreads threads(network().threads);
    double whole = 0;
    for (std::size_t i = 0; i < network().stages.size(); ++i) {
      fill_inputs(i);
      const std::vector<Step>& steps = network().stages[i].sizes[size_].body;
      const auto body = workspace_.body(i, size_, 0);
      for (std::size_t s = 0; s < steps.size(); ++s) {
        const double seconds = seconds_of([&] { body[s]->run(); });
        const auto [known, fresh] = least_.try_emplace(steps[s].output, seconds);
        if (!fresh) known->second = std::min(known->second, seconds);
        whole += seconds;
      }
    }
    whole_ = std::min(whole_, whole);
  }

  double least(const std::string& output) const { return least_.at(output); }
  double whole() const { return whole_; }

 private:
  /// Plain values, anew for every run, which may compute over them: denormals take other times.
  void fill_inputs(std::size_t stage) {
    const auto rows = static_cast<std::size_t>(network().batches[size_]);
    const std::vector<Layout>& inputs = network().stages[stage].inputs;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      std::byte* place = workspace_.input_row(stage, 0, i, 0);
      const auto count = static_cast<std::size_t>(inputs[i].elements()) * rows;
      switch (inputs[i].element.dtype) {
        case DType::f32:
          std::fill_n(reinterpret_cast<float*>(place), count, 0.5f);
          break;
        case DType::bf16:
          std::fill_n(reinterpret_cast<std::uint16_t*>(place), count, to_bf16(0.5f));
          break;
        default:
          std::fill_n(place, count, std::byte{1});
      }
    }
  }

  Workspace workspace_;
  std::size_t size_;
  std::map<std::string, double, std::less<>> least_;
  double whole_ = std::numeric_limits<double>::infinity();
};

void race(Timed& a, Timed& b) {
  for (int round = 0; round < kRounds; ++round) {
    a.run();
    b.run();
  }
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) return line.substr(std::min(line.find(':'), line.size()));
  return "unknown";
}

/// All that a choice depends on, in a line.
std::string key_of(const Graph& graph, const CompileOptions& options) {
  std::string key =
      fmt::format("{} | {} | {} | {} threads | batch {} |", cpu_model(), kernels_name(),
                  to_string(options.precision), options.threads,
                  options.batches.empty() ? 1 : *std::ranges::max_element(options.batches));
  // Times depend on sizes, not on what the weights are.
  std::uint64_t hash = 0;
  for (const auto& [name, shape] : infer_shapes(graph)) {
    for (const char c : name) hash = mix(hash ^ static_cast<unsigned char>(c));
    for (const std::int64_t side : shape) hash = mix(hash ^ static_cast<std::uint64_t>(side));
  }
  for (const Parameter& parameter : parameters(graph))
    for (const std::int64_t side : parameter.shape)
      hash = mix(hash ^ static_cast<std::uint64_t>(side));
  return key + fmt::format(" network {:016x}", hash);
}

}  // namespace

WinogradSet choose_winograd(const Graph& graph, const WeightSource& weights,
                            const CompileOptions& options, WeightStore& store) {
  CompileOptions variant = options;
  if (!options.batches.empty()) variant.batches = {*std::ranges::max_element(options.batches)};
  variant.winograd = {};
  Timed direct(compile(graph, weights, variant, store));
  variant.winograd = candidates(direct.network());
  WinogradSet chosen;
  {
    Timed winograd(compile(graph, weights, variant, store));
    race(direct, winograd);
    for (const CompiledRow& row : compiled_rows(winograd.network()))
      if (row.implementation.find("wino") != row.implementation.npos &&
          winograd.least(row.output) < kWorthwhile * direct.least(row.output))
        chosen.insert(row.output);
  }
  if (chosen.empty()) return chosen;
  // Layouts between the convolutions differ now, and may cost what was gained.
  variant.winograd = chosen;
  Timed mixed(compile(graph, weights, variant, store));
  race(direct, mixed);
  return mixed.whole() < direct.whole() ? chosen : WinogradSet{};
}

fs::path TuneCache::file_of(const Graph& graph, const CompileOptions& options) const {
  if (!folder_) return {};
  std::uint64_t hash = 0;
  for (const char c : key_of(graph, options)) hash = mix(hash ^ static_cast<unsigned char>(c));
  return *folder_ / fmt::format("tune-{:016x}.txt", hash);
}

std::optional<WinogradSet> TuneCache::find(const Graph& graph,
                                           const CompileOptions& options) const {
  if (!folder_) return std::nullopt;
  std::string text;
  try {
    constexpr std::uint64_t kLargest = 1 << 20;
    const auto bytes = read_file(file_of(graph, options), kLargest);
    text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  } catch (const Error&) {
    return std::nullopt;
  }
  std::set<std::string, std::less<>> nodes;
  for (const Segment& segment : graph.segments)
    for (const Node& node : segment.nodes) nodes.insert(node.name);

  std::istringstream lines(text);
  std::string line;
  if (!std::getline(lines, line) || line != kFirstLine) return std::nullopt;
  if (!std::getline(lines, line) || line != key_of(graph, options)) return std::nullopt;
  WinogradSet chosen;
  while (std::getline(lines, line)) {
    if (line == "end") return chosen;
    if (!nodes.contains(line)) return std::nullopt;
    chosen.insert(line);
  }
  return std::nullopt;  // cut off
}

WinogradSet tuned(const Graph& graph, const WeightSource& weights, const CompileOptions& options,
                  WeightStore& store, const TuneCache& cache) {
  if (auto known = cache.find(graph, options)) return *known;
  WinogradSet chosen = choose_winograd(graph, weights, options, store);
  cache.keep(graph, options, chosen);
  return chosen;
}

void TuneCache::keep(const Graph& graph, const CompileOptions& options,
                     const WinogradSet& chosen) const {
  if (!folder_) return;
  std::string text = fmt::format("{}\n{}\n", kFirstLine, key_of(graph, options));
  for (const std::string& name : chosen) text += name + "\n";
  text += "end\n";
  std::error_code ignored;
  fs::create_directories(*folder_, ignored);
  try {
    write_text_atomic(file_of(graph, options), text);
  } catch (const Error&) {
    // The next load chooses again.
  }
}

std::optional<fs::path> user_cache_folder() {
  // As the XDG Base Directory Specification has it: a relative path is to be ignored.
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && fs::path(cache).is_absolute()) return fs::path(cache) / "offramp";
  const char* home = std::getenv("HOME");
  if (home != nullptr && fs::path(home).is_absolute()) return fs::path(home) / ".cache/offramp";
  return std::nullopt;
}

}  // namespace offramp
