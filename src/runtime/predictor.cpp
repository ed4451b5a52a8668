#include "runtime/predictor.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>

#include "core/error.h"
#include "core/parallel.h"
#include "runtime/compile.h"
#include "runtime/onednn.h"
#include "runtime/stream.h"

namespace offramp {
namespace {

/// oneDNN's convolutions by matrix multiplication, which remain for CPUs without AVX2, cut their
/// sums differently for every number of threads: an image's answer would depend on how it came.
bool sums_depend_on_threads(const CompiledNetwork& network) {
  for (const CompiledRow& row : compiled_rows(network))
    if (row.implementation.find("gemm") != std::string::npos) return true;
  return false;
}

std::int64_t count_images(std::span<const float> images, std::int64_t size) {
  const auto values = static_cast<std::int64_t>(images.size());
  if (values % size != 0)
    throw Error("images: {} values are not a whole number of images of {}", values, size);
  return values / size;
}

}  // namespace

RuntimeModel::RuntimeModel(const Graph& graph, const Tensors& weights,
                           const RuntimeOptions& options)
    : precision_(usable_precision(options.precision)),
      threads_(options.threads > 0 ? options.threads : omp_get_num_procs()) {
  if (options.batch < 1)
    throw UsageError("a batch must hold at least 1 image, got {}", options.batch);
  WeightStore store;
  CompileOptions compile_options{
      .precision = precision_, .batches = {options.batch}, .ranges = options.ranges};
  // Halves down to 1: a flush leaves few images to the smallest size.
  for (int batch = options.batch / 2; batch > 1; batch /= 2)
    compile_options.batches.push_back(batch);
  for_streams_ = compile(graph, weights, compile_options, store);
  for_one_image_ = for_streams_;
  if (threads_ > 1 && !sums_depend_on_threads(*for_streams_)) {
    const CompileOptions for_one{
        .precision = precision_, .threads = threads_, .ranges = options.ranges};
    for_one_image_ = compile(graph, weights, for_one, store);
  }
}

/// The streams of a predictor and the threads they run on. The caller's thread is one of them.
class RuntimePredictor::Workers {
 public:
  explicit Workers(const RuntimeModel& model) : one_image_(model.for_one_image()) {
    for (int i = 0; i < model.threads(); ++i)
      streams_.push_back(std::make_unique<Stream>(model.for_streams()));
    threads_.start(
        static_cast<int>(streams_.size()) - 1,
        [this](int i) { serve(static_cast<std::size_t>(i) + 1); }, [this] { close(); });
  }

  ~Workers() {
    close();
    threads_.join();
  }

  /// Runs all images; the visitor is called from several threads at once.
  void run(std::span<const float> images, std::int64_t count, const ExitVisitor& visit) {
    if (count == 0) return;
    images_ = images;
    count_ = count;
    visit_ = &visit;
    // Everyone has a first portion of their own: pushing is quicker than another thread wakes up.
    portion_ = portion();
    next_ = portion_ * static_cast<std::int64_t>(streams_.size());
    if (count == 1) {
      const OmpThreads threads(one_image_.network().threads);
      work(one_image_, 0);
    } else {
      start_others();
      {
        const OmpThreads threads(1);
        work(*streams_[0], 0);
      }
      wait_for_others();
    }
    if (const std::exception_ptr error = std::exchange(error_, nullptr))
      std::rethrow_exception(error);
  }

  template <typename F>
  void each_stream(const F& body) const {
    body(one_image_);
    for (const auto& stream : streams_) body(*stream);
  }

