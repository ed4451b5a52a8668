#include "offramp/session.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <limits>
#include <mutex>
#include <optional>
#include <utility>

#include "arrays.h"
#include "core/error.h"
#include "images.h"
#include "model.h"
#include "nanobind/stl/optional.h"
#include "nanobind/stl/shared_ptr.h"
#include "nanobind/stl/string.h"
#include "nanobind/stl/string_view.h"

namespace offramp::python {
namespace {

using namespace nb::literals;
using Clock = std::chrono::steady_clock;

constexpr double kLongSeconds = 0.03;        // a call expected to take longer checks for signals
constexpr std::size_t kLogitsTogether = 32;  // number of images between two checks for signals

/// A stream of a session. Only the stream that was begun last can continue.
struct Stream {
  std::int64_t number = 0;
  std::int64_t max_pending = 1;
  Cancellation cancellation;  // cancels all images of the stream
};

/// A session as Python holds it. Threads that share one take turns.
class PythonSession {
  /// Runs `work` alone, without the interpreter's lock.
  auto locked(const auto& work) {
    const nb::gil_scoped_release release;
    const std::lock_guard lock(mutex_);
    return work();
  }

 public:
  PythonSession(std::shared_ptr<LoadedModel> model, nb::handle stop, bool probabilities,
                nb::handle max_pixels)
      : model_(std::move(model)), probabilities_(probabilities) {
    SessionOptions options = {to_stop(stop), probabilities};
    if (!max_pixels.is_none()) options.max_pixels = to_whole_number(max_pixels, "max_pixels");
    std::optional<Session> made;
    run_unlocked([&] { made.emplace(model_->get(), options); });
    session_ = make_owned(std::move(*made));
  }

  nb::object classify(nb::handle object, nb::handle stop,
                      const std::optional<Cancellation>& cancellation) {
    const Images images = to_images(object, model_->get());
    const ImageOptions options = {to_stop(stop), cancellation};
    if (images.single && is_path(object)) check_image_readable(to_path(object).string());
    return images.single ? classify_one(images.views.front(), options)
                         : classify_many(images.views, options);
  }

  /// [K, N, classes]
  nb::object logits(nb::handle object) {
    const Images images = to_images(object, model_->get());
    const auto exits = static_cast<std::size_t>(model_->get().num_exits());
    const std::size_t classes = model_->get().classes().size(), count = images.views.size();
    std::vector<float> all(exits * count * classes);
    std::atomic<bool> cancelled = false;
    const auto work = [&] {
      const std::lock_guard lock(mutex_);
      for (std::size_t first = 0; first < count && !cancelled; first += kLogitsTogether) {
        const std::size_t size = std::min(kLogitsTogether, count - first);
        std::vector<float> part;
        try {
          part = session_->all_exits(std::span(images.views).subspan(first, size));
        } catch (const Error& error) {
          if (count <= kLogitsTogether) throw;
          core::throw_with_place(fmt::format("among images {} to {}", first, first + size - 1),
                                 error);
        }
        for (std::size_t k = 0; k < exits; ++k)
          std::copy_n(part.data() + k * size * classes, size * classes,
                      all.data() + (k * count + first) * classes);
      }
    };
    run(count, work, [&] { cancelled = true; });
    return to_numpy(std::move(all), {exits, count, classes});
  }

  Stream begin_stream(bool in_order, nb::handle flush_after, nb::handle most_pending) {
    model_->get();
    const double flush_after_ms = to_number(flush_after, "flush_after_ms");
    const std::int64_t max_pending = to_whole_number(most_pending, "max_pending");
    if (max_pending < 1)
      throw UsageError(fmt::format("max_pending: expected at least 1, got {}", max_pending));
    Stream stream;
    stream.max_pending = max_pending;
    run_unlocked([&] {
      const std::lock_guard lock(mutex_);
      if (session_->pending() > 0)
        throw UsageError(
            "stream: images of another stream of this session have no answer yet: read that "
            "stream to its end, close it, or make another session");
      session_->stream(
          [this](std::int64_t id, const Answer& answer) { ready_.emplace_back(id, answer); },
          {in_order, flush_after_ms, max_pending});
      ready_.clear();
      stream.number = ++last_stream_;
    });
    return stream;
  }

