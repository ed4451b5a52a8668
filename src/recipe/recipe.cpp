#include "recipe/recipe.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <numeric>
#include <tuple>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "graph/cut_points.h"
#include "recipe/keys.h"

namespace offramp::recipe {
namespace {

constexpr std::size_t kMaxRecipeBytes = 1 << 20;

std::vector<std::string> table_names() {
  std::vector<std::string> names;
  for (const Key& key : keys())
    if (names.empty() || names.back() != key.table) names.push_back(key.table);
  return names;
}

/// Returns the names of the keys of a table.
std::vector<std::string> names_in(std::string_view table) {
  std::vector<std::string> names;
  for (const Key& key : keys())
    if (key.table == table) names.push_back(key.name);
  return names;
}

const Key* find_by_name(std::string_view name) {
  for (const Key& key : keys())
    if (key.name == name) return &key;
  return nullptr;
}

std::string at_line(const std::string& place, const toml::source_position& position) {
  return fmt::format("{}:{}", place, position.line);
}

/// Returns the message about a key that does not exist in its table.
std::string unknown_key(std::string_view table, std::string_view name) {
  if (const Key* other_key = find_by_name(name))
    return fmt::format("key {} belongs in [{}]", core::quote(name), other_key->table);
  std::string help = core::suggestion(name, names_in(table));
  if (help.empty()) {
    std::vector<std::string> all;
    for (const Key& key : keys()) all.push_back(key.name);
    help = core::suggestion(name, all);
  }
  return fmt::format("unknown key {}{}", core::quote(name), help);
}

/// @throws UsageError with the line of the first unknown table or key
void check_known(const toml::table& root, const std::string& place) {
  struct Unknown {
    std::string what;
    toml::source_position position;
  };
  std::vector<Unknown> found;
  const std::vector<std::string> tables = table_names();
  for (const auto& [name, node] : root) {
    const bool known = std::find(tables.begin(), tables.end(), name.str()) != tables.end();
    const toml::table* table = node.as_table();
    if (!known) {
      found.push_back({table == nullptr ? unknown_key("", name.str())
                                        : fmt::format("unknown table [{}]{}", std::string(name),
                                                      core::suggestion(name.str(), tables)),
                       name.source().begin});
    } else if (table == nullptr) {
      found.push_back(
          {fmt::format("{} must be a table: [{}]", std::string(name), std::string(name)),
           name.source().begin});
    } else {
      const std::vector<std::string> names = names_in(name.str());
      for (const auto& [key, value] : *table)
        if (std::find(names.begin(), names.end(), key.str()) == names.end())
          found.push_back({unknown_key(name.str(), key.str()), key.source().begin});
    }
  }
  const auto first = std::min_element(
      found.begin(), found.end(),
      [](const Unknown& a, const Unknown& b) { return a.position.line < b.position.line; });
  if (first != found.end())
    throw UsageError(fmt::format("{}: {}", at_line(place, first->position), first->what));
}

/// Parses `text` as a single TOML value. @return a table with the key "value"; empty if `text`
/// contains further keys. @throws toml::parse_error
toml::table value_table(const std::string& text) {
  toml::table table = toml::parse("value = " + text + "\n");
  // A line break inside `text` could be followed by further keys.
  if (table.size() != 1) table.clear();
  return table;
}

/// Converts a value that is written as on a command line to TOML.
std::string as_toml(ValueKind value_kind, const std::string& value) {
  const bool bracketed = value.starts_with('[');
  switch (value_kind) {
    case ValueKind::plain:
      return value;
    case ValueKind::text:
      return value.size() > 1 && value.front() == '"' && value.back() == '"' ? value
                                                                             : toml_string(value);
    case ValueKind::list:
      return bracketed ? value : "[" + value + "]";
    case ValueKind::text_list:
      break;
  }
  if (bracketed) return value;
  std::string list;
  for (std::size_t begin = 0; begin < value.size();) {
    const std::size_t end = std::min(value.find(',', begin), value.size());
    std::string item = value.substr(begin, end - begin);
    item.erase(0, item.find_first_not_of(' '));
    item.erase(item.find_last_not_of(' ') + 1);
    list += (list.empty() ? "" : ", ") + toml_string(item);
    begin = end + 1;
  }
  return "[" + list + "]";
}

const Key& find_key(const std::string& name) {
  std::vector<std::string> full_names, short_names;
  for (const Key& key : keys()) {
    if (key.full_name() == name || key.name == name) return key;
    full_names.push_back(key.full_name());
    short_names.push_back(key.name);
  }
  const bool dotted = name.find('.') != std::string::npos;
  throw UsageError(fmt::format("unknown key {}{}", core::quote(name),
                               core::suggestion(name, dotted ? full_names : short_names)));
}

}  // namespace

Recipe parse_recipe(const std::string& text, const std::string& place) {
  toml::table root;
  try {
    root = toml::parse(text);
  } catch (const toml::parse_error& error) {
    std::string reason(error.description());
    std::replace(reason.begin(), reason.end(), '\n', ' ');
    throw UsageError(fmt::format("{}: {}", at_line(place, error.source().begin), reason));
  }
  check_known(root, place);

  Recipe recipe;
  for (const Key& key : keys()) {
    const auto node = root[key.table][key.name];
    if (!node) continue;
    try {
      key.read(recipe, *node.node());
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("{}: {}: {}", at_line(place, node.node()->source().begin),
                                   key.name, error.what()));
    }
  }
  try {
    check(recipe);
  } catch (const UsageError& error) {
    // A message of check() begins with the key at fault. If the file sets this key, the message
    // gets its line number.
    const std::string message = error.what();
    for (const Key& key : keys())
      if (message.starts_with(key.full_name() + ":"))
        if (const auto node = root[key.table][key.name])
          core::throw_with_place(at_line(place, node.node()->source().begin), error);
    core::throw_with_place(place, error);
  }
  return recipe;
}

