#include "recipe/recipe.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/error.h"
#include "core/file.h"
#include "core/random.h"

namespace offramp::recipe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Returns the message of the UsageError that `work` throws. If it throws none, the test fails and
/// the result is "".
template <typename Work>
std::string refusal(const Work& work) {
  try {
    work();
  } catch (const UsageError& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return "";
}

std::string refusal_of(const std::string& text) {
  return refusal([&] { parse_recipe(text, "recipe.toml"); });
}

std::string refusal_of(const std::string& key, const std::string& value) {
  return refusal([&] {
    Recipe recipe;
    set_key(recipe, key, value);
  });
}

TEST(Recipe, AnEmptyFileIsTheDefaults) {
  EXPECT_EQ(to_toml(parse_recipe("", "recipe.toml")), to_toml(Recipe{}));
}

TEST(Recipe, ReadsEveryTable) {
  const Recipe recipe = parse_recipe(R"(
[network]
backbone = "resnet34"
stem = "imagenet"
width = 24
exits = [2, "45%"]
head = "avg"
spp_levels = [1, 3]
[data]
source = "photos.tar"
image_size = [48, 64]
fit = "crop"
split_seed = 7
[train]
epochs = 3
batch = 32
seed = 9
optimizer = "adamw"
lr = 1
momentum = 0.5
nesterov = false
weight_decay = 0.01
schedule = "step"
warmup = 0.1
step_every = 5
step_factor = 0.25
first_scale = 0.5
full_scale_at = 0.75
label_smoothing = 0.1
ema = 0.99
mode = "mixed"
backbone_epochs = 2
loss_weights = [1, 2, 3.5]
distill = 0.5
distill_temperature = 2.0
gradient_equilibrium = true
precision = "bf16"
sync_batch_norm = "off"
device = "cuda:1"
threads = 2
checkpoint_every = 2.5
from = "weights.safetensors"
[augment]
crop_padding = 4
flip = true
cutout = 8
)",
                                     "recipe.toml");
  EXPECT_EQ(recipe.network.backbone, "resnet34");
  EXPECT_EQ(recipe.network.options.stem, graph::Stem::imagenet);
  EXPECT_EQ(recipe.network.options.width, 24);
  EXPECT_THAT(recipe.network.exits, ElementsAre("2", "45%"));
  EXPECT_THAT(recipe.network.heads, ElementsAre("avg"));
  EXPECT_THAT(recipe.network.spp_levels, ElementsAre(1, 3));
  EXPECT_EQ(recipe.data.source, "photos.tar");
  EXPECT_EQ(recipe.data.height, 48);
  EXPECT_EQ(recipe.data.width, 64);
  EXPECT_EQ(recipe.data.fit, core::Fit::crop);
  EXPECT_EQ(recipe.data.split_seed, 7u);
  const TrainRecipe& train = recipe.train;
  EXPECT_EQ(train.epochs, 3);
  EXPECT_EQ(train.batch, 32);
  EXPECT_EQ(train.seed, 9u);
  EXPECT_EQ(train.optimizer, Optimizer::adamw);
  EXPECT_EQ(train.lr, 1.0);
  EXPECT_EQ(train.momentum, 0.5);
  EXPECT_FALSE(train.nesterov);
  EXPECT_EQ(train.weight_decay, 0.01);
  EXPECT_EQ(train.schedule, Schedule::step);
  EXPECT_EQ(train.warmup, 0.1);
  EXPECT_EQ(train.step_every, 5);
  EXPECT_EQ(train.step_factor, 0.25);
  EXPECT_EQ(train.first_scale, 0.5);
  EXPECT_EQ(train.full_scale_at, 0.75);
  EXPECT_EQ(train.label_smoothing, 0.1);
  EXPECT_EQ(train.ema, 0.99);
  EXPECT_EQ(train.mode, Mode::mixed);
  EXPECT_EQ(train.backbone_epochs, 2);
  EXPECT_THAT(train.loss_weights, ElementsAre(1, 2, 3.5));
  EXPECT_EQ(train.distill, 0.5);
  EXPECT_EQ(train.distill_temperature, 2);
  EXPECT_TRUE(train.gradient_equilibrium);
  EXPECT_EQ(train.precision, PrecisionChoice::bf16);
  EXPECT_EQ(train.sync_batch_norm, SyncBatchNorm::off);
  EXPECT_EQ(train.device, "cuda:1");
  EXPECT_EQ(train.threads, 2);
  EXPECT_EQ(train.checkpoint_every, 2.5);
  EXPECT_EQ(train.from, "weights.safetensors");
  EXPECT_EQ(train.augmentation,
            (data::Augmentation{.crop_padding = 4, .flip = true, .cutout = 8, .resized_crop = 0}));
}

