#include <algorithm>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "core/numbers.h"
#include "data/class_folders.h"
#include "data/sources.h"
#include "image/signature.h"

namespace offramp::data::detail {
namespace {

/// The part of a member's path before the first dot of its name, and what follows that dot.
struct KeyAndEnding {
  std::string key, ending;
};

KeyAndEnding split_name(std::string_view path) {
  const std::size_t name = path.size() - base_name(path).size();
  const std::size_t dot = path.find('.', name);
  if (dot == std::string_view::npos) return {std::string(path), ""};
  return {std::string(path.substr(0, dot)), std::string(path.substr(dot + 1))};
}

bool is_label(std::string_view ending) { return ending == "cls" || ending == "json"; }

std::string trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1));
}

/// Reads the class of a sample from KEY.cls, a text, or from "cls" or "label" of KEY.json.
/// @return the name of its folder
std::string class_folder_of(std::string_view ending, std::span<const std::byte> bytes) {
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::string name;
  if (ending == "cls") {
    name = trimmed(text);
  } else {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    for (const char* key : {"cls", "label"}) {
      if (!json.is_object() || !json.contains(key) || !name.empty()) continue;
      const auto& value = json[key];
      if (value.is_number_unsigned()) name = fmt::to_string(value.get<std::uint64_t>());
      if (value.is_string()) name = trimmed(value.get<std::string>());
    }
    if (name.empty()) throw Error("it has no \"cls\" or \"label\" that is a number or a text");
  }
  return folder_of_class(name);
}

/// Returns the folder that the images of a tar are shown in: "train/" for train-000017.tar, "" if
/// the name contains no part.
std::string part_folder(std::string_view name) {
  for (const char* part : {"train", "test", "validation", "valid", "val"}) {
    const std::string_view text = part;
    if (!name.starts_with(text)) continue;
    const char next = name.size() > text.size() ? name[text.size()] : '-';
    if (next == '-' || next == '_' || next == '.') return std::string(text) + "/";
  }
  return "";
}

/// Shows the samples of tars as a tree of class folders: PART/CLASS/TAR/KEY.jpg.
class LabelledTars : public FileTree {
 public:
  explicit LabelledTars(std::vector<Tar> tars) : tars_(std::move(tars)) {
    for (std::size_t t = 0; t < tars_.size(); ++t) add_tar(t);
    pad_numbers();
    for (const Sample& sample : samples_) {
      Member member = tars_[sample.tar].files->members()[sample.member];
      const std::string& tar = tars_[sample.tar].name;
      member.path = fmt::format("{}{}/{}/{}", part_folder(tar), sample.class_folder,
                                tar.substr(0, tar.find('.')), member.path);
      order_.push_back(members_.size());
      members_.push_back(std::move(member));
    }
    std::ranges::sort(order_, {}, [&](std::size_t i) { return members_[i].path; });
    std::vector<Member> sorted;
    for (const std::size_t i : order_) sorted.push_back(std::move(members_[i]));
    members_ = std::move(sorted);
  }

  void read(const std::vector<std::size_t>& wanted,
            const ContentCallback& callback) const override {
    std::vector<std::vector<std::size_t>> inner(tars_.size()), outer(tars_.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const Sample& sample = samples_[order_[wanted[i]]];
      inner[sample.tar].push_back(sample.member);
      outer[sample.tar].push_back(i);
    }
    for (std::size_t t = 0; t < tars_.size(); ++t)
      tars_[t].files->read(inner[t], [&](std::size_t i, Content content) {
        callback(outer[t][i], std::move(content));
      });
  }

 private:
  struct Sample {
    std::size_t tar = 0, member = 0;  // member: index in the tar
    std::string class_folder;
  };

  void add_tar(std::size_t t) {
    const FileTree& files = *tars_[t].files;
    std::map<std::string, std::size_t> label_of;  // key to member
    std::vector<std::pair<std::string, std::size_t>> images;
    for (std::size_t m = 0; m < files.members().size(); ++m) {
      const Member& member = files.members()[m];
      if (member.is_folder) continue;
      const auto [key, ending] = split_name(member.path);
      if (is_label(ending)) {
        // A .cls holds the class alone, so it is preferred to a .json.
        if (ending == "cls" || !label_of.contains(key)) label_of[key] = m;
      } else if (image::has_image_extension(member.path)) {
        images.emplace_back(key, m);
      }
    }
    std::vector<std::size_t> wanted;
    for (const auto& [key, member] : label_of) wanted.push_back(member);
    std::map<std::size_t, std::string> folder_of_member;
    std::mutex mutex;
    files.read(wanted, [&](std::size_t i, const Content& content) {
      const std::string& path = files.members()[wanted[i]].path;
      try {
        if (!content.problem.empty()) throw Error(content.problem);
        std::string folder = class_folder_of(split_name(path).ending, content.bytes);
        const std::lock_guard lock(mutex);
        folder_of_member[wanted[i]] = std::move(folder);
      } catch (const Error& error) {
        core::throw_with_place(fmt::format("{}: {}", tars_[t].name, core::quote(path)), error);
      }
    });
    for (const auto& [key, member] : images) {
      const auto label = label_of.find(key);
      if (label == label_of.end())
        throw Error(fmt::format("{}: {} has no {}.cls or {}.json beside it", tars_[t].name,
                                core::quote(files.members()[member].path), key, key));
      samples_.push_back({t, member, folder_of_member.at(label->second)});
    }
  }

  // Classes are sorted by name, so the numbers of classes get leading zeros.
  void pad_numbers() {
    std::size_t width = 0;
    for (const Sample& sample : samples_) {
      if (!core::parse_number<std::uint64_t>(sample.class_folder)) return;
      width = std::max(width, sample.class_folder.size());
    }
    for (Sample& sample : samples_)
      sample.class_folder.insert(0, width - sample.class_folder.size(), '0');
  }

  std::vector<Tar> tars_;
  std::vector<Sample> samples_;
  std::vector<std::size_t> order_;  // [members] index in samples_
};

}  // namespace

bool has_label_files(const FileTree& tree) {
  const auto count = [&](std::string_view ending) {
    return std::ranges::count_if(tree.members(), [&](const Member& member) {
      return !member.is_folder && split_name(member.path).ending == ending;
    });
  };
  // Archives of class folders may hold a .json, too, but not one for each image.
  const auto images = std::ranges::count_if(tree.members(), [](const Member& member) {
    return !member.is_folder && image::has_image_extension(member.path);
  });
  return images > 0 && (count("cls") > 0 || count("json") >= images);
}

std::unique_ptr<FileTree> show_as_class_folders(std::vector<Tar> tars) {
  return std::make_unique<LabelledTars>(std::move(tars));
}

}  // namespace offramp::data::detail
