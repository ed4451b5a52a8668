#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace offramp::test {

/// Checks markup as strict XML without namespaces and returns the first fault: tags that do not
/// balance, attributes without quotes or given twice, or references other than the five of XML.
/// Returns an empty string if there is none. Comments and CDATA, which reports do not use, are not
/// supported.
inline std::string xml_fault(std::string_view text) {
  std::vector<std::string> open;
  const auto fault = [&](std::string_view what, std::size_t at) {
    return std::string(what) + " near: " + std::string(text.substr(at, 80));
  };
  const auto reference_ok = [&](std::size_t at) {
    for (const std::string_view known : {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"})
      if (text.substr(at).starts_with(known)) return true;
    return false;
  };
  std::size_t i = text.starts_with("<!DOCTYPE html>") ? 15 : 0;
  while (i < text.size()) {
    if (text[i] == '&' && !reference_ok(i)) return fault("bare &", i);
    if (text[i] != '<') {
      ++i;
      continue;
    }
    const std::size_t start = i++;
    const bool closing = i < text.size() && text[i] == '/';
    if (closing) ++i;
    const std::size_t name_end = text.find_first_of(" />", i);
    if (name_end == text.npos || name_end == i) return fault("no tag", start);
    const std::string name(text.substr(i, name_end - i));
    if (name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") != name.npos)
      return fault("odd tag", start);
    i = name_end;
    std::vector<std::string> attributes;
    while (text[i] == ' ') {
      const std::size_t equals = text.find('=', i);
      if (equals == text.npos || equals + 1 >= text.size() || text[equals + 1] != '"')
        return fault("attribute without quotes", start);
      const std::string attribute(text.substr(i + 1, equals - i - 1));
      if (attribute.find_first_not_of(
              "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789") != attribute.npos)
        return fault("odd attribute", start);
      for (const auto& other : attributes)
        if (other == attribute) return fault("attribute given twice", start);
      attributes.push_back(attribute);
      const std::size_t end = text.find('"', equals + 2);
      if (end == text.npos) return fault("open attribute", start);
      const std::string_view value = text.substr(equals + 2, end - equals - 2);
      if (value.find('<') != value.npos) return fault("< in an attribute", start);
      for (std::size_t j = 0; j < value.size(); ++j)
        if (value[j] == '&' && !reference_ok(equals + 2 + j)) return fault("bare &", start);
      i = end + 1;
      if (i >= text.size()) return fault("open tag", start);
    }
    const bool empty = text[i] == '/';
    if (empty) ++i;
    if (i >= text.size() || text[i] != '>') return fault("tag not closed", start);
    ++i;
    if (closing) {
      if (open.empty() || open.back() != name) return fault("closes what is not open", start);
      open.pop_back();
    } else if (!empty) {
      open.push_back(name);
    }
  }
  return open.empty() ? "" : "never closed: " + open.back();
}

}  // namespace offramp::test
