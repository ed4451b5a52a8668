#include "core/hash.h"

#include <gtest/gtest.h>

#include <string>

namespace offramp::core {
namespace {

// Values from the command xxhsum -H3 of xxHash 0.8.1.
TEST(Hash, IsTheOneThatXxhsumPrints) {
  EXPECT_EQ(hash_of(""), 0x2d06800538d394c2u);
  EXPECT_EQ(hash_of("a"), 0xe6c632b61e964e1fu);
  EXPECT_EQ(hash_of("conv1.weight"), 0x68019ca25a01e5c4u);
  EXPECT_EQ(hash_of(std::string(300, 'x')), 0xa5d1b4607dc83554u);
}

TEST(Hash, DependsOnTheSeedAndOnEveryByte) {
  const std::string text(1000, 'x');
  const std::uint64_t hash = hash_of(text);
  EXPECT_NE(hash_of(text, 1), hash);
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string other = text;
    other[i] = 'y';
    EXPECT_NE(hash_of(other), hash) << i;
  }
}

TEST(Hash, DependsOnWhereItsPartsEnd) {
  EXPECT_NE(hash_of("b", hash_of("a")), hash_of("", hash_of("ab")));
  EXPECT_NE(hash_of("bc", hash_of("a")), hash_of("c", hash_of("ab")));
}

TEST(HashOfValues, DependsOnWhereAValueEnds) {
  const auto hash = [](std::initializer_list<std::string_view> parts) {
    HashOfValues of_values;
    for (const std::string_view part : parts) of_values.add(part);
    return of_values.text();
  };
  EXPECT_EQ(hash({"a", "b"}).size(), 16u);
  EXPECT_NE(hash({"a", "b"}), hash({"ab", ""}));
  EXPECT_NE(hash({"a", "b"}), hash({"a", "b", ""}));
  EXPECT_NE(hash({"a", "b"}), hash({"b", "a"}));
  EXPECT_EQ(hash({"a", "b"}), hash({"a", "b"}));
}

}  // namespace
}  // namespace offramp::core
