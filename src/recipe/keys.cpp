#include "recipe/keys.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/error.h"
#include "core/text.h"

namespace offramp::recipe {
namespace {

constexpr std::int64_t kMaxSide = 4096;

/// Formats a value for a message.
std::string value_text(const toml::node& node) {
  if (const auto* text = node.as_string()) return core::quote(text->get());
  if (const auto* number = node.as_integer()) return fmt::format("{}", number->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* truth = node.as_boolean()) return truth->get() ? "true" : "false";
  if (node.is_array()) return "a list";
  if (node.is_table()) return "a table";
  return "a date or time";
}

std::int64_t read_whole_number(const toml::node& node, std::int64_t low, std::int64_t high) {
  const auto* number = node.as_integer();
  if (number == nullptr || number->get() < low || number->get() > high)
    throw UsageError(
        fmt::format("expected a whole number from {} to {}, got {}", low, high, value_text(node)));
  return number->get();
}

/// The numbers from `low` to `high`. An end is excluded if it is open.
struct Interval {
  double low = 0, high = 0;
  bool low_open = false, high_open = false;

  bool contains(double value) const {
    return (low_open ? value > low : value >= low) && (high_open ? value < high : value <= high);
  }
  std::string text() const {
    return fmt::format("{} {} {} {}", low_open ? "above" : "from", low,
                       high_open ? "to below" : "to", high);
  }
};

double read_number(const toml::node& node, const Interval& interval) {
  double value = std::numeric_limits<double>::quiet_NaN();
  if (const auto* number = node.as_floating_point()) value = number->get();
  if (const auto* number = node.as_integer()) value = static_cast<double>(number->get());
  if (!interval.contains(value))
    throw UsageError(
        fmt::format("expected a number {}, got {}", interval.text(), value_text(node)));
  return value;
}

std::string read_text(const toml::node& node) {
  const auto* text = node.as_string();
  if (text == nullptr)
    throw UsageError(fmt::format("expected a text in quotes, got {}", value_text(node)));
  return text->get();
}

template <typename Number>
std::string format_number(Number value) {
  std::string text = fmt::format("{}", value);
  // "1e-05" and "inf" are TOML floats already, but "1" would be read as a whole number.
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

template <typename List, typename Write>
std::string format_list(const List& list, Write write) {
  std::string text;
  for (const auto& item : list) text += (text.empty() ? "" : ", ") + write(item);
  return "[" + text + "]";
}

// The functions below make keys, one function for each type of value. `field` returns a reference
// to the member that the key sets, for both Recipe& and const Recipe&.

template <typename Field>
Key whole(std::string table, std::string name, std::int64_t low, std::int64_t high, Field field) {
  Key key{std::move(table), std::move(name), ValueKind::plain, {}, {}};
  key.read = [=](Recipe& recipe, const toml::node& node) {
    auto& value = field(recipe);
    value =
        static_cast<std::remove_reference_t<decltype(value)>>(read_whole_number(node, low, high));
  };
  key.write = [=](const Recipe& recipe) { return fmt::format("{}", field(recipe)); };
  return key;
}

template <typename Field>
Key real(std::string table, std::string name, Interval interval, Field field) {
  Key key{std::move(table), std::move(name), ValueKind::plain, {}, {}};
  key.read = [=](Recipe& recipe, const toml::node& node) {
    auto& value = field(recipe);
    value = static_cast<std::remove_reference_t<decltype(value)>>(read_number(node, interval));
  };
  key.write = [=](const Recipe& recipe) { return format_number(field(recipe)); };
  return key;
}

template <typename Field>
Key truth(std::string table, std::string name, Field field) {
  Key key{std::move(table), std::move(name), ValueKind::plain, {}, {}};
  key.read = [=](Recipe& recipe, const toml::node& node) {
    if (!node.is_boolean())
      throw UsageError(fmt::format("expected true or false, got {}", value_text(node)));
    field(recipe) = node.as_boolean()->get();
  };
  key.write = [=](const Recipe& recipe) { return field(recipe) ? "true" : "false"; };
  return key;
}

template <typename Field>
Key text(std::string table, std::string name, Field field) {
  Key key{std::move(table), std::move(name), ValueKind::text, {}, {}};
  key.read = [=](Recipe& recipe, const toml::node& node) { field(recipe) = read_text(node); };
  key.write = [=](const Recipe& recipe) { return toml_string(field(recipe)); };
  return key;
}

template <typename Enum>
using Choices = std::vector<std::pair<std::string, Enum>>;

template <typename Enum, typename Field>
Key choice(std::string table, std::string name, Choices<Enum> choices, Field field) {
  Key key{std::move(table), std::move(name), ValueKind::text, {}, {}};
  key.read = [=](Recipe& recipe, const toml::node& node) {
    std::vector<std::string> known;
    std::string listed;
    for (const auto& [spelled, value] : choices) {
      if (const auto* given = node.as_string(); given != nullptr && given->get() == spelled) {
        field(recipe) = value;
        return;
      }
      known.push_back(spelled);
      listed += (listed.empty() ? "" : ", ") + spelled;
    }
    const std::string help =
        node.is_string() ? core::suggestion(node.as_string()->get(), known) : "";
    throw UsageError(fmt::format("expected one of {}; got {}{}", listed, value_text(node), help));
  };
  key.write = [=](const Recipe& recipe) {
    for (const auto& [spelled, value] : choices)
      if (value == field(recipe)) return toml_string(spelled);
    OFFRAMP_ASSERT(false);
    return std::string();
  };
  return key;
}

const toml::array& read_list(const toml::node& node) {
  if (!node.is_array())
    throw UsageError(fmt::format("expected a list in [ ], got {}", value_text(node)));
  return *node.as_array();
}

bool is_exits_word(std::string_view word) {
  return word == "auto" || word == "every" || word == "from";
}

Key exits_key() {
  Key key{"network", "exits", ValueKind::text_list, {}, {}};
  key.read = [](Recipe& recipe, const toml::node& node) {
    std::vector<std::string> exits;
    if (node.is_string()) {
      if (!is_exits_word(node.as_string()->get()))
        throw UsageError(
            fmt::format("expected a list in [ ], or one of \"auto\", \"every\", \"from\"; got {}",
                        value_text(node)));
      recipe.network.exits = {node.as_string()->get()};
      return;
    }
    for (const toml::node& item : read_list(node)) {
      if (!item.is_string() && !item.is_integer())
        throw UsageError(
            fmt::format("expected positions such as 2 or \"15%\", got {}", value_text(item)));
      exits.push_back(item.is_string() ? item.as_string()->get()
                                       : std::to_string(item.as_integer()->get()));
    }
    recipe.network.exits = std::move(exits);
  };
  key.write = [](const Recipe& recipe) {
    const std::vector<std::string>& exits = recipe.network.exits;
    return exit_places(recipe) == ExitPlaces::listed ? format_list(exits, toml_string)
                                                     : toml_string(exits[0]);
  };
  return key;
}

Key head_key() {
  Key key{"network", "head", ValueKind::text_list, {}, {}};
  key.read = [](Recipe& recipe, const toml::node& node) {
    std::vector<std::string> kinds;
    if (node.is_string())
      kinds.push_back(read_text(node));
    else
      for (const toml::node& item : read_list(node)) kinds.push_back(read_text(item));
    recipe.network.heads = std::move(kinds);
  };
  key.write = [](const Recipe& recipe) {
    const std::vector<std::string>& kinds = recipe.network.heads;
    return kinds.size() == 1 ? toml_string(kinds[0]) : format_list(kinds, toml_string);
  };
  return key;
}

Key spp_levels_key() {
  Key key{"network", "spp_levels", ValueKind::list, {}, {}};
  key.read = [](Recipe& recipe, const toml::node& node) {
    std::vector<int> levels;
    for (const toml::node& item : read_list(node))
      levels.push_back(static_cast<int>(read_whole_number(item, 1, 64)));
    if (levels.empty()) throw UsageError("expected at least one level, got an empty list");
    recipe.network.spp_levels = std::move(levels);
  };
  key.write = [](const Recipe& recipe) {
    return format_list(recipe.network.spp_levels, [](int level) { return std::to_string(level); });
  };
  return key;
}

Key image_size_key() {
  Key key{"data", "image_size", ValueKind::list, {}, {}};
  key.read = [](Recipe& recipe, const toml::node& node) {
    const auto side = [](const toml::node& item) {
      const std::int64_t value = read_whole_number(item, 0, kMaxSide);
      if (value != 0 && value < 32)
        throw UsageError(fmt::format(
            "expected a size from 32 to {}, or 0 for the images' own, got {}", kMaxSide, value));
      return static_cast<int>(value);
    };
    int height = 0, width = 0;
    if (const auto* list = node.as_array()) {
      if (list->size() != 2 && list->size() != 1)
        throw UsageError(
            fmt::format("expected a side or [height, width], got {} values", list->size()));
      height = side((*list)[0]);
      width = side((*list)[list->size() - 1]);
    } else {
      height = width = side(node);
    }
    if ((height == 0) != (width == 0))
      throw UsageError(fmt::format("expected both sides, or 0 alone, got [{}, {}]", height, width));
    recipe.data.height = height;
    recipe.data.width = width;
  };
  key.write = [](const Recipe& recipe) {
    const DataRecipe& data = recipe.data;
    return data.height == data.width ? std::to_string(data.height)
                                     : fmt::format("[{}, {}]", data.height, data.width);
  };
  return key;
}

template <typename Field>
Key real_list(std::string table, std::string name, Interval interval, Field field) {
  Key key{std::move(table), std::move(name), ValueKind::list, {}, {}};
  key.read = [=](Recipe& recipe, const toml::node& node) {
    auto& list = field(recipe);
    using Number = typename std::remove_reference_t<decltype(list)>::value_type;
    std::vector<Number> values;
    for (const toml::node& item : read_list(node))
      values.push_back(static_cast<Number>(read_number(item, interval)));
    list = std::move(values);
  };
  key.write = [=](const Recipe& recipe) {
    return format_list(field(recipe), [](auto value) { return format_number(value); });
  };
  return key;
}

/// Changing the schedule also sets the default warm-up of the new schedule. The key `warmup` is
/// read later and overrides it.
Key schedule_key() {
  Key key = choice<Schedule>(
      "train", "schedule",
      {{"one_cycle", Schedule::one_cycle},
       {"cosine", Schedule::cosine},
       {"step", Schedule::step},
       {"constant", Schedule::constant}},
      [](auto& recipe) -> auto& { return recipe.train.schedule; });
  key.read = [read = key.read](Recipe& recipe, const toml::node& node) {
    const Schedule before = recipe.train.schedule;
    read(recipe, node);
    const Schedule now = recipe.train.schedule;
    if (now == before) return;
    if (now == Schedule::cosine) recipe.train.warmup = 0;
    if (now == Schedule::one_cycle) recipe.train.warmup = TrainRecipe{}.warmup;
  };
  return key;
}

Key device_key() {
  Key key = text(
      "train", "device", [](auto& recipe) -> auto& { return recipe.train.device; });
  key.read = [](Recipe& recipe, const toml::node& node) {
    const std::string device = read_text(node);
    const bool numbered = device.starts_with("cuda:") && device.size() > 5 && device.size() < 9 &&
                          device.find_first_not_of("0123456789", 5) == std::string::npos;
    if (device != "cpu" && device != "cuda" && !numbered)
      throw UsageError(
          fmt::format("expected cpu, cuda or cuda:<number>; got {}", core::quote(device)));
    recipe.train.device = device;
  };
  return key;
}

// A function that returns a reference to a member of a Recipe& or const Recipe&. A lambda needs no
// parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define OFFRAMP_FIELD(path) \
  [](auto& recipe) -> auto& { return recipe.path; }
// NOLINTEND(bugprone-macro-parentheses)

std::vector<Key> all_keys() {
  constexpr std::int64_t kMaxSeed = std::numeric_limits<std::int64_t>::max();
  return {
      text("network", "backbone", OFFRAMP_FIELD(network.backbone)),
      choice<graph::Stem>("network", "stem",
                          {{"cifar", graph::Stem::cifar}, {"imagenet", graph::Stem::imagenet}},
                          OFFRAMP_FIELD(network.options.stem)),
      whole("network", "width", 1, 4096, OFFRAMP_FIELD(network.options.width)),
      whole("network", "units", 0, 4096, OFFRAMP_FIELD(network.units)),
      exits_key(),
      head_key(),
      spp_levels_key(),

      whole("exits", "max_exits", 0, 4096, OFFRAMP_FIELD(exits.max_exits)),
      real("exits", "max_accuracy_drop", {.low = 0, .high = 1, .high_open = true},
           OFFRAMP_FIELD(exits.max_accuracy_drop)),
      whole("exits", "head_epochs", 1, 100000, OFFRAMP_FIELD(exits.head_epochs)),

      text("data", "source", OFFRAMP_FIELD(data.source)),
      image_size_key(),
      choice<core::Fit>("data", "fit", {{"squeeze", core::Fit::squeeze}, {"crop", core::Fit::crop}},
                        OFFRAMP_FIELD(data.fit)),
      whole("data", "split_seed", 0, kMaxSeed, OFFRAMP_FIELD(data.split_seed)),
      real_list("data", "mean", {.low = 0, .high = 1}, OFFRAMP_FIELD(data.mean)),
      real_list("data", "std", {.low = 0, .high = 1, .low_open = true}, OFFRAMP_FIELD(data.std)),

      whole("train", "epochs", 1, 100000, OFFRAMP_FIELD(train.epochs)),
      whole("train", "batch", 1, 65536, OFFRAMP_FIELD(train.batch)),
      whole("train", "seed", 0, kMaxSeed, OFFRAMP_FIELD(train.seed)),
      choice<Optimizer>("train", "optimizer",
                        {{"sgd", Optimizer::sgd}, {"adamw", Optimizer::adamw}},
                        OFFRAMP_FIELD(train.optimizer)),
      real("train", "lr", {.low = 0, .high = 100, .low_open = true}, OFFRAMP_FIELD(train.lr)),
      real("train", "momentum", {.low = 0, .high = 1, .high_open = true},
           OFFRAMP_FIELD(train.momentum)),
      truth("train", "nesterov", OFFRAMP_FIELD(train.nesterov)),
      real("train", "weight_decay", {.low = 0, .high = 10}, OFFRAMP_FIELD(train.weight_decay)),
      schedule_key(),
      real("train", "warmup", {.low = 0, .high = 1, .high_open = true},
           OFFRAMP_FIELD(train.warmup)),
      whole("train", "step_every", 1, 100000, OFFRAMP_FIELD(train.step_every)),
      real("train", "step_factor", {.low = 0, .high = 1, .low_open = true},
           OFFRAMP_FIELD(train.step_factor)),
      real("train", "first_scale", {.low = 0.25, .high = 1}, OFFRAMP_FIELD(train.first_scale)),
      real("train", "full_scale_at", {.low = 0, .high = 1}, OFFRAMP_FIELD(train.full_scale_at)),
      real("train", "label_smoothing", {.low = 0, .high = 1, .high_open = true},
           OFFRAMP_FIELD(train.label_smoothing)),
      real("train", "ema", {.low = 0, .high = 1, .high_open = true}, OFFRAMP_FIELD(train.ema)),
      choice<Mode>("train", "mode",
                   {{"joint", Mode::joint}, {"frozen", Mode::frozen}, {"mixed", Mode::mixed}},
                   OFFRAMP_FIELD(train.mode)),
      whole("train", "backbone_epochs", 0, 100000, OFFRAMP_FIELD(train.backbone_epochs)),
      real_list("train", "loss_weights", {.low = 0, .high = 1e6},
                OFFRAMP_FIELD(train.loss_weights)),
      real("train", "distill", {.low = 0, .high = 1}, OFFRAMP_FIELD(train.distill)),
      real("train", "distill_temperature", {.low = 0, .high = 1000, .low_open = true},
           OFFRAMP_FIELD(train.distill_temperature)),
      truth("train", "gradient_equilibrium", OFFRAMP_FIELD(train.gradient_equilibrium)),
      choice<PrecisionChoice>("train", "precision",
                              {{"auto", PrecisionChoice::automatic},
                               {"f32", PrecisionChoice::f32},
                               {"bf16", PrecisionChoice::bf16}},
                              OFFRAMP_FIELD(train.precision)),
      choice<SyncBatchNorm>("train", "sync_batch_norm",
                            {{"auto", SyncBatchNorm::automatic},
                             {"on", SyncBatchNorm::on},
                             {"off", SyncBatchNorm::off}},
                            OFFRAMP_FIELD(train.sync_batch_norm)),
      device_key(),
      whole("train", "threads", 0, 4096, OFFRAMP_FIELD(train.threads)),
      real("train", "checkpoint_every", {.low = 0, .high = 1e6},
           OFFRAMP_FIELD(train.checkpoint_every)),
      text("train", "from", OFFRAMP_FIELD(train.from)),

      whole("augment", "crop_padding", 0, kMaxSide, OFFRAMP_FIELD(train.augmentation.crop_padding)),
      truth("augment", "flip", OFFRAMP_FIELD(train.augmentation.flip)),
      whole("augment", "cutout", 0, kMaxSide, OFFRAMP_FIELD(train.augmentation.cutout)),
      real("augment", "resized_crop", {.low = 0, .high = 1},
           OFFRAMP_FIELD(train.augmentation.resized_crop)),
  };
}

#undef OFFRAMP_FIELD

}  // namespace

const std::vector<Key>& keys() {
  static const std::vector<Key> all = all_keys();
  return all;
}

std::string toml_string(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (code < 0x20 || code == 0x7f) {
      result += fmt::format("\\u{:04x}", code);
    } else {
      result += c;
    }
  }
  return result + "\"";
}

}  // namespace offramp::recipe
