#include "serve/service.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/numbers.h"
#include "offramp/model.h"
#include "serve/classify.h"
#include "serve/json_text.h"
#include "serve/open_inference.h"
#include "serve/page.h"

namespace offramp::serve {
namespace {

using Clock = std::chrono::steady_clock;

Response json_response(const Json& json) {
  Response response;
  response.body = json_line(json);
  return response;
}

/// What does not change while a model is loaded.
Json model_facts(const ServedModel& served) {
  const Model& model = served.model;
  Json json{{"name", served.name},
            {"version", std::to_string(served.version)},
            {"loaded", served.loaded_ms},
            {"precision", model.precision()},
            {"threads", model.threads()},
            {"input", {model.channels(), model.height(), model.width()}},
            {"exits", model.num_exits()},
            {"relative_costs", model.relative_costs()},
            {"classes", model.classes()},
            {"policy", model.has_policy()},
            {"criterion", model.has_policy() ? Json(model.criterion()) : Json(nullptr)},
            {"notes", model.notes()}};
  json["path"] = nullptr;
  if (const std::optional<int> chosen = model.chosen_step()) {
    Json steps = Json::array();
    for (const PolicyStep& step : model.policy_path()) {
      Json thresholds = Json::array();
      for (const std::optional<float>& threshold : step.thresholds)
        thresholds.push_back(threshold ? Json(core::shortest_decimal(*threshold)) : Json(nullptr));
      steps.push_back({{"thresholds", thresholds},
                       {"accuracy", step.accuracy},
                       {"relative_cost", step.relative_cost},
                       {"certified", step.certified}});
    }
    json["path"] = {{"chosen", *chosen}, {"parameter", "step"}, {"steps", std::move(steps)}};
  }
  return json;
}

void require(const Request& request, std::string_view method) {
  if (request.method == method || (method == "GET" && request.method == "HEAD")) return;
  const std::string allow(method == "GET" ? "GET, HEAD" : method);
  throw HttpError(405, fmt::format("method {}: expected {}", json_string(request.method), method),
                  {{"Allow", allow}});
}

[[noreturn]] void not_found() {
  throw HttpError(404, "there is nothing at this address; GET /v2 lists what the server offers");
}

/// An id from the client, if it is fit for a log, else one of ours.
std::string id_of(const Request& request, std::uint64_t number) {
  const std::string* const given = request.header("x-request-id");
  const auto is_plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_' || c == '.';
  };
  if (given != nullptr && !given->empty() && given->size() <= 64 &&
      std::ranges::all_of(*given, is_plain))
    return *given;
  return fmt::format("{:08x}", number);
}

bool is_equal(std::string_view a, std::string_view b) {  // in a time that does not tell where
  unsigned differ = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size(); ++i)
    differ |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i % b.size()]);
  return differ == 0;
}

/// Another site's page in a browser must not use a server that only its user can reach.
void check_origin(const Request& request) {
  const std::string* const origin = request.header("origin");
  const std::string* const host = request.header("host");
  if (origin == nullptr || request.method == "GET" || request.method == "HEAD") return;
  if (host != nullptr && (*origin == "http://" + *host || *origin == "https://" + *host)) return;
  throw HttpError(403, "requests from the pages of other sites are not accepted");
}

