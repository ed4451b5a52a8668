#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
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

offramp_options options_of(const char* precision, int threads = 0, int batch = 0) {
  offramp_options options = OFFRAMP_OPTIONS_INIT;
  options.precision = precision;
  options.threads = threads;
  options.batch = batch;
  return options;
}

offramp_stop stop_of(int rule, float threshold = 0, double milliseconds = 0,
                     std::int64_t macs = 0) {
  offramp_stop stop = OFFRAMP_STOP_INIT;
  stop.rule = rule;
  stop.threshold = threshold;
  stop.milliseconds = milliseconds;
  stop.macs = macs;
  return stop;
}

offramp_image image_of(int form, const void* data, std::size_t length, int width = 0,
                       int height = 0) {
  offramp_image image = OFFRAMP_IMAGE_INIT;
  image.form = form;
  image.data = data;
  image.length = length;
  image.width = width;
  image.height = height;
  return image;
}

/// A model file, opened through the C and through the C++ interface.
class CApi : public testing::Test {
 protected:
  CApi() {
    model::ModelFile file = example_model(small_resnet());
    policy::Policy policy = policy::never_stop(3);
    policy.thresholds = {0.2f, 0.3f};
    file.policy = policy::ChosenPolicy{policy};
    model::save_model(path_, file);
    const offramp_options options = options_of("f32", 1, 4);
    EXPECT_EQ(offramp_model_load(path_.c_str(), &options, &model_), OFFRAMP_OK);
    session_ = session_with(nullptr, true);
  }
  ~CApi() override {
    offramp_session_free(session_);
    offramp_model_free(model_);
  }
  offramp_session* session_with(const offramp_stop* stop, bool probabilities = false) {
    offramp_session_options options = OFFRAMP_SESSION_OPTIONS_INIT;
    options.stop = stop;
    options.probabilities = probabilities;
    offramp_session* session = nullptr;
    EXPECT_EQ(offramp_session_new(model_, &options, &session), OFFRAMP_OK) << offramp_last_error();
    return session;
  }
  Answer expected(const ImageView& image) {
    if (!own_) own_.emplace(Model::load(path_, {.precision = "f32", .threads = 1}));
    return Session(*own_, {.probabilities = true}).classify(image);
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

  core::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "model.safetensors";
  std::optional<Model> own_;
  offramp_model* model_ = nullptr;
  offramp_session* session_ = nullptr;
};

TEST_F(CApi, DescribesTheModel) {
  EXPECT_EQ(offramp_model_num_classes(model_), 10);
  EXPECT_EQ(offramp_model_num_exits(model_), 3);
  EXPECT_EQ(offramp_model_width(model_), 32);
  EXPECT_EQ(offramp_model_height(model_), 32);
  EXPECT_EQ(offramp_model_channels(model_), 3);
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
  const image::Image image = patterned_image(40, 30, 5);
  const auto png = image::encode_png(image);
  const auto file = folder_.path() / "image.png";
  write_bytes(file, png);
  const Answer wanted = expected(ImageView::encoded(png));
  offramp_answer answer = OFFRAMP_ANSWER_INIT;
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

  offramp_image whole = image_of(OFFRAMP_ENCODED, png.data(), png.size());
  ASSERT_EQ(offramp_classify(session_, &whole, nullptr, &answer), OFFRAMP_OK);
  expect_same(answer, wanted);
  offramp_session* brief = session_with(nullptr);
  ASSERT_EQ(offramp_classify(brief, &whole, nullptr, &answer), OFFRAMP_OK);
  EXPECT_EQ(answer.probabilities, nullptr);  // the session's options do not ask for them
  EXPECT_EQ(answer.num_classes, 10);
  EXPECT_EQ(answer.probability, wanted.probability);
  EXPECT_EQ(answer.class_name, wanted.class_name);
  offramp_session_free(brief);

  offramp_statistics stats = OFFRAMP_STATISTICS_INIT;
  ASSERT_EQ(offramp_stats(session_, &stats), OFFRAMP_OK);
  EXPECT_EQ(stats.images, 5);
  EXPECT_EQ(stats.num_exits, 3);
  EXPECT_EQ(stats.exits[0] + stats.exits[1] + stats.exits[2], 5);
  for (int k = 0; k < 3; ++k) EXPECT_EQ(stats.shares[k], static_cast<double>(stats.exits[k]) / 5);
  EXPECT_NEAR(stats.recent_shares[0] + stats.recent_shares[1] + stats.recent_shares[2], 1, 1e-12);
  EXPECT_EQ(stats.calibrated_shares, nullptr);
  EXPECT_EQ(stats.drift_p_value, 1);
  EXPECT_GT(stats.macs, 0);
  EXPECT_GT(stats.relative_cost, 0);
  EXPECT_EQ(stats.drift, OFFRAMP_DRIFT_UNKNOWN);
  ASSERT_EQ(offramp_reset_stats(session_), OFFRAMP_OK);
  ASSERT_EQ(offramp_stats(session_, &stats), OFFRAMP_OK);
  EXPECT_EQ(stats.images, 0);
}

TEST_F(CApi, StopsByTheGivenRule) {
  const auto exit_under = [&](const offramp_stop& stop) {
    offramp_session* session = session_with(&stop);
    const std::vector<float> values(3 * 32 * 32, 0.5f);
    offramp_answer answer = OFFRAMP_ANSWER_INIT;
    EXPECT_EQ(offramp_classify_normalised(session, values.data(), values.size(), &answer),
              OFFRAMP_OK);
    offramp_session_free(session);
    return answer.exit;
  };
  EXPECT_EQ(exit_under(stop_of(OFFRAMP_STOP_AT_THRESHOLD, 0)), 1);
  EXPECT_EQ(exit_under(stop_of(OFFRAMP_STOP_AT_THRESHOLD, 1)), 3);
  EXPECT_EQ(exit_under(stop_of(OFFRAMP_STOP_NEVER)), 3);
  EXPECT_EQ(exit_under(stop_of(OFFRAMP_STOP_NEVER, 0, 1e-6)), 1);
  EXPECT_EQ(exit_under(stop_of(OFFRAMP_STOP_NEVER, 0, 0, 1)), 1);
  EXPECT_EQ(exit_under(OFFRAMP_STOP_INIT), exit_under(stop_of(OFFRAMP_STOP_BY_POLICY)));
  offramp_stop patience = stop_of(OFFRAMP_STOP_AT_SCORE, 1);
  patience.criterion = "patience";
  EXPECT_EQ(exit_under(patience), 1);
  patience.threshold = 4;
  EXPECT_EQ(exit_under(patience), 3);
}

TEST_F(CApi, SaysWhatWentWrong) {
  offramp_model* model = model_;
  EXPECT_EQ(offramp_model_load("/no/such/model", nullptr, &model), OFFRAMP_ERROR);
  EXPECT_EQ(model, nullptr);
  EXPECT_STREQ(offramp_last_error(), "/no/such/model: cannot open: No such file or directory");
  const offramp_options options = options_of("f23");
  EXPECT_EQ(offramp_model_load(path_.c_str(), &options, &model), OFFRAMP_USAGE);
  EXPECT_THAT(offramp_last_error(), StrEq("unknown precision \"f23\"; did you mean \"f32\"?"));

  offramp_answer answer = OFFRAMP_ANSWER_INIT;
  const unsigned char pixels[3] = {};
  EXPECT_EQ(offramp_classify_rgb8(session_, pixels, -1, -1, &answer), OFFRAMP_ERROR);
  EXPECT_THAT(offramp_last_error(), HasSubstr("got -1x-1"));
  EXPECT_EQ(offramp_classify_rgb8(session_, pixels, std::numeric_limits<int>::max(),
                                  std::numeric_limits<int>::max(), &answer),
            OFFRAMP_ERROR);
  EXPECT_EQ(offramp_classify_encoded(session_, pixels, 3, &answer), OFFRAMP_ERROR);
  EXPECT_STREQ(offramp_last_error(), "not a JPEG, PNG, WebP or BMP");
  EXPECT_EQ(offramp_classify_encoded(session_, nullptr, 3, &answer), OFFRAMP_USAGE);
  EXPECT_STREQ(offramp_last_error(), "the image is NULL");
  EXPECT_EQ(offramp_classify_rgb8(nullptr, pixels, 1, 1, &answer), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_model_load(nullptr, nullptr, &model), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_model_load(path_.c_str(), nullptr, nullptr), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_stats(session_, nullptr), OFFRAMP_USAGE);
  offramp_session* session = session_;
  const offramp_stop stop = stop_of(OFFRAMP_STOP_AT_THRESHOLD, 7);
  offramp_session_options with_stop = OFFRAMP_SESSION_OPTIONS_INIT;
  with_stop.stop = &stop;
  EXPECT_EQ(offramp_session_new(model_, &with_stop, &session), OFFRAMP_USAGE);
  EXPECT_EQ(session, nullptr);

  std::thread([] { EXPECT_STREQ(offramp_last_error(), ""); }).join();  // one message per thread
}

TEST_F(CApi, AnswersBatchesAndStreamsAsOneImageAtATime) {
  const std::vector<float> values = graph::random_images(small_resnet(), 11, 3);
  const std::size_t size = 3 * 32 * 32;
  const image::Image picture = patterned_image(40, 30, 5);
  const auto png = image::encode_png(picture);
  const auto file = folder_.path() / "image.png";
  write_bytes(file, png);
  std::vector<offramp_image> images;
  std::vector<Answer> wanted;
  for (std::size_t i = 0; i < 11; ++i) {
    images.push_back(image_of(OFFRAMP_NORMALISED, values.data() + i * size, size));
    wanted.push_back(expected(ImageView::normalised({values.data() + i * size, size})));
  }
  images.push_back(image_of(OFFRAMP_RGB8, picture.rgb.data(), picture.rgb.size(), 40, 30));
  images.push_back(image_of(OFFRAMP_ENCODED, png.data(), png.size()));
  images.push_back(image_of(OFFRAMP_FILE, file.c_str(), 0));
  for (int i = 0; i < 3; ++i) wanted.push_back(expected(ImageView::encoded(png)));
  images.push_back(image_of(OFFRAMP_ENCODED, "no image", 8));
  std::vector<offramp_answer> answers(images.size(), OFFRAMP_ANSWER_INIT);
  ASSERT_EQ(offramp_classify_batch(session_, images.data(), nullptr, images.size(), answers.data()),
            OFFRAMP_OK);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(answers[i].error, nullptr);
    expect_same(answers[i], wanted[i]);
  }
  EXPECT_STREQ(answers.back().error, "not a JPEG, PNG, WebP or BMP");
  EXPECT_EQ(answers.back().class_index, -1);
  EXPECT_EQ(offramp_classify_batch(session_, nullptr, nullptr, 0, nullptr), OFFRAMP_OK);

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
  offramp_stream_options in_order = OFFRAMP_STREAM_OPTIONS_INIT;
  in_order.in_order = 1;
  ASSERT_EQ(offramp_stream(session_, note, &told, &in_order), OFFRAMP_OK);
  for (std::size_t i = 0; i < images.size(); ++i)
    ASSERT_EQ(offramp_push(session_, static_cast<std::int64_t>(i), &images[i], nullptr),
              OFFRAMP_OK);
  EXPECT_GT(offramp_pending(session_), 0);
  EXPECT_EQ(offramp_poll(session_), OFFRAMP_OK);
  EXPECT_EQ(offramp_flush(session_), OFFRAMP_OK);
  EXPECT_EQ(offramp_pending(session_), 0);
  EXPECT_EQ(told.error, "not a JPEG, PNG, WebP or BMP");
  EXPECT_EQ(told.ids.size(), images.size());
  EXPECT_TRUE(std::ranges::is_sorted(told.ids));
}

