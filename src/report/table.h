#pragma once

#include <string>
#include <vector>

namespace offramp::report {

/// A table of the page. Cells are text, escaped here; the first of a row is its heading.
class Table {
 public:
  /// @param text_columns  how many columns from the left are words; the others are numbers
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