TEST(Recipe, OneImageSizeIsASquareAndZeroIsTheImagesOwn) {
  EXPECT_EQ(parse_recipe("[data]\nimage_size = 40", "").data.height, 40);
  EXPECT_EQ(parse_recipe("[data]\nimage_size = 40", "").data.width, 40);
  EXPECT_EQ(parse_recipe("[data]\nimage_size = 0", "").data.height, 0);
}

TEST(Recipe, NamesFileLineAndNearestKey) {
  EXPECT_EQ(refusal_of("[network]\nwidth = 16\n\n[train]\nepoch = 3\n"),
            "recipe.toml:5: unknown key \"epoch\"; did you mean \"epochs\"?");
  EXPECT_EQ(refusal_of("[train]\nxyzzy = 3\n"), "recipe.toml:2: unknown key \"xyzzy\"");
  EXPECT_EQ(refusal_of("[trian]\nepochs = 3\n"),
            "recipe.toml:1: unknown table [trian]; did you mean \"train\"?");
}

TEST(Recipe, SaysWhereAMisplacedKeyBelongs) {
  EXPECT_EQ(refusal_of("[train]\nepochs = 3\nflip = true\n"),
            "recipe.toml:3: key \"flip\" belongs in [augment]");
  EXPECT_EQ(refusal_of("epochs = 3\n"), "recipe.toml:1: key \"epochs\" belongs in [train]");
  EXPECT_EQ(refusal_of("train = 3\n"), "recipe.toml:1: train must be a table: [train]");
}

TEST(Recipe, ReportsTheFirstOfSeveralUnknownKeys) {
  EXPECT_THAT(refusal_of("[train]\nzz = 1\naa = 2\n"), HasSubstr("recipe.toml:2: "));
}

TEST(Recipe, NamesTheLineOfInvalidToml) {
  EXPECT_THAT(refusal_of("[train]\nepochs = = 3\n"), HasSubstr("recipe.toml:2: "));
  EXPECT_THAT(refusal_of("[train]\nepochs = 3\nepochs = 4\n"), HasSubstr("recipe.toml:3: "));
  EXPECT_THAT(refusal_of("[train\n"), HasSubstr("recipe.toml:1: "));
  EXPECT_THAT(refusal_of("[train]\nfrom = \"\xff\"\n"), HasSubstr("recipe.toml:2: "));
}

TEST(Recipe, RefusesAWrongTypeAndQuotesIt) {
  EXPECT_EQ(refusal_of("[train]\nepochs = \"three\"\n"),
            "recipe.toml:2: epochs: expected a whole number from 1 to 100000, got \"three\"");
  EXPECT_EQ(refusal_of("[train]\nepochs = 2.5\n"),
            "recipe.toml:2: epochs: expected a whole number from 1 to 100000, got 2.5");
  EXPECT_EQ(refusal_of("[augment]\nflip = 1\n"),
            "recipe.toml:2: flip: expected true or false, got 1");
  EXPECT_EQ(refusal_of("[data]\nsource = 1\n"),
            "recipe.toml:2: source: expected a text in quotes, got 1");
  EXPECT_EQ(
      refusal_of("[network]\nexits = \"2,5\"\n"),
      "recipe.toml:2: exits: expected a list in [ ], or one of \"auto\", \"every\", \"from\"; "
      "got \"2,5\"");
  EXPECT_EQ(refusal_of("[network]\nexits = [2, [5]]\n"),
            "recipe.toml:2: exits: expected positions such as 2 or \"15%\", got a list");
  EXPECT_EQ(refusal_of("[train]\nlr = 2026-01-01\n"),
            "recipe.toml:2: lr: expected a number above 0 to 100, got a date or time");
}

