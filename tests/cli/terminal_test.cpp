#include "cli/terminal.h"

#include <gtest/gtest.h>

namespace offramp::cli {
namespace {

TEST(Terminal, ShowsNoControlCharacters) {
  EXPECT_EQ(printable("a\x1b[31mb\n\x7f"), "a␛[31mb␊␡");
  EXPECT_EQ(printable("größe"), "größe");
}

TEST(Terminal, AlignsColumnsByTheirCharacters) {
  Table table({"exit", "after", "accuracy"}, 2);
  table.add({"1", "größe", "9.00 %"});
  table.add({"2", "x", "10.00 %"});
  EXPECT_EQ(table.text(false),
            "  exit   after   accuracy\n"
            "  1      größe     9.00 %\n"
            "  2      x        10.00 %\n");
}

TEST(Terminal, ColoursOnlyTitlesAndOnlyOnRequest) {
  Table table({"a"});
  table.add({"b"});
  EXPECT_EQ(table.text(true), "\x1b[2m  a\x1b[0m\n  b\n");
  EXPECT_EQ(heading("x", false), "x");
  EXPECT_EQ(heading("x", true), "\x1b[1mx\x1b[0m");
}

}  // namespace
}  // namespace offramp::cli