 private:
  void close() {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
  }
  void start_others() {
    {
      const std::lock_guard lock(mutex_);
      ++round_;
      busy_ = static_cast<int>(threads_.size());
    }
    changed_.notify_all();
  }
  void wait_for_others() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return busy_ == 0; });
  }

  void serve(std::size_t index) {
    omp_set_num_threads(1);
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return closing_ || round_ != seen; });
      if (closing_) return;
      seen = round_;
      lock.unlock();
      work(*streams_[index], static_cast<std::int64_t>(index) * portion_);
      lock.lock();
      if (--busy_ == 0) changed_.notify_all();
    }
  }

  /// Takes the images of a portion from `begin` on, then of others until none is left.
  void work(Stream& stream, std::int64_t begin) {
    try {
      const auto size = images_.size() / static_cast<std::size_t>(count_);
      for (; begin < count_; begin = next_.fetch_add(portion_))
        for (std::int64_t n = begin; n < std::min(begin + portion_, count_); ++n)
          stream.push(n, images_.subspan(static_cast<std::size_t>(n) * size, size), *visit_);
      stream.flush(*visit_);
    } catch (...) {
      stream.clear();
      next_ = count_;
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  /// At most a batch, and such that all streams get as many portions.
  std::int64_t portion() const {
    const auto streams = static_cast<std::int64_t>(streams_.size());
    const std::int64_t round = streams * streams_[0]->network().batches.back();
    const std::int64_t rounds = (count_ + round - 1) / round;
    return (count_ + streams * rounds - 1) / (streams * rounds);
  }

  Stream one_image_;
  std::vector<std::unique_ptr<Stream>> streams_;

  // The work at hand: set before the threads start.
  std::span<const float> images_;
  std::int64_t count_ = 0;
  const ExitVisitor* visit_ = nullptr;
  std::int64_t portion_ = 1;
  std::atomic<std::int64_t> next_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t round_ = 0;
  int busy_ = 0;
  bool closing_ = false;
  std::exception_ptr error_;
  Threads threads_;
};

RuntimePredictor::RuntimePredictor(std::shared_ptr<const RuntimeModel> model)
    : model_(std::move(model)), workers_(std::make_unique<Workers>(*model_)) {}

RuntimePredictor::~RuntimePredictor() = default;

int RuntimePredictor::num_exits() const { return model_->for_streams()->num_exits; }
int RuntimePredictor::num_classes() const {
  return static_cast<int>(model_->for_streams()->classes);
}
std::int64_t RuntimePredictor::image_size() const {
  return element_count(model_->for_streams()->input);
}

std::vector<float> RuntimePredictor::predict_all(std::span<const float> images) {
  const std::int64_t count = count_images(images, image_size()), classes = num_classes();
  std::vector<float> logits(static_cast<std::size_t>(num_exits() * count * classes));
  workers_->run(images, count,
                [&](std::int64_t image, int exit_index, std::span<const float> said) {
                  std::copy(said.begin(), said.end(),
                            logits.begin() + (exit_index * count + image) * classes);
                  return false;
                });
  return logits;
}

Stopped RuntimePredictor::predict_until(std::span<const float> images, const StopRule& stop) {
  const std::int64_t count = count_images(images, image_size()), classes = num_classes();
  const int last = num_exits() - 1;
  Stopped result{std::vector<int>(static_cast<std::size_t>(count)),
                 std::vector<float>(static_cast<std::size_t>(count * classes))};
  std::mutex asking;  // a rule need not be thread-safe
  workers_->run(images, count,
                [&](std::int64_t image, int exit_index, std::span<const float> said) {
                  if (exit_index < last) {
                    const std::lock_guard lock(asking);
                    if (!stop(image, exit_index, said)) return false;
                  }
                  result.exit_index[static_cast<std::size_t>(image)] = exit_index;
                  std::copy(said.begin(), said.end(), result.logits.begin() + image * classes);
                  return true;
                });
  return result;
}

RuntimeCounts RuntimePredictor::counts() const {
  const std::size_t stages = model_->for_streams()->stages.size();
  RuntimeCounts counts;
  counts.images.resize(stages);
  counts.flushed_images.resize(stages);
  std::vector<std::int64_t> full_rows(stages);
  workers_->each_stream([&](const Stream& stream) {
    for (std::size_t i = 0; i < stages; ++i) {
      const SegmentCounts& one = stream.counts()[i];
      counts.macs += one.macs;
      counts.images[i] += one.images;
      counts.flushed_images[i] += one.flushed_images;
      full_rows[i] += one.full_batches * stream.network().batches.back();
    }
  });
  for (std::size_t i = 0; i < stages; ++i) {
    const auto before_flush = static_cast<double>(counts.images[i] - counts.flushed_images[i]);
    counts.fill.push_back(full_rows[i] == 0 ? 1 : before_flush / static_cast<double>(full_rows[i]));
  }
  return counts;
}

}  // namespace offramp
