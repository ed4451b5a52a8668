#include "model/model_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <functional>
#include <limits>
#include <utility>

#include "core/bf16.h"
#include "core/error.h"
#include "core/file.h"
#include "core/random.h"
#include "core/safetensors.h"
#include "graph/random_weights.h"
#include "tests/model/tiny_model.h"
#include "tests/support/graphs.h"

namespace offramp::model {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const fs::path kModels = fs::path(OFFRAMP_TEST_DATA) / "models";
const fs::path kVersion1 = kModels / "v1-tiny.safetensors";

/// Returns the policy of v1-tiny-policy.safetensors.
policy::ChosenPolicy version_1_policy() {
  policy::ChosenPolicy chosen;
  chosen.policy = policy::never_stop(2);
  chosen.policy.criterion = policy::Criterion::margin;
  chosen.policy.thresholds = {0.9f};
  chosen.policy.temperatures = {1.1f, 0.875f};
  chosen.policy.ensemble = policy::Ensemble::mean;
  // Version 1 counted the harm of an ensemble against the ensemble of all exits.
  policy::HarmGuarantee aim{0.01, 0.1, true, policy::CostUnit::ms};
  aim.against = policy::HarmReference::ensemble;
  chosen.aim = aim;
  chosen.guarantee =
      policy::Guarantee{"disagreement", 0.01, 0.1, 0.09, 4000, 29, 0.0097, "f32", "libtorch cpu"};
  chosen.guarantee->against = policy::HarmReference::ensemble;
  chosen.seen = policy::TuneExitShares{2000, {0.75, 0.25}};
  return chosen;
}

void expect_equal(const ModelFile& got, const ModelFile& expected) {
  EXPECT_EQ(got.graph, expected.graph);
  EXPECT_EQ(got.weights, expected.weights);
  EXPECT_EQ(got.classes, expected.classes);
  EXPECT_EQ(got.preprocessing, expected.preprocessing);
  EXPECT_EQ(got.loss_weights, expected.loss_weights);
  EXPECT_EQ(got.provenance.data.source, expected.provenance.data.source);
  EXPECT_EQ(got.provenance.data.train, expected.provenance.data.train);
  EXPECT_EQ(got.provenance.data.tune, expected.provenance.data.tune);
  EXPECT_EQ(got.provenance.data.certify, expected.provenance.data.certify);
  EXPECT_EQ(got.provenance.details_json, expected.provenance.details_json);
  EXPECT_EQ(got.policy, expected.policy);
  EXPECT_EQ(got.certificates, expected.certificates);
  EXPECT_EQ(got.deployment, expected.deployment);
  EXPECT_EQ(got.weight_scales, expected.weight_scales);
}

/// A temporary folder with one model file that tests damage.
class ModelFiles : public ::testing::Test {
 protected:
  ModelFiles() { save_model(path_, tiny_model()); }

  /// Changes the parts of the file and writes it again.
  void change(const std::function<void(core::Metadata&, core::Tensors&)>& edit) {
    save_model(path_, tiny_model());
    core::Metadata metadata;
    core::Tensors tensors;
    {
      const core::Safetensors file = core::Safetensors::open(path_);
      metadata = file.metadata();
      for (const auto& [name, view] : file.tensors()) tensors.emplace(name, view.copy());
    }
    edit(metadata, tensors);
    core::write_safetensors(path_, metadata, tensors);
  }

  void expect_refused(const std::string& message) {
    EXPECT_THAT([&] { load_model(path_); }, ThrowsMessage<Error>(path_.string() + ": " + message));
    EXPECT_THAT([&] { map_model(path_); }, ThrowsMessage<Error>(path_.string() + ": " + message));
  }

  void overwrite(const std::string& content) { std::ofstream(path_, std::ios::binary) << content; }

