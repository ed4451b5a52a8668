// The routes, without sockets.
#include "serve/service.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <future>
#include <optional>
#include <thread>
#include <vector>

#include "core/file.h"
#include "model/model_file.h"
#include "serve/json_text.h"
#include "tests/api/example_model.h"
#include "tests/support/graphs.h"
#include "tests/support/image_files.h"
#include "tests/support/reference.h"

namespace offramp::serve {
namespace {

using test::example_model;
using testing::ElementsAre;
using testing::HasSubstr;

class ServiceTest : public testing::Test {
 protected:
  ServiceTest() {
    const model::ModelFile file = example_model(small_resnet());
    model::save_model(folder_.path() / "m.safetensors", file);
    values_ = graph::random_images(file.graph, 3, 3);
    each_ = values_.size() / 3;
    for (const auto side : {file.graph.input[0], file.graph.input[1], file.graph.input[2]})
      shape_ += "," + std::to_string(side);
    start({});
  }

  void start(const ServiceOptions& options, const BatcherOptions& queue = {}) {
    service_.reset();
    models_.reset();
    models_ = std::make_unique<ServedModels>(
        std::vector<ModelEntry>{{"m", 1, folder_.path() / "m.safetensors"}},
        Options{.precision = "f32", .threads = 2, .batch = 4}, queue,
        [this](const std::string& level, const std::string& message) {
          log_ += level + ": " + message + "\n";
        });
    service_ = std::make_unique<Service>(*models_, options);
    service_->set_ready(true);
  }

  Response send(const std::string& method, const std::string& target, std::string body = {},
                Fields headers = {}) {
    auto request = std::make_shared<Request>();
    request->method = method;
    request->target = target;
    request->body = Body(std::move(body));
    request->headers = std::move(headers);
    std::promise<Response> promise;
    auto response = promise.get_future();
    service_->handle(request, [&](Response r) { promise.set_value(std::move(r)); });
    return response.get();
  }

  Response infer(const std::string& json, std::string_view binary = {}) {
    return send("POST", "/v2/models/m/infer", json + std::string(binary),
                {{"inference-header-content-length", std::to_string(json.size())}});
  }

  std::string binary(std::size_t images) const {
    return std::string(reinterpret_cast<const char*>(values_.data()), 4 * images * each_);
  }
  std::string input(std::size_t images) const {
    return R"("inputs":[{"name":"image","datatype":"FP32","shape":[)" + std::to_string(images) +
           shape_ + R"(],"parameters":{"binary_data_size":)" + std::to_string(4 * images * each_) +
           "}}]";
  }