TEST(Recipe, TakesTheNetworkOfAModelByOneWord) {
  const auto read = [](const std::string& network, const std::string& train) {
    return "[network]\n" + network + "\n[train]\nfrom = \"plain.safetensors\"\n" + train;
  };
  const Recipe recipe =
      parse_recipe(read("exits = \"auto\"\nhead = [\"avg\", \"spp\", \"conv-spp\"]", "") +
                       "[exits]\nmax_exits = 2\n",
                   "recipe.toml");
  EXPECT_EQ(exit_places(recipe), ExitPlaces::automatic);
  EXPECT_EQ(recipe.exits.max_exits, 2);
  EXPECT_EQ(to_toml(parse_recipe(to_toml(recipe), "again")), to_toml(recipe));
  EXPECT_EQ(exit_places(parse_recipe(read("exits = \"from\"", "loss_weights = [1, 2, 3]\n"), "r")),
            ExitPlaces::from);
  EXPECT_EQ(exit_places(parse_recipe(read("exits = \"every\"", "mode = \"frozen\"\n"), "r")),
            ExitPlaces::every);
  EXPECT_EQ(exit_places(Recipe{}), ExitPlaces::listed);
  Recipe set = recipe;
  set_key(set, "exits", "from");
  EXPECT_EQ(exit_places(set), ExitPlaces::from);

  EXPECT_EQ(
      refusal_of("[network]\nexits = \"auto\"\n"),
      "recipe.toml:2: network.exits: \"auto\" needs a trained network: set train.from (--from) "
      "to a model file");
  EXPECT_EQ(refusal_of(read("exits = \"every\"", "")),
            "recipe.toml: train.mode: exits = \"every\" trains only heads; set train.mode = "
            "\"frozen\"");
  EXPECT_EQ(
      refusal_of(read("exits = \"auto\"", "loss_weights = [1, 1]\n")),
      "recipe.toml:5: train.loss_weights: cannot be set with exits = \"auto\", whose number of "
      "exits is not known");
  EXPECT_EQ(refusal_of(read("exits = \"auto\"\nhead = [\"spp\", \"spp\"]", "")),
            "recipe.toml:3: network.head: \"spp\" is given twice");
}

TEST(Recipe, RefusesValuesOutOfRange) {
  EXPECT_EQ(refusal_of("[train]\nepochs = 0\n"),
            "recipe.toml:2: epochs: expected a whole number from 1 to 100000, got 0");
  EXPECT_EQ(refusal_of("[train]\nlr = 0.0\n"),
            "recipe.toml:2: lr: expected a number above 0 to 100, got 0");
  EXPECT_EQ(refusal_of("[train]\nlr = nan\n"),
            "recipe.toml:2: lr: expected a number above 0 to 100, got nan");
  EXPECT_EQ(refusal_of("[train]\nema = 1.0\n"),
            "recipe.toml:2: ema: expected a number from 0 to below 1, got 1");
  EXPECT_EQ(refusal_of("[train]\nloss_weights = [0.5, -1]\n"),
            "recipe.toml:2: loss_weights: expected a number from 0 to 1000000, got -1");
  EXPECT_THAT(refusal_of("[data]\nimage_size = 16\n"),
              HasSubstr("recipe.toml:2: image_size: expected a size from 32 to 4096"));
  EXPECT_THAT(refusal_of("[data]\nimage_size = [32, 0]\n"), HasSubstr("expected both sides"));
  EXPECT_THAT(refusal_of("[data]\nimage_size = [32, 32, 32]\n"), HasSubstr("got 3 values"));
  EXPECT_THAT(refusal_of("[data]\nimage_size = []\n"), HasSubstr("got 0 values"));
  EXPECT_THAT(refusal_of("[network]\nspp_levels = []\n"), HasSubstr("at least one level"));
}

TEST(Recipe, NamesTheKnownWords) {
  EXPECT_EQ(refusal_of("[train]\nschedule = \"cosin\"\n"),
            "recipe.toml:2: schedule: expected one of one_cycle, cosine, step, constant; got "
            "\"cosin\"; did you mean \"cosine\"?");
  EXPECT_EQ(refusal_of("[train]\nmode = 3\n"),
            "recipe.toml:2: mode: expected one of joint, frozen, mixed; got 3");
  EXPECT_EQ(refusal_of("[train]\ndevice = \"gpu\"\n"),
            "recipe.toml:2: device: expected cpu, cuda or cuda:<number>; got \"gpu\"");
}

