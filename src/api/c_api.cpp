#include <new>
#include <string>
#include <utility>

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
  offramp::Answer answer = {};  // what the last offramp_answer points into
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

template <typename MakeView>
offramp_status classify(offramp_session* session, offramp_answer* answer, const void* data,
                        const MakeView& view) noexcept {
  return guarded([&] {
    expect_pointer(session, "session");
    expect_pointer(answer, "answer");
    expect_pointer(data, "the image");
    session->answer = session->session.classify(view());
    const offramp::Answer& given = session->answer;
    const auto index = static_cast<std::size_t>(given.class_index);
    *answer = {given.class_index,
               session->model.classes()[index].c_str(),
               given.probability,
               given.probabilities.data(),
               static_cast<int>(given.probabilities.size()),
               given.exit,
               given.macs,
               given.relative_cost};
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
      wanted.tune = options->tune != 0;
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
    *session = new offramp_session{model->model,
                                   offramp::Session(model->model, stop_of(model->model, wanted))};
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
    return ImageView::rgb8({pixels, sides * 3}, width, height);
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