TEST_F(CApi, RefusesInvalidStreamsAndBatches) {
  offramp_answer answer = OFFRAMP_ANSWER_INIT;
  const offramp_image none = image_of(OFFRAMP_RGB8, nullptr, 0, 1, 1);
  const offramp_image other = image_of(9, "x", 1);
  EXPECT_EQ(offramp_classify_batch(session_, &none, nullptr, 1, &answer), OFFRAMP_USAGE);
  EXPECT_STREQ(offramp_last_error(), "the image is NULL");
  EXPECT_EQ(offramp_classify_batch(session_, &other, nullptr, 1, &answer), OFFRAMP_USAGE);
  EXPECT_STREQ(offramp_last_error(), "image: unknown form 9; expected an offramp_form");
  EXPECT_EQ(offramp_classify_batch(session_, nullptr, nullptr, 1, &answer), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_push(session_, 0, &other, nullptr), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_stream(session_, nullptr, nullptr, nullptr), OFFRAMP_USAGE);
  EXPECT_STREQ(offramp_last_error(), "on_answer is NULL");
  offramp_session* session = nullptr;
  offramp_stop stop = stop_of(9);
  offramp_session_options options = OFFRAMP_SESSION_OPTIONS_INIT;
  options.stop = &stop;
  EXPECT_EQ(offramp_session_new(model_, &options, &session), OFFRAMP_USAGE);
  EXPECT_STREQ(offramp_last_error(), "stop: unknown rule 9; expected an offramp_rule");
  stop.rule = OFFRAMP_STOP_AT_SCORE;
  EXPECT_EQ(offramp_session_new(model_, &options, &session), OFFRAMP_USAGE);
  EXPECT_STREQ(offramp_last_error(), "criterion is NULL");
}

