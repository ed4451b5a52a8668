#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/file.h"
#include "offramp/error.h"
#include "serve/server.h"

namespace offramp::serve {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

class SettingsTest : public testing::Test {
 protected:
  ServerSettings read(const std::string& text) {
    core::write_text_atomic(folder_.path() / "serve.toml", text);
    ServerSettings settings;
    read_settings(folder_.path() / "serve.toml", settings);
    return settings;
  }
  core::TemporaryFolder folder_;
};

TEST_F(SettingsTest, AreReadOverTheDefaults) {
  const ServerSettings settings = read(
      "port = 9000\nmax_queue_delay_ms = 2\nmax_wait_ms = 20\nmemory_mib = 64\nmax_megapixels = 8\n"
      "[[model]]\npath = \"a/b.safetensors\"\n[[model]]\nname = \"b\"\nversion = 2\npath = "
      "\"c\"\n");
  EXPECT_EQ(settings.http.port, 9000);
  EXPECT_EQ(settings.queue.max_queue_delay_ms, 2);
  EXPECT_EQ(settings.queue.max_wait_ms, 20);
  EXPECT_EQ(settings.queue.max_pixels, 8'000'000);
  EXPECT_EQ(settings.http.memory_bytes, std::size_t{64} << 20);
  EXPECT_EQ(settings.http.address, "127.0.0.1");
  ASSERT_EQ(settings.models.size(), 2u);
  EXPECT_EQ(settings.models[0].name, "b");
  EXPECT_EQ(settings.models[1].version, 2);
}

TEST_F(SettingsTest, AreRefusedWithTheirLine) {
  EXPECT_THAT([&] { read("\nports = 1\n"); },
              ThrowsMessage<UsageError>(
                  HasSubstr("serve.toml:2: ports: unknown key; did you mean \"port\"?")));
  EXPECT_THAT([&] { read("port = 70000\n"); },
              ThrowsMessage<UsageError>(
                  HasSubstr("serve.toml:1: port: expected a whole number from 0 to 65535")));
  EXPECT_THAT([&] { read("watch_files = 1\n"); },
              ThrowsMessage<UsageError>(HasSubstr("expected true or false")));
  EXPECT_THAT([&] { read("[[model]]\nname = \"a\"\n"); },
              ThrowsMessage<UsageError>(HasSubstr("a model has no path")));
  EXPECT_THAT([&] { read("port = \n"); }, ThrowsMessage<UsageError>(HasSubstr("serve.toml:1: ")));
}

TEST(ModelEntry, IsReadFromAFlag) {
  EXPECT_EQ(parse_model_entries("models/a.safetensors")[0].name, "a");
  const ModelEntry entry = parse_model_entries("b@3=models/a.safetensors")[0];
  EXPECT_EQ(entry.name, "b");
  EXPECT_EQ(entry.version, 3);
  EXPECT_EQ(entry.path, "models/a.safetensors");
  for (const char* bad : {"a/b=c", "@2=c", "a@0=c", "a@x=c", "..=c", "a b=c"})
    EXPECT_THROW(parse_model_entries(bad), UsageError) << bad;
}

TEST(ModelEntry, OfAFolderIsEachOfItsModelFiles) {
  const core::TemporaryFolder folder;
  const std::string path = folder.path().string();
  EXPECT_THAT([&] { parse_model_entries(path); },
              ThrowsMessage<UsageError>(HasSubstr("the folder has no model file")));
  for (const char* name : {"b.safetensors", "a.safetensors", "notes.md"})
    core::write_text_atomic(folder.path() / name, "x");
  const std::vector<ModelEntry> entries = parse_model_entries(path);
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].name, "a");
  EXPECT_EQ(entries[1].path, folder.path() / "b.safetensors");
  EXPECT_THAT([&] { parse_model_entries("name=" + path); },
              ThrowsMessage<UsageError>(HasSubstr("is a folder, expected a file")));
}

}  // namespace
}  // namespace offramp::serve
