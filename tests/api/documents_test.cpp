// Compiles the C++ samples of the documents; documents_sample.c holds the C samples.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iostream>
#include <optional>
#include <semaphore>
#include <sstream>
#include <string>
#include <vector>

#include <offramp/session.h>

extern "C" void c_samples(void);

namespace {

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(std::string(OFFRAMP_ROOT) + "/" + path);
  EXPECT_TRUE(file) << path;
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(' ');
  return begin == std::string::npos ? ""
                                    : text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

/// Returns the lines of all code blocks in a language.
std::vector<std::string> code_in(const std::string& path, const std::string& language) {
  std::vector<std::string> code;
  bool inside = false;
  for (const std::string& line : lines_of(path)) {
    if (line == "```" + language)
      inside = true;
    else if (line.starts_with("```"))
      inside = false;
    else if (inside)
      code.push_back(trimmed(line));
  }
  return code;
}

// The functions that the samples use and do not define.
const std::vector<offramp::ImageView> images;
const std::int64_t count = 0;
offramp::ImageView next_image(std::int64_t) { return offramp::ImageView::file("image.jpg"); }
void use(std::int64_t, const offramp::Answer&) {}
void reply(std::int64_t, const offramp::Answer&) {}
bool serving() { return false; }
struct Request {
  std::int64_t id;
  offramp::ImageView image;
};
std::optional<Request> next_request() { return std::nullopt; }

void readme() {
  const offramp::Model model = offramp::Model::load("model.safetensors");
  offramp::Session session(model);
  const offramp::Answer answer = session.classify(offramp::ImageView::file("image.jpg"));
  std::cout << answer.class_name << " at exit " << answer.exit << '\n';
  const std::vector<offramp::Answer> answers = session.classify(images);
  const offramp::Stats stats = session.stats();
  std::cout << stats.relative_cost << " of the plain network's MACs per image\n";
}

void guide() {
  const offramp::Model model = offramp::Model::load("model.safetensors");
  offramp::Session session(model);  // stops by the model's policy
  // clang-format off
  const std::vector<offramp::Answer> answers = session.classify(images);  // std::vector<offramp::ImageView>
  // clang-format on
  session.stream([](std::int64_t id, const offramp::Answer& answer) { use(id, answer); },
                 {.in_order = false, .flush_after_ms = 20, .most_pending = 1000});
  for (std::int64_t id = 0; id < count; ++id) session.push(id, next_image(id));
  session.flush();
}

void options_of_images() {
  const offramp::Model model = offramp::Model::load("model.safetensors");
  offramp::Session session(model);
  const offramp::Cancellation cancellation;  // cancellation.cancel(), from any thread
  const offramp::ImageOptions urgent = {.stop = offramp::Stop::within(5.0),
                                        .cancellation = cancellation};
  std::vector<offramp::ImageOptions> options(images.size());
  if (!options.empty()) options[0] = urgent;
  const std::vector<offramp::Answer> some = session.classify(images, options);
}

void event_loop() {
  const offramp::Model model = offramp::Model::load("model.safetensors");
  offramp::Session session(model);
  std::counting_semaphore wake(0);  // whoever adds a request releases it, too
  session.stream(reply, {.flush_after_ms = 5, .on_ready = [&] { wake.release(); }});
  while (serving()) {
    while (const auto request = next_request()) session.push(request->id, request->image);
    session.poll();
    if (const auto due = session.next_due())
      (void)wake.try_acquire_until(*due);
    else
      wake.acquire();
  }
  session.flush();
}

void expect_compiled(const std::vector<std::string>& code, const std::string& source) {
  std::vector<std::string> compiled;
  for (const std::string& line : lines_of(source)) compiled.push_back(trimmed(line));
  EXPECT_GE(code.size(), 8u);
  for (const std::string& line : code) EXPECT_THAT(compiled, testing::Contains(line));
}

TEST(Documents, ShowCodeThatIsCompiledHere) {
  expect_compiled(code_in("README.md", "cpp"), "tests/api/documents_test.cpp");
  expect_compiled(code_in("docs/library.md", "cpp"), "tests/api/documents_test.cpp");
  expect_compiled(code_in("docs/library.md", "c"), "tests/api/documents_sample.c");
  // The samples throw, because there is no model.safetensors here.
  EXPECT_THROW(readme(), offramp::Error);
  EXPECT_THROW(guide(), offramp::Error);
  EXPECT_THROW(options_of_images(), offramp::Error);
  EXPECT_THROW(event_loop(), offramp::Error);
  c_samples();
}

}  // namespace
