#include "data/class_folders.h"

#include <gtest/gtest.h>

#include <string>

#include "core/error.h"

namespace offramp::data {
namespace {

TEST(ClassFolders, HoldClassesOfAnyUsualName) {
  EXPECT_EQ(folder_of_class("cat"), "cat");
  EXPECT_EQ(folder_of_class("T-shirt/top"), "T-shirt%2Ftop");
  for (const std::string name : {"cat", "T-shirt/top", "/", "a//b", "100%", "50%25", "..a/../b"})
    if (name.front() != '.') {
      EXPECT_EQ(folder_of_class(name).find('/'), std::string::npos);
      EXPECT_EQ(class_of_folder(folder_of_class(name)), name);
    }
}

TEST(ClassFolders, RefuseNamesThatNoFolderCanHave) {
  for (const std::string& name :
       {std::string(), std::string("."), std::string("../x"), std::string("a\\b"),
        std::string("a\nb"), std::string("a%2Fb"), std::string(256, 'a'), std::string(100, '/')})
    EXPECT_THROW(folder_of_class(name), Error) << name;
}

}  // namespace
}  // namespace offramp::data