TEST(Recipe, RefusesAnUnknownBackboneAndExitsBeyondTheNetwork) {
  EXPECT_THAT(refusal_of("[network]\nbackbone = \"resnet81\"\n"),
              AllOf(HasSubstr("recipe.toml: "), HasSubstr("resnet18")));
  EXPECT_THAT(refusal_of("[network]\nexits = [2, 8]\n"), HasSubstr("\"8\" is beyond resnet18"));
  EXPECT_THAT(refusal_of("[network]\nexits = [5, 2]\n"), HasSubstr("comes before"));
  EXPECT_THAT(refusal_of("[network]\nhead = \"sppp\"\n"), HasSubstr("known: avg, spp,"));
}

TEST(Recipe, AFileThatIsMissingIsNamed) {
  const core::TemporaryFolder folder;
  const auto path = folder.path() / "none.toml";
  try {
    read_recipe(path);
    FAIL() << "nothing was refused";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(path.string() + ": "));
  }
}

TEST(Recipe, AnotherScheduleSetsItsOwnWarmUp) {
  EXPECT_EQ(parse_recipe("[train]\nschedule = \"cosine\"", "").train.warmup, 0);
  EXPECT_EQ(parse_recipe("[train]\nwarmup = 0.1\nschedule = \"cosine\"", "").train.warmup, 0.1);
  Recipe recipe;
  set_key(recipe, "schedule", "cosine");
  EXPECT_EQ(recipe.train.warmup, 0);
  set_key(recipe, "schedule", "one_cycle");
  EXPECT_EQ(recipe.train.warmup, TrainRecipe{}.warmup);
}

TEST(RecipeKey, IsSetByFullOrShortName) {
  Recipe recipe;
  set_key(recipe, "train.epochs", "3");
  EXPECT_EQ(recipe.train.epochs, 3);
  set_key(recipe, "epochs", "4");
  EXPECT_EQ(recipe.train.epochs, 4);
  set_key(recipe, "flip", "true");
  EXPECT_TRUE(recipe.train.augmentation.flip);
}

TEST(RecipeKey, NeedsNoQuotesOrBracketsOnACommandLine) {
  Recipe recipe;
  set_key(recipe, "mode", "mixed");
  EXPECT_EQ(recipe.train.mode, Mode::mixed);
  set_key(recipe, "mode", "\"frozen\"");
  EXPECT_EQ(recipe.train.mode, Mode::frozen);
  set_key(recipe, "exits", "2, 45%");
  EXPECT_THAT(recipe.network.exits, ElementsAre("2", "45%"));
  set_key(recipe, "exits", "[\"3\"]");
  EXPECT_THAT(recipe.network.exits, ElementsAre("3"));
  set_key(recipe, "exits", "");
  EXPECT_THAT(recipe.network.exits, ElementsAre());
  set_key(recipe, "loss_weights", "0.3,0.7");
  EXPECT_THAT(recipe.train.loss_weights, ElementsAre(0.3, 0.7));
  set_key(recipe, "image_size", "48");
  EXPECT_EQ(recipe.data.width, 48);
  set_key(recipe, "image_size", "32,64");
  EXPECT_EQ(recipe.data.height, 32);
  EXPECT_EQ(recipe.data.width, 64);
  set_key(recipe, "source", "a \"b\"\\c\n.tar");
  EXPECT_EQ(recipe.data.source, "a \"b\"\\c\n.tar");
  set_key(recipe, "source", "42");
  EXPECT_EQ(recipe.data.source, "42");
}

TEST(RecipeKey, IsCheckedAsInAFile) {
  EXPECT_EQ(refusal_of("train.epoch", "3"),
            "unknown key \"train.epoch\"; did you mean \"train.epochs\"?");
  EXPECT_EQ(refusal_of("epoch", "3"), "unknown key \"epoch\"; did you mean \"epochs\"?");
  EXPECT_EQ(refusal_of("epochs", "three"),
            "train.epochs: expected a whole number from 1 to 100000, got \"three\"");
  EXPECT_EQ(refusal_of("epochs", ""),
            "train.epochs: expected a whole number from 1 to 100000, got \"\"");
  EXPECT_EQ(refusal_of("mode", "jiont"),
            "train.mode: expected one of joint, frozen, mixed; got \"jiont\"; did you mean "
            "\"joint\"?");
  EXPECT_EQ(refusal_of("from", "\xff"), "train.from: expected a text in UTF-8, got \"\\xff\"");
}