TEST_F(CApi, GivesEachImageItsOwnRule) {
  const std::vector<float> values = graph::random_images(small_resnet(), 3, 3);
  const std::size_t size = 3 * 32 * 32;
  const offramp_stop first = stop_of(OFFRAMP_STOP_AT_THRESHOLD, 0),
                     last = stop_of(OFFRAMP_STOP_NEVER),
                     cheap = stop_of(OFFRAMP_STOP_NEVER, 0, 0, 1);
  std::vector<offramp_image> images;
  std::vector<offramp_image_options> options(3, OFFRAMP_IMAGE_OPTIONS_INIT);
  const offramp_stop* const stops[] = {&first, &last, &cheap};
  for (std::size_t i = 0; i < 3; ++i) {
    images.push_back(image_of(OFFRAMP_NORMALISED, values.data() + i * size, size));
    options[i].stop = stops[i];
  }
  const int exits[] = {1, 3, 1}, limited[] = {0, 0, 1};
  for (std::size_t i = 0; i < 3; ++i) {
    offramp_answer answer = OFFRAMP_ANSWER_INIT;
    ASSERT_EQ(offramp_classify(session_, &images[i], &options[i], &answer), OFFRAMP_OK);
    EXPECT_EQ(answer.exit, exits[i]);
    EXPECT_EQ(answer.limited, limited[i]);
  }
  std::vector<offramp_answer> answers(3, OFFRAMP_ANSWER_INIT);
  ASSERT_EQ(offramp_classify_batch(session_, images.data(), options.data(), 3, answers.data()),
            OFFRAMP_OK);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(answers[i].exit, exits[i]);
    EXPECT_EQ(answers[i].limited, limited[i]);
  }
  std::vector<int> told(3);
  const auto note = [](void* user, int64_t id, const offramp_answer* answer) {
    (*static_cast<std::vector<int>*>(user))[static_cast<std::size_t>(id)] = answer->exit;
  };
  ASSERT_EQ(offramp_stream(session_, note, &told, nullptr), OFFRAMP_OK);
  for (std::size_t i = 0; i < 3; ++i)
    ASSERT_EQ(offramp_push(session_, static_cast<std::int64_t>(i), &images[i], &options[i]),
              OFFRAMP_OK);
  ASSERT_EQ(offramp_flush(session_), OFFRAMP_OK);
  EXPECT_THAT(told, testing::ElementsAreArray(exits));
}

