#include "engine/opened_model.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/file.h"
#include "graph/random_weights.h"
#include "model/model_file.h"
#include "tests/support/graphs.h"
#include "tests/support/message_of.h"

namespace offramp::engine {
namespace {

class OpenedModelFile : public testing::Test {
 protected:
  std::shared_ptr<OpenedModel> open_saved() const {
    model::ModelFile model;
    model.graph = small_resnet();
    model.weights = graph::random_weights(model.graph, 1);
    for (int i = 0; i < 10; ++i) model.classes.push_back(std::to_string(i));
    model.preprocessing.height = model.preprocessing.width = 32;
    model.loss_weights = {1, 1, 1};
    model::save_model(path, model);
    return OpenedModel::open(path, {.threads = 1, .batch = 4});
  }

  core::TemporaryFolder folder;
  std::filesystem::path path = folder.path() / "model.safetensors";
};

// Networks for batches are compiled when the first batch comes, and read the weights again. Without
// the check, the system would end the program.
TEST_F(OpenedModelFile, SaysThatItsFileWasTruncated) {
  const auto opened = open_saved();
  std::filesystem::resize_file(path, 100);
  EXPECT_EQ(test::message_of([&] { opened->batch_network(); }),
            path.string() + ": the file was truncated after it was opened");
}

TEST_F(OpenedModelFile, ReadsAFileThatWasReplaced) {
  const auto opened = open_saved();
  core::write_text_atomic(path, "another file");
  EXPECT_EQ(test::message_of([&] { opened->batch_network(); }), "no error");
}

}  // namespace
}  // namespace offramp::engine