  core::TemporaryFolder folder_;
  std::vector<float> values_;
  std::size_t each_ = 0;
  std::string shape_, log_;
  std::unique_ptr<ServedModels> models_;
  std::unique_ptr<Service> service_;
};

TEST_F(ServiceTest, AnswersAsTheLibraryDoesToTheBit) {
  Session session(models_->first()->model, SessionOptions{.probabilities = true});
  const Response response =
      infer("{\"id\":\"7\"," + input(3) +
                R"(,"outputs":[{"name":"probabilities","parameters":{"binary_data":true}},)"
                R"({"name":"exit"}]})",
            binary(3));
  ASSERT_EQ(response.status, 200) << response.body;
  const std::size_t length = std::stoul(response.headers[0].second);
  const Json json = Json::parse(response.body.substr(0, length));
  EXPECT_EQ(json["id"], "7");
  const std::string bytes = response.body.substr(length);
  const std::size_t classes = models_->first()->model.classes().size();
  ASSERT_EQ(bytes.size(), 3 * classes * 4);
  for (std::size_t i = 0; i < 3; ++i) {
    const Answer answer = session.classify(
        ImageView::normalised(std::span<const float>(values_).subspan(i * each_, each_)));
    EXPECT_EQ(json["outputs"][1]["data"][i], answer.exit);
    EXPECT_EQ(std::memcmp(bytes.data() + i * classes * 4, answer.probabilities.data(), classes * 4),
              0);
  }
}

TEST_F(ServiceTest, StopsAsTheRequestSays) {
  const std::string outputs = R"(,"outputs":[{"name":"exit"}])";
  const auto exit_of = [&](const std::string& parameters) {
    const Response response =
        infer("{\"parameters\":{" + parameters + "}," + input(1) + outputs + "}", binary(1));
    EXPECT_EQ(response.status, 200) << response.body;
    return Json::parse(response.body)["outputs"][0]["data"][0].get<int>();
  };
  EXPECT_EQ(exit_of(R"("threshold":0)"), 1);
  EXPECT_EQ(exit_of(R"("stop":"last")"), 3);
  EXPECT_EQ(exit_of(R"("deadline_ms":0.001)"), 1);
}

TEST_F(ServiceTest, RefusesEveryInputThatIsNotAsItsShapeSays) {
  const std::string head = R"({"inputs":[{"name":"image","datatype":"FP32","shape":)";
  for (const std::string shape : {"[]", "[0,3,16,16]", "[-1,3,16,16]", "[1.5]", "\"x\"",
                                  "[1,1,1,1,1,1,1,1,1]", "[18446744073709551615,3,16,16]",
                                  "[4294967296,4294967296,4,4]", "[1,2,3]", "[257,3,16,16]"}) {
    const Response response = infer(head + shape + R"(,"data":[1]}]})");
    EXPECT_THAT(response.status, testing::AnyOf(400, 413)) << shape;
    EXPECT_THAT(Json::parse(response.body)["error"], HasSubstr("image")) << shape;
  }
  const auto status_of_bytes = [&](std::size_t images, std::size_t bytes) {
    return infer("{" + input(images) + "}", binary(3).substr(0, bytes)).status;
  };
  EXPECT_EQ(status_of_bytes(2, 8 * each_), 200);
  EXPECT_EQ(status_of_bytes(2, 8 * each_ - 1), 400);
  EXPECT_EQ(status_of_bytes(2, 8 * each_ + 1), 400);
  std::string with_nan = binary(1);
  const float nan = std::nanf("");
  std::memcpy(with_nan.data(), &nan, sizeof nan);
  const Response response = infer("{" + input(1) + "}", with_nan);
  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(response.body, HasSubstr("image 0: image: a value is not finite"));
}

TEST_F(ServiceTest, RefusesOutputsThatDoNotExistOrAreAskedForTwice) {
  const auto status = [&](const std::string& outputs) {
    return infer("{" + input(1) + ",\"outputs\":" + outputs + "}", binary(1)).status;
  };
  EXPECT_EQ(status(R"([{"name":"exit"}])"), 200);
  EXPECT_EQ(status(R"([{"name":"exit"},{"name":"exit"}])"), 400);
  EXPECT_EQ(status(R"([{"name":"x"}])"), 400);
  EXPECT_EQ(status(R"([{"name":"exit","parameters":{"classification":2}}])"), 400);
  std::string many = "[";
  for (int i = 0; i < 100000; ++i) many += R"({"name":"exit"},)";
  many.back() = ']';
  EXPECT_EQ(status(many), 400);
}

TEST_F(ServiceTest, FindsModelsByNameAndVersionAndByNothingElse) {
  EXPECT_EQ(send("GET", "/v2/models/m").status, 200);
  EXPECT_EQ(send("GET", "/v2/models/m/versions/1/ready").status, 200);
  for (const char* target : {"/v2/models/m/versions/2", "/v2/models/..%2Fm", "/v2/models/%2e%2e",
                             "/v2/models/m/x/y", "/v2/models/", "/nothing", "/../etc/passwd"})
    EXPECT_EQ(send("GET", target).status, 404) << target;
  EXPECT_EQ(send("POST", "/v2/models/m").status, 405);
  EXPECT_EQ(send("GET", "/v2/models/m/infer").status, 405);
}

TEST_F(ServiceTest, AsksForItsTokenButNotForHealth) {
  start({.token = "0123456789abcdef"});
  EXPECT_EQ(send("GET", "/v2").status, 401);
  EXPECT_EQ(send("GET", "/v2", {}, {{"authorization", "Bearer 0123456789abcdeF"}}).status, 401);
  EXPECT_EQ(send("GET", "/v2", {}, {{"authorization", "Bearer 0123456789abcdef"}}).status, 200);
  EXPECT_EQ(send("GET", "/v2", {}, {{"authorization", "bearer 0123456789abcdef"}}).status, 200);
  EXPECT_EQ(send("GET", "/v2", {}, {{"authorization", "Basic 0123456789abcdef"}}).status, 401);
  EXPECT_EQ(send("GET", "/v2", {}, {{"authorization", "Bearer"}}).status, 401);
  EXPECT_EQ(send("GET", "/v2/health/live").status, 200);
}

TEST_F(ServiceTest, RefusesThePagesOfOtherSites) {
  const Fields other{{"host", "127.0.0.1:8000"}, {"origin", "http://elsewhere.example"}};
  const Fields own{{"host", "127.0.0.1:8000"}, {"origin", "http://127.0.0.1:8000"}};
  EXPECT_EQ(send("POST", "/v1/classify", "x", other).status, 403);
  EXPECT_EQ(send("POST", "/v1/classify", "x", own).status, 400);
}

TEST_F(ServiceTest, RefusesAPageWhoseNameWasBoundToThisMachine) {
  start({.on_loopback = true});
  const Fields evil{{"host", "evil.com:8931"}, {"origin", "http://evil.com:8931"}};
  const Fields own{{"host", "127.0.0.1:8931"}, {"origin", "http://127.0.0.1:8931"}};
  EXPECT_EQ(send("POST", "/v1/classify", "x", evil).status, 403);
  EXPECT_EQ(send("GET", "/v1/models", {}, {{"host", "evil.com"}}).status, 403);
  EXPECT_EQ(send("GET", "/", {}, {{"host", "evil.com"}}).status, 403);
  EXPECT_EQ(send("POST", "/v1/classify", "x", own).status, 400);
  EXPECT_EQ(send("GET", "/v1/models", {}, {{"host", "localhost:8000"}}).status, 200);
  // A token is what a page of another site does not have; a proxy may pass another name on.
  start({.token = "0123456789abcdef", .on_loopback = true});
  EXPECT_EQ(send("GET", "/v1/models", {},
                 {{"host", "classify.example"}, {"authorization", "Bearer 0123456789abcdef"}})
                .status,
            200);
}

TEST_F(ServiceTest, RefusesWithoutTheBodyWhatNeedsNoBody) {
  start({.token = "0123456789abcdef"});
  const auto status = [&](const std::string& method, const std::string& target, bool token,
                          Fields headers = {}) {
    Request request;
    request.method = method;
    request.target = target;
    request.headers = std::move(headers);
    if (token) request.headers.emplace_back("authorization", "Bearer 0123456789abcdef");
    const std::optional<Response> refusal = service_->admit(request);
    EXPECT_FALSE(request.id.empty());
    return refusal ? refusal->status : 0;
  };
  EXPECT_EQ(status("POST", "/v1/classify", false), 401);
  EXPECT_EQ(status("POST", "/nothing", true), 404);
  EXPECT_EQ(status("POST", "/v2/models/n/infer", true), 404);
  EXPECT_EQ(status("PUT", "/v1/classify", true), 405);
  EXPECT_EQ(status("POST", "/v1/classify", true, {{"content-encoding", "gzip"}}), 415);
  EXPECT_EQ(status("GET", "/", false, {{"content-length", "1000000"}}), 413);
  EXPECT_EQ(status("GET", "/v2/health/live", false, {{"transfer-encoding", "chunked"}}), 413);
  EXPECT_EQ(status("GET", "/v2/health/live", false, {{"content-length", "0"}}), 0);
  EXPECT_EQ(status("POST", "/v1/classify", true), 0);
  EXPECT_THAT(send("GET", "/metrics", {}, {{"authorization", "Bearer 0123456789abcdef"}}).body,
              HasSubstr("401"));
}

TEST_F(ServiceTest, RefusesImagesBeforeTheirBodyIsReadWhileTheQueueIsFull) {
  start({}, {.max_queue = 1});
  const auto model = models_->first();
  // The model's thread may still use them after the test.
  const auto blocked = std::make_shared<std::promise<void>>();
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  const auto job = [&](std::function<void(ImageResult)> done) {
    std::vector<ImageJob> jobs(1);
    jobs[0].image = ImageView::normalised(std::span<const float>(values_).first(each_));
    jobs[0].done = std::move(done);
    return jobs;
  };
  model->batcher.submit(job([=](const ImageResult&) {
    blocked->set_value();
    released.wait();
  }));
  blocked->get_future().wait();
  const auto refusal_of = [&](const std::string& method, const std::string& target) {
    Request request;
    request.method = method;
    request.target = target;
    return service_->admit(request);
  };
  EXPECT_FALSE(refusal_of("POST", "/v1/classify"));
  EXPECT_EQ(model->batcher.submit(job([](const ImageResult&) {})), Batcher::Admission::admitted);
  for (const char* target : {"/v1/classify", "/v2/models/m/infer"}) {
    const std::optional<Response> refusal = refusal_of("POST", target);
    ASSERT_TRUE(refusal) << target;
    EXPECT_EQ(refusal->status, 503);
    EXPECT_EQ(refusal->headers[0].first, "Retry-After");
    EXPECT_THAT(refusal->body, HasSubstr("too many images wait"));
  }
  EXPECT_EQ(model->requests, 2);
  EXPECT_FALSE(refusal_of("GET", "/v2/models/m"));
  release.set_value();
}

TEST_F(ServiceTest, SaysWhyNoImageOfAFormCouldBeUsed) {
  const Fields type{{"content-type", "multipart/form-data; boundary=b"}};
  const std::string part =
      "--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\nx\r\n";
  const Response response = send("POST", "/v1/classify", part + part + "--b--\r\n", type);
  EXPECT_EQ(response.status, 400);
  const Json json = Json::parse(response.body);
  EXPECT_EQ(json["images"].size(), 2u);
  EXPECT_THAT(json["error"], HasSubstr("image \"a\": "));
}

TEST_F(ServiceTest, SaysWhenAPageHasNotChanged) {
  const Response page = send("GET", "/");
  const std::string tag = page.headers[0].second;
  EXPECT_EQ(send("GET", "/", {}, {{"if-none-match", "\"x\", W/" + tag}}).status, 304);
  EXPECT_EQ(send("GET", "/", {}, {{"if-none-match", "\"x\""}}).status, 200);
}

TEST_F(ServiceTest, FindsAVersionOfTheFirstModel) {
  EXPECT_EQ(send("POST", "/v1/classify?version=99", "x").status, 404);
  EXPECT_EQ(send("POST", "/v1/classify?version=1", "x").status, 400);
}

TEST_F(ServiceTest, TellsUsersOfCurlHowToSendAFile) {
  const Fields type{{"content-type", "application/x-www-form-urlencoded"}};
  Fields curl = type;
  curl.emplace_back("user-agent", "curl/8.0");
  EXPECT_THAT(send("POST", "/v1/classify", "x", curl).body, HasSubstr("--data-binary @FILE"));
  // Other clients send that type too, unasked.
  EXPECT_THAT(send("POST", "/v1/classify", "x", type).body, testing::Not(HasSubstr("curl")));
}

TEST_F(ServiceTest, ReportsAFaultOfTheModelAsAFailureWithoutItsText) {
  model::ModelFile file = example_model(small_resnet());
  for (auto& [name, tensor] : file.weights)  // classifiers whose sums overflow
    if (tensor.shape.size() == 2) std::ranges::fill(tensor.as<float>(), 3e38f);
  model::save_model(folder_.path() / "m.safetensors", file);
  start({});
  for (const std::size_t images : {1, 3}) {  // alone, and in a batch
    const Response response = infer("{" + input(images) + "}", binary(images));
    EXPECT_EQ(response.status, 500) << response.body;
    EXPECT_THAT(response.body, testing::Not(HasSubstr("logits")));
  }
  EXPECT_EQ(models_->first()->batcher.stats().failed, 4);
  EXPECT_EQ(models_->first()->batcher.stats().refused, 0);
}

TEST_F(ServiceTest, ClassifiesItsExampleImage) {
  const Response image = send("GET", "/example.png");
  ASSERT_EQ(image.status, 200);
  const Response response = send("POST", "/v1/classify?top_k=2", image.body);
  ASSERT_EQ(response.status, 200) << response.body;
  const Json json = Json::parse(response.body);
  EXPECT_EQ(json["model"], "m");
  EXPECT_EQ(json["top"].size(), 2u);
  // The shortest text of the f32 number, as `offramp classify --json` prints it.
  EXPECT_THAT(response.body,
              HasSubstr(fmt::format(R"("probability":{},)", json["probability"].get<float>())));
  EXPECT_EQ(send("POST", "/v1/classify", "no image").status, 400);
  EXPECT_EQ(send("POST", "/v1/classify?colour=red", image.body).status, 400);
}

TEST_F(ServiceTest, TellsLoadBalancersWhenItIsReady) {
  EXPECT_EQ(send("GET", "/v2/health/ready").status, 200);
  service_->set_ready(false);
  EXPECT_EQ(send("GET", "/v2/health/ready").status, 503);
  EXPECT_EQ(send("GET", "/v2/health/live").status, 200);
}

TEST_F(ServiceTest, KeepsTheOldModelWhereTheNewFileIsBad) {
  core::write_text_atomic(folder_.path() / "m.safetensors", "not a model");
  models_->reload(true);
  EXPECT_THAT(log_, HasSubstr("the new file was refused"));
  EXPECT_EQ(infer("{" + input(1) + "}", binary(1)).status, 200);
}

TEST_F(ServiceTest, RefusesMoreImagesThanItsQueueTakes) {
  start({}, {.max_queue = 2});
  EXPECT_EQ(infer("{" + input(3) + "}", binary(3)).status, 413);
  EXPECT_EQ(infer("{" + input(2) + "}", binary(2)).status, 200);
}

TEST_F(ServiceTest, RefusesJsonThatIsNotWhatItSays) {
  const auto error_of = [&](const std::string& json) {
    const Response response = send("POST", "/v2/models/m/infer", json);
    EXPECT_EQ(response.status, 400) << json.substr(0, 100);
    return Json::parse(response.body)["error"].get<std::string>();
  };
  EXPECT_THAT(error_of(std::string(1000000, '[')), HasSubstr("nested deeper than 16"));
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  EXPECT_THAT(error_of(deep), HasSubstr("nested deeper than 16"));
  EXPECT_THAT(error_of("{\"inputs\":[],\"inputs\":[]}"), HasSubstr("given twice"));
  EXPECT_THAT(error_of("{\"id\":\"\xff\xfe\"}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of("{\"inputs\":[{}]}"), HasSubstr("expected a text \"name\""));
  EXPECT_THAT(error_of(R"({"parameters":{"threshold":"NaN"},"inputs":[{"name":"image"}]})"),
              HasSubstr("parameter threshold"));
  EXPECT_EQ(send("POST", "/v2/models/m/infer", std::string(5'000'000, ' ')).status, 413);
  // JSON has no NaN, and a number that is too large for a float is not finite.
  EXPECT_THAT(error_of(R"({"inputs":[{"name":"image","datatype":"FP32","shape":[1)" + shape_ +
                       R"(],"data":[NaN]}]})"),
              HasSubstr("not valid JSON"));
  std::string values = "1e300";
  for (std::size_t i = 1; i < each_; ++i) values += ",0";
  EXPECT_THAT(error_of(R"({"inputs":[{"name":"image","datatype":"FP32","shape":[1)" + shape_ +
                       R"(],"data":[)" + values + "]}]}"),
              HasSubstr("not finite"));
}

TEST_F(ServiceTest, ReadsLongRequestsOnAnotherThreadThanTheCallers) {
  // The thread of the HTTP server calls handle(), and everybody waits for it.
  const auto replies_elsewhere = [&](const std::string& json) {
    auto request = std::make_shared<Request>();
    request->method = "POST";
    request->target = "/v2/models/m/infer";
    request->body = Body(json);
    std::promise<std::thread::id> promise;
    service_->handle(request, [&](const Response& response) {
      EXPECT_EQ(response.status, 400) << response.body;
      promise.set_value(std::this_thread::get_id());
    });
    return promise.get_future().get() != std::this_thread::get_id();
  };
  std::string many = "{\"inputs\":[{}";
  for (int i = 0; i < 100'000; ++i) many += ",{}";
  EXPECT_TRUE(replies_elsewhere(many + "]}"));
  EXPECT_FALSE(replies_elsewhere("{\"inputs\":[{},{}]}"));
}

TEST_F(ServiceTest, CountsTheMemoryOfParsedJson) {
  const auto budget = std::make_shared<Budget>(std::size_t{8} << 20);
  const auto status_of = [&](const std::string& json) {
    auto request = std::make_shared<Request>();
    request->method = "POST";
    request->target = "/v2/models/m/infer";
    request->body.use(budget);
    EXPECT_TRUE(request->body.append(json.data(), json.size()));
    std::promise<int> promise;
    service_->handle(request,
                     [&](const Response& response) { promise.set_value(response.status); });
    return promise.get_future().get();
  };
  std::string arrays = "{\"inputs\":[[]";
  for (int i = 0; i < 300'000; ++i) arrays += ",[]";  // 0.9 MB of text, 33 MB of memory
  EXPECT_EQ(status_of(arrays + "]}"), 503);
  EXPECT_EQ(status_of(arrays.substr(0, 90'000) + "]]}"), 400);
  std::string keys = "{\"a\":1";
  for (int i = 0; i < 1000; ++i) keys += ",\"" + std::to_string(i) + "\":1";
  EXPECT_EQ(status_of(keys + "}"), 400);
  // The thread that reads long requests gives a request up shortly after its reply.
  service_->finish_work();
  EXPECT_EQ(budget->used(), 0u);
}

TEST_F(ServiceTest, WritesAnswersToManyImagesCorrectly) {
  // More probabilities than the model's threads write themselves.
  const std::size_t images = 250;
  std::string bytes;
  for (std::size_t i = 0; i < images; ++i) bytes += binary(1);
  const Response response = infer("{" + input(images) + "}", bytes);
  ASSERT_EQ(response.status, 200) << response.body.substr(0, 300);
  const Json outputs = Json::parse(response.body)["outputs"];
  EXPECT_EQ(outputs[3]["name"], "probabilities");
  EXPECT_EQ(outputs[3]["data"].size(), images * models_->first()->model.classes().size());
}

TEST_F(ServiceTest, TellsWhenThereIsNoRoomToDecodeAnImage) {
  const auto budget = std::make_shared<Budget>(std::size_t{100'000});
  const std::vector<std::byte> png = image::encode_png(test::flat_image(500, 500, 1, 2, 3));
  auto request = std::make_shared<Request>();
  request->method = "POST";
  request->target = "/v1/classify";
  request->body.use(budget);
  ASSERT_TRUE(request->body.append(reinterpret_cast<const char*>(png.data()), png.size()));
  std::promise<Response> promise;
  service_->handle(request, [&](Response response) { promise.set_value(std::move(response)); });
  const Response response = promise.get_future().get();
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.body, HasSubstr("no room to decode"));
  EXPECT_EQ(response.headers[0].first, "Retry-After");
}

TEST_F(ServiceTest, RefusesTargetsWithTextThatCouldMislead) {
  for (const char* target : {"/v2/models/%00", "/v2/models/a%0d%0ab", "/v2/models/%ff", "/%c0%ae",
                             "/v2/models/%e2%80%ae", "/%", "v2"})
    EXPECT_EQ(send("GET", target).status, 400) << target;
  for (const char* target : {"/v2/models/..", "/v2/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
                             "//etc/passwd", "/v2/models/m%2f..%2fm", "/index.html/..", "/v2/"})
    EXPECT_NE(send("GET", target).status, 500) << target;
  EXPECT_THAT(send("GET", "/v2/models/..%2Fm").body,
              testing::Not(HasSubstr(folder_.path().string())));
}

TEST_F(ServiceTest, RefusesImagesThatAreLargerThanTheLimitBeforeTheyAreDecoded) {
  start({}, {.max_pixels = 1000});
  const auto error_of = [&](const std::vector<std::byte>& file) {
    const Response response =
        send("POST", "/v1/classify", {reinterpret_cast<const char*>(file.data()), file.size()});
    EXPECT_EQ(response.status, 400);
    return response.body;
  };
  EXPECT_THAT(error_of(image::encode_png(test::flat_image(40, 40, 1, 2, 3))),
              HasSubstr("larger than the limit"));
  EXPECT_THAT(error_of(test::encode_jpeg(test::flat_image(40, 40, 1, 2, 3))),
              HasSubstr("larger than the limit"));
  // A file that claims to be large, and pixels.
  std::vector<std::byte> bomb = image::encode_png(test::flat_image(1, 1, 1, 2, 3));
  bomb[18] = bomb[22] = std::byte{0xff};  // 65281 x 65281
  EXPECT_THAT(error_of(bomb), HasSubstr("error"));
  EXPECT_EQ(infer(R"({"inputs":[{"name":"image","datatype":"UINT8","shape":[1,40,40,3],)"
                  R"("parameters":{"binary_data_size":4800}}]})",
                  std::string(4800, 'a'))
                .status,
            400);
  const std::vector<std::byte> good = image::encode_png(test::flat_image(30, 30, 1, 2, 3));
  EXPECT_EQ(send("POST", "/v1/classify", {reinterpret_cast<const char*>(good.data()), good.size()})
                .status,
            200);
}

TEST_F(ServiceTest, AnswersEveryRequestOrRefusesItWhenThereAreTooMany) {
  start({}, {.max_queue = 4});
  constexpr int kThreads = 8, kEach = 50;
  std::atomic<int> answered = 0, refused = 0, other = 0;
  const std::string bytes = binary(2);
  std::vector<std::thread> clients;
  for (int i = 0; i < kThreads; ++i)
    clients.emplace_back([&] {
      for (int k = 0; k < kEach; ++k) {
        const Response response = infer("{" + input(2) + "}", bytes);
        const bool says_when = response.status == 503 && response.headers[0].first == "Retry-After";
        ++(response.status == 200 ? answered : says_when ? refused : other);
      }
    });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(other, 0);
  EXPECT_EQ(answered + refused, kThreads * kEach);
  EXPECT_GT(answered, 0);
  EXPECT_EQ(models_->first()->batcher.stats().answered, 2 * answered);
  EXPECT_EQ(models_->first()->batcher.pending(), 0);
}

TEST_F(ServiceTest, GivesManyClientsTheAnswersOfTheLibrary) {
  Session session(models_->first()->model, SessionOptions{.stop = Stop::at_threshold(0.15f)});
  std::vector<int> exits;
  for (std::size_t i = 0; i < 3; ++i)
    exits.push_back(session
                        .classify(ImageView::normalised(
                            std::span<const float>(values_).subspan(i * each_, each_)))
                        .exit);
  const std::string json =
      "{\"parameters\":{\"threshold\":0.15}," + input(3) + R"(,"outputs":[{"name":"exit"}]})";
  std::vector<std::thread> clients;
  std::atomic<int> wrong = 0;
  for (int i = 0; i < 6; ++i)
    clients.emplace_back([&] {
      for (int k = 0; k < 30; ++k) {
        const Response response = infer(json, binary(3));
        if (Json::parse(response.body)["outputs"][0]["data"].get<std::vector<int>>() != exits)
          ++wrong;
      }
    });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(ServiceTest, ServesTheNewModelAndAnswersOldRequestsWithTheOld) {
  const std::shared_ptr<ServedModel> old = models_->first();
  model::ModelFile other = example_model(small_resnet(), 2);
  other.classes[0] = "renamed";
  model::save_model(folder_.path() / "m.safetensors", other);
  models_->reload(false);
  EXPECT_THAT(log_, HasSubstr("loaded again"));
  EXPECT_EQ(models_->first()->model.classes()[0], "renamed");
  models_->free_replaced();  // not while somebody uses it
  std::promise<ImageResult> result;
  ImageJob job;
  job.image = ImageView::normalised(std::span<const float>(values_).first(each_));
  job.arrived = std::chrono::steady_clock::now();
  job.done = [&](ImageResult one) { result.set_value(std::move(one)); };
  old->batcher.submit({job});
  EXPECT_TRUE(result.get_future().get().answer.ok());
  EXPECT_EQ(infer("{" + input(1) + "}", binary(1)).status, 200);
  // The same file again is no change.
  log_.clear();
  models_->reload(false);
  EXPECT_EQ(log_, "");
}

TEST_F(ServiceTest, TellsThePageWhatItNeeds) {
  infer("{" + input(3) + "}", binary(3));
  const Json facts = Json::parse(send("GET", "/v1/models").body)["models"][0];
  EXPECT_EQ(facts["name"], "m");
  EXPECT_EQ(facts["exits"], 3);
  EXPECT_EQ(facts["policy"], false);
  EXPECT_EQ(facts["path"], nullptr);
  EXPECT_EQ(facts["relative_costs"].size(), 3u);
  const Json stats =
      Json::parse(send("GET", "/v2/models/m/stats").body)["model_stats"][0]["offramp"];
  EXPECT_EQ(stats["requests"], 1);
  EXPECT_EQ(stats["latency"]["counts"].size(), stats["latency"]["bounds_ms"].size() + 1);
  std::int64_t counted = 0;
  for (const Json& one : stats["latency"]["counts"]) counted += one.get<std::int64_t>();
  EXPECT_EQ(counted, 3);
  EXPECT_EQ(stats["guarantee"], nullptr);
  EXPECT_EQ(stats["watch"]["state"], "off");
  EXPECT_EQ(stats["watch"]["why"], "the model has no certificate");
  EXPECT_EQ(stats["loaded"], facts["loaded"]);
}

TEST_F(ServiceTest, StopsAtACertifiedStepOfThePath) {
  model::ModelFile file = example_model(small_resnet());
  policy::ChosenPolicy chosen;
  chosen.policy = policy::never_stop(3);
  chosen.policy.thresholds = {0.f, 0.f};
  chosen.guarantee = policy::Guarantee{.epsilon = 0.1,
                                       .delta = 0.05,
                                       .level = 0.05,
                                       .images = 1000,
                                       .counted = 10,
                                       .upper_bound = 0.017,
                                       .precision = "f32",
                                       .kernels = "elsewhere"};
  chosen.path = policy::CertifiedPath{
      .steps = {{.thresholds = {std::nullopt, std::nullopt}, .accuracy = 0.9, .relative_cost = 1},
                {.thresholds = {0.f, 0.f}, .counted = 10, .accuracy = 0.8, .relative_cost = 0.5}},
      .chosen = 1};
  file.policy = chosen;
  model::save_model(folder_.path() / "m.safetensors", file);
  start({});
  const auto exit_of = [&](const std::string& parameter) {
    const Response response = infer(
        "{\"parameters\":{" + parameter + "}," + input(1) + R"(,"outputs":[{"name":"exit"}]})",
        binary(1));
    return response.status == 200 ? Json::parse(response.body)["outputs"][0]["data"][0].get<int>()
                                  : -response.status;
  };
  EXPECT_EQ(exit_of(""), 1);
  EXPECT_EQ(exit_of(R"("step":0)"), 3);
  EXPECT_EQ(exit_of(R"("step":1)"), 1);
  EXPECT_EQ(exit_of(R"("step":2)"), -400);
  EXPECT_EQ(exit_of(R"("step":1,"stop":"last")"), -400);
  const Json facts = Json::parse(send("GET", "/v1/models").body)["models"][0];
  EXPECT_EQ(facts["path"]["chosen"], 1);
  EXPECT_EQ(facts["path"]["steps"][0]["thresholds"][0], nullptr);
  EXPECT_EQ(facts["path"]["steps"][1]["certified"], true);
  const Json stats =
      Json::parse(send("GET", "/v2/models/m/stats").body)["model_stats"][0]["offramp"];
  EXPECT_EQ(stats["guarantee"]["in_force"], "no");
}

TEST_F(ServiceTest, CountsWhatItAnswered) {
  infer("{" + input(3) + "}", binary(3));
  EXPECT_THAT(send("GET", "/metrics").body, HasSubstr("offramp_images_total"));
  const Json stats = Json::parse(send("GET", "/v2/models/m/stats").body);
  EXPECT_EQ(stats["model_stats"][0]["inference_count"], 3);
}

}  // namespace
}  // namespace offramp::serve
