#pragma once

#include <memory>

#include "serve/http.h"
#include "serve/served_models.h"

namespace offramp::serve {

/// Images in one request, at most.
inline constexpr std::size_t kMaxImages = 256;

/// POST /v1/classify: image files, as the body or as parts of a form, to JSON for people.
/// @param model  that answers  @param query  of the target
/// @throws HttpError for what is refused before any image runs
void classify(const std::shared_ptr<ServedModel>& model, const std::shared_ptr<Request>& request,
              const Fields& query, Reply reply);

/// Gives the jobs to the model. @throws HttpError 503 if its queue is full, 413 if it never takes
/// as many
void submit(ServedModel& model, std::vector<ImageJob> jobs);

/// The jobs of one request, and what becomes of them. The last one to be done calls `finish`.
class Group {
 public:
  using Finish = std::function<void(std::vector<ImageResult>)>;
  Group(std::size_t count, Finish finish)
      : results_(count), left_(count), finish_(std::move(finish)) {}
  void done(std::size_t index, ImageResult result) {
    results_[index] = std::move(result);
    if (left_.fetch_sub(1) == 1) finish_(std::move(results_));
  }

 private:
  std::vector<ImageResult> results_;
  std::atomic<std::size_t> left_;
  Finish finish_;
};

/// Gives images to the model; `finish` is called with their results, in order, from any thread.
/// What it throws becomes the response.
void run_images(const std::shared_ptr<ServedModel>& model, const std::shared_ptr<Request>& request,
                const std::vector<ImageView>& images, std::shared_ptr<const void> owner,
                const ImageRule& rule, Reply reply,
                std::function<Response(std::vector<ImageResult>)> finish);

/// The classes with the largest probabilities, the most probable first.
std::vector<int> largest(const std::vector<float>& probabilities, int count);

/// Calls `work`, which gives a response; what it throws becomes one. Errors that are not for the
/// client are told without their text.
Response guarded(const std::function<Response()>& work);

}  // namespace offramp::serve