TEST_F(CApi, CancelsImages) {
  offramp_cancellation* cancellation = nullptr;
  ASSERT_EQ(offramp_cancellation_new(&cancellation), OFFRAMP_OK);
  EXPECT_EQ(offramp_cancellation_is_cancelled(cancellation), 0);
  const std::vector<float> values = graph::random_images(small_resnet(), 2, 3);
  const std::size_t size = 3 * 32 * 32;
  const offramp_image images[] = {image_of(OFFRAMP_NORMALISED, values.data(), size),
                                  image_of(OFFRAMP_NORMALISED, values.data() + size, size)};
  offramp_image_options options[] = {OFFRAMP_IMAGE_OPTIONS_INIT, OFFRAMP_IMAGE_OPTIONS_INIT};
  options[1].cancellation = cancellation;
  offramp_answer answers[] = {OFFRAMP_ANSWER_INIT, OFFRAMP_ANSWER_INIT};
  ASSERT_EQ(offramp_classify_batch(session_, images, options, 2, answers), OFFRAMP_OK);
  EXPECT_EQ(answers[1].error, nullptr);
  std::thread([&] { offramp_cancellation_cancel(cancellation); }).join();
  EXPECT_EQ(offramp_cancellation_is_cancelled(cancellation), 1);
  ASSERT_EQ(offramp_classify_batch(session_, images, options, 2, answers), OFFRAMP_OK);
  EXPECT_EQ(answers[0].error, nullptr);
  EXPECT_EQ(answers[0].cancelled, 0);
  EXPECT_STREQ(answers[1].error, "the image was cancelled");
  EXPECT_EQ(answers[1].cancelled, 1);
  EXPECT_EQ(offramp_classify(session_, &images[1], &options[1], &answers[1]), OFFRAMP_ERROR);
  EXPECT_STREQ(offramp_last_error(), "the image was cancelled");
  offramp_cancellation_free(cancellation);
}

