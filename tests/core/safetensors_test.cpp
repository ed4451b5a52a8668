#include "core/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "core/error.h"
#include "core/file.h"
#include "core/random.h"

namespace offramp::core {
namespace {

using ::testing::StartsWith;
using ::testing::ThrowsMessage;

std::string length_field(std::uint64_t length) {
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  return text;
}

/// A file with this header and `data_bytes` zero bytes after it.
std::string file_of(const std::string& header, std::size_t data_bytes = 0) {
  return length_field(header.size()) + header + std::string(data_bytes, '\0');
}

Safetensors parse(const std::string& text) {
  return Safetensors::parse(std::as_bytes(std::span(text)));
}

// Made by hand from the format's description: length 0x90 = 144, a header padded with spaces to
// that, then 1.0f, -2.0f (IEEE 754: 3f800000, c0000000) and the bytes 1, 2, 255.
const std::string kGoldenHeader = R"({"__metadata__":{"made":"by hand"},)"
                                  R"("b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                                  R"("a":{"dtype":"U8","shape":[3,1],"data_offsets":[8,11]}})";
const std::string kGolden = std::string("\x90\0\0\0\0\0\0\0", 8) + kGoldenHeader +
                            std::string(144 - kGoldenHeader.size(), ' ') +
                            std::string("\0\0\x80\x3f\0\0\0\xc0\x01\x02\xff", 11);

Tensors golden_tensors() {
  Tensors tensors;
  tensors["a"] = HostTensor::of({3, 1}, std::vector<std::uint8_t>{1, 2, 255});
  tensors["b"] = HostTensor::of({2}, std::vector<float>{1, -2});
  return tensors;
}

TEST(Safetensors, ReadsTheGoldenFile) {
  const Safetensors file = parse(kGolden);
  EXPECT_EQ(file.metadata(), (Metadata{{"made", "by hand"}}));
  ASSERT_EQ(file.tensors().size(), 2u);
  for (const auto& [name, tensor] : golden_tensors()) EXPECT_EQ(file.at(name).copy(), tensor);
}

TEST(Safetensors, WritesTheGoldenFileByteForByte) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "golden.safetensors";
  write_safetensors(path, {{"made", "by hand"}}, golden_tensors());
  EXPECT_EQ(read_text(path), kGolden);
}

TEST(Safetensors, NamesATensorThatIsMissing) {
  EXPECT_THAT([] { parse(kGolden).at("c"); }, ThrowsMessage<Error>("tensor \"c\" is missing"));
}

TEST(Safetensors, SaysWhichFileIsWrong) {
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "a.safetensors").string();
  write_text_atomic(path, "");
  EXPECT_THAT([&] { Safetensors::open(path); },
              ThrowsMessage<Error>(
                  path + ": not a safetensors file: 0 bytes, too short for a header length"));
}

TEST(Safetensors, OutlivesTheNameOfItsFile) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "a.safetensors";
  write_safetensors(path, {}, golden_tensors());
  Safetensors opened = Safetensors::open(path);
  std::filesystem::remove(path);
  const Safetensors moved = std::move(opened);
  EXPECT_EQ(moved.at("b").copy(), golden_tensors()["b"]);
}

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  EXPECT_TRUE(parse(file_of("{}")).tensors().empty());
  EXPECT_TRUE(parse(file_of("{}      ")).tensors().empty());
  EXPECT_EQ(parse(file_of(R"({"a":{"data_offsets":[0,4],"shape":[],"dtype":"F32"}})", 4))
                .at("a")
                .shape.size(),
            0u);
  // Tensors without elements may lie anywhere between others.
  const Safetensors file =
      parse(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                    R"("b":{"dtype":"I8","shape":[0,7],"data_offsets":[4,4]},)"
                    R"("c":{"dtype":"F64","shape":[9223372036854775807,9,0],"data_offsets":[0,0]},)"
                    R"("d":{"dtype":"I32","shape":[1],"data_offsets":[4,8]}})",
                    8));
  EXPECT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.at("b").copy().count(), 0);
}

TEST(Safetensors, CopiesTensorsThatAreNotAligned) {
  std::string text = file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                             5);
  const float value = 1.5f;
  std::memcpy(text.data() + text.size() - 4, &value, 4);
  EXPECT_EQ(parse(text).at("b").copy().to_f32(), std::vector<float>{1.5f});
}

