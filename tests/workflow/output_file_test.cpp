#include "workflow/output_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"

namespace offramp::workflow {
namespace {

namespace fs = std::filesystem;
using testing::ThrowsMessage;

TEST(OutputFile, IsNotAnInput) {
  const core::TemporaryFolder folder;
  const fs::path input = folder.path() / "in", link = folder.path() / "link";
  core::write_text_atomic(input, "x");
  fs::create_symlink(input, link);
  for (const fs::path& out : {input, link})
    EXPECT_THAT(
        [&] {
          check_output("out", out, {"synthetic", input});
        },
        ThrowsMessage<UsageError>("out: " + out.string() +
                                  " is an input, so it cannot be the output; choose another file"));
  EXPECT_NO_THROW(check_output("out", folder.path() / "new", {"synthetic", input, ""}));
}

TEST(OutputFile, IsNoFileOfAnInputFolder) {
  const core::TemporaryFolder folder;
  const fs::path images = folder.path() / "images", link = folder.path() / "link";
  fs::create_directories(images / "cat");
  for (const char* name : {"cat/a.png", "data_batch_1.bin", "report.html"})
    core::write_text_atomic(images / name, "x");
  fs::create_directory_symlink(images, link);
  for (const fs::path& out :
       {images / "cat/a.png", link / "cat/a.png", images / "data_batch_1.bin"})
    EXPECT_THROW(check_output("out", out, {images}), UsageError) << out;
  EXPECT_NO_THROW(check_output("out", images / "sheet.png", {images})) << "a new file";
  EXPECT_NO_THROW(check_output("out", images / "report.html", {images})) << "is never an input";
  EXPECT_NO_THROW(check_output("out", folder.path() / "images2", {images}));
}

TEST(OutputFile, IsCheckedForBeingWritable) {
  const core::TemporaryFolder folder;
  const fs::path nowhere = folder.path() / "nowhere" / "out";
  EXPECT_THAT([&] { check_output("out", nowhere, {}); },
              ThrowsMessage<Error>(nowhere.string() + ": cannot write: No such file or directory"));
}

}  // namespace
}  // namespace offramp::workflow