TEST_F(CApi, GivesTheLogitsOfAllExits) {
  const std::vector<float> values = graph::random_images(small_resnet(), 5, 3);
  const std::size_t size = 3 * 32 * 32;
  std::vector<offramp_image> images;
  std::vector<ImageView> views;
  for (std::size_t i = 0; i < 5; ++i) {
    images.push_back(image_of(OFFRAMP_NORMALISED, values.data() + i * size, size));
    views.push_back(ImageView::normalised({values.data() + i * size, size}));
  }
  std::vector<float> logits(3 * 5 * 10);
  ASSERT_EQ(offramp_all_exits(session_, images.data(), 5, logits.data(), logits.size()),
            OFFRAMP_OK);
  Session own(Model::load(path_, {.precision = "f32", .threads = 1}));
  EXPECT_EQ(logits, own.all_exits(views));
  EXPECT_EQ(offramp_all_exits(session_, images.data(), 5, logits.data(), logits.size() - 10),
            OFFRAMP_USAGE);
  EXPECT_STREQ(offramp_last_error(),
               "logits: room for 140 values, expected 30 for each of 5 images");
  EXPECT_EQ(offramp_all_exits(session_, images.data(), 5, nullptr, logits.size()), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_all_exits(session_, nullptr, 0, nullptr, 0), OFFRAMP_OK);
}

