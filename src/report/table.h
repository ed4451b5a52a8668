#pragma once

#include <string>
#include <vector>

namespace offramp::report {

/// A table of the page. Its strings are not escaped; html() escapes them. The first cell of a row
/// is the heading of the row.
class Table {
 public:
  /// @param text_columns  number of columns, from the left, that hold words; the others hold
  /// numbers
  Table(std::string caption, std::vector<std::string> heads, int text_columns = 1);

  void row(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  std::string html() const;

 private:
  std::string caption_;
  std::vector<std::string> heads_;
  int text_columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace offramp::report