  nb::list push(const Stream& stream, std::int64_t id, nb::handle object, nb::handle stop) {
    const std::string place = fmt::format("item {}", id);
    const Images images = to_images(object, model_->get(), place);
    if (!images.single)
      throw UsageError(fmt::format("stream: {} is several images: pass one image an item", place));
    const ImageOptions options = {to_stop(stop), stream.cancellation};
    const std::int64_t most = stream.max_pending;
    return go_on(stream, session_->pending() + 1 >= most ? most : 1,
                 [&] { session_->push(id, images.views.front(), options); });
  }

  nb::list poll(const Stream& stream) {
    model_->get();
    return go_on(stream, session_->pending(), [&] { session_->poll(); });
  }

  /// Seconds until poll() must be called; None if no call is due.
  std::optional<double> due_in() const {
    model_->get();
    const auto due = session_->next_due();
    if (!due) return std::nullopt;
    return std::max(0.0, std::chrono::duration<double>(*due - Clock::now()).count());
  }

  nb::list flush(const Stream& stream) {
    model_->get();
    return go_on(stream, session_->pending(), [&] { session_->flush(); });
  }

  /// Ends a stream whose answers are no longer needed. Does nothing if another stream was begun
  /// since.
  void drop_stream(const Stream& stream) {
    if (model_->is_closed() || model_->is_of_parent()) return;
    run_unlocked([&] {
      const std::lock_guard lock(mutex_);
      if (stream.number != last_stream_) return;
      stream.cancellation.cancel();
      session_->flush();
      ready_.clear();
    });
  }

  nb::object stats() {
    model_->get();
    const Stats stats = locked([&] { return session_->stats(); });
    const char* drift = stats.drift == DriftFlag::drifted ? "drifted"
                        : stats.drift == DriftFlag::none  ? "none"
                                                          : "unknown";
    return nb::make_tuple(stats.images, to_numpy(stats.exits), to_numpy(stats.shares), stats.macs,
                          stats.relative_cost, drift, to_numpy(stats.recent_shares),
                          to_numpy(stats.calibrated_shares), stats.calibrated_images,
                          stats.drift_distance, stats.drift_p_value);
  }

  void reset_stats() {
    model_->get();
    locked([&] { session_->reset_stats(); });
  }

  nb::object guarantee(bool check) {
    model_->get();
    return from_guarantee(
        locked([&] { return check ? session_->guarantee() : session_->guarantee_so_far(); }));
  }

 private:
  /// Runs `work` on images; where it is expected to take long it can be interrupted. Measures how
  /// long an image takes.
  void run(std::size_t images, const std::function<void()>& work,
           const std::function<void()>& cancel) {
    const auto start = Clock::now();
    const double expected = seconds_.value_or(1) * static_cast<double>(images);
    if (images > 1 && expected > kLongSeconds)
      run_interruptibly(work, cancel);
    else
      run_unlocked(work);
    if (images > 1 || !seconds_)
      seconds_ = std::chrono::duration<double>(Clock::now() - start).count() /
                 static_cast<double>(std::max<std::size_t>(images, 1));
  }

  nb::object one(const Answer& answer) const {
    const bool has = probabilities_ && answer.ok();
    return nb::make_tuple(answer.class_index, answer.probability, answer.exit, answer.relative_cost,
                          answer.macs, answer.limited,
                          has ? to_numpy(answer.probabilities) : nb::none(),
                          answer.ok() ? nb::none() : nb::object(nb::str(answer.error.c_str())));
  }

  nb::object classify_one(const ImageView& image, const ImageOptions& options) {
    Answer answer;
    run_unlocked([&] {
      const std::lock_guard lock(mutex_);
      answer = session_->classify(image, options);
    });
    return one(answer);
  }

  nb::object classify_many(const std::vector<ImageView>& images, const ImageOptions& options) {
    std::vector<Answer> answers;
    ImageOptions one = options;
    if (!one.cancellation) one.cancellation = Cancellation();
    run(
        images.size(),
        [&] {
          const std::vector<ImageOptions> all(images.size(), one);
          const std::lock_guard lock(mutex_);
          answers = session_->classify(images, all);
        },
        [&] { one.cancellation->cancel(); });
    return columns(answers);
  }