TEST(RecipeKey, AValueCannotSetOtherKeys) {
  EXPECT_THAT(refusal_of("epochs", "3\nvalue2 = 4"), HasSubstr("expected a whole number"));
  EXPECT_THAT(refusal_of("loss_weights", "1]\nx = [2"), HasSubstr("expected a list"));
}

// Each line is a combination that is refused; the message contains the key at fault.
TEST(RecipeCheck, RefusesSettingsThatExcludeEachOther) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[network]\nexits = [2]\n[train]\nloss_weights = [1, 1, 1]",
       "recipe.toml:4: train.loss_weights: expected 2 numbers, one for each exit (the last "
       "included), got 3"},
      {"[train]\nloss_weights = [0]", "the last exit must have a weight above 0"},
      {"[network]\nexits = [2]\n[train]\nloss_weights = [1, 0]", "the last exit must have"},
      {"[network]\nexits = [2]\n[train]\nmode = \"frozen\"", "recipe.toml:4: train.mode: frozen"},
      {"[train]\nmode = \"frozen\"\nfrom = \"a\"", "frozen needs early exits"},
      {"[network]\nexits = [2]\n[train]\nmode = \"frozen\"\nfrom = \"a\"\ngradient_equilibrium = "
       "true",
       "train.gradient_equilibrium"},
      {"[network]\nexits = [2]\n[train]\nmode = \"frozen\"\nfrom = \"a\"\nloss_weights = [0, 1]",
       "at least one exit that is trained"},
      {"[network]\nexits = [2]\n[train]\nmode = \"mixed\"",
       "from 1 to 19 (train.epochs - 1), got 0"},
      {"[network]\nexits = [2]\n[train]\nmode = \"mixed\"\nbackbone_epochs = 20", "got 20"},
      {"[train]\nmode = \"mixed\"\nbackbone_epochs = 2", "mixed needs early exits"},
      {"[train]\nbackbone_epochs = 2", "may be set only with train.mode = \"mixed\""},
      {"[data]\nmean = [0.5, 0.5]\nstd = [0.2, 0.2, 0.2]",
       "recipe.toml:2: data.mean: expected 3 numbers, for red, green and blue; got 2"},
      {"[data]\nstd = [0.2, 0.2, 0.2]", "recipe.toml:2: data.std: must be set if data.mean is set"},
      {"[data]\nmean = [0.5, 0.5, 0.5]\nstd = [0.2, 0, 0.2]",
       "recipe.toml:3: std: expected a number above 0 to 1, got 0"},
      {"[train]\ndistill = 0.5", "train.distill: needs early exits"},
      {"[train]\ngradient_equilibrium = true", "train.gradient_equilibrium: needs early exits"},
      {"[train]\nmomentum = 0", "train.nesterov"},
      {"[augment]\ncrop_padding = 4\nresized_crop = 0.5", "recipe.toml:3: augment.resized_crop"},
      {"[data]\nimage_size = 32\n[augment]\ncrop_padding = 32", "augment.crop_padding"},
      {"[data]\nimage_size = 32\n[augment]\ncutout = 33", "augment.cutout"},
  };
  for (const auto& [text, message] : cases) EXPECT_THAT(refusal_of(text), HasSubstr(message));
}

TEST(RecipeCheck, AcceptsTheModesWithWhatTheyNeed) {
  EXPECT_NO_THROW(parse_recipe(
      "[network]\nexits = [2]\n[train]\nmode = \"frozen\"\nfrom = \"a\"\ndistill = 0.5\n"
      "loss_weights = [1, 0]",
      ""));
  EXPECT_NO_THROW(
      parse_recipe("[network]\nexits = [2, 5]\n[train]\nmode = \"mixed\"\nepochs = 2\n"
                   "backbone_epochs = 1\ngradient_equilibrium = true\ndistill = 1",
                   ""));
  EXPECT_NO_THROW(parse_recipe("[train]\nmomentum = 0\nnesterov = false", ""));
  EXPECT_NO_THROW(parse_recipe("[network]\nexits = [\"15%\", \"45%\"]", ""));
}