  core::TemporaryFolder folder_;
  fs::path path_ = folder_.path() / "model.safetensors";
};

TEST_F(ModelFiles, GivesBackWhatWasSaved) { expect_equal(load_model(path_), tiny_model()); }

TEST_F(ModelFiles, HasTheKeysThatAreDocumented) {
  const core::Safetensors file = core::Safetensors::open(path_);
  EXPECT_EQ(file.metadata().at("format_version"), "2");
  EXPECT_EQ(file.metadata().at("requires"), "[]");
  EXPECT_EQ(file.metadata().at("graph"), graph_to_json(tiny_graph()));
  EXPECT_EQ(file.metadata().at("classes"), R"(["circle","square","Dreieck △"])");
  EXPECT_EQ(file.metadata().at("preprocessing"),
            R"({"height":4,"width":5,"fit":"crop","mean":[0.5,0.4914,0.1],"std":[0.25,0.2,1.0]})");
  EXPECT_EQ(file.metadata().at("provenance"),
            R"({"source":"drawn shapes, seed 1","loss_weights":[0.3,1.0],)"
            R"("details":{"seed":42,"recipe":"[train]\nepochs = 3\n"}})");
  EXPECT_EQ(file.metadata().size(), 6u);
  EXPECT_EQ(file.at("provenance.train").copy(),
            core::HostTensor::of({3}, std::vector<std::uint64_t>{1, 5, ~0ull}));
  EXPECT_EQ(file.at("provenance.certify").shape, (std::vector<std::int64_t>{0}));
}

TEST_F(ModelFiles, KeepsEveryExampleNetwork) {
  for (const graph::Graph& graph : example_graphs()) {
    SCOPED_TRACE(graph.name);
    ModelFile model;
    model.graph = graph;
    model.weights = graph::random_weights(graph, 1);
    for (std::int64_t i = 0; i < graph.classes; ++i) model.classes.push_back(std::to_string(i));
    model.preprocessing.height = static_cast<int>(graph.input[1]);
    model.preprocessing.width = static_cast<int>(graph.input[2]);
    model.loss_weights.assign(graph::exit_segments(graph).size(), 1.0);
    save_model(path_, model);
    expect_equal(load_model(path_), model);
  }
}

TEST_F(ModelFiles, KeepsEveryPreprocessingExactly) {
  ModelFile model = tiny_model();
  for (std::uint64_t round = 0; round < 50; ++round) {
    core::KeyedRandom random(5, round);
    for (float& value : model.preprocessing.mean) value = random.uniform(-3, 3);
    for (float& value : model.preprocessing.std) value = random.uniform(1e-6f, 300);
    save_model(path_, model);
    EXPECT_EQ(load_model(path_).preprocessing, model.preprocessing);
  }
}

TEST_F(ModelFiles, KeepsBf16Weights) {
  ModelFile model = tiny_model();
  for (auto& [name, tensor] : model.weights) {
    core::HostTensor small{core::DType::bf16, tensor.shape,
                           std::vector<std::byte>(tensor.bytes.size() / 2)};
    for (std::size_t i = 0; i < tensor.as<float>().size(); ++i)
      small.as<std::uint16_t>()[i] = core::to_bf16(tensor.as<float>()[i]);
    tensor = small;
  }
  save_model(path_, model);
  EXPECT_EQ(load_model(path_).weights, model.weights);
}

TEST_F(ModelFiles, KeepsExtraTensorsBesideTheWeights) {
  core::Tensors extra;
  extra["optimizer.conv1.weight"] = core::HostTensor::of({2}, std::vector<float>{1, 2});
  extra["step"] = core::HostTensor::of({}, std::vector<std::int64_t>{7});
  save_model(path_, tiny_model(), extra);
  core::Tensors read = {{"left over", {}}};
  expect_equal(load_model(path_, &read), tiny_model());
  EXPECT_EQ(read, extra);
  EXPECT_EQ(load_model(path_).weights, tiny_model().weights);
}

TEST_F(ModelFiles, SortsTheHashes) {
  ModelFile model = tiny_model();
  model.provenance.data.train = {9, 3, 7};
  save_model(path_, model);
  EXPECT_THAT(load_model(path_).provenance.data.train, ElementsAre(3, 7, 9));
}

TEST_F(ModelFiles, RefusesOtherFilesWithAdvice) {
  change([](core::Metadata& metadata, core::Tensors&) { metadata.clear(); });
  expect_refused(
      "not a model file: bare weights without a network; `offramp train --from FILE` starts from "
      "such weights");
  change([](core::Metadata& metadata, core::Tensors& tensors) {
    metadata.clear();
    tensors.clear();
  });
  expect_refused("not a model file: it holds no tensors");
  overwrite(std::string("PK\x03\x04", 4) + std::string(100, 'x'));
  expect_refused(
      "written by torch.save, not a safetensors file; convert it in Python with "
      "safetensors.torch.save_file(torch.load(\"model.safetensors\", weights_only=True), "
      "\"model.safetensors\")");
  overwrite("just some text");
  expect_refused("not a safetensors file: its header does not begin with {");
  fs::remove(path_);
  expect_refused("cannot open: No such file or directory");
}

TEST_F(ModelFiles, RefusesMetadataThatAreWrong) {
  const struct {
    std::string key, text, message;
  } cases[] = {
      {"format_version", "3",
       "format_version: got \"3\", this program reads 1 and 2; the file may come from a newer "
       "version of it"},
      {"format_version", "0",
       "format_version: got \"0\", this program reads 1 and 2; the file may come from a newer "
       "version of it"},
      {"requires", R"(["int8","learned-criterion"])",
       "requires \"learned-criterion\", which this version does not know"},
      {"requires", R"("int8")", "requires: got the text \"int8\", expected an array"},
      {"graph", "", "graph: not valid JSON at byte 1"},
      {"graph", "{}", "graph: name is missing"},
      {"graph", R"({"name":"n","input":[1,4,5],"classes":3,"segments":[]})",
       "graph: the network has no segments"},
      {"classes", R"(["a","b"])", "classes: got 2 names, but the graph has 3 classes"},
      {"classes", R"(["a","b","a"])", "classes: \"a\" appears twice"},
      {"classes", R"(["a","b",3])", "classes: names[2]: got 3, expected a text"},
      {"classes", R"({"a":1})", "classes: names: got an object, expected an array"},
      {"preprocessing", "[]", "preprocessing: the text: got an array, expected an object"},
      {"preprocessing", R"({"height":4,"width":5,"fit":"pad","mean":[0,0,0],"std":[1,1,1]})",
       "preprocessing: fit: unknown fit \"pad\"; known: squeeze, crop"},
      {"preprocessing", R"({"height":4,"width":4,"fit":"crop","mean":[0,0,0],"std":[1,1,1]})",
       "preprocessing: makes images of 4x4, but the graph's input is [1,4,5]"},
      {"preprocessing", R"({"height":4,"width":5,"fit":"crop","mean":[0,0],"std":[1,1,1]})",
       "preprocessing: mean: 2 values, expected 3"},
      {"preprocessing", R"({"height":4,"width":5,"fit":"crop","mean":[0,0,0],"std":[1,0,1]})",
       "preprocessing: std 0 is not a finite number above 0"},
      {"preprocessing", R"({"height":4,"width":5,"fit":"crop","mean":[0,0,0],"std":[1,1e-99,1]})",
       "preprocessing: std 0 is not a finite number above 0"},
      {"preprocessing",
       R"({"height":4,"width":5,"fit":"crop","mean":[0,0,0],"std":[1,1,1],"scale":2})",
       "preprocessing: unknown key \"scale\""},
      {"provenance", R"({"source":"","loss_weights":[1],"details":{}})",
       "provenance: got 1 loss_weights, expected 2: one for each exit"},
      {"provenance", R"({"source":"","loss_weights":[1,-1],"details":{}})",
       "provenance: loss_weights[1]: got -1, expected a number from 0 to 1000000000"},
      {"provenance", R"({"source":"","loss_weights":[1,1],"details":[]})",
       "provenance: details: got an array, expected an object"},
      {"provenance", R"({"source":"","source":"","loss_weights":[1,1],"details":{}})",
       "provenance: key \"source\" appears twice"},
  };
  for (const auto& one : cases) {
    SCOPED_TRACE(one.text);
    change([&](core::Metadata& metadata, core::Tensors&) { metadata[one.key] = one.text; });
    expect_refused(one.message);
  }
  for (const std::string key : {"requires", "graph", "classes", "preprocessing", "provenance"}) {
    change([&](core::Metadata& metadata, core::Tensors&) { metadata.erase(key); });
    expect_refused(key + ": missing in the metadata");
  }
}

TEST_F(ModelFiles, RefusesWeightsThatDoNotFitTheGraph) {
  const auto floats = [](std::vector<std::int64_t> shape, float value = 1) {
    const auto count = static_cast<std::size_t>(core::element_count(shape));
    return core::HostTensor::of(std::move(shape), std::vector<float>(count, value));
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  core::HostTensor half_nan{core::DType::bf16, {3}, std::vector<std::byte>(6)};
  half_nan.as<std::uint16_t>()[2] = core::to_bf16(nan);
  const struct {
    std::string name;
    core::HostTensor tensor;
    std::string message;
  } cases[] = {
      {"conv1.weight", floats({2, 1, 1, 1}),
       "shape differs from the graph: got [2,1,1,1], expected [2,1,3,3]"},
      {"conv1.weight", floats({18}), "shape differs from the graph: got [18], expected [2,1,3,3]"},
      {"fc.bias", core::HostTensor::of({3}, std::vector<std::int64_t>(3)),
       "got I64, expected F32 or BF16"},
      {"fc.bias", floats({3}, nan), "a value is not finite: nan"},
      {"fc.bias", floats({3}, -std::numeric_limits<float>::infinity()),
       "a value is not finite: -inf"},
      {"fc.bias", half_nan, "a value is not finite: nan"},
      {"bn1.running_var", floats({2}, -1), "a variance is negative: -1"},
      {"provenance.train", floats({3}), "got F32 [3], expected U64 of one dimension"},
      {"provenance.tune", core::HostTensor::of({2, 1}, std::vector<std::uint64_t>(2)),
       "got U64 [2,1], expected U64 of one dimension"},
      {"provenance.tune", core::HostTensor::of({2}, std::vector<std::uint64_t>{2, 1}),
       "hashes are not sorted"},
  };
  for (const auto& one : cases) {
    SCOPED_TRACE(one.message);
    change([&](core::Metadata&, core::Tensors& tensors) { tensors[one.name] = one.tensor; });
    expect_refused("tensor \"" + one.name + "\": " + one.message);
  }
  for (const std::string name : {"conv2.bias", "bn1.running_mean", "provenance.certify"}) {
    change([&](core::Metadata&, core::Tensors& tensors) { tensors.erase(name); });
    expect_refused("tensor \"" + name + "\" is missing");
  }
}

TEST_F(ModelFiles, RefusesAGraphNoReaderCouldUse) {
  graph::Graph graph = tiny_graph();
  graph.segments[1].nodes[0].inputs = {"bn1"};
  change(
      [&](core::Metadata& metadata, core::Tensors&) { metadata["graph"] = graph_to_json(graph); });
  EXPECT_THAT([&] { load_model(path_); },
              ThrowsMessage<Error>(HasSubstr(": graph: segment \"last\": node \"conv2\": ")));

  // The size of every tensor and weight is allowed, but the total number of MACs overflows.
  graph = tiny_graph();
  graph.input = {1, 2048, 4096};
  graph::Segment& first = graph.segments[0];
  first.nodes.clear();
  first.head.clear();
  first.feature = graph::kInput;
  for (int i = 0; i < 5000; ++i) {
    const std::string name = fmt::format("conv{}.long", i);
    const graph::Conv conv{.out_channels = 256, .kernel = 63, .padding = 31};
    first.nodes.push_back({name, conv, {std::exchange(first.feature, name)}});
  }
  first.outputs = {first.feature};
  graph.segments[1].nodes[0].inputs = {first.feature};
  change(
      [&](core::Metadata& metadata, core::Tensors&) { metadata["graph"] = graph_to_json(graph); });
  expect_refused("graph: the network has more than 2^63 - 1 multiply-accumulates");
}

TEST_F(ModelFiles, RefusesAGraphThatAnImageWouldKeepBusyForMinutes) {
  graph::Graph graph = tiny_graph();
  graph.input = {2, 8192, 8192};
  graph::Segment& first = graph.segments[0];
  first.head.clear();
  first.nodes = {{"pool", graph::AvgPool{.kernel = 64, .stride = 1}, {std::string(graph::kInput)}}};
  first.feature = "pool";
  first.outputs = {"pool"};
  graph.segments[1].nodes[0].inputs = {"pool"};
  change(
      [&](core::Metadata& metadata, core::Tensors&) { metadata["graph"] = graph_to_json(graph); });
  expect_refused(
      "graph: pools and operations on elements read 5.4e+11 values for an image, at most 2e+10 are "
      "allowed");

  const auto chain = [&](const graph::Op& op, int length) {
    first.nodes.clear();
    for (int i = 0; i < length; ++i)
      first.nodes.push_back({fmt::format("n{}", i),
                             op,
                             {i == 0 ? std::string(graph::kInput) : fmt::format("n{}", i - 1)}});
    first.feature = first.nodes.back().name;
    first.outputs = {first.feature};
    graph.segments[1].nodes[0].inputs = first.outputs;
    change([&](core::Metadata& metadata, core::Tensors&) {
      metadata["graph"] = graph_to_json(graph);
    });
  };
  chain(graph::Gelu{}, 50);
  expect_refused(
      "graph: pools and operations on elements read 2.7e+10 values for an image, at most 2e+10 are "
      "allowed");
  // Each pool keeps tables of its rows and columns: 20 gigabytes in 10,000 pools.
  graph.input = {2, 65536, 1};
  chain(graph::MaxPool{.kernel = 1, .stride = 1}, 160);
  expect_refused(
      "graph: the outputs of all pools have 1e+07 rows and columns, at most 1e+07 are allowed");
  graph.input = {2, 8192, 8192};

  first.nodes = {{"pool",
                  graph::Conv{.out_channels = 16, .kernel = 63, .padding = 31},
                  {std::string(graph::kInput)}}};
  change(
      [&](core::Metadata& metadata, core::Tensors&) { metadata["graph"] = graph_to_json(graph); });
  EXPECT_THAT([&] { load_model(path_); },
              ThrowsMessage<Error>(HasSubstr(
                  ": graph: an image takes 8.5e+12 multiply-accumulates, at most 2e+12 are")));
}

TEST_F(ModelFiles, RefusesAPipeWithoutWaitingForIt) {
  fs::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  expect_refused("cannot open: not a regular file");
}

TEST_F(ModelFiles, RefusesATruncatedFileAtEveryLength) {
  // The file is truncated in place, because writing a new file for each length would be slow.
  for (std::uintmax_t length = fs::file_size(path_); length-- > 0;) {
    fs::resize_file(path_, length);
    EXPECT_THROW(load_model(path_), Error) << "cut to " << length << " bytes";
  }
}

TEST_F(ModelFiles, SurvivesChangedBytes) {
  const std::string whole = core::read_text(path_);
  std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
  const auto put = [&](std::uint64_t at, char byte) {
    file.seekp(static_cast<std::streamoff>(at)).put(byte).flush();
  };
  int refused = 0;
  for (std::uint64_t round = 0; round < 6000; ++round) {
    core::KeyedRandom random(3, round);
    std::vector<std::uint64_t> places(1 + random.below(2));
    for (std::uint64_t& place : places) {
      place = random.below(whole.size());
      put(place, static_cast<char>(whole[place] ^ (1u << random.below(8))));
    }
    try {
      // An accepted model must be usable.
      const ModelFile model = load_model(path_);
      for (const graph::Parameter& parameter : graph::parameters(model.graph))
        ASSERT_EQ(model.weights.at(parameter.name).shape, parameter.shape);
      ASSERT_EQ(model.classes.size(), static_cast<std::size_t>(model.graph.classes));
    } catch (const Error&) {
      ++refused;
    }
    for (std::uint64_t place : places) put(place, whole[place]);
  }
  EXPECT_GT(refused, 1000);
  expect_equal(load_model(path_), tiny_model());
}

TEST_F(ModelFiles, IsNotSavedWhenItCouldNotBeRead) {
  const auto expect_unsaved = [&](const std::function<void(ModelFile&)>& edit,
                                  const std::string& message, const core::Tensors& extra = {}) {
    ModelFile model = tiny_model();
    edit(model);
    EXPECT_THAT([&] { save_model(path_, model, extra); },
                ThrowsMessage<Error>(path_.string() + ": " + message));
  };
  expect_unsaved([](ModelFile& m) { m.weights.erase("fc.weight"); },
                 "tensor \"fc.weight\" is missing");
  expect_unsaved([](ModelFile& m) { m.weights["fc.scale"] = m.weights["fc.bias"]; },
                 "tensor \"fc.scale\": not a parameter of the graph");
  expect_unsaved(
      [](ModelFile& m) {
        m.weights["fc.bias"].as<float>()[1] = std::numeric_limits<float>::infinity();
      },
      "tensor \"fc.bias\": a value is not finite: inf");
  expect_unsaved([](ModelFile& m) { m.classes.pop_back(); },
                 "classes: got 2 names, but the graph has 3 classes");
  expect_unsaved([](ModelFile& m) { m.loss_weights = {1}; },
                 "provenance: got 1 loss_weights, expected 2: one for each exit");
  expect_unsaved([](ModelFile& m) { m.provenance.details_json = "[]"; },
                 "provenance.details: not a JSON object");
  expect_unsaved([](ModelFile& m) { m.provenance.details_json = "{"; },
                 "provenance.details: not valid JSON at byte 2");
  expect_unsaved([](ModelFile& m) { m.classes[0] = "\xff"; },
                 "a class name, the provenance or the policy is not UTF-8");
  expect_unsaved([](ModelFile& m) { m.classes[0] = std::string(1001, 'x'); },
                 "classes: names[0]: text of 1001 bytes is longer than the 1000 allowed");
  expect_unsaved([](ModelFile& m) { m.provenance.data.source = std::string(10'001, 'x'); },
                 "provenance: source: text of 10001 bytes is longer than the 10000 allowed");
  expect_unsaved(
      [](ModelFile& m) { m.preprocessing.mean[1] = 2e6f; },
      "preprocessing: mean[1]: got 2000000.0, expected a number from -1000000 to 1000000");
  expect_unsaved(
      [](ModelFile& m) {
        m.loss_weights = {1, 2e9};
      },
      "provenance: loss_weights[1]: got 2000000000.0, expected a number from 0 to 1000000000");
  for (const std::string name : {"fc.bias", "provenance.train", "provenance.more"})
    expect_unsaved([](ModelFile&) {},
                   "tensor \"" + name + "\": an extra tensor has the name of a tensor of the model",
                   {{name, tiny_model().weights["fc.bias"]}});
  expect_equal(load_model(path_), tiny_model());
}

/// Checks that a file of an old version has the same content after it is written in the new
/// version.
void expect_kept(const fs::path& path) {
  SCOPED_TRACE(path);
  const core::TemporaryFolder folder;
  const fs::path again = folder.path() / "again.safetensors";
  core::Tensors extra, extra_again;
  const ModelFile model = load_model(path, &extra);
  save_model(again, model, extra);
  expect_equal(load_model(again, &extra_again), model);
  EXPECT_EQ(extra_again, extra);
  EXPECT_EQ(core::Safetensors::open(again).metadata().at("format_version"), "2");
}

// These files are of version 1 of the format. They must load as long as the program reads
// version 1. Each new version of the format gets its own file.
TEST(ModelFileVersion1, IsStillRead) {
  const ModelFile model = load_model(kVersion1);
  expect_equal(model, tiny_model());
  // The golden values were read in Python with numpy.frombuffer on the bytes of each tensor.
  EXPECT_THAT(model.weights.at("bn1.running_var").to_f32(), ElementsAre(1.2882026f, 1.9532328f));
  EXPECT_THAT(model.weights.at("fc.bias").to_f32(),
              ElementsAre(-0.4119587f, 0.09594351f, -0.0009908676f));
  expect_kept(kVersion1);
}

TEST(ModelFileVersion1, IsReadWithItsPolicy) {
  ModelFile expected = tiny_model();
  expected.certificates = 1;
  expected.policy = version_1_policy();
  expect_equal(load_model(kModels / "v1-tiny-policy.safetensors"), expected);
  expect_kept(kModels / "v1-tiny-policy.safetensors");
}

// This file was written by tests/model/write_example.cpp.
TEST(ModelFileVersion2, IsStillRead) {
  expect_equal(load_model(kModels / "v2-tiny-policy.safetensors"), tiny_certified_model());
}

// The published models are files of version 1 with int8 weights and a guarantee.
TEST(ModelFileVersion1, OfAModelThatShipsKeepsItsContentInVersion2) {
  const fs::path folder = fs::path(OFFRAMP_TEST_DATA) / "../../models";
  for (const std::string name : {"cifar10-2-exits-small", "cifar10-3-exits"}) {
    const fs::path path = folder / (name + ".safetensors");
    const ModelFile model = load_model(path);
    ASSERT_TRUE(model.policy && model.policy->guarantee && model.policy->seen);
    EXPECT_EQ(model.policy->aim, policy::Aim(policy::HarmGuarantee{0.02, 0.05}));
    EXPECT_EQ(model.policy->guarantee->precision, "int8");
    EXPECT_FALSE(model.policy->path);
    EXPECT_THAT(required_features(model), ElementsAre("int8"));
    expect_kept(path);
  }
}

TEST(MappedModel, IsWhatLoadingGivesWithItsWeightsInTheFile) {
  const core::TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors";
  const ModelFile written = tiny_model();
  save_model(path, written);
  const MappedModel mapped = map_model(path);
  EXPECT_EQ(mapped.model.graph, written.graph);
  EXPECT_EQ(mapped.model.classes, written.classes);
  EXPECT_TRUE(mapped.model.weights.empty());
  for (const auto& [name, tensor] : written.weights) {
    const core::TensorView& view = mapped.file.at(name);
    EXPECT_EQ(view.copy(), tensor);
    EXPECT_EQ(view.to_f32(), tensor.to_f32());
    mapped.file.drop_pages(view);
    EXPECT_EQ(view.copy(), tensor);  // reading it twice must work
  }
}

}  // namespace
}  // namespace offramp::model
