#pragma once

#include <memory>

#include "serve/http.h"
#include "serve/served_models.h"
#include "serve/worker.h"

namespace offramp::serve {

/// The largest number of images in one request.
inline constexpr std::size_t kMaxImages = 256;

/// Handles POST /v1/classify: classifies image files, given as the body or as parts of a form, and
/// answers with JSON.
/// @param model  the model that answers  @param query  query of the target
/// @param worker  as in run_images()
/// @throws HttpError if the request is refused before any image runs
void classify(const std::shared_ptr<ServedModel>& model, const std::shared_ptr<Request>& request,
              const Fields& query, Worker& worker, Reply reply);

/// Passes the jobs to the model.
/// @throws HttpError 503 if the model's queue is full, 413 if it never accepts so many jobs
void submit(ServedModel& model, std::vector<ImageJob> jobs);

/// The jobs of one request and their results. The last job to finish calls `finish`.
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

/// Returns the reason why a request is refused when too many images wait for a model.
std::string full_queue_message(const ServedModel& model);

/// Passes images to the model. `finish` is called with their results, in order, from any thread. An
/// exception that it throws becomes the response.
/// @param is_to_decode  as ImageJob::is_to_decode
/// @param worker  calls `finish` if there are many results, so that the model's threads need not;
/// it must outlive the model
void run_images(const std::shared_ptr<ServedModel>& model, const std::shared_ptr<Request>& request,
                const std::vector<ImageView>& images, bool is_to_decode,
                const std::shared_ptr<const void>& owner, const ImageRule& rule, Worker& worker,
                Reply reply, std::function<Response(std::vector<ImageResult>)> finish);

/// Returns the status of a request with one image.
int status_of(const ImageResult& result);

/// Returns the classes with the largest probabilities, the most probable first.
std::vector<int> largest(const std::vector<float>& probabilities, int count);

/// Returns the response to the exception that is being handled. The text of an error that is not
/// the client's is not sent.
Response response_to_exception() noexcept;

/// Calls `work`, which returns a response, and turns an exception into one.
template <typename Work>
Response guarded(const Work& work) noexcept {
  try {
    return work();
  } catch (const std::exception&) {
    return response_to_exception();
  }
}

}  // namespace offramp::serve