  nb::object columns(const std::vector<Answer>& answers) const {
    const std::size_t count = answers.size();
    std::vector<std::int64_t> class_index(count), exit(count), macs(count);
    std::vector<float> probability(count);
    std::vector<double> relative_cost(count);
    std::vector<std::uint8_t> limited(count);
    nb::object errors = nb::none();
    const std::size_t classes = probabilities_ ? model_->get().classes().size() : 0;
    std::vector<float> probabilities(count * classes, std::numeric_limits<float>::quiet_NaN());
    for (std::size_t i = 0; i < count; ++i) {
      const Answer& answer = answers[i];
      if (!answer.ok()) {
        if (errors.is_none()) {
          nb::list all;
          for (std::size_t j = 0; j < count; ++j) all.append(nb::none());
          errors = all;
        }
        errors[i] = nb::str(answer.error.c_str());
        class_index[i] = -1;
        probability[i] = std::numeric_limits<float>::quiet_NaN();
        relative_cost[i] = std::numeric_limits<double>::quiet_NaN();
        continue;
      }
      class_index[i] = answer.class_index;
      probability[i] = answer.probability;
      exit[i] = answer.exit;
      macs[i] = answer.macs;
      relative_cost[i] = answer.relative_cost;
      limited[i] = answer.limited;
      std::ranges::copy(answer.probabilities,
                        probabilities.begin() + static_cast<std::ptrdiff_t>(i * classes));
    }
    return nb::make_tuple(
        to_numpy(std::move(class_index)), to_numpy(std::move(probability)),
        to_numpy(std::move(exit)), to_numpy(std::move(relative_cost)), to_numpy(std::move(macs)),
        to_numpy_bool(limited),
        probabilities_ ? to_numpy(std::move(probabilities), {count, classes}) : nb::none(), errors);
  }

  /// Runs `work` on a stream's images, of which `images` may run now.
  /// @return the answers that are ready, as pairs of id and answer
  nb::list go_on(const Stream& stream, std::int64_t images, const std::function<void()>& work) {
    std::vector<std::pair<std::int64_t, Answer>> ready;
    run(
        static_cast<std::size_t>(images),
        [&] {
          const std::lock_guard lock(mutex_);
          if (stream.number != last_stream_)
            throw UsageError(
                "stream: another stream of this session was begun, so this one cannot go on: use a "
                "session for each");
          work();
          ready.swap(ready_);
        },
        [&] { stream.cancellation.cancel(); });
    nb::list answers;
    for (const auto& [id, answer] : ready) answers.append(nb::make_tuple(id, one(answer)));
    return answers;
  }

  std::shared_ptr<LoadedModel> model_;
  const bool probabilities_;
  // Locked without holding the interpreter's lock, and never while waiting for it.
  std::mutex mutex_;
  std::shared_ptr<Session> session_;
  std::optional<double> seconds_;  // time per image, measured in the last call
  std::int64_t last_stream_ = 0;   // number of the stream that was begun last
  std::vector<std::pair<std::int64_t, Answer>> ready_;
};

}  // namespace

void add_session(nb::module_& module) {
  nb::class_<Cancellation>(module, "Cancellation",
                           "Withdraws images that were given to a session, from any thread: they "
                           "are answered with an error at the next exit they would reach.")
      .def(nb::init<>())
      .def("cancel", &Cancellation::cancel, "Withdraws the images.")
      .def_prop_ro("cancelled", &Cancellation::is_cancelled, "Whether cancel() was called.")
      .def("__repr__", [](const Cancellation& self) {
        return fmt::format("Cancellation(cancelled={})", self.is_cancelled() ? "True" : "False");
      });

  nb::class_<Stream>(module, "Stream");
  nb::class_<PythonSession>(module, "Session")
      .def(nb::init<std::shared_ptr<LoadedModel>, nb::handle, bool, nb::handle>(), "model"_a,
           "stop"_a.none(), "probabilities"_a, "max_pixels"_a.none())
      .def("classify", &PythonSession::classify, "images"_a.none(), "stop"_a.none(),
           "cancellation"_a.none())
      .def("logits", &PythonSession::logits, "images"_a.none())
      .def("begin_stream", &PythonSession::begin_stream, "in_order"_a, "flush_after_ms"_a.none(),
           "max_pending"_a.none())
      .def("push", &PythonSession::push, "stream"_a, "id"_a, "image"_a.none(), "stop"_a.none())
      .def("poll", &PythonSession::poll, "stream"_a)
      .def("due_in", &PythonSession::due_in)
      .def("flush", &PythonSession::flush, "stream"_a)
      .def("drop_stream", &PythonSession::drop_stream, "stream"_a)
      .def("stats", &PythonSession::stats)
      .def("reset_stats", &PythonSession::reset_stats)
      .def("guarantee", &PythonSession::guarantee, "check"_a);
}

}  // namespace offramp::python