TEST_F(CApi, ReportsWhenAStreamMustBePolled) {
  EXPECT_LT(offramp_next_due_ms(session_), 0);
  struct Counts {
    std::atomic<int> ready = 0;
    int told = 0;
  } counts;
  const auto note = [](void* user, int64_t, const offramp_answer*) {
    ++static_cast<Counts*>(user)->told;
  };
  offramp_stream_options options = OFFRAMP_STREAM_OPTIONS_INIT;
  options.flush_after_ms = 1e6;
  options.on_ready = [](void* user) { ++static_cast<Counts*>(user)->ready; };
  ASSERT_EQ(offramp_stream(session_, note, &counts, &options), OFFRAMP_OK);
  EXPECT_LT(offramp_next_due_ms(session_), 0);
  const std::vector<float> values(3 * 32 * 32, 0.5f);
  const offramp_image image = image_of(OFFRAMP_NORMALISED, values.data(), values.size());
  ASSERT_EQ(offramp_push(session_, 1, &image, nullptr), OFFRAMP_OK);
  EXPECT_GT(offramp_next_due_ms(session_), 1e5);
  EXPECT_LE(offramp_next_due_ms(session_), 1e6);
  EXPECT_EQ(counts.ready, 0);
  ASSERT_EQ(offramp_flush(session_), OFFRAMP_OK);
  EXPECT_EQ(counts.ready, 1);
  EXPECT_EQ(counts.told, 1);
  EXPECT_LT(offramp_next_due_ms(session_), 0);
}

/// A struct of another size than this library's, as a caller of another version passes it.
template <typename T>
class OtherVersion {
 public:
  static constexpr std::byte kBeyond{0x5a};

  OtherVersion(const T& value, std::size_t size) : memory_(size / 8 + 1) {
    std::ranges::fill(bytes(), std::byte{0});
    std::memcpy(memory_.data(), &value, std::min(size, sizeof(value)));
    std::memcpy(memory_.data(), &size, sizeof(size));
    std::ranges::fill(bytes().subspan(size), kBeyond);
  }
  T* get() { return reinterpret_cast<T*>(memory_.data()); }
  std::span<std::byte> bytes() { return std::as_writable_bytes(std::span(memory_)); }

 private:
  std::vector<std::uint64_t> memory_;
};

TEST_F(CApi, ServesOlderCallers) {
  // These structs lack the fields criterion, on_ready, limited, cancelled and shares.
  OtherVersion older_stop(stop_of(OFFRAMP_STOP_AT_THRESHOLD, 0), offsetof(offramp_stop, criterion));
  offramp_session* session = session_with(older_stop.get());
  const std::vector<float> values(3 * 32 * 32, 0.5f);
  const offramp_image image = image_of(OFFRAMP_NORMALISED, values.data(), values.size());
  OtherVersion answer(offramp_answer(OFFRAMP_ANSWER_INIT), offsetof(offramp_answer, limited));
  ASSERT_EQ(offramp_classify(session, &image, nullptr, answer.get()), OFFRAMP_OK);
  EXPECT_EQ(answer.get()->size, offsetof(offramp_answer, limited));
  EXPECT_EQ(answer.get()->exit, 1);
  EXPECT_EQ(answer.bytes()[offsetof(offramp_answer, limited)],
            OtherVersion<offramp_answer>::kBeyond);

  OtherVersion stats(offramp_statistics(OFFRAMP_STATISTICS_INIT),
                     offsetof(offramp_statistics, shares));
  ASSERT_EQ(offramp_stats(session, stats.get()), OFFRAMP_OK);
  EXPECT_EQ(stats.get()->images, 1);
  EXPECT_EQ(stats.bytes()[offsetof(offramp_statistics, shares)],
            OtherVersion<offramp_statistics>::kBeyond);

  OtherVersion options(offramp_stream_options(OFFRAMP_STREAM_OPTIONS_INIT),
                       offsetof(offramp_stream_options, on_ready));
  const auto note = [](void*, int64_t, const offramp_answer*) {};
  ASSERT_EQ(offramp_stream(session, note, nullptr, options.get()), OFFRAMP_OK);
  ASSERT_EQ(offramp_push(session, 0, &image, nullptr), OFFRAMP_OK);
  ASSERT_EQ(offramp_flush(session), OFFRAMP_OK);
  offramp_session_free(session);

  // In a batch, the answers are placed at multiples of the caller's size of offramp_answer.
  const std::size_t size = offsetof(offramp_answer, limited);
  std::vector<std::uint64_t> answers(2 * size / 8 + 1, ~std::uint64_t{0});
  answers[0] = size;
  const offramp_image images[] = {image, image};
  ASSERT_EQ(offramp_classify_batch(session_, images, nullptr, 2,
                                   reinterpret_cast<offramp_answer*>(answers.data())),
            OFFRAMP_OK);
  EXPECT_EQ(answers[size / 8], size);
  for (const std::size_t first : {std::size_t{0}, size / 8})
    EXPECT_STREQ(reinterpret_cast<offramp_answer*>(&answers[first])->class_name,
                 expected(ImageView::normalised(values)).class_name.data());
  EXPECT_EQ(answers.back(), ~std::uint64_t{0});
}

