#include "serve/classify.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/numbers.h"
#include "serve/json_text.h"
#include "serve/multipart.h"

namespace offramp::serve {
namespace {

// The largest number of probabilities that the model's threads write into an answer themselves.
constexpr std::size_t kQuickResults = 4096;

Json to_json(const ServedModel& model, const ImageResult& result, int top_k) {
  const Answer& answer = result.answer;
  Json json;
  if (!answer.ok()) {
    json["error"] = answer.error;
    return json;
  }
  json["class"] = answer.class_name;
  json["class_index"] = answer.class_index;
  json["probability"] = core::shortest_decimal(answer.probability);
  json["exit"] = answer.exit;
  json["exits"] = model.model.num_exits();
  json["relative_cost"] = answer.relative_cost;
  json["milliseconds"] = result.total_ms;
  json["queue_milliseconds"] = result.queue_ms;
  if (answer.limited) json["limited"] = true;
  if (top_k > 1) {
    Json top = Json::array();
    for (const int index : largest(answer.probabilities, top_k)) {
      const auto i = static_cast<std::size_t>(index);
      top.push_back({{"class", model.model.classes()[i]},
                     {"probability", core::shortest_decimal(answer.probabilities[i])}});
    }
    json["top"] = std::move(top);
  }
  return json;
}

// The content type is the same with -d and with --data-binary.
constexpr const char* kCurlHint = "; curl -d changes a file, --data-binary @FILE does not";

}  // namespace

int status_of(const ImageResult& result) {
  switch (result.kind) {
    case ImageResult::Kind::answered:
      return 200;
    case ImageResult::Kind::failed:
      return 500;
    case ImageResult::Kind::no_room:
      return 503;
    case ImageResult::Kind::refused:
    case ImageResult::Kind::cancelled:
      return 400;
  }
  return 500;
}

namespace {

ImageView view_of(std::string_view bytes) {
  return ImageView::encoded(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

}  // namespace

std::vector<int> largest(const std::vector<float>& probabilities, int count) {
  std::vector<int> order(probabilities.size());
  std::iota(order.begin(), order.end(), 0);
  const auto most = std::min(order.size(), static_cast<std::size_t>(count));
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(),
                    [&](int a, int b) {
                      const float x = probabilities[static_cast<std::size_t>(a)];
                      const float y = probabilities[static_cast<std::size_t>(b)];
                      return x != y ? x > y : a < b;
                    });
  order.resize(most);
  return order;
}

Response response_to_exception() noexcept {
  try {
    try {
      throw;
    } catch (const HttpError& error) {
      Response response = error_response(error.status(), error.what());
      response.headers.insert(response.headers.end(), error.headers().begin(),
                              error.headers().end());
      return response;
    } catch (const Error& error) {
      return error_response(400, error.what());
    } catch (const std::bad_alloc&) {
      return error_response(503, "the server is out of memory; try again later");
    } catch (const std::exception&) {
      return error_response(500, "internal error");
    }
  } catch (const std::exception&) {
    return {.status = 503, .content_type = {}};  // needs no memory allocation
  }
}

std::string full_queue_message(const ServedModel& model) {
  return "model " + model.name + ": too many images wait for it; try again later";
}

void submit(ServedModel& model, std::vector<ImageJob> jobs) {
  const std::size_t count = jobs.size();
  switch (model.batcher.submit(std::move(jobs))) {
    case Batcher::Admission::admitted:
      return;
    case Batcher::Admission::queue_full:
      throw HttpError(503, full_queue_message(model));
    case Batcher::Admission::too_many:
      throw HttpError(413, fmt::format("request: {} images, more than the queue of the model takes "
                                       "(--max-queue)",
                                       count));
  }
}

void run_images(const std::shared_ptr<ServedModel>& model, const std::shared_ptr<Request>& request,
                const std::vector<ImageView>& images, bool is_to_decode,
                const std::shared_ptr<const void>& owner, const ImageRule& rule, Worker& worker,
                Reply reply, std::function<Response(std::vector<ImageResult>)> finish) {
  const bool is_quick = images.size() * model->model.classes().size() <= kQuickResults;
  // The request keeps the model alive until the answer is written, because class names belong to
  // the model.
  auto group = std::make_shared<Group>(
      images.size(), [model, reply = std::move(reply), finish = std::move(finish), is_quick,
                      &worker](std::vector<ImageResult> results) {
        if (is_quick) return reply(guarded([&] { return finish(std::move(results)); }));
        try {
          auto kept = std::make_shared<std::vector<ImageResult>>(std::move(results));
          worker.post([model, reply, finish, kept] {
            reply(guarded([&] { return finish(std::move(*kept)); }));
          });
        } catch (const std::exception&) {
          reply(response_to_exception());
        }
      });
  const auto now = std::chrono::steady_clock::now();
  std::vector<ImageJob> jobs(images.size());
  for (std::size_t i = 0; i < images.size(); ++i)
    jobs[i] = {.image = images[i],
               .owner = owner,
               .is_to_decode = is_to_decode,
               .budget = request->body.budget(),
               .rule = rule,
               .cancellation = request->cancellation,
               .arrived = now,
               .done = [group, i](ImageResult result) { group->done(i, std::move(result)); }};
  submit(*model, std::move(jobs));
}

void classify(const std::shared_ptr<ServedModel>& model, const std::shared_ptr<Request>& request,
              const Fields& query, Worker& worker, Reply reply) {
  ImageRuleReader reader;
  for (const auto& [name, value] : query)
    if (name != "model" && name != "version" && !reader.read(name, std::string_view(value)))
      throw HttpError(400, "unknown parameter " + json_string(name) +
                               "; expected model, version, stop, step, threshold, deadline_ms, "
                               "priority or top_k");
  const std::string* const type = request->header("content-type");
  const std::string& body = request->body.text();
  const bool is_form = type != nullptr && is_multipart(*type);
  const std::string* const client = request->header("user-agent");
  const bool is_curl = client != nullptr && client->starts_with("curl/") && type != nullptr &&
                       lower(*type).starts_with("application/x-www-form-urlencoded");
  std::vector<ImageView> images;
  std::vector<std::string> names;
  if (is_form) {
    for (const Part& part : parse_multipart(*type, body, kMaxImages + 16)) {
      if (part.file_name.empty() && part.name != "image") {
        if (!reader.read(part.name, part.content))
          throw HttpError(400, "unknown field " + json_string(part.name) +
                                   "; send image files as curl -F image=@FILE does");
        continue;
      }
      if (images.size() == kMaxImages)
        throw HttpError(413, fmt::format("request: more than {} images", kMaxImages));
      images.push_back(view_of(part.content));
      names.push_back(part.file_name.empty() ? part.name : part.file_name);
    }
    if (images.empty())
      throw HttpError(400, "request: the form has no image; send one as curl -F image=@FILE does");
  } else {
    if (body.empty())
      throw HttpError(400,
                      "request: the body is empty; expected an image file, as curl "
                      "--data-binary @FILE sends it");
    images.push_back(view_of(body));
  }
  const ImageRule rule = reader.rule();
  run_images(model, request, images, true, request, rule, worker, std::move(reply),
             [=, names = std::move(names), top_k = rule.top_k](std::vector<ImageResult> results) {
               Response response;
               Json json;
               json["model"] = model->name;
               json["version"] = std::to_string(model->version);
               if (!is_form) {
                 json.update(to_json(*model, results[0], top_k));
                 response.status = status_of(results[0]);
                 if (response.status != 200)
                   return error_response(response.status,
                                         results[0].answer.error +
                                             (is_curl && response.status == 400 ? kCurlHint : ""));
               } else {
                 Json list = Json::array();
                 for (std::size_t i = 0; i < results.size(); ++i) {
                   Json one{{"image", names[i]}};
                   one.update(to_json(*model, results[i], top_k));
                   list.push_back(std::move(one));
                 }
                 json["images"] = std::move(list);
                 const auto answered = [](const ImageResult& one) {
                   return one.kind == ImageResult::Kind::answered;
                 };
                 if (std::ranges::none_of(results, answered)) {
                   const std::string error =
                       "image " + json_string(names[0]) + ": " + results[0].answer.error;
                   response = error_response(status_of(results[0]), error);
                   json["error"] = error;
                 }
               }
               response.body = json_line(json);
               return response;
             });
}

}  // namespace offramp::serve
