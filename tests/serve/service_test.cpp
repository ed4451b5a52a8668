// The routes, without sockets.
#include "serve/service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <future>

#include "core/file.h"
#include "model/model_file.h"
#include "serve/json_text.h"
#include "tests/api/example_model.h"
#include "tests/support/graphs.h"
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
  EXPECT_EQ(send("GET", "/v2/health/live").status, 200);
}

TEST_F(ServiceTest, RefusesThePagesOfOtherSites) {
  const Fields other{{"host", "127.0.0.1:8000"}, {"origin", "http://elsewhere.example"}};
  const Fields own{{"host", "127.0.0.1:8000"}, {"origin", "http://127.0.0.1:8000"}};
  EXPECT_EQ(send("POST", "/v1/classify", "x", other).status, 403);
  EXPECT_EQ(send("POST", "/v1/classify", "x", own).status, 400);
}

TEST_F(ServiceTest, ClassifiesItsExampleImage) {
  const Response image = send("GET", "/example.png");
  ASSERT_EQ(image.status, 200);
  const Response response = send("POST", "/v1/classify?top_k=2", image.body);
  ASSERT_EQ(response.status, 200) << response.body;
  const Json json = Json::parse(response.body);
  EXPECT_EQ(json["model"], "m");
  EXPECT_EQ(json["top"].size(), 2u);
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

TEST_F(ServiceTest, CountsWhatItAnswered) {
  infer("{" + input(3) + "}", binary(3));
  EXPECT_THAT(send("GET", "/metrics").body, HasSubstr("offramp_images_total"));
  const Json stats = Json::parse(send("GET", "/v2/models/m/stats").body);
  EXPECT_EQ(stats["model_stats"][0]["inference_count"], 3);
}

}  // namespace
}  // namespace offramp::serve
