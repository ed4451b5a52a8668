#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "offramp/offramp.h"
#include "offramp/session.h"

using offramp::ImageView;

struct offramp_model {
  offramp::Model model;
  std::string precision;
};

struct offramp_session {
  offramp::Model model;
  offramp::Session session;
  std::string promised = {};
  std::vector<offramp::Answer> answers = {};  // what the last offramp_answers point into
  offramp::Stats stats = {};
};

namespace {

thread_local std::string last_error;

offramp_status failed(offramp_status status, const char* message) noexcept {
  try {
    last_error = message;
  } catch (...) {
    last_error.clear();
  }
  return status;
}

/// Runs `work`; what it throws becomes a status and a message.
template <typename Work>
offramp_status guarded(const Work& work) noexcept {
  try {
    work();
    return OFFRAMP_OK;
  } catch (const offramp::UsageError& error) {
    return failed(OFFRAMP_USAGE, error.what());
  } catch (const std::bad_alloc&) {
    return failed(OFFRAMP_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return failed(OFFRAMP_ERROR, error.what());
  } catch (...) {
    return failed(OFFRAMP_ERROR, "unknown error");
  }
}

void expect_pointer(const void* pointer, const char* name) {
  if (pointer == nullptr) throw offramp::UsageError(std::string(name) + " is NULL");
}

offramp::Stop stop_of(const offramp::Model& model, const offramp_stop& wanted) {
  using offramp::Stop;
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
    }
    throw offramp::UsageError("stop: there is no such rule");
  };
  Stop stop = rule();
  if (wanted.milliseconds != 0) stop = stop.and_within(wanted.milliseconds);
  if (wanted.macs != 0) stop = stop.and_within_macs(wanted.macs);
  return stop;
}

offramp_answer answer_of(const offramp_session& session, const offramp::Answer& given) {
  if (!given.ok()) return {-1, nullptr, 0, nullptr, 0, 0, 0, 0, given.error.c_str()};
  return {given.class_index,
          session.model.classes()[static_cast<std::size_t>(given.class_index)].c_str(),
          given.probability,
          given.probabilities.data(),
          static_cast<int>(given.probabilities.size()),
          given.exit,
          given.macs,
          given.relative_cost,
          nullptr};
}

ImageView rgb8(const void* pixels, std::size_t size, int width, int height) {
  return ImageView::rgb8({static_cast<const std::uint8_t*>(pixels), size}, width, height);
}

ImageView view_of(const offramp_image& image) {
  expect_pointer(image.data, "the image");
  switch (image.form) {
    case OFFRAMP_RGB8:
      return rgb8(image.data, image.size, image.width, image.height);
    case OFFRAMP_ENCODED:
      return ImageView::encoded({static_cast<const std::byte*>(image.data), image.size});
    case OFFRAMP_FILE:
      return ImageView::file(static_cast<const char*>(image.data));
    case OFFRAMP_NORMALISED:
      return ImageView::normalised({static_cast<const float*>(image.data), image.size});
  }
  throw offramp::UsageError("image: there is no such form");
}

template <typename MakeView>
offramp_status classify(offramp_session* session, offramp_answer* answer, const void* data,
                        const MakeView& view) noexcept {
  return guarded([&] {
    expect_pointer(session, "session");
    expect_pointer(answer, "answer");
    expect_pointer(data, "the image");
    session->answers.resize(1);
    session->answers[0] = session->session.classify(view());
    *answer = answer_of(*session, session->answers[0]);
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
      if (options->precision != nullptr) wanted.precision = options->precision;
      wanted.threads = options->threads;
      if (options->batch != 0) wanted.batch = options->batch;
    }
    offramp::Model loaded = offramp::Model::load(path, wanted);
    std::string precision = loaded.precision();
    *model = new offramp_model{std::move(loaded), std::move(precision)};
  });
}

void offramp_model_free(offramp_model* model) { delete model; }

int offramp_model_num_classes(const offramp_model* model) {
  return static_cast<int>(model->model.classes().size());
}
int offramp_model_num_exits(const offramp_model* model) { return model->model.num_exits(); }
int offramp_model_width(const offramp_model* model) { return model->model.width(); }
int offramp_model_height(const offramp_model* model) { return model->model.height(); }
int offramp_model_has_policy(const offramp_model* model) { return model->model.has_policy(); }
const char* offramp_model_precision(const offramp_model* model) { return model->precision.c_str(); }