/// Draws a random recipe from all recipes that check() accepts.
Recipe random_recipe(std::uint64_t seed) {
  core::KeyedRandom random(seed, 0);
  const auto real = [&](double high) { return static_cast<double>(random.uniform()) * high; };
  const auto pick = [&](int n) { return static_cast<int>(random.below(static_cast<unsigned>(n))); };
  Recipe recipe;
  recipe.network.backbone = random.flip() ? "resnet18" : "resnet34";
  recipe.network.options.stem = random.flip() ? graph::Stem::cifar : graph::Stem::imagenet;
  recipe.network.options.width = 1 + pick(8);
  recipe.network.units = random.flip() ? 0 : 6 + pick(2);
  recipe.network.heads = {random.flip() ? "avg" : "spp"};
  recipe.network.spp_levels = {1 + pick(4)};
  if (random.flip()) recipe.network.exits = {"2", "5"};
  if (!recipe.network.exits.empty() && random.flip()) recipe.network.heads = {"deep-spp", "avg"};
  if (recipe.network.units > 0 && recipe.network.heads.size() > 1)
    recipe.network.heads.push_back("conv-avg");
  recipe.data.source = std::string("a \"\\\t\x7f ö日") + static_cast<char>('a' + pick(26));
  if (random.flip()) {
    recipe.data.height = 32 + pick(8);
    recipe.data.width = 32 + pick(8);
  }
  if (random.flip()) {
    recipe.data.mean = {random.uniform(), random.uniform(), random.uniform()};
    recipe.data.std = {0.25f, 1.f, 0.1f + random.uniform() / 2};
  }
  recipe.data.fit = random.flip() ? core::Fit::squeeze : core::Fit::crop;
  recipe.data.split_seed = random.next() >> 1;
  TrainRecipe& train = recipe.train;
  train.epochs = 2 + pick(100);
  train.batch = 1 + pick(1000);
  train.seed = random.next() >> 1;
  train.optimizer = random.flip() ? Optimizer::sgd : Optimizer::adamw;
  train.lr = 1e-9 + real(1) * (random.flip() ? 1 : 1e-6);
  train.momentum = 0.01 + real(0.9);
  train.nesterov = random.flip();
  train.weight_decay = real(1e-4);
  train.schedule = static_cast<Schedule>(pick(4));
  train.warmup = real(0.99);
  train.step_every = 1 + pick(50);
  train.step_factor = 0.01 + real(0.9);
  train.first_scale = 0.25 + real(0.75);
  train.full_scale_at = real(1);
  train.label_smoothing = real(0.5);
  train.ema = real(0.99);
  train.precision = static_cast<PrecisionChoice>(pick(3));
  train.sync_batch_norm = static_cast<SyncBatchNorm>(pick(3));
  train.device = random.flip() ? "cpu" : "cuda:3";
  train.threads = pick(9);
  train.checkpoint_every = real(10);
  train.from = random.flip() ? "" : "runs/a b/model.safetensors";
  if (!recipe.network.exits.empty()) {
    if (random.flip()) train.mode = Mode::mixed;
    if (train.mode == Mode::mixed) train.backbone_epochs = 1 + pick(train.epochs - 1);
    if (random.flip()) train.loss_weights = {real(1), real(1), 1 / 3.0};
    train.distill = real(1);
    train.distill_temperature = 0.1 + real(5);
    train.gradient_equilibrium = random.flip();
  }
  if (random.flip())
    train.augmentation.crop_padding = pick(8);
  else
    train.augmentation.resized_crop = random.uniform();
  train.augmentation.flip = random.flip();
  train.augmentation.cutout = pick(16);
  return recipe;
}

