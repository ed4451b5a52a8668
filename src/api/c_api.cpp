#include <algorithm>
#include <chrono>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "api/c_structs.h"
#include "offramp/offramp.h"
#include "offramp/session.h"

using offramp::ImageView;
namespace c_structs = offramp::api::c_structs;

struct offramp_model {
  offramp::Model model;
  std::string precision;
};

struct offramp_session {
  offramp::Model model;
  offramp::Session session;
  // The structs that the last call filled point into these.
  std::vector<offramp::Answer> answers = {};
  offramp::Stats stats = {};
  std::string why = {};  // the last offramp_guarantee points to it
};

struct offramp_cancellation {
  offramp::Cancellation cancellation;
};

namespace {

thread_local std::string last_error;

offramp_status set_error(offramp_status status, const char* message) noexcept {
  try {
    last_error = message;
  } catch (...) {
    last_error.clear();
  }
  return status;
}

/// Runs `work` and turns its exceptions into a status and a message.
template <typename Work>
offramp_status guarded(const Work& work) noexcept {
  try {
    work();
    return OFFRAMP_OK;
  } catch (const offramp::UsageError& error) {
    return set_error(OFFRAMP_USAGE, error.what());
  } catch (const std::bad_alloc&) {
    return set_error(OFFRAMP_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return set_error(OFFRAMP_ERROR, error.what());
  } catch (...) {
    return set_error(OFFRAMP_ERROR, "unknown error");
  }
}

/// The event of a guarantee as a text that is always valid.
const char* text_of_event(const std::string& of) { return of == "harm" ? "harm" : "disagreement"; }

void expect_pointer(const void* pointer, const char* name) {
  if (pointer == nullptr) throw offramp::UsageError(std::string(name) + " is NULL");
}

offramp::Stop stop_of(const offramp::Model& model, const offramp_stop* given) {
  using offramp::Stop;
  const auto wanted = c_structs::read(given);
  const auto rule = [&] {
    switch (wanted.rule) {
      case OFFRAMP_STOP_DEFAULT:
        return model.has_policy() ? Stop::by_policy() : Stop::never();
      case OFFRAMP_STOP_BY_POLICY:
        return Stop::by_policy();
      case OFFRAMP_STOP_AT_THRESHOLD:
        return Stop::at_threshold(wanted.threshold);
      case OFFRAMP_STOP_NEVER:
        return Stop::never();
      case OFFRAMP_STOP_AT_SCORE:
        expect_pointer(wanted.criterion, "criterion");
        return Stop::at_score(wanted.criterion, wanted.threshold);
    }
    throw offramp::UsageError(
        fmt::format("stop: unknown rule {}; expected an offramp_rule", wanted.rule));
  };
  Stop stop = rule();
  if (wanted.milliseconds != 0) stop = stop.and_within(wanted.milliseconds);
  if (wanted.macs != 0) stop = stop.and_within_macs(wanted.macs);
  return stop;
}

offramp::ImageOptions options_of(const offramp::Model& model, const offramp_image_options& given) {
  offramp::ImageOptions options;
  if (given.stop != nullptr) options.stop = stop_of(model, given.stop);
  if (given.cancellation != nullptr) options.cancellation = given.cancellation->cancellation;
  return options;
}
/// @param given  may be null
offramp::ImageOptions options_of(const offramp::Model& model, const offramp_image_options* given) {
  return given != nullptr ? options_of(model, c_structs::read(given)) : offramp::ImageOptions{};
}

offramp_answer answer_of(const offramp_session& session, const offramp::Answer& given) {
  offramp_answer answer = OFFRAMP_ANSWER_INIT;
  answer.class_index = given.class_index;
  answer.cancelled = given.cancelled;
  if (!given.ok()) {
    answer.error = given.error.c_str();
    return answer;
  }
  const auto& classes = session.model.classes();
  answer.class_name = classes[static_cast<std::size_t>(given.class_index)].c_str();
  if (!given.probabilities.empty()) answer.probabilities = given.probabilities.data();
  answer.macs = given.macs;
  answer.relative_cost = given.relative_cost;
  answer.probability = given.probability;
  answer.num_classes = static_cast<int>(classes.size());
  answer.exit = given.exit;
  answer.limited = given.limited;
  return answer;
}

ImageView rgb8(const void* pixels, std::size_t size, int width, int height) {
  return ImageView::rgb8({static_cast<const std::uint8_t*>(pixels), size}, width, height);
}

ImageView view_of(const offramp_image& image) {
  expect_pointer(image.data, "the image");
  switch (image.form) {
    case OFFRAMP_RGB8:
      return rgb8(image.data, image.length, image.width, image.height);
    case OFFRAMP_ENCODED:
      return ImageView::encoded({static_cast<const std::byte*>(image.data), image.length});
    case OFFRAMP_FILE:
      return ImageView::file(static_cast<const char*>(image.data));
    case OFFRAMP_NORMALISED:
      return ImageView::normalised({static_cast<const float*>(image.data), image.length});
  }
  throw offramp::UsageError(
      fmt::format("image: unknown form {}; expected an offramp_form", image.form));
}

std::vector<ImageView> views_of(const offramp_image* images, std::size_t count) {
  std::vector<ImageView> views;
  if (count == 0) return views;
  expect_pointer(images, "images");
  views.reserve(count);
  const std::size_t size = c_structs::size_of(images);
  for (std::size_t i = 0; i < count; ++i)
    views.push_back(view_of(c_structs::read(c_structs::element(images, i, size), size)));
  return views;
}

void classify_one(offramp_session& session, const ImageView& view,
                  const offramp::ImageOptions& options, offramp_answer* answer) {
  const std::size_t size = c_structs::size_of(answer);
  session.answers.resize(1);
  session.answers[0] = session.session.classify(view, options);
  c_structs::write(answer, size, answer_of(session, session.answers[0]));
}

template <typename MakeView>
offramp_status classify(offramp_session* session, offramp_answer* answer, const void* data,
                        const MakeView& view) noexcept {
  return guarded([&] {
    expect_pointer(session, "session");
    expect_pointer(answer, "answer");
    expect_pointer(data, "the image");
    classify_one(*session, view(), {}, answer);
  });
}

}  // namespace

const char* offramp_last_error(void) { return last_error.c_str(); }
const char* offramp_version(void) { return offramp::version(); }

offramp_status offramp_model_load(const char* path, const offramp_options* options,
                                  offramp_model** model) {
  if (model != nullptr) *model = nullptr;
  return guarded([&] {
    expect_pointer(path, "path");
    expect_pointer(model, "model");
    offramp::Options wanted;
    if (options != nullptr) {
      const auto given = c_structs::read(options);
      if (given.precision != nullptr) wanted.precision = given.precision;
      wanted.threads = given.threads;
      if (given.batch != 0) wanted.batch = given.batch;
    }
    offramp::Model loaded = offramp::Model::load(path, wanted);
    std::string precision = loaded.precision();
    *model = new offramp_model{std::move(loaded), std::move(precision)};
  });
}

void offramp_model_free(offramp_model* model) { delete model; }

int offramp_model_num_classes(const offramp_model* model) {
  return model == nullptr ? 0 : static_cast<int>(model->model.classes().size());
}
int offramp_model_num_exits(const offramp_model* model) {
  return model == nullptr ? 0 : model->model.num_exits();
}
int offramp_model_width(const offramp_model* model) {
  return model == nullptr ? 0 : model->model.width();
}
int offramp_model_height(const offramp_model* model) {
  return model == nullptr ? 0 : model->model.height();
}
int offramp_model_channels(const offramp_model* model) {
  return model == nullptr ? 0 : model->model.channels();
}
int offramp_model_has_policy(const offramp_model* model) {
  return model != nullptr && model->model.has_policy();
}
const char* offramp_model_precision(const offramp_model* model) {
  return model == nullptr ? nullptr : model->precision.c_str();
}

const char* offramp_model_class_name(const offramp_model* model, int index) {
  if (model == nullptr) return nullptr;
  const auto& classes = model->model.classes();
  if (index < 0 || static_cast<std::size_t>(index) >= classes.size()) return nullptr;
  return classes[static_cast<std::size_t>(index)].c_str();
}

double offramp_model_relative_cost(const offramp_model* model, int exit) {
  if (model == nullptr) return 0;
  const auto& costs = model->model.relative_costs();
  if (exit < 1 || static_cast<std::size_t>(exit) > costs.size()) return 0;
  return costs[static_cast<std::size_t>(exit) - 1];
}

const char* offramp_model_note(const offramp_model* model, int index) {
  if (model == nullptr) return nullptr;
  const auto& notes = model->model.notes();
  if (index < 0 || static_cast<std::size_t>(index) >= notes.size()) return nullptr;
  return notes[static_cast<std::size_t>(index)].c_str();
}

offramp_status offramp_session_new(const offramp_model* model,
                                   const offramp_session_options* options,
                                   offramp_session** session) {
  if (session != nullptr) *session = nullptr;
  return guarded([&] {
    expect_pointer(model, "model");
    expect_pointer(session, "session");
    offramp::SessionOptions wanted;
    if (options != nullptr) {
      const auto given = c_structs::read(options);
      if (given.stop != nullptr) wanted.stop = stop_of(model->model, given.stop);
      wanted.probabilities = given.probabilities != 0;
    }
    offramp::Session made(model->model, wanted);
    *session = new offramp_session{model->model, std::move(made)};
  });
}

void offramp_session_free(offramp_session* session) { delete session; }

offramp_status offramp_cancellation_new(offramp_cancellation** cancellation) {
  if (cancellation != nullptr) *cancellation = nullptr;
  return guarded([&] {
    expect_pointer(cancellation, "cancellation");
    *cancellation = new offramp_cancellation;
  });
}
void offramp_cancellation_cancel(offramp_cancellation* cancellation) {
  if (cancellation != nullptr) cancellation->cancellation.cancel();
}
int offramp_cancellation_is_cancelled(const offramp_cancellation* cancellation) {
  return cancellation != nullptr && cancellation->cancellation.is_cancelled();
}
void offramp_cancellation_free(offramp_cancellation* cancellation) { delete cancellation; }

offramp_status offramp_classify_rgb8(offramp_session* session, const uint8_t* pixels, int width,
                                     int height, offramp_answer* answer) {
  return classify(session, answer, pixels, [&] {
    // An invalid size is refused later, with the session's message.
    const std::size_t sides =
        width > 0 && height > 0 ? static_cast<std::size_t>(width) * static_cast<std::size_t>(height)
                                : 0;
    return rgb8(pixels, sides * 3, width, height);
  });
}

offramp_status offramp_classify_encoded(offramp_session* session, const void* bytes, size_t size,
                                        offramp_answer* answer) {
  return classify(session, answer, bytes, [&] {
    return ImageView::encoded({static_cast<const std::byte*>(bytes), size});
  });
}

offramp_status offramp_classify_file(offramp_session* session, const char* path,
                                     offramp_answer* answer) {
  return classify(session, answer, path, [&] { return ImageView::file(path); });
}

offramp_status offramp_classify_normalised(offramp_session* session, const float* values,
                                           size_t count, offramp_answer* answer) {
  return classify(session, answer, values, [&] { return ImageView::normalised({values, count}); });
}

offramp_status offramp_classify(offramp_session* session, const offramp_image* image,
                                const offramp_image_options* options, offramp_answer* answer) {
  return guarded([&] {
    expect_pointer(session, "session");
    expect_pointer(image, "image");
    expect_pointer(answer, "answer");
    classify_one(*session, view_of(c_structs::read(image)), options_of(session->model, options),
                 answer);
  });
}

offramp_status offramp_classify_batch(offramp_session* session, const offramp_image* images,
                                      const offramp_image_options* options, size_t count,
                                      offramp_answer* answers) {
  return guarded([&] {
    expect_pointer(session, "session");
    if (count == 0) return;
    const std::vector<ImageView> views = views_of(images, count);
    expect_pointer(answers, "answers");
    const std::size_t answer_size = c_structs::size_of(answers);
    std::vector<offramp::ImageOptions> wanted;
    if (options != nullptr) {
      const std::size_t size = c_structs::size_of(options);
      for (std::size_t i = 0; i < count; ++i)
        wanted.push_back(options_of(session->model,
                                    c_structs::read(c_structs::element(options, i, size), size)));
    }
    session->answers = session->session.classify(views, wanted);
    for (std::size_t i = 0; i < count; ++i)
      c_structs::write(c_structs::element(answers, i, answer_size), answer_size,
                       answer_of(*session, session->answers[i]));
  });
}

offramp_status offramp_all_exits(offramp_session* session, const offramp_image* images,
                                 size_t count, float* logits, size_t length) {
  return guarded([&] {
    expect_pointer(session, "session");
    const std::size_t per_image =
        static_cast<std::size_t>(session->model.num_exits()) * session->model.classes().size();
    // The product count * per_image is not computed, because it may overflow.
    if (length % per_image != 0 || length / per_image != count)
      throw offramp::UsageError(
          fmt::format("logits: room for {} values, expected {} for each of {} images", length,
                      per_image, count));
    if (count == 0) return;
    const std::vector<ImageView> views = views_of(images, count);
    expect_pointer(logits, "logits");
    std::ranges::copy(session->session.all_exits(views), logits);
  });
}

offramp_status offramp_stream(offramp_session* session, offramp_on_answer on_answer, void* user,
                              const offramp_stream_options* options) {
  return guarded([&] {
    expect_pointer(session, "session");
    if (on_answer == nullptr) throw offramp::UsageError("on_answer is NULL");
    offramp::StreamOptions wanted;
    if (options != nullptr) {
      const auto given = c_structs::read(options);
      wanted.in_order = given.in_order != 0;
      wanted.flush_after_ms = given.flush_after_ms;
      if (given.most_pending != 0) wanted.most_pending = given.most_pending;
      if (given.on_ready != nullptr)
        wanted.on_ready = [on_ready = given.on_ready, user] { on_ready(user); };
    }
    session->session.stream(
        [session, on_answer, user](std::int64_t id, const offramp::Answer& given) {
          const offramp_answer answer = answer_of(*session, given);
          on_answer(user, id, &answer);
        },
        wanted);
  });
}

offramp_status offramp_push(offramp_session* session, int64_t id, const offramp_image* image,
                            const offramp_image_options* options) {
  return guarded([&] {
    expect_pointer(session, "session");
    expect_pointer(image, "image");
    session->session.push(id, view_of(c_structs::read(image)), options_of(session->model, options));
  });
}

offramp_status offramp_poll(offramp_session* session) {
  return guarded([&] {
    expect_pointer(session, "session");
    session->session.poll();
  });
}

offramp_status offramp_flush(offramp_session* session) {
  return guarded([&] {
    expect_pointer(session, "session");
    session->session.flush();
  });
}

double offramp_next_due_ms(const offramp_session* session) {
  if (session == nullptr) return -1;
  const auto due = session->session.next_due();
  if (!due) return -1;
  const auto left = *due - std::chrono::steady_clock::now();
  return std::max(0.0, std::chrono::duration<double, std::milli>(left).count());
}

int64_t offramp_pending(const offramp_session* session) {
  return session == nullptr ? 0 : session->session.pending();
}

offramp_status offramp_session_guarantee(offramp_session* session, offramp_guarantee* guarantee) {
  return guarded([&] {
    expect_pointer(session, "session");
    expect_pointer(guarantee, "guarantee");
    offramp_guarantee value = OFFRAMP_GUARANTEE_INIT;
    session->why.clear();
    if (const std::optional<offramp::Guarantee> given = session->session.guarantee()) {
      session->why = given->why;
      value.of = text_of_event(given->of);
      value.epsilon = given->epsilon;
      value.delta = given->delta;
      value.disagreement = given->disagreement.value_or(0);
      value.in_force = given->in_force == offramp::InForce::yes       ? OFFRAMP_IN_FORCE_YES
                       : given->in_force == offramp::InForce::unknown ? OFFRAMP_IN_FORCE_UNKNOWN
                                                                      : OFFRAMP_IN_FORCE_NO;
    }
    value.why = session->why.c_str();
    c_structs::write(guarantee, value);
  });
}

offramp_status offramp_stats(offramp_session* session, offramp_statistics* statistics) {
  return guarded([&] {
    expect_pointer(session, "session");
    expect_pointer(statistics, "statistics");
    session->stats = session->session.stats();
    const offramp::Stats& stats = session->stats;
    offramp_statistics value = OFFRAMP_STATISTICS_INIT;
    value.images = stats.images;
    value.exits = stats.exits.data();
    value.macs = stats.macs;
    value.relative_cost = stats.relative_cost;
    value.num_exits = static_cast<int>(stats.exits.size());
    value.drift = stats.drift == offramp::DriftFlag::drifted ? OFFRAMP_DRIFT_SEEN
                  : stats.drift == offramp::DriftFlag::none  ? OFFRAMP_DRIFT_NONE
                                                             : OFFRAMP_DRIFT_UNKNOWN;
    value.shares = stats.shares.data();
    value.recent_shares = stats.recent_shares.data();
    if (!stats.calibrated_shares.empty()) value.calibrated_shares = stats.calibrated_shares.data();
    value.drift_distance = stats.drift_distance;
    value.drift_p_value = stats.drift_p_value;
    c_structs::write(statistics, value);
  });
}

offramp_status offramp_reset_stats(offramp_session* session) {
  return guarded([&] {
    expect_pointer(session, "session");
    session->session.reset_stats();
  });
}
