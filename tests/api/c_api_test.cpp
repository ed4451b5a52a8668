#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <thread>

#include "core/file.h"
#include "offramp/offramp.h"
#include "offramp/session.h"
#include "runtime/kernels_name.h"
#include "tests/api/c_api_consumer.h"
#include "tests/api/example_model.h"
#include "tests/support/image_files.h"

namespace offramp::test {
namespace {

using testing::HasSubstr;
using testing::StrEq;

/// A model on disk, opened both ways.
class CApi : public testing::Test {
 protected:
  CApi() {
    ModelFile file = example_model(small_resnet());
    Policy policy = never_stop(3);
    policy.thresholds = {0.2f, 0.3f};
    file.policy = ChosenPolicy{policy, "test"};
    save_model(path_, file);
    const offramp_options options = {"f32", 1, 4};
    EXPECT_EQ(offramp_model_load(path_.c_str(), &options, &model_), OFFRAMP_OK);
    EXPECT_EQ(offramp_session_new(model_, nullptr, &session_), OFFRAMP_OK);
  }
  ~CApi() override {
    offramp_session_free(session_);
    offramp_model_free(model_);
  }
  Answer expected(const ImageView& image) {
    Session session(Model::load(path_, {.precision = "f32", .threads = 1}));
    return session.classify(image);
  }
  static void expect_same(const offramp_answer& got, const Answer& expected) {
    EXPECT_EQ(got.class_index, expected.class_index);
    EXPECT_EQ(got.class_name, expected.class_name);
    EXPECT_EQ(got.probability, expected.probability);
    EXPECT_EQ(std::vector<float>(got.probabilities, got.probabilities + got.num_classes),
              expected.probabilities);
    EXPECT_EQ(got.exit, expected.exit);
    EXPECT_EQ(got.macs, expected.macs);
    EXPECT_EQ(got.relative_cost, expected.relative_cost);
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "model.safetensors";
  offramp_model* model_ = nullptr;
  offramp_session* session_ = nullptr;
};

TEST_F(CApi, DescribesTheModel) {
  EXPECT_EQ(offramp_model_num_classes(model_), 10);
  EXPECT_EQ(offramp_model_num_exits(model_), 3);
  EXPECT_EQ(offramp_model_width(model_), 32);
  EXPECT_EQ(offramp_model_height(model_), 32);
  EXPECT_EQ(offramp_model_has_policy(model_), 1);
  EXPECT_STREQ(offramp_model_precision(model_), "f32");
  EXPECT_STREQ(offramp_model_class_name(model_, 9), "class 9");
  EXPECT_EQ(offramp_model_class_name(model_, 10), nullptr);
  EXPECT_EQ(offramp_model_class_name(model_, -1), nullptr);
  EXPECT_GT(offramp_model_relative_cost(model_, 3), offramp_model_relative_cost(model_, 1));
  EXPECT_EQ(offramp_model_relative_cost(model_, 0), 0);
  EXPECT_EQ(offramp_model_relative_cost(model_, 4), 0);
  EXPECT_EQ(offramp_model_note(model_, 0), nullptr);
  EXPECT_STREQ(offramp_version(), version());
}

TEST_F(CApi, AnswersAsTheCppInterfaceDoes) {
  const Image image = patterned_image(40, 30, 5);
  const auto png = encode_png(image);
  const auto file = folder_.path() / "image.png";
  write_bytes(file, png);
  const Answer wanted = expected(ImageView::encoded(png));
  offramp_answer answer;
  ASSERT_EQ(offramp_classify_rgb8(session_, image.rgb.data(), 40, 30, &answer), OFFRAMP_OK);
  expect_same(answer, wanted);
  ASSERT_EQ(offramp_classify_encoded(session_, png.data(), png.size(), &answer), OFFRAMP_OK);
  expect_same(answer, wanted);
  ASSERT_EQ(offramp_classify_file(session_, file.c_str(), &answer), OFFRAMP_OK);
  expect_same(answer, wanted);
  const std::vector<float> values(3 * 32 * 32, 0.5f);
  ASSERT_EQ(offramp_classify_normalised(session_, values.data(), values.size(), &answer),
            OFFRAMP_OK);
  expect_same(answer, expected(ImageView::normalised(values)));

  offramp_statistics stats;
  ASSERT_EQ(offramp_stats(session_, &stats), OFFRAMP_OK);
  EXPECT_EQ(stats.images, 4);
  EXPECT_EQ(stats.num_exits, 3);
  EXPECT_EQ(stats.exits[0] + stats.exits[1] + stats.exits[2], 4);
  EXPECT_GT(stats.macs, 0);
  EXPECT_GT(stats.relative_cost, 0);
  EXPECT_EQ(stats.drift, OFFRAMP_DRIFT_UNKNOWN);
}

TEST_F(CApi, StopsAsItIsTold) {
  const auto exit_under = [&](const offramp_stop& stop) {
    offramp_session* session = nullptr;
    EXPECT_EQ(offramp_session_new(model_, &stop, &session), OFFRAMP_OK) << offramp_last_error();
    const std::vector<float> values(3 * 32 * 32, 0.5f);
    offramp_answer answer;
    EXPECT_EQ(offramp_classify_normalised(session, values.data(), values.size(), &answer),
              OFFRAMP_OK);
    offramp_session_free(session);
    return answer.exit;
  };
  EXPECT_EQ(exit_under({OFFRAMP_STOP_AT_THRESHOLD, 0, 0, 0}), 1);
  EXPECT_EQ(exit_under({OFFRAMP_STOP_AT_THRESHOLD, 1, 0, 0}), 3);
  EXPECT_EQ(exit_under({OFFRAMP_STOP_NEVER, 0, 0, 0}), 3);
  EXPECT_EQ(exit_under({OFFRAMP_STOP_NEVER, 0, 1e-6, 0}), 1);
  EXPECT_EQ(exit_under({OFFRAMP_STOP_NEVER, 0, 0, 1}), 1);
  EXPECT_EQ(exit_under({}), exit_under({OFFRAMP_STOP_BY_POLICY, 0, 0, 0}));
}

TEST_F(CApi, SaysWhatWentWrong) {
  offramp_model* model = model_;
  EXPECT_EQ(offramp_model_load("/no/such/model", nullptr, &model), OFFRAMP_ERROR);
  EXPECT_EQ(model, nullptr);
  EXPECT_STREQ(offramp_last_error(), "/no/such/model: cannot open: No such file or directory");
  const offramp_options options = {"f23", 0, 0};
  EXPECT_EQ(offramp_model_load(path_.c_str(), &options, &model), OFFRAMP_USAGE);
  EXPECT_THAT(offramp_last_error(), StrEq("unknown precision \"f23\"; did you mean \"f32\"?"));

  offramp_answer answer;
  const unsigned char pixels[3] = {};
  EXPECT_EQ(offramp_classify_rgb8(session_, pixels, -1, -1, &answer), OFFRAMP_ERROR);
  EXPECT_THAT(offramp_last_error(), HasSubstr("got -1x-1"));
  EXPECT_EQ(offramp_classify_rgb8(session_, pixels, std::numeric_limits<int>::max(),
                                  std::numeric_limits<int>::max(), &answer),
            OFFRAMP_ERROR);
  EXPECT_EQ(offramp_classify_encoded(session_, pixels, 3, &answer), OFFRAMP_ERROR);
  EXPECT_STREQ(offramp_last_error(), "not a JPEG or PNG");
  EXPECT_EQ(offramp_classify_encoded(session_, nullptr, 3, &answer), OFFRAMP_USAGE);
  EXPECT_STREQ(offramp_last_error(), "the image is NULL");
  EXPECT_EQ(offramp_classify_rgb8(nullptr, pixels, 1, 1, &answer), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_model_load(nullptr, nullptr, &model), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_model_load(path_.c_str(), nullptr, nullptr), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_stats(session_, nullptr), OFFRAMP_USAGE);
  offramp_session* session = session_;
  const offramp_stop stop = {OFFRAMP_STOP_AT_THRESHOLD, 7, 0, 0};
  EXPECT_EQ(offramp_session_new(model_, &stop, &session), OFFRAMP_USAGE);
  EXPECT_EQ(session, nullptr);

  std::thread([] { EXPECT_STREQ(offramp_last_error(), ""); }).join();  // another thread's own
}

TEST_F(CApi, AnswersBatchesAndStreamsAsOneImageAtATime) {
  const std::vector<float> values = random_images(small_resnet(), 11, 3);
  const std::size_t size = 3 * 32 * 32;
  const Image picture = patterned_image(40, 30, 5);
  const auto png = encode_png(picture);
  const auto file = folder_.path() / "image.png";
  write_bytes(file, png);
  std::vector<offramp_image> images;
  std::vector<Answer> wanted;
  for (std::size_t i = 0; i < 11; ++i) {
    images.push_back({OFFRAMP_NORMALISED, values.data() + i * size, size, 0, 0});
    wanted.push_back(expected(ImageView::normalised({values.data() + i * size, size})));
  }
  images.push_back({OFFRAMP_RGB8, picture.rgb.data(), picture.rgb.size(), 40, 30});
  images.push_back({OFFRAMP_ENCODED, png.data(), png.size(), 0, 0});
  images.push_back({OFFRAMP_FILE, file.c_str(), 0, 0, 0});
  for (int i = 0; i < 3; ++i) wanted.push_back(expected(ImageView::encoded(png)));
  images.push_back({OFFRAMP_ENCODED, "no image", 8, 0, 0});
  std::vector<offramp_answer> answers(images.size());
  ASSERT_EQ(offramp_classify_batch(session_, images.data(), images.size(), answers.data()),
            OFFRAMP_OK);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(answers[i].error, nullptr);
    expect_same(answers[i], wanted[i]);
  }
  EXPECT_STREQ(answers.back().error, "not a JPEG or PNG");
  EXPECT_EQ(answers.back().class_index, -1);
  EXPECT_EQ(offramp_classify_batch(session_, nullptr, 0, nullptr), OFFRAMP_OK);

