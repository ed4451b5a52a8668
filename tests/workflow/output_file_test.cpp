#include "workflow/output_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"

namespace offramp::workflow {
namespace {

namespace fs = std::filesystem;
using testing::ThrowsMessage;

TEST(OutputFile, IsNoneOfWhatIsRead) {
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

TEST(OutputFile, LiesWhereItCanBeWritten) {
  const core::TemporaryFolder folder;
  const fs::path nowhere = folder.path() / "nowhere" / "out";
  EXPECT_THAT([&] { check_output("out", nowhere, {}); },
              ThrowsMessage<Error>(nowhere.string() + ": cannot write: No such file or directory"));
}

}  // namespace
}  // namespace offramp::workflow