TEST(RecipeText, GivesTheSameRecipeBack) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Recipe recipe = random_recipe(seed);
    const std::string text = to_toml(recipe);
    SCOPED_TRACE(text);
    Recipe back;
    ASSERT_NO_THROW(back = parse_recipe(text, "recipe.toml"));
    // The text holds every field, so equal texts mean equal recipes. Values that could lose digits
    // when they are written are also compared directly.
    EXPECT_EQ(to_toml(back), text);
    EXPECT_EQ(back.data.source, recipe.data.source);
    EXPECT_EQ(back.train.seed, recipe.train.seed);
    EXPECT_EQ(back.train.lr, recipe.train.lr);
    EXPECT_EQ(back.train.warmup, recipe.train.warmup);
    EXPECT_EQ(back.train.loss_weights, recipe.train.loss_weights);
    EXPECT_EQ(back.train.augmentation, recipe.train.augmentation);
    EXPECT_EQ(back.network.exits, recipe.network.exits);
  }
}

TEST(RecipeText, NamesEveryKeyOfTheFormat) {
  const std::string text = to_toml(Recipe{});
  for (const char* line : {"[network]",
                           "backbone = \"resnet18\"",
                           "stem = \"cifar\"",
                           "width = 64",
                           "units = 0",
                           "exits = []",
                           "head = \"spp\"",
                           "spp_levels = [1, 2, 4]",
                           "[exits]",
                           "max_exits = 0",
                           "max_accuracy_drop = 0.005",
                           "head_epochs = 3",
                           "[data]",
                           "source = \"synthetic\"",
                           "image_size = 0",
                           "fit = \"squeeze\"",
                           "split_seed = 1",
                           "mean = []",
                           "std = []",
                           "[train]",
                           "epochs = 20",
                           "batch = 128",
                           "seed = 1",
                           "optimizer = \"sgd\"",
                           "lr = 0.1",
                           "momentum = 0.9",
                           "nesterov = true",
                           "weight_decay = 0.0005",
                           "schedule = \"one_cycle\"",
                           "warmup = 0.2",
                           "step_every = 25",
                           "step_factor = 0.5",
                           "first_scale = 1.0",
                           "full_scale_at = 0.6",
                           "label_smoothing = 0.0",
                           "ema = 0.0",
                           "mode = \"joint\"",
                           "backbone_epochs = 0",
                           "loss_weights = []",
                           "distill = 0.0",
                           "distill_temperature = 3.0",
                           "gradient_equilibrium = false",
                           "precision = \"auto\"",
                           "sync_batch_norm = \"auto\"",
                           "device = \"cpu\"",
                           "threads = 0",
                           "checkpoint_every = 0.0",
                           "from = \"\"",
                           "[augment]",
                           "crop_padding = 0",
                           "flip = false",
                           "cutout = 0",
                           "resized_crop = 0.0"})
    EXPECT_THAT(text, HasSubstr(std::string(line) + "\n"));
}

// The recipes in configs/ can be read, and those of the original work have the published settings.
TEST(RecipeFiles, AllThatShipAreValid) {
  int count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(OFFRAMP_CONFIGS)) {
    if (entry.path().extension() != ".toml") continue;
    ++count;
    EXPECT_NO_THROW(read_recipe(entry.path())) << entry.path();
  }
  EXPECT_GE(count, 6);
}

TEST(RecipeFiles, TheOriginalOnesHoldThePublishedNumbers) {
  const std::filesystem::path folder = std::filesystem::path(OFFRAMP_CONFIGS) / "original";
  for (const char* name : {"plain", "2-exits-avg", "2-exits-spp", "3-exits-avg", "3-exits-spp"}) {
    SCOPED_TRACE(name);
    const Recipe recipe = read_recipe(folder / (std::string(name) + ".toml"));
    EXPECT_EQ(recipe.train.lr, 0.1);
    EXPECT_EQ(recipe.train.momentum, 0.6);
    EXPECT_EQ(recipe.train.weight_decay, 5e-4);
    EXPECT_EQ(recipe.train.batch, 256);
    EXPECT_EQ(recipe.train.step_every, 25);
    EXPECT_EQ(recipe.train.step_factor, 0.5);
    EXPECT_FALSE(recipe.train.nesterov);
    const bool three = recipe.network.exits.size() == 2;
    EXPECT_EQ(recipe.train.epochs, three ? 75 : 150);
    if (recipe.network.exits.size() == 1) {
      EXPECT_THAT(recipe.train.loss_weights, ElementsAre(0.3, 0.7));
    }
    if (three) {
      EXPECT_THAT(recipe.train.loss_weights, ElementsAre(0.2, 0.3, 0.5));
    }
  }
}

}  // namespace
}  // namespace offramp::recipe
