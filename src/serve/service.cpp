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

/// Returns the properties of a model that do not change while it is loaded.
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

Response text_response(std::string content_type, std::string body) {
  Response response;
  response.content_type = std::move(content_type);
  response.body = std::move(body);
  return response;
}

Response ready_response(Json json, bool ready) {
  json["ready"] = ready;
  Response response = json_response(json);
  if (!ready) response.status = 503;
  return response;
}

bool has_body(const Request& request) {
  const std::string* const length = request.header("content-length");
  return request.header("transfer-encoding") != nullptr || (length != nullptr && *length != "0");
}

void require(const Request& request, std::string_view method) {
  if (request.method != method && !(method == "GET" && request.method == "HEAD")) {
    const std::string allow(method == "GET" ? "GET, HEAD" : method);
    throw HttpError(405, fmt::format("method {}: expected {}", json_string(request.method), method),
                    {{"Allow", allow}});
  }
  // Some of these addresses require no token, so a body could fill the memory without one.
  if (method == "GET" && has_body(request))
    throw HttpError(413, "request: there is a body, but GET takes none");
  const std::string* const encoding = request.header("content-encoding");
  if (encoding != nullptr && lower(*encoding) != "identity")
    throw HttpError(415, "request: Content-Encoding is not supported; send the body as it is");
}

[[noreturn]] void not_found() {
  throw HttpError(404,
                  "there is nothing at this address; GET /v1/models lists the models, and POST "
                  "/v1/classify takes image files");
}

/// Returns the client's identifier of the request if it is safe in a log, otherwise one of the
/// server's.
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

// Takes the same time wherever the texts differ.
bool is_equal(std::string_view a, std::string_view b) {
  unsigned differ = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size(); ++i)
    differ |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i % b.size()]);
  return differ == 0;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Calls `work`, which ensures that a reply is sent. If it throws, the exception becomes the reply.
template <typename Work>
void reply_to_exceptions(const Reply& reply, const Work& work) {
  bool is_taken = false;
  Response refusal = guarded([&] {
    work();
    is_taken = true;
    return Response{};
  });
  if (!is_taken) reply(std::move(refusal));
}

/// Returns a model. @throws HttpError 404 if there is none of this name and version
std::shared_ptr<ServedModel> find_model(const ServedModels& models, const std::string& name,
                                        const std::string& version) {
  auto model = models.find(name, version);
  if (!model)
    throw HttpError(404, "model " + json_string(name) +
                             (version.empty() ? "" : ", version " + json_string(version)) +
                             ": there is no such model");
  return model;
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
  if (known != nullptr && has_tag(*known, tag))
    response.status = 304;
  else
    response.body = file.content;
  return response;
}

}  // namespace

Service::Service(ServedModels& models, const ServiceOptions& options)
    : models_(models), options_(options) {}

std::optional<Response> Service::admit(Request& request) {
  const auto start = Clock::now();
  request.id = id_of(request, ++next_id_);
  std::string route = "other";
  bool is_admitted = false;
  Response refusal = guarded([&] {
    const Work work = find_work(request, route);
    is_admitted = !work.model || !work.model->batcher.is_full();
    if (is_admitted) return Response{};
    ++work.model->requests;
    return error_response(503, full_queue_message(*work.model));
  });
  if (is_admitted) return std::nullopt;
  record(request, route, refusal, seconds_since(start));
  return refusal;
}

void Service::handle(std::shared_ptr<Request> request, Reply reply) {
  const auto start = Clock::now();
  if (request->id.empty()) request->id = id_of(*request, ++next_id_);
  auto route = std::make_shared<std::string>("other");
  // A copy without the body: what the log needs of the request.
  auto about = std::make_shared<Request>();
  about->id = request->id;
  about->method = request->method;
  const Reply finish = [this, start, about, route, reply = std::move(reply)](Response response) {
    try {
      record(*about, *route, response, seconds_since(start));
    } catch (const std::exception&) {
      // Out of memory for the log or the counts; the response is sent nevertheless.
    }
    reply(std::move(response));
  };
  reply_to_exceptions(finish, [&] { find_work(*request, *route).answer(request, finish); });
}

void Service::finish_work() { worker_.finish(); }

void Service::record(const Request& request, const std::string& route, Response& response,
                     double seconds) {
  metrics_.count_request(route, response.status, seconds);
  if (options_.on_request)
    options_.on_request({request.id, request.method, route, response.status, 1e3 * seconds});
  response.headers.emplace_back("X-Request-Id", request.id);
}

/// Refuses requests from a web page of another site, which a browser sends to a server that only
/// its user can reach.
void Service::check_sender(const Request& request) const {
  const std::string* const host = request.header("host");
  // Every browser sends Host. A client that knows the token may use any name, for example that of a
  // proxy.
  if (options_.on_loopback && options_.token.empty() && host != nullptr && !is_loopback_host(*host))
    throw HttpError(403,
                    "Host: expected localhost or 127.0.0.1; a server without a token is used "
                    "under another name only if --address is not loopback");
  const std::string* const origin = request.header("origin");
  if (origin == nullptr || request.method == "GET" || request.method == "HEAD") return;
  if (host != nullptr && (*origin == "http://" + *host || *origin == "https://" + *host)) return;
  throw HttpError(403, "requests from the pages of other sites are not accepted");
}

void Service::check_token(const Request& request) const {
  if (options_.token.empty()) return;
  static constexpr std::string_view kScheme = "bearer ";
  const std::string* const given = request.header("authorization");
  if (given != nullptr && lower(given->substr(0, kScheme.size())) == kScheme) {
    std::string_view token = *given;
    token.remove_prefix(std::min(token.find_first_not_of(' ', kScheme.size()), token.size()));
    if (is_equal(token, options_.token)) return;
  }
  throw HttpError(401,
                  "this server asks for a token: send the header Authorization: Bearer "
                  "TOKEN",
                  {{"WWW-Authenticate", "Bearer"}});
}