  struct Told {
    const std::vector<Answer>& wanted;
    std::vector<std::int64_t> ids = {};
    std::string error = {};
  } told{wanted};
  const auto note = [](void* user, int64_t id, const offramp_answer* answer) {
    Told& mine = *static_cast<Told*>(user);
    mine.ids.push_back(id);
    if (answer->error != nullptr)
      mine.error = answer->error;
    else
      expect_same(*answer, mine.wanted[static_cast<std::size_t>(id)]);
  };
  const offramp_stream_options in_order = {1, 0, 0};
  ASSERT_EQ(offramp_stream(session_, note, &told, &in_order), OFFRAMP_OK);
  for (std::size_t i = 0; i < images.size(); ++i)
    ASSERT_EQ(offramp_push(session_, static_cast<std::int64_t>(i), &images[i]), OFFRAMP_OK);
  EXPECT_GT(offramp_pending(session_), 0);
  EXPECT_EQ(offramp_poll(session_), OFFRAMP_OK);
  EXPECT_EQ(offramp_flush(session_), OFFRAMP_OK);
  EXPECT_EQ(offramp_pending(session_), 0);
  EXPECT_EQ(told.error, "not a JPEG or PNG");
  EXPECT_EQ(told.ids.size(), images.size());
  EXPECT_TRUE(std::ranges::is_sorted(told.ids));
}

TEST_F(CApi, RefusesStreamsAndBatchesThatMakeNoSense) {
  offramp_answer answer;
  const offramp_image none = {OFFRAMP_RGB8, nullptr, 0, 1, 1};
  const offramp_image other = {9, "x", 1, 0, 0};
  EXPECT_EQ(offramp_classify_batch(session_, &none, 1, &answer), OFFRAMP_USAGE);
  EXPECT_STREQ(offramp_last_error(), "the image is NULL");
  EXPECT_EQ(offramp_classify_batch(session_, &other, 1, &answer), OFFRAMP_USAGE);
  EXPECT_STREQ(offramp_last_error(), "image: there is no such form");
  EXPECT_EQ(offramp_classify_batch(session_, nullptr, 1, &answer), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_push(session_, 0, &other), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_stream(session_, nullptr, nullptr, nullptr), OFFRAMP_USAGE);
  EXPECT_STREQ(offramp_last_error(), "on_answer is NULL");
  offramp_session* session = nullptr;
  const offramp_stop stop = {9, 0, 0, 0};
  EXPECT_EQ(offramp_session_new(model_, &stop, &session), OFFRAMP_USAGE);
  EXPECT_STREQ(offramp_last_error(), "stop: there is no such rule");
}

TEST_F(CApi, SaysWhatIsPromised) {
  offramp_promise promise;
  ASSERT_EQ(offramp_session_promise(session_, &promise), OFFRAMP_OK);
  EXPECT_EQ(promise.of, nullptr);
  ModelFile file = example_model(small_resnet());
  file.policy = ChosenPolicy{never_stop(3), "test"};
  file.policy->guarantee =
      Guarantee{"harm", 0.01, 0.05, 0.05, 4000, 20, 0.009, "f32", kernels_name()};
  const auto path = folder_.path() / "certified.safetensors";
  save_model(path, file);
  offramp_model* model = nullptr;
  offramp_session* session = nullptr;
  ASSERT_EQ(offramp_model_load(path.c_str(), nullptr, &model), OFFRAMP_OK);
  ASSERT_EQ(offramp_session_new(model, nullptr, &session), OFFRAMP_OK);
  ASSERT_EQ(offramp_session_promise(session, &promise), OFFRAMP_OK);
  EXPECT_STREQ(promise.of, "harm");
  EXPECT_EQ(promise.epsilon, 0.01);
  EXPECT_EQ(promise.delta, 0.05);
  offramp_session_free(session);
  offramp_model_free(model);
}

TEST_F(CApi, FreesNothingToo) {
  offramp_model_free(nullptr);
  offramp_session_free(nullptr);
}

TEST_F(CApi, ServesAProgramInC) {
  const Image image = patterned_image(32, 32, 6);
  int exit = 0;
  float probability = 0;
  ASSERT_EQ(classify_from_c(path_.c_str(), image.rgb.data(), 32, 32, &exit, &probability),
            OFFRAMP_OK)
      << offramp_last_error();
  EXPECT_EQ(exit, 1);
  EXPECT_GT(probability, 0);
  EXPECT_EQ(classify_from_c("none", image.rgb.data(), 32, 32, &exit, &probability), OFFRAMP_ERROR);
}

}  // namespace
}  // namespace offramp::test