struct Hostile {
  std::string what;
  std::string content;
  std::string message;
};

std::string tensor_file(const std::string& fields, std::size_t data_bytes) {
  return file_of(R"({"a":{)" + fields + "}}", data_bytes);
}

std::vector<Hostile> hostile_files() {
  const std::string a = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  return {
      // Errors of the length.
      {"no bytes", "", "not a safetensors file: 0 bytes, too short for a header length"},
      {"7 bytes", "1234567", "not a safetensors file: 7 bytes, too short for a header length"},
      {"another kind of file", "\x89PNG\r\n\x1a\n rest",
       "not a safetensors file: its header does not begin with {"},
      {"a header beyond the cap", length_field(100'000'001) + "{}",
       "header of 100000001 bytes is longer than the 100000000 allowed"},
      {"a length of 2^64 - 1", length_field(~std::uint64_t{0}) + "{}",
       "header of 18446744073709551615 bytes is longer than the 100000000 allowed"},
      {"a header beyond the file", length_field(3) + "{}",
       "truncated: header of 3 bytes, but 2 bytes follow"},
      {"only a length", length_field(0),
       "header is not valid JSON at byte 1: "},  // versions of the parser differ in the rest
      // Errors of the JSON text.
      {"broken JSON", file_of(R"({"a":})"), "header is not valid JSON at byte 6: "},
      {"something after the object", file_of("{}{}"), "header is not valid JSON at byte 3: "},
      {"a zero byte", file_of(std::string("{}\0\0", 4)),
       "header is not valid JSON at byte 2: zero byte"},
      {"bytes that are not UTF-8", file_of("{\"\xff\":{}}"),
       "header is not valid JSON at byte 3: "},
      {"a nesting bomb of arrays", file_of("{\"a\":" + std::string(1'000'000, '[')),
       "tensor \"a\" is an array, not an object"},
      {"a nesting bomb of objects", file_of([] {
         std::string text;
         for (int i = 0; i < 100'000; ++i) text += R"({"dtype":)";
         return text;
       }()),
       "tensor \"dtype\": dtype cannot be an object"},
      {"a nesting bomb in the shape", tensor_file(R"("shape":)" + std::string(1'000'000, '['), 0),
       "tensor \"a\": shape holds an array"},
      // Errors of the structure.
      {"a tensor that is a number", file_of(R"({"a":1})"),
       "tensor \"a\" is a number, not an object"},
      {"metadata that are a text", file_of(R"({"__metadata__":"x"})"),
       "__metadata__ is a text, not an object"},
      {"metadata that are null", file_of(R"({"__metadata__":null})"),
       "__metadata__ is null, not an object"},
      {"a metadata value that is no text", file_of(R"({"__metadata__":{"k":1}})"),
       "metadata key \"k\" is a number, not a text"},
      {"a metadata key twice", file_of(R"({"__metadata__":{"k":"1","k":"2"}})"),
       "metadata key \"k\" appears twice"},
      {"metadata twice", file_of(R"({"__metadata__":{},"__metadata__":{}})"),
       "__metadata__ appears twice"},
      {"a name twice", file_of("{" + a + "," + a + "}", 4), "tensor \"a\" appears twice"},
      {"a name that would break the line", file_of(R"({"a\nb":1})"),
       "tensor \"a\\x0ab\" is a number, not an object"},
      {"a field twice", tensor_file(R"("dtype":"F32","dtype":"F32")", 0),
       "tensor \"a\": dtype appears twice"},
      {"a shape twice", tensor_file(R"("shape":[1],"shape":[1])", 0),
       "tensor \"a\": shape appears twice"},
      {"offsets twice", tensor_file(R"("data_offsets":[0,0],"data_offsets":[0,0])", 0),
       "tensor \"a\": data_offsets appears twice"},
      {"an unknown field", tensor_file(R"("dtype":"F32","stride":[1])", 0),
       "tensor \"a\": unknown field \"stride\""},
      {"no dtype", tensor_file(R"("shape":[1],"data_offsets":[0,4])", 4),
       "tensor \"a\": dtype is missing"},
      {"no shape", tensor_file(R"("dtype":"F32","data_offsets":[0,4])", 4),
       "tensor \"a\": shape is missing"},
      {"no offsets", tensor_file(R"("dtype":"F32","shape":[1])", 4),
       "tensor \"a\": data_offsets are missing"},
      {"an unknown dtype", tensor_file(R"("dtype":"F16")", 0),
       "tensor \"a\": element type \"F16\" is not supported; supported: F32, BF16, F64, I64, I32, "
       "U64, U8, I8"},
      {"a dtype that is a number", tensor_file(R"("dtype":1)", 0),
       "tensor \"a\": dtype cannot be a number"},
      {"a dtype that is a list", tensor_file(R"("dtype":["F32"])", 0),
       "tensor \"a\": dtype cannot be an array"},
      {"a shape that is a number", tensor_file(R"("shape":1)", 0),
       "tensor \"a\": shape cannot be a number"},
      {"a negative dimension", tensor_file(R"("shape":[-1])", 0),
       "tensor \"a\": shape holds a negative number"},
      {"a fractional dimension", tensor_file(R"("shape":[1.0])", 0),
       "tensor \"a\": shape holds a fraction or too large a number"},
      {"a dimension of 2^63", tensor_file(R"("shape":[9223372036854775808])", 0),
       "tensor \"a\": dimension 9223372036854775808 is too large"},
      {"a dimension of 2^64", tensor_file(R"("shape":[18446744073709551616])", 0),
       "tensor \"a\": shape holds a fraction or too large a number"},
      {"a dimension beyond doubles", tensor_file(R"("shape":[1e999])", 0),
       "header is not valid JSON at byte "},
      {"33 dimensions",
       tensor_file(R"("shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,)"
                   R"(1,1,1,1,1,1,1])",
                   0),
       "tensor \"a\": more than 32 dimensions"},
      {"one offset", tensor_file(R"("dtype":"F32","shape":[1],"data_offsets":[0])", 4),
       "tensor \"a\": fewer than two data_offsets"},
      {"three offsets", tensor_file(R"("data_offsets":[0,4,8])", 4),
       "tensor \"a\": more than two data_offsets"},
      {"a true offset", tensor_file(R"("data_offsets":[true,4])", 4),
       "tensor \"a\": data_offsets hold a boolean"},
      // Errors of the position of the data.
      {"data that end before they begin",
       tensor_file(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])", 4),
       "tensor \"a\": data begin at 4, after their end at 0"},
      {"data beyond the file", tensor_file(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])", 7),
       "tensor \"a\": data end at 8, but the file holds 7 bytes of data"},
      {"data that end at 2^64 - 1",
       tensor_file(R"("dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615])", 4),
       "tensor \"a\": data end at 18446744073709551615, but the file holds 4 bytes of data"},
      {"data of another size", tensor_file(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])", 8),
       "tensor \"a\": 8 bytes of data do not fit F32 [3]"},
      {"more elements than can be counted",
       tensor_file(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0])", 0),
       "tensor \"a\": shape [4294967296,4294967296] has more elements than can be counted"},
      {"more bytes than can be counted",
       tensor_file(R"("dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,0])", 0),
       "tensor \"a\": 0 bytes of data do not fit F64 [4611686018427387904]"},
      {"overlapping tensors",
       file_of("{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", 6),
       "tensor \"b\": data overlap another tensor's: begin at 2, expected 4"},
      {"two tensors in one place",
       file_of("{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4),
       "tensor \"b\": data overlap another tensor's: begin at 0, expected 4"},
      {"a hole between tensors",
       file_of("{" + a + R"(,"b":{"dtype":"U8","shape":[1],"data_offsets":[5,6]}})", 6),
       "tensor \"b\": data leave a hole before them: begin at 5, expected 4"},
      {"a hole at the start", tensor_file(R"("dtype":"F32","shape":[1],"data_offsets":[1,5])", 5),
       "tensor \"a\": data leave a hole before them: begin at 1, expected 0"},
      {"bytes after the last tensor", file_of("{" + a + "}", 5),
       "1 bytes after the last tensor's data"},
      {"bytes without a tensor", file_of("{}", 3), "3 bytes after the last tensor's data"},
  };
}