Recipe read_recipe(const std::filesystem::path& path) {
  const std::vector<std::byte> bytes = core::read_file(path, kMaxRecipeBytes);
  return parse_recipe({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

void set_key(Recipe& recipe, const std::string& key_name, const std::string& value) {
  const Key& key = find_key(key_name);
  toml::table table;
  try {
    table = value_table(as_toml(key.value_kind, value));
    // A value that is not valid TOML is read as a text, so that the error message can show it.
    if (table.empty() && key.value_kind != ValueKind::text) table = value_table(toml_string(value));
  } catch (const toml::parse_error&) {
    try {
      table = value_table(toml_string(value));
    } catch (const toml::parse_error&) {
      throw UsageError(
          fmt::format("{}: expected a text in UTF-8, got {}", key.full_name(), core::quote(value)));
    }
  }
  try {
    key.read(recipe, *table.get("value"));
  } catch (const UsageError& error) {
    core::throw_with_place(key.full_name(), error);
  }
}

ExitPlaces exit_places(const Recipe& recipe) {
  if (recipe.network.exits.size() != 1) return ExitPlaces::listed;
  const std::string& word = recipe.network.exits[0];
  return word == "auto"    ? ExitPlaces::automatic
         : word == "every" ? ExitPlaces::every
         : word == "from"  ? ExitPlaces::from
                           : ExitPlaces::listed;
}

std::string full_key_name(const std::string& key) { return find_key(key).full_name(); }

namespace {

void check_exits_of_model(const Recipe& recipe, ExitPlaces places) {
  const std::string& word = recipe.network.exits[0];
  if (recipe.train.from.empty())
    throw UsageError(fmt::format(
        "network.exits: {} needs a trained network: set train.from (--from) to a model file",
        core::quote(word)));
  if (recipe.network.units != 0)
    throw UsageError(fmt::format("network.units: cannot be combined with exits = {}; set units = 0",
                                 core::quote(word)));
  if (places == ExitPlaces::from) return;
  if (places == ExitPlaces::every && recipe.train.mode != Mode::frozen)
    throw UsageError(
        "train.mode: exits = \"every\" trains only heads; set train.mode = \"frozen\"");
  if (places == ExitPlaces::automatic && recipe.train.mode == Mode::mixed)
    throw UsageError(
        "train.mode: exits = \"auto\" starts from a trained network, so it needs joint or frozen");
  if (!recipe.train.loss_weights.empty())
    throw UsageError(fmt::format(
        "train.loss_weights: cannot be set with exits = {}, whose number of exits is not known",
        core::quote(word)));
  graph::check_head_kinds(recipe.network.heads, recipe.network.spp_levels);
}

}  // namespace

void check(const Recipe& recipe) {
  const TrainRecipe& train = recipe.train;
  const ExitPlaces places = exit_places(recipe);
  const std::size_t exits = recipe.network.exits.size() + 1;
  const bool early = exits > 1;
  if (places != ExitPlaces::listed) check_exits_of_model(recipe, places);

  for (const auto& [name, values, other] : {std::tuple("mean", &recipe.data.mean, "std"),
                                            std::tuple("std", &recipe.data.std, "mean")}) {
    if (!values->empty() && values->size() != 3)
      throw UsageError(fmt::format("data.{}: expected 3 numbers, for red, green and blue; got {}",
                                   name, values->size()));
    if (values->empty() && !(recipe.data.mean.empty() && recipe.data.std.empty()))
      throw UsageError(fmt::format("data.{}: must be set if data.{} is set", other, name));
  }

  if (!train.loss_weights.empty()) {
    // How many exits a model has is known when it is read.
    if (train.loss_weights.size() != exits && places != ExitPlaces::from)
      throw UsageError(fmt::format(
          "train.loss_weights: expected {} numbers, one for each exit (the last included), got {}",
          exits, train.loss_weights.size()));
    if (!(train.loss_weights.back() > 0) && train.mode != Mode::frozen)
      throw UsageError("train.loss_weights: the last exit must have a weight above 0");
    const auto learning = train.loss_weights.end() - (train.mode == Mode::frozen ? 1 : 0);
    if (std::accumulate(train.loss_weights.begin(), learning, 0.0) <= 0)
      throw UsageError(
          "train.loss_weights: at least one exit that is trained needs a weight above 0");
  }

  if (train.mode == Mode::frozen) {
    if (train.from.empty())
      throw UsageError("train.mode: frozen needs a trained backbone: set train.from (--from)");
    if (!early) throw UsageError("train.mode: frozen needs early exits: set network.exits");
    if (train.gradient_equilibrium)
      throw UsageError(
          "train.gradient_equilibrium: has no effect with train.mode = \"frozen\"; remove one of "
          "them");
  }
  if (train.mode == Mode::mixed) {
    if (!early) throw UsageError("train.mode: mixed needs early exits: set network.exits");
    if (train.backbone_epochs <= 0 || train.backbone_epochs >= train.epochs)
      throw UsageError(
          fmt::format("train.backbone_epochs: mixed needs from 1 to {} (train.epochs - 1), got {}",
                      train.epochs - 1, train.backbone_epochs));
  } else if (train.backbone_epochs != 0) {
    throw UsageError(
        fmt::format("train.backbone_epochs: may be set only with train.mode = \"mixed\", got {}",
                    train.backbone_epochs));
  }

  if (train.distill > 0 && !early)
    throw UsageError("train.distill: needs early exits: set network.exits");
  if (train.gradient_equilibrium && !early)
    throw UsageError("train.gradient_equilibrium: needs early exits: set network.exits");
  if (train.optimizer == Optimizer::sgd && train.nesterov && train.momentum <= 0)
    throw UsageError("train.nesterov: needs train.momentum above 0, or set nesterov = false");

  const data::Augmentation& augmentation = train.augmentation;
  if (augmentation.resized_crop > 0 && augmentation.crop_padding > 0)
    throw UsageError(
        "augment.resized_crop: cannot be combined with augment.crop_padding; set one of them to 0");
  const int side = std::min(recipe.data.height, recipe.data.width);
  if (side > 0 && augmentation.crop_padding >= side)
    throw UsageError(
        fmt::format("augment.crop_padding: must be below the images' side of {} pixels, got {}",
                    side, augmentation.crop_padding));
  if (side > 0 && augmentation.cutout > side)
    throw UsageError(
        fmt::format("augment.cutout: must not exceed the images' side of {} pixels, got {}", side,
                    augmentation.cutout));

  if (places != ExitPlaces::listed) return;
  // The network is built here so that its errors are reported before any image is read. The place
  // of an exit given as a share of the MACs depends on the image size, so without a size only exits
  // given by number are checked.
  graph::NetworkSpec spec = recipe.network;
  spec.options.input = {3, side > 0 ? recipe.data.height : 32, side > 0 ? recipe.data.width : 32};
  if (side <= 0)
    std::erase_if(spec.exits, [](const std::string& exit) { return exit.ends_with('%'); });
  graph::build_network(spec);
}

std::string to_toml(const Recipe& recipe) {
  std::string text, table;
  for (const Key& key : keys()) {
    if (key.table != table) {
      text += fmt::format("{}[{}]\n", table.empty() ? "" : "\n", key.table);
      table = key.table;
    }
    text += fmt::format("{} = {}\n", key.name, key.write(recipe));
  }
  return text;
}

}  // namespace offramp::recipe