const char* offramp_model_class_name(const offramp_model* model, int index) {
  const auto& classes = model->model.classes();
  if (index < 0 || static_cast<std::size_t>(index) >= classes.size()) return nullptr;
  return classes[static_cast<std::size_t>(index)].c_str();
}

double offramp_model_relative_cost(const offramp_model* model, int exit) {
  const auto& costs = model->model.relative_costs();
  if (exit < 1 || static_cast<std::size_t>(exit) > costs.size()) return 0;
  return costs[static_cast<std::size_t>(exit) - 1];
}

const char* offramp_model_note(const offramp_model* model, int index) {
  const auto& notes = model->model.notes();
  if (index < 0 || static_cast<std::size_t>(index) >= notes.size()) return nullptr;
  return notes[static_cast<std::size_t>(index)].c_str();
}

offramp_status offramp_session_new(const offramp_model* model, const offramp_stop* stop,
                                   offramp_session** session) {
  if (session != nullptr) *session = nullptr;
  return guarded([&] {
    expect_pointer(model, "model");
    expect_pointer(session, "session");
    const offramp_stop wanted = stop != nullptr ? *stop : offramp_stop{};
    offramp::Session made(model->model,
                          {.stop = stop_of(model->model, wanted), .probabilities = true});
    const std::optional<offramp::Promise> promise = made.promise();
    *session = new offramp_session{model->model, std::move(made), promise ? promise->of : ""};
  });
}

void offramp_session_free(offramp_session* session) { delete session; }

offramp_status offramp_classify_rgb8(offramp_session* session, const uint8_t* pixels, int width,
                                     int height, offramp_answer* answer) {
  return classify(session, answer, pixels, [&] {
    // A size that makes no sense is refused by the session, with its words.
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

offramp_status offramp_classify_batch(offramp_session* session, const offramp_image* images,
                                      size_t count, offramp_answer* answers) {
  return guarded([&] {
    expect_pointer(session, "session");
    if (count == 0) return;
    expect_pointer(images, "images");
    expect_pointer(answers, "answers");
    std::vector<ImageView> views;
    for (std::size_t i = 0; i < count; ++i) views.push_back(view_of(images[i]));
    session->answers = session->session.classify(views);
    for (std::size_t i = 0; i < count; ++i) answers[i] = answer_of(*session, session->answers[i]);
  });
}

offramp_status offramp_stream(offramp_session* session, offramp_on_answer on_answer, void* user,
                              const offramp_stream_options* options) {
  return guarded([&] {
    expect_pointer(session, "session");
    if (on_answer == nullptr) throw offramp::UsageError("on_answer is NULL");
    offramp::StreamOptions wanted;
    if (options != nullptr) {
      wanted.in_order = options->in_order != 0;
      wanted.flush_after_ms = options->flush_after_ms;
      if (options->most_pending != 0) wanted.most_pending = options->most_pending;
    }
    session->session.stream(
        [session, on_answer, user](std::int64_t id, const offramp::Answer& given) {
          const offramp_answer answer = answer_of(*session, given);
          on_answer(user, id, &answer);
        },
        wanted);
  });
}

offramp_status offramp_push(offramp_session* session, int64_t id, const offramp_image* image) {
  return guarded([&] {
    expect_pointer(session, "session");
    expect_pointer(image, "image");
    session->session.push(id, view_of(*image));
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

int64_t offramp_pending(const offramp_session* session) { return session->session.pending(); }

offramp_status offramp_session_promise(const offramp_session* session, offramp_promise* promise) {
  return guarded([&] {
    expect_pointer(session, "session");
    expect_pointer(promise, "promise");
    const std::optional<offramp::Promise> given = session->session.promise();
    *promise = given ? offramp_promise{session->promised.c_str(), given->epsilon, given->delta}
                     : offramp_promise{nullptr, 0, 0};
  });
}

offramp_status offramp_stats(offramp_session* session, offramp_statistics* statistics) {
  return guarded([&] {
    expect_pointer(session, "session");
    expect_pointer(statistics, "statistics");
    session->stats = session->session.stats();
    const offramp::Stats& stats = session->stats;
    const auto drift = stats.drift == offramp::DriftFlag::drifted ? OFFRAMP_DRIFT_SEEN
                       : stats.drift == offramp::DriftFlag::none  ? OFFRAMP_DRIFT_NONE
                                                                  : OFFRAMP_DRIFT_UNKNOWN;
    *statistics = {stats.images, stats.exits.data(),  static_cast<int>(stats.exits.size()),
                   stats.macs,   stats.relative_cost, drift};
  });
}