TEST(Safetensors, RefusesHostileFilesWithTheReason) {
  for (const Hostile& hostile : hostile_files()) {
    SCOPED_TRACE(hostile.what);
    EXPECT_THAT([&] { parse(hostile.content); }, ThrowsMessage<Error>(StartsWith(hostile.message)));
    try {
      parse(hostile.content);
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(message.find('\n'), message.npos);
      EXPECT_LT(message.size(), 400u);
    }
  }
}

TEST(Safetensors, RefusesATruncatedFileAtEveryLength) {
  for (std::size_t length = 0; length < kGolden.size(); ++length)
    EXPECT_THROW(parse(kGolden.substr(0, length)), Error) << "cut to " << length << " bytes";
}

TEST(Safetensors, SurvivesChangedBytes) {
  int refused = 0;
  for (std::uint64_t round = 0; round < 20'000; ++round) {
    KeyedRandom random(1, round);
    std::string text = kGolden;
    for (std::uint64_t i = 0; i <= random.below(3); ++i)
      text[random.below(text.size())] = static_cast<char>(random.below(256));
    try {
      const Safetensors file = parse(text);
      // All tensors of an accepted file can be read.
      for (const auto& [name, view] : file.tensors())
        ASSERT_EQ(view.copy().bytes.size(),
                  static_cast<std::size_t>(element_count(view.shape)) * size_of(view.dtype));
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 10'000);
}

/// A tensor of any type and shape, some without elements.
HostTensor random_tensor(KeyedRandom& random) {
  constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f64, DType::i64,
                              DType::i32, DType::u64,  DType::u8,  DType::i8};
  HostTensor tensor;
  tensor.dtype = kTypes[random.below(8)];
  for (std::uint64_t i = random.below(5); i > 0; --i)
    tensor.shape.push_back(static_cast<std::int64_t>(random.below(6)));
  tensor.bytes.resize(static_cast<std::size_t>(tensor.count()) * size_of(tensor.dtype));
  for (std::byte& byte : tensor.bytes) byte = static_cast<std::byte>(random.below(256));
  return tensor;
}

TEST(Safetensors, GivesBackWhatWasWritten) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "a.safetensors";
  const std::vector<std::string> pieces = {"conv", ".",  "\"", "\\", "ü",
                                           "漢",   "\n", " ",  "__", "{"};
  for (std::uint64_t round = 0; round < 60; ++round) {
    KeyedRandom random(2, round);
    const auto text = [&] {
      std::string result;
      for (std::uint64_t i = random.below(6); i > 0; --i) result += pieces[random.below(10)];
      return result;
    };
    Tensors tensors;
    Metadata metadata;
    for (std::uint64_t i = random.below(8); i > 0; --i) tensors[text()] = random_tensor(random);
    for (std::uint64_t i = random.below(4); i > 0; --i) metadata[text()] = text();
    write_safetensors(path, metadata, tensors);

    const Safetensors file = Safetensors::open(path);
    EXPECT_EQ(file.metadata(), metadata);
    ASSERT_EQ(file.tensors().size(), tensors.size());
    for (const auto& [name, tensor] : tensors) {
      const TensorView& view = file.at(name);
      EXPECT_EQ(view.copy(), tensor);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(view.bytes.data()) % size_of(view.dtype), 0u)
          << "tensor " << name << " is not aligned";
    }
  }
}

TEST(WriteSafetensors, RefusesWhatItCouldNotReadAgain) {
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "a").string();
  Tensors tensors = golden_tensors();
  tensors["b"].bytes.pop_back();
  EXPECT_THAT([&] { write_safetensors(path, {}, tensors); },
              ThrowsMessage<Error>(path + ": tensor \"b\": 7 bytes of data do not fit F32 [2]"));
  EXPECT_THAT(([&] {
                write_safetensors(path, {}, {{"__metadata__", golden_tensors()["a"]}});
              }),
              ThrowsMessage<Error>(path + ": a tensor cannot be called __metadata__"));
  EXPECT_THAT(
      ([&] {
        write_safetensors(path, {{"a", "\xff"}}, {});
      }),
      ThrowsMessage<Error>(path + ": cannot write: a name or a metadata text is not UTF-8"));
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace offramp::core