TEST_F(CApi, ServesNewerCallersThatSetNoNewField) {
  const std::vector<float> values(3 * 32 * 32, 0.5f);
  const std::size_t more = 16;
  OtherVersion stop(stop_of(OFFRAMP_STOP_NEVER), sizeof(offramp_stop) + more);
  offramp_image_options with_stop = OFFRAMP_IMAGE_OPTIONS_INIT;
  with_stop.stop = stop.get();
  OtherVersion options(with_stop, sizeof(offramp_image_options) + more);
  OtherVersion image(image_of(OFFRAMP_NORMALISED, values.data(), values.size()),
                     sizeof(offramp_image) + more);
  OtherVersion answer(offramp_answer(OFFRAMP_ANSWER_INIT), sizeof(offramp_answer) + more);
  std::ranges::fill(answer.bytes().subspan(sizeof(offramp_answer), more), std::byte{1});
  ASSERT_EQ(offramp_classify(session_, image.get(), options.get(), answer.get()), OFFRAMP_OK)
      << offramp_last_error();
  EXPECT_EQ(answer.get()->exit, 3);
  EXPECT_EQ(answer.get()->size, sizeof(offramp_answer) + more);
  for (const std::byte byte : answer.bytes().subspan(sizeof(offramp_answer), more))
    EXPECT_EQ(byte, std::byte{0});  // fields that this library does not know
  EXPECT_EQ(answer.bytes()[sizeof(offramp_answer) + more], OtherVersion<offramp_answer>::kBeyond);

  stop.bytes()[sizeof(offramp_stop) + more - 1] = std::byte{1};
  EXPECT_EQ(offramp_classify(session_, image.get(), options.get(), answer.get()), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_last_error(), std::string("offramp_stop: a field is set that version ") +
                                      version() + " of the library does not know");
}

TEST_F(CApi, RefusesStructsWithoutTheirSize) {
  offramp_options options = OFFRAMP_OPTIONS_INIT;
  options.size = 0;
  offramp_model* model = nullptr;
  EXPECT_EQ(offramp_model_load(path_.c_str(), &options, &model), OFFRAMP_USAGE);
  EXPECT_STREQ(offramp_last_error(),
               "offramp_options: size is 0, expected at least 24; set the struct to its _INIT "
               "macro");
  options.size = std::numeric_limits<std::size_t>::max();
  EXPECT_EQ(offramp_model_load(path_.c_str(), &options, &model), OFFRAMP_USAGE);
  const std::vector<float> values(3 * 32 * 32, 0.5f);
  offramp_image image = image_of(OFFRAMP_NORMALISED, values.data(), values.size());
  offramp_answer answer = OFFRAMP_ANSWER_INIT;
  answer.size = sizeof(answer.size);
  EXPECT_EQ(offramp_classify(session_, &image, nullptr, &answer), OFFRAMP_USAGE);
  answer.size = sizeof(answer);
  image.reserved = 1;
  EXPECT_EQ(offramp_classify(session_, &image, nullptr, &answer), OFFRAMP_USAGE);
  EXPECT_STREQ(offramp_last_error(), "offramp_image: reserved is 1, expected 0");
  offramp_statistics stats = OFFRAMP_STATISTICS_INIT;
  stats.size = 8;
  EXPECT_EQ(offramp_stats(session_, &stats), OFFRAMP_USAGE);
  offramp_guarantee guarantee = OFFRAMP_GUARANTEE_INIT;
  guarantee.size = 8;
  EXPECT_EQ(offramp_session_guarantee(session_, &guarantee), OFFRAMP_USAGE);
}