Service::Work Service::find_work(const Request& request, std::string& route) {
  const Target target = parse_target(request.target);
  check_sender(request);
  const auto& path = target.path;
  const auto is = [&](std::initializer_list<std::string_view> names) {
    return std::ranges::equal(path, names);
  };
  // Sets the name of the route and checks the method.
  const auto begin = [&](const char* name, std::string_view method) {
    route = name;
    require(request, method);
  };
  if (path.size() <= 1) {
    const PageFile* const file = find_page_file(path.empty() ? "index.html" : path[0]);
    if (file != nullptr) {
      begin("page", "GET");
      return {
          [file](const auto& asked, const Reply& reply) { reply(page_response(*asked, *file)); }};
    }
  }
  if (is({"v2", "health", "live"})) {
    begin("health", "GET");
    return {[](const auto&, const Reply& reply) { reply(json_response({{"live", true}})); }};
  }
  if (is({"v2", "health", "ready"})) {
    begin("health", "GET");
    return {[this](const auto&, const Reply& reply) { reply(ready_response({}, ready_)); }};
  }
  check_token(request);
  if (is({"metrics"})) {
    begin("metrics", "GET");
    return {[this](const auto&, const Reply& reply) {
      reply(text_response("text/plain; version=0.0.4; charset=utf-8",
                          metrics_.text(models_, http_counts_ ? http_counts_() : HttpCounts{})));
    }};
  }
  if (is({"v1", "classify"})) {
    begin("classify", "POST");
    std::string name, version;
    for (const auto& [key, value] : target.query) {
      if (key == "model") name = value;
      if (key == "version") version = value;
    }
    if (name.empty()) name = models_.first()->name;
    auto model = find_model(models_, name, version);
    return {[this, model, query = target.query](const auto& asked, const Reply& reply) {
              ++model->requests;
              classify(model, asked, query, worker_, reply);
            },
            model};
  }
  if (is({"v1", "models"})) {
    begin("models", "GET");
    return {[this](const auto&, const Reply& reply) {
      Json list = Json::array();
      for (const auto& model : models_.all()) list.push_back(model_facts(*model));
      reply(json_response({{"models", list}}));
    }};
  }
  if (!path.empty() && path[0] == "v2") return find_work_v2(request, target, route);
  not_found();
}

Service::Work Service::find_work_v2(const Request& request, const Target& target,
                                    std::string& route) {
  const auto& path = target.path;
  const auto is = [&](std::initializer_list<std::string_view> names) {
    return std::ranges::equal(path, names);
  };
  const auto begin = [&](const char* name, std::string_view method) {
    route = name;
    require(request, method);
  };
  if (is({"v2"})) {
    begin("server", "GET");
    return {[](const auto&, const Reply& reply) {
      reply(json_response({{"name", "offramp"},
                           {"version", version()},
                           {"extensions",
                            {"binary_tensor_data", "classification", "statistics",
                             "model_configuration", "model_repository"}}}));
    }};
  }
  if (is({"v2", "repository", "index"})) {
    begin("repository", "POST");
    return {[this](const auto&, const Reply& reply) {
      Json list = Json::array();
      for (const auto& model : models_.all())
        list.push_back({{"name", model->name},
                        {"version", std::to_string(model->version)},
                        {"state", ready_ ? "READY" : "UNAVAILABLE"},
                        {"reason", ""}});
      reply(json_response(list));
    }};
  }
  if (path.size() >= 2 && path[1] == "repository")
    throw HttpError(501, "models are not loaded by requests: send SIGHUP, or replace the file");
  if (is({"v2", "models", "stats"})) {
    begin("statistics", "GET");
    return {[this](const auto&, const Reply& reply) {
      Json list = Json::array();
      for (const auto& model : models_.all()) list.push_back(model_statistics(*model));
      reply(json_response({{"model_stats", list}}));
    }};
  }
  if (path.size() < 3 || path[1] != "models") not_found();
  const std::string& name = path[2];
  std::string version;
  std::size_t at = 3;
  if (path.size() >= 5 && path[3] == "versions") {
    version = path[4];
    at = 5;
  }
  if (path.size() > at + 1) not_found();
  const std::string action = path.size() > at ? path[at] : "metadata";
  auto model = find_model(models_, name, version);
  if (action == "infer") {
    begin("infer", "POST");
    return {[this, model](const auto& asked, const Reply& reply) {
              ++model->requests;
              if (!is_long_to_read(*asked)) return infer(model, asked, worker_, reply);
              worker_.post([this, model, asked, reply] {
                reply_to_exceptions(reply, [&] { infer(model, asked, worker_, reply); });
              });
            },
            model};
  }
  route = "model";
  if (action != "ready" && action != "stats" && action != "config" && action != "metadata")
    not_found();
  require(request, "GET");
  return {[this, model = std::move(model), action](const auto&, const Reply& reply) {
    if (action == "ready") return reply(ready_response({{"name", model->name}}, ready_));
    if (action == "stats")
      return reply(json_response({{"model_stats", Json::array({model_statistics(*model)})}}));
    if (action == "config") return reply(json_response(model_config(*model)));
    Json json = model_metadata(*model);
    json["versions"] = Json::array();
    for (const auto& one : models_.all())
      if (one->name == model->name) json["versions"].push_back(std::to_string(one->version));
    reply(json_response(json));
  }};
}

}  // namespace offramp::serve