Response page_response(const Request& request, const PageFile& file) {
  const std::string tag = fmt::format("\"{}\"", file.hash);
  Response response;
  response.content_type = file.content_type;
  response.headers = {
      {"ETag", tag},
      {"Cache-Control", "no-cache"},
      {"X-Content-Type-Options", "nosniff"},
      {"Referrer-Policy", "no-referrer"},
      {"Content-Security-Policy",
       "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
       "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}};
  const std::string* const known = request.header("if-none-match");
  if (known != nullptr && *known == tag)
    response.status = 304;
  else
    response.body = file.content;
  return response;
}

}  // namespace

Service::Service(ServedModels& models, const ServiceOptions& options)
    : models_(models), options_(options) {}

void Service::handle(std::shared_ptr<Request> request, Reply reply) {
  const auto start = Clock::now();
  request->id = id_of(*request, ++next_id_);
  auto route = std::make_shared<std::string>("other");
  // Holds what a log says of the request, not its body.
  const Reply finish = [this, start, id = request->id, method = request->method, route,
                        reply = std::move(reply)](Response response) {
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    metrics_.count_request(*route, response.status, seconds);
    if (options_.on_request)
      options_.on_request({id, method, *route, response.status, 1e3 * seconds});
    response.headers.emplace_back("X-Request-Id", id);
    reply(std::move(response));
  };
  bool is_dispatched = false;
  Response refused = guarded([&] {
    const Target target = parse_target(request->target);
    check_origin(*request);
    dispatch(request, target, *route, finish);
    is_dispatched = true;
    return Response{};
  });
  if (!is_dispatched) finish(std::move(refused));
}

void Service::check_token(const Request& request) const {
  if (options_.token.empty()) return;
  const std::string* const given = request.header("authorization");
  if (given == nullptr || !is_equal(*given, "Bearer " + options_.token))
    throw HttpError(401,
                    "this server asks for a token: send the header Authorization: Bearer "
                    "TOKEN",
                    {{"WWW-Authenticate", "Bearer"}});
}

void Service::dispatch(const std::shared_ptr<Request>& request, const Target& target,
                       std::string& route, const Reply& reply) {
  const auto& path = target.path;
  const auto is = [&](std::initializer_list<std::string_view> names) {
    return std::ranges::equal(path, names);
  };
  const auto query = [&](std::string_view name) {
    for (const auto& [key, value] : target.query)
      if (key == name) return value;
    return std::string();
  };
  if (path.size() <= 1) {
    const PageFile* const file = find_page_file(path.empty() ? "index.html" : path[0]);
    if (file != nullptr) {
      route = "page";
      require(*request, "GET");
      return reply(page_response(*request, *file));
    }
  }
  if (is({"v2", "health", "live"})) {
    route = "health";
    require(*request, "GET");
    return reply(json_response({{"live", true}}));
  }
  if (is({"v2", "health", "ready"})) {
    route = "health";
    require(*request, "GET");
    Response response = json_response({{"ready", ready_.load()}});
    if (!ready_) response.status = 503;
    return reply(std::move(response));
  }
  check_token(*request);
  if (is({"metrics"})) {
    route = "metrics";
    require(*request, "GET");
    Response response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = metrics_.text(models_, http_counts_ ? http_counts_() : HttpCounts{});
    return reply(std::move(response));
  }
  if (is({"v1", "classify"})) {
    route = "classify";
    require(*request, "POST");
    const std::string name = query("model");
    const auto model = name.empty() ? models_.first() : models_.find(name, query("version"));
    if (!model) throw HttpError(404, "model " + json_string(name) + ": there is no such model");
    ++model->requests;
    return classify(model, request, target.query, reply);
  }
  if (is({"v1", "models"})) {
    route = "models";
    require(*request, "GET");
    Json list = Json::array();
    for (const auto& model : models_.all()) list.push_back(model_facts(*model));
    return reply(json_response({{"models", list}}));
  }
  if (is({"v2"})) {
    route = "server";
    require(*request, "GET");
    return reply(json_response({{"name", "offramp"},
                                {"version", version()},
                                {"extensions",
                                 {"binary_tensor_data", "classification", "statistics",
                                  "model_configuration", "model_repository"}}}));
  }
  if (is({"v2", "repository", "index"})) {
    route = "repository";
    require(*request, "POST");
    Json list = Json::array();
    for (const auto& model : models_.all())
      list.push_back({{"name", model->name},
                      {"version", std::to_string(model->version)},
                      {"state", ready_ ? "READY" : "UNAVAILABLE"},
                      {"reason", ""}});
    return reply(json_response(list));
  }
  if (path.size() >= 2 && path[0] == "v2" && path[1] == "repository")
    throw HttpError(501, "models are not loaded by requests: send SIGHUP, or replace the file");
  if (is({"v2", "models", "stats"})) {
    route = "statistics";
    require(*request, "GET");
    Json list = Json::array();
    for (const auto& model : models_.all()) list.push_back(model_statistics(*model));
    return reply(json_response({{"model_stats", list}}));
  }
  if (path.size() >= 3 && path[0] == "v2" && path[1] == "models")
    return models_v2(request, target, route, reply);
  not_found();
}

void Service::models_v2(const std::shared_ptr<Request>& request, const Target& target,
                        std::string& route, const Reply& reply) {
  const auto& path = target.path;
  const std::string& name = path[2];
  std::string version;
  std::size_t at = 3;
  if (path.size() >= 5 && path[3] == "versions") {
    version = path[4];
    at = 5;
  }
  if (path.size() > at + 1) not_found();
  const std::string action = path.size() > at ? path[at] : "metadata";
  const auto model = models_.find(name, version);
  if (!model)
    throw HttpError(404, "model " + json_string(name) +
                             (version.empty() ? "" : ", version " + json_string(version)) +
                             ": there is no such model");
  if (action == "infer") {
    route = "infer";
    require(*request, "POST");
    ++model->requests;
    return infer(model, request, reply);
  }
  route = "model";
  if (action == "ready") {
    require(*request, "GET");
    Response response = json_response({{"name", model->name}, {"ready", ready_.load()}});
    if (!ready_) response.status = 503;
    return reply(std::move(response));
  }
  if (action == "stats") {
    require(*request, "GET");
    return reply(json_response({{"model_stats", Json::array({model_statistics(*model)})}}));
  }
  if (action == "config") {
    require(*request, "GET");
    return reply(json_response(model_config(*model)));
  }
  if (action != "metadata") not_found();
  require(*request, "GET");
  Json json = model_metadata(*model);
  json["versions"] = Json::array();
  for (const auto& one : models_.all())
    if (one->name == name) json["versions"].push_back(std::to_string(one->version));
  return reply(json_response(json));
}

}  // namespace offramp::serve