TEST_F(CApi, ReportsTheGuarantee) {
  model::ModelFile file = example_model(small_resnet());
  file.policy = policy::ChosenPolicy{policy::never_stop(3)};
  file.policy->guarantee =
      policy::Guarantee{"harm", 0.01, 0.05, 0.05, 4000, 20, 0.009, "f32", runtime::kernels_name()};
  const auto path = folder_.path() / "certified.safetensors";
  model::save_model(path, file);
  offramp_model* model = nullptr;
  offramp_session* session = nullptr;
  ASSERT_EQ(offramp_model_load(path.c_str(), nullptr, &model), OFFRAMP_OK);
  ASSERT_EQ(offramp_session_new(model, nullptr, &session), OFFRAMP_OK);
  offramp_guarantee guarantee = OFFRAMP_GUARANTEE_INIT;
  ASSERT_EQ(offramp_session_guarantee(session_, &guarantee), OFFRAMP_OK);
  EXPECT_EQ(guarantee.of, nullptr);
  ASSERT_EQ(offramp_session_guarantee(session, &guarantee), OFFRAMP_OK);
  EXPECT_STREQ(guarantee.of, "harm");
  EXPECT_EQ(guarantee.epsilon, 0.01);
  EXPECT_EQ(guarantee.delta, 0.05);
  EXPECT_EQ(guarantee.in_force, OFFRAMP_IN_FORCE_UNKNOWN);  // no shares to see drift with
  EXPECT_THAT(guarantee.why, testing::HasSubstr("cannot be seen"));
  EXPECT_EQ(offramp_session_guarantee(session, nullptr), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_session_guarantee(nullptr, &guarantee), OFFRAMP_USAGE);
  offramp_session_free(session);
  offramp_model_free(model);
}

TEST_F(CApi, AcceptsNullHandles) {
  offramp_model_free(nullptr);
  offramp_session_free(nullptr);
  offramp_cancellation_free(nullptr);
  offramp_cancellation_cancel(nullptr);
  EXPECT_EQ(offramp_cancellation_is_cancelled(nullptr), 0);
  EXPECT_EQ(offramp_model_num_classes(nullptr), 0);
  EXPECT_EQ(offramp_model_num_exits(nullptr), 0);
  EXPECT_EQ(offramp_model_width(nullptr), 0);
  EXPECT_EQ(offramp_model_height(nullptr), 0);
  EXPECT_EQ(offramp_model_channels(nullptr), 0);
  EXPECT_EQ(offramp_model_has_policy(nullptr), 0);
  EXPECT_EQ(offramp_model_precision(nullptr), nullptr);
  EXPECT_EQ(offramp_model_class_name(nullptr, 0), nullptr);
  EXPECT_EQ(offramp_model_relative_cost(nullptr, 1), 0);
  EXPECT_EQ(offramp_model_note(nullptr, 0), nullptr);
  EXPECT_EQ(offramp_pending(nullptr), 0);
  EXPECT_LT(offramp_next_due_ms(nullptr), 0);
  EXPECT_EQ(offramp_cancellation_new(nullptr), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_reset_stats(nullptr), OFFRAMP_USAGE);
  EXPECT_EQ(offramp_all_exits(nullptr, nullptr, 0, nullptr, 0), OFFRAMP_USAGE);
}

TEST_F(CApi, ServesAProgramInC) {
  const image::Image image = patterned_image(32, 32, 6);
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
