#include "runtime/native_operations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "core/bf16.h"
#include "core/clones.h"
#include "core/overloaded.h"
#include "core/random.h"
#include "graph/graph_builder.h"
#include "graph/random_weights.h"
#include "runtime/onednn.h"
#include "tests/support/reference.h"

namespace offramp::runtime {
namespace {

constexpr Format kFormats[] = {Format::planes, Format::channels_last, Format::blocked4,
                               Format::blocked8, Format::blocked16};

struct Case {
  std::string name;
  std::vector<graph::Node> nodes;  ///< from "input" to "x"
  std::int64_t channels = 3, height = 5, width = 7;
};

/// Runs one operation on a batch of images in one format and type, and compares the result with the
/// reference's.
class Trial {
 public:
  Trial(const Case& one, Format format, const Element& element)
      : case_(one), format_(format), element_(element) {
    graph_.name = one.name;
    graph_.input = {one.channels, one.height, one.width};
    graph_.classes = 2;
    graph::Segment segment{"all", one.nodes, {}, "x", {}};
    std::string x = "x";
    if (infer_output().size() == 3) x = append(segment.head, "pool", graph::GlobalAvgPool{}, {x});
    append(segment.head, "fc", graph::Linear{.out_features = 2}, {x});
    graph_.segments = {segment};
    weights_ = graph::random_weights(graph_, 3);
    images_ = graph::random_images(graph_, kBatch, 4);
    // Inputs are rounded to the element type first, so that only the operation's rounding remains.
    for (float& value : images_) {
      if (element.dtype == core::DType::bf16) value = core::from_bf16(core::to_bf16(value));
      if (element.dtype == core::DType::u8) value = std::abs(value);
      if (element.is_quantised())
        value = std::clamp(std::nearbyint(value / element.scale), -127.0f, 255.0f) * element.scale;
      if (element.dtype == core::DType::i8) value = std::min(value, 127 * element.scale);
    }
  }

  Layout src() const { return {graph_.input, element_, format_}; }
  Layout dst() const { return {output_shape(), dst_element_.value_or(element_), format_}; }
  bool is_quantised() const { return element_.is_quantised(); }
  /// Sets the elements of a quantised dst that differ from those of src.
  void set_dst_element(const Element& element) { dst_element_ = element; }
  graph::Shape output_shape() const { return graph::infer_shapes(graph_).find("x")->second; }
  const core::Tensors& weights() const { return weights_; }

  void set_weight(const std::string& name, const std::vector<float>& values) {
    core::HostTensor& tensor = weights_.at(name);
    tensor = core::HostTensor::of(tensor.shape, values);
  }

  /// Runs the operation and compares. It gets the input `copies` times; if `in_place`, dst is the
  /// first of these copies. @param factors  [C] the last input of each image; empty: none
  void expect_parity(const Operation& operation, std::size_t copies = 1, bool in_place = false,
                     const std::vector<float>& factors = {}) {
    std::vector<std::vector<std::byte>> srcs(copies, packed());
    const Layout to = output_shape().size() == 3 ? dst() : feature_layout(output_shape()[0]);
    std::vector<std::byte> out(to.bytes() * kBatch, std::byte{0xff});
    constexpr std::ptrdiff_t kGuard =
        4096;  // behind the scratch memory; no operation may change it
    std::vector<std::byte> scratch(operation.scratch_bytes() + kGuard, std::byte{0xa5});
    Buffers buffers;
    for (auto& src : srcs) buffers.srcs.push_back(src.data());
    std::vector<float> repeated;
    for (std::size_t n = 0; n < kBatch; ++n)
      repeated.insert(repeated.end(), factors.begin(), factors.end());
    if (!factors.empty()) buffers.srcs.push_back(reinterpret_cast<std::byte*>(repeated.data()));
    buffers.dst = in_place ? srcs[0].data() : out.data();
    buffers.scratch = scratch.data();
    operation.bind(buffers, dnnl::stream(cpu_engine()))->run();
    ASSERT_EQ(std::count(scratch.end() - kGuard, scratch.end(), std::byte{0xa5}), kGuard)
        << case_.name << " writes beyond its scratch memory";

    ReferencePredictor reference(graph_, weights_);
    for (std::size_t n = 0; n < kBatch; ++n) {
      const auto expected = reference.tensors(image(n)).at("x");
      const std::vector<float> actual = unpacked(to, buffers.dst + n * to.bytes());
      ASSERT_EQ(actual.size(), expected.size());
      double largest = 1e-3;
      for (const double value : expected) largest = std::max(largest, std::abs(value));
      const double epsilon = to.element.dtype == core::DType::bf16 ? 0x1p-8 : 1e-5;
      const double rounding = to.element.is_quantised() ? 0.5 * to.element.scale : 0;
      const auto [least, most] = bounds(to.element);
      for (std::size_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(actual[i], std::clamp(expected[i], least, most), epsilon * largest + rounding)
            << case_.name << ", " << to_string(src()) << ", image " << n << ", element " << i;
      expect_zeros_in_the_last_block(to, buffers.dst + n * to.bytes());
    }
  }

 private:
  static constexpr std::size_t kBatch = 3;

  graph::Shape infer_output() const {
    return std::visit(
        core::overloaded{
            [](const core::OneOf<graph::GlobalAvgPool, graph::SpatialPyramidPool, graph::Flatten,
                                 graph::Linear> auto&) { return graph::Shape{1}; },
            [](const graph::ActivationOp auto&) {
              return graph::Shape{1, 1, 1};
            },
            [](const core::OneOf<graph::Conv, graph::BatchNorm, graph::LayerNorm, graph::Add,
                                 graph::Multiply, graph::Concat, graph::Slice,
                                 graph::ChannelShuffle, graph::MaxPool, graph::AvgPool,
                                 graph::AdaptiveAvgPool> auto&) {
              return graph::Shape{1, 1, 1};
            },
        },
        case_.nodes.back().op);
  }
  std::span<const float> image(std::size_t n) const {
    const std::size_t size = images_.size() / kBatch;
    return {images_.data() + n * size, size};
  }
  std::vector<std::byte> packed() const {
    std::vector<std::byte> bytes(src().bytes() * kBatch, std::byte{0xff});
    for (std::size_t n = 0; n < kBatch; ++n) {
      std::byte* to = bytes.data() + n * src().bytes();
      const auto grid = src().grid();
      const float per_step = 1 / element_.scale;
      if (element_.dtype == core::DType::bf16)
        kernels::pack(image(n).data(), grid, reinterpret_cast<std::uint16_t*>(to));
      else if (element_.dtype == core::DType::u8)
        kernels::pack(image(n).data(), grid, per_step, reinterpret_cast<std::uint8_t*>(to));
      else if (element_.dtype == core::DType::i8)
        kernels::pack(image(n).data(), grid, per_step, reinterpret_cast<std::int8_t*>(to));
      else
        kernels::pack(image(n).data(), grid, reinterpret_cast<float*>(to));
    }
    return bytes;
  }
  static float at(const Layout& layout, const std::byte* image, std::int64_t element) {
    const float scale = layout.element.scale;
    switch (layout.element.dtype) {
      case core::DType::bf16:
        return core::from_bf16(reinterpret_cast<const std::uint16_t*>(image)[element]);
      case core::DType::u8:
        return scale * static_cast<float>(reinterpret_cast<const std::uint8_t*>(image)[element]);
      case core::DType::i8:
        return scale * static_cast<float>(reinterpret_cast<const std::int8_t*>(image)[element]);
      default:
        return reinterpret_cast<const float*>(image)[element];
    }
  }
  /// The least and the greatest value that elements can represent.
  static std::pair<double, double> bounds(const Element& element) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (element.dtype == core::DType::u8) return {0, 255.0 * element.scale};
    if (element.dtype == core::DType::i8) return {-128.0 * element.scale, 127.0 * element.scale};
    return {-kInfinity, kInfinity};
  }
  static std::vector<float> unpacked(const Layout& layout, const std::byte* image) {
    const kernels::Grid grid = layout.grid();
    std::vector<float> planes;
    for (std::int64_t c = 0; c < grid.channels; ++c)
      for (std::int64_t y = 0; y < grid.height; ++y)
        for (std::int64_t x = 0; x < grid.width; ++x)
          planes.push_back(at(layout, image,
                              c / grid.block * grid.block_stride + y * grid.row_stride +
                                  x * grid.column_stride + c % grid.block));
    return planes;
  }
  // oneDNN's convolutions rely on zeros in the padding.
  static void expect_zeros_in_the_last_block(const Layout& layout, const std::byte* image) {
    const kernels::Grid grid = layout.grid();
    for (std::int64_t c = grid.channels; c < grid.blocks * grid.block; ++c)
      for (std::int64_t place = 0; place < grid.height * grid.width; ++place)
        ASSERT_EQ(
            at(layout, image,
               c / grid.block * grid.block_stride + place * grid.column_stride + c % grid.block),
            0);
  }

  Case case_;
  Format format_;
  Element element_;
  std::optional<Element> dst_element_;
  graph::Graph graph_;
  core::Tensors weights_;
  std::vector<float> images_;
};

/// Returns random numbers that differ from call to call.
class KeyedFloats {
 public:
  std::vector<float> operator()(int count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = random_.uniform(-1, 1);
    return values;
  }

 private:
  core::KeyedRandom random_{5, 6};
};

/// Tests an operation in every format and type, on one thread and on two, which share three images:
/// one of them is split between the threads.
template <typename Try>
void in_every_layout(const Case& one, const Try& attempt) {
  for (const Format format : kFormats)
    for (const Element& element :
         {Element{}, Element{core::DType::bf16}, Element{core::DType::u8, 0.02f},
          Element{core::DType::i8, 0.03f}})
      for (const int threads : {1, 2}) {
        Trial trial(one, format, element);
        attempt(trial, WorkSize{3, threads, 0});
      }
}

std::shared_ptr<const Operation> sum_of(const Trial& trial, std::size_t count,
                                        const Activation& activation, WorkSize work_size) {
  if (!trial.is_quantised()) return make_add(trial.src(), activation, work_size);
  return make_quantised_add(std::vector<Element>(count, trial.src().element), trial.dst(),
                            activation, work_size);
}

Case single(std::string name, graph::Op op, graph::Shape shape) {
  return {std::move(name), {{"x", std::move(op), {"input"}}}, shape[0], shape[1], shape[2]};
}

TEST(NativeOperations, PoolLikeTheReference) {
  for (const graph::Shape& shape : {graph::Shape{3, 5, 7}, {16, 8, 8}, {70, 9, 4}, {130, 33, 31}})
    for (const auto& [kernel, stride, padding] :
         {std::tuple{2, 2, 0}, {3, 2, 1}, {3, 1, 1}, {4, 3, 2}, {1, 2, 0}}) {
      const graph::MaxPool max{kernel, stride, padding};
      in_every_layout(single("max", max, shape), [&](Trial& trial, WorkSize work_size) {
        trial.expect_parity(*make_max_pool(trial.src(), trial.dst(), max, work_size));
      });
      const graph::AvgPool avg{kernel, stride, padding};
      in_every_layout(single("avg", avg, shape), [&](Trial& trial, WorkSize work_size) {
        trial.expect_parity(*make_avg_pool(trial.src(), trial.dst(), avg, work_size));
      });
    }
}

TEST(NativeOperations, PoolWindowsThatDifferBetweenRowsAndColumnsLikeTheReference) {
  for (const graph::Shape& shape : {graph::Shape{3, 5, 7}, {70, 9, 4}})
    for (const bool flag : {false, true}) {
      for (const graph::AvgPool& avg :
           {graph::AvgPool{{2, 3}, {2, 1}, {1, 0, 0, 1}, flag, false},
            graph::AvgPool{{3, 2}, {2, 3}, {0, 1, 1, 0}, flag, true},
            graph::AvgPool{3, 2, 1, true, flag}, graph::AvgPool{2, 2, 0, true, flag}})
        in_every_layout(single("avg", avg, shape), [&](Trial& trial, WorkSize work_size) {
          trial.expect_parity(*make_avg_pool(trial.src(), trial.dst(), avg, work_size));
        });
      for (const graph::MaxPool& max : {graph::MaxPool{{2, 3}, {2, 1}, {1, 0, 0, 1}, {3, 1}, flag},
                                        graph::MaxPool{3, 2, {0, 0, 1, 1}, {2, 1}, flag}})
        in_every_layout(single("max", max, shape), [&](Trial& trial, WorkSize work_size) {
          trial.expect_parity(*make_max_pool(trial.src(), trial.dst(), max, work_size));
        });
    }
}

TEST(NativeOperations, AverageTheBinsOfAGridLikeTheReference) {
  for (const graph::Shape& shape : {graph::Shape{3, 5, 7}, {2, 1, 3}, {70, 13, 11}})
    for (const graph::Extent& grid : {graph::Extent(1), graph::Extent(7), graph::Extent(3, 4)})
      in_every_layout(single("grid", graph::AdaptiveAvgPool{grid}, shape), [&](Trial& trial,
                                                                               WorkSize work_size) {
        trial.expect_parity(*make_adaptive_average(trial.src(), trial.dst(), work_size));
      });
}

TEST(NativeOperations, MakeFeaturesLikeTheReference) {
  for (const graph::Shape& shape :
       {graph::Shape{3, 5, 7}, {1, 1, 1}, {64, 32, 32}, {70, 13, 11}, {17, 4, 4}}) {
    in_every_layout(single("global", graph::GlobalAvgPool{}, shape),
                    [&](Trial& trial, WorkSize work_size) {
                      trial.expect_parity(*make_global_average(trial.src(), work_size));
                    });
    in_every_layout(single("flatten", graph::Flatten{}, shape),
                    [&](Trial& trial, WorkSize work_size) {
                      trial.expect_parity(*make_flatten(trial.src(), work_size));
                    });
  }
}

TEST(NativeOperations, PoolPyramidsWhoseBinsOverlapLikeTheReference) {
  for (const graph::Shape& shape : {graph::Shape{3, 5, 7}, {2, 1, 3}, {64, 32, 32}, {70, 13, 11}})
    for (const std::vector<int>& levels :
         std::vector<std::vector<int>>{{1}, {1, 2, 4}, {5, 2}, {3, 3}, {7, 1, 6}, {40}}) {
      const graph::SpatialPyramidPool pool{levels};
      in_every_layout(single("pyramid", pool, shape), [&](Trial& trial, WorkSize work_size) {
        trial.expect_parity(*make_pyramid_pool(trial.src(), pool, work_size));
      });
    }
}

TEST(NativeOperations, AddAndActivateLikeTheReferenceAlsoInPlace) {
  const Case sum{"sum",
                 {{"s", graph::Add{}, {"input", "input"}},
                  {"t", graph::Add{}, {"s", "input"}},
                  {"x", graph::Relu6{}, {"t"}}},
                 70,
                 9,
                 31};
  in_every_layout(sum, [&](Trial& trial, WorkSize work_size) {
    if (trial.is_quantised()) trial.set_dst_element({core::DType::u8, 0.025f});
    const auto operation = sum_of(trial, 3, kRelu6, work_size);
    trial.expect_parity(*operation, 3);
    trial.expect_parity(*operation, 3, true);
  });
  in_every_layout(single("relu", graph::Relu{}, {5, 3, 3}), [&](Trial& trial, WorkSize work_size) {
    if (trial.is_quantised()) trial.set_dst_element({core::DType::i8, 0.015f});  // saturates
    trial.expect_parity(*sum_of(trial, 1, kRelu, work_size), 1, true);
  });
}

TEST(NativeOperations, ActivateLikeTheReference) {
  using Kind = Activation::Kind;
  const std::pair<graph::Op, Activation> cases[] = {
      {graph::Clip{-0.5, 0.75}, clamp(-0.5f, 0.75f)},
      {graph::Sigmoid{}, {Kind::sigmoid}},
      {graph::HardSigmoid{0.4, 0.3}, {Kind::hard_sigmoid, 0.4f, 0.3f}},
      {graph::HardSwish{}, {Kind::hard_swish}},
      {graph::Silu{}, {Kind::silu}},
      {graph::Gelu{}, {Kind::gelu}},
      {graph::Gelu{.tanh = true}, {Kind::gelu_tanh}},
  };
  for (const auto& [op, activation] : cases)
    for (const std::int64_t channels : {16, 70})
      in_every_layout(single(to_string(activation), op, {channels, 9, 31}),
                      [&](Trial& trial, WorkSize work_size) {
                        const kernels::Grid grid = trial.src().grid();
                        if (!activation.keeps_zero() && grid.blocks * grid.block != channels)
                          return;
                        if (trial.is_quantised()) trial.set_dst_element({core::DType::i8, 0.02f});
                        trial.expect_parity(*sum_of(trial, 1, activation, work_size), 1);
                        trial.expect_parity(*sum_of(trial, 1, activation, work_size), 1, true);
                      });
}

TEST(NativeOperations, ActivateExtremeValues) {
  constexpr float kHuge = std::numeric_limits<float>::max(), kInfinity = Activation::kInfinity;
  const auto of = [](Activation::Kind kind, float x) {
    kernels::add(std::vector{reinterpret_cast<const std::byte*>(&x)}.data(), 1, &x, {0, 1}, {kind});
    return x;
  };
  using Kind = Activation::Kind;
  for (const Kind kind : {Kind::silu, Kind::gelu, Kind::gelu_tanh, Kind::hard_swish}) {
    EXPECT_NEAR(of(kind, -100), 0, 1e-30);
    EXPECT_EQ(of(kind, 100), 100);
    EXPECT_EQ(of(kind, 0), 0);
    EXPECT_TRUE(std::isnan(of(kind, std::nanf(""))));
    EXPECT_EQ(of(kind, -kHuge), 0);
    EXPECT_EQ(of(kind, -1e30f), 0);
    EXPECT_FLOAT_EQ(of(kind, 1e30f), 1e30f);
  }
  for (const float x : {kHuge, kInfinity}) {
    EXPECT_EQ(of(Kind::sigmoid, x), 1);
    EXPECT_NEAR(of(Kind::sigmoid, -x), 0, 1e-30);
  }
}

TEST(NativeOperations, MultiplyTensorsLikeTheReferenceAlsoInPlace) {
  for (const std::int64_t channels : {16, 70})
    in_every_layout({"square", {{"x", graph::Multiply{}, {"input", "input"}}}, channels, 9, 31},
                    [&](Trial& trial, WorkSize work_size) {
                      if (trial.is_quantised()) trial.set_dst_element({core::DType::u8, 0.025f});
                      const auto operation = make_multiply(
                          {trial.src().element, trial.src().element}, trial.dst(), work_size);
                      trial.expect_parity(*operation, 2);
                      trial.expect_parity(*operation, 2, true);
                    });
}

TEST(NativeOperations, MultiplyChannelsByTheirFactors) {
  for (const std::int64_t channels : {16, 19, 70}) {
    graph::BatchNorm norm;
    in_every_layout(single("norm", norm, {channels, 6, 5}), [&](Trial& trial, WorkSize work_size) {
      // A batch norm without a shift, whose factors are the second input.
      const auto zeros = std::vector<float>(static_cast<std::size_t>(channels), 0.0f);
      trial.set_weight("x.bias", zeros);
      trial.set_weight("x.running_mean", zeros);
      std::vector<float> factors = trial.weights().at("x.weight").to_f32();
      const auto variance = trial.weights().at("x.running_var").to_f32();
      for (std::size_t c = 0; c < factors.size(); ++c)
        factors[c] /= std::sqrt(variance[c] + static_cast<float>(norm.eps));
      if (trial.is_quantised()) trial.set_dst_element({core::DType::i8, 0.05f});
      const auto operation = make_multiply_channels(trial.src(), trial.dst(), work_size);
      trial.expect_parity(*operation, 1, false, factors);
      trial.expect_parity(*operation, 1, true, factors);
    });
  }
}

TEST(NativeOperations, NormaliseOverChannelsLikeTheReference) {
  const graph::LayerNorm norm{1e-3};
  for (const std::int64_t channels : {1, 16, 19, 130})
    in_every_layout(single("norm", norm, {channels, 6, 5}), [&](Trial& trial, WorkSize work_size) {
      const FusedLayerNorm fused{trial.weights().at("x.weight").to_f32(),
                                 trial.weights().at("x.bias").to_f32(), 1e-3f};
      if (trial.is_quantised()) trial.set_dst_element({core::DType::i8, 0.05f});
      const auto operation = make_layer_norm(trial.src(), trial.dst(), fused, work_size);
      trial.expect_parity(*operation);
      trial.expect_parity(*operation, 1, true);
    });
}

TEST(NativeOperations, ShuffleChannelsLikeTheReference) {
  for (const auto& [channels, groups] : {std::pair{6, 2}, {6, 3}, {24, 4}, {5, 5}, {64, 2}}) {
    const graph::ChannelShuffle shuffle{groups};
    in_every_layout(single("shuffle", shuffle, {channels, 5, 4}),
                    [&](Trial& trial, WorkSize work_size) {
                      trial.expect_parity(*make_channel_shuffle(trial.src(), shuffle, work_size));
                    });
  }
}

TEST(NativeOperations, SliceChannelsLikeTheReference) {
  for (const graph::Slice& slice : {graph::Slice{0, 3}, {16, 19}, {16, 32}, {7, 40}, {32, 70}})
    in_every_layout(single("slice", slice, {70, 5, 4}), [&](Trial& trial, WorkSize work_size) {
      if (can_slice(trial.src(), slice))
        trial.expect_parity(*make_slice(trial.src(), trial.dst(), slice, work_size));
    });
  EXPECT_TRUE(can_slice({{32, 2, 2}, {}, Format::blocked8}, {8, 10}));
  EXPECT_FALSE(can_slice({{32, 2, 2}, {}, Format::blocked8}, {4, 10}));
  EXPECT_TRUE(can_slice({{32, 2, 2}, {}, Format::channels_last}, {4, 10}));
}

TEST(NativeOperations, AddsTensorsOfSeveralScales) {
  // 0.5 · 200 + 0.25 · (-40) = 90, which is 180 steps of 0.5. The second sum saturates, and the
  // third is negative.
  const std::vector<std::uint8_t> a = {200, 255, 0};
  const std::vector<std::int8_t> b = {-40, 127, -100};
  std::vector<std::uint8_t> sum(3);
  const Layout dst{{3, 1, 1}, {core::DType::u8, 0.5f}, Format::channels_last};
  Buffers buffers;
  buffers.srcs = {reinterpret_cast<std::byte*>(const_cast<std::uint8_t*>(a.data())),
                  reinterpret_cast<std::byte*>(const_cast<std::int8_t*>(b.data()))};
  buffers.dst = reinterpret_cast<std::byte*>(sum.data());
  make_quantised_add({{core::DType::u8, 0.5f}, {core::DType::i8, 0.25f}}, dst, kNoActivation,
                     {1, 1})
      ->bind(buffers, dnnl::stream(cpu_engine()))
      ->run();
  EXPECT_THAT(sum, testing::ElementsAre(180, 255, 0));
}

TEST(NativeOperations, ScaleLikeABatchNorm) {
  const graph::BatchNorm norm;
  in_every_layout(single("norm", norm, {19, 6, 5}), [&](Trial& trial, WorkSize work_size) {
    const auto value = [&](const char* suffix) {
      return trial.weights().find(std::string("x.") + suffix)->second.to_f32();
    };
    const auto weight = value("weight"), bias = value("bias"), mean = value("running_mean"),
               variance = value("running_var");
    Scale scale;
    for (std::size_t c = 0; c < weight.size(); ++c) {
      scale.scale.push_back(weight[c] / std::sqrt(variance[c] + static_cast<float>(norm.eps)));
      scale.shift.push_back(bias[c] - mean[c] * scale.scale[c]);
    }
    if (trial.is_quantised()) trial.set_dst_element({core::DType::i8, 0.05f});
    trial.expect_parity(*make_scale(trial.src(), trial.dst(), scale, work_size));
  });
}

TEST(NativeOperations, JoinChannelsLikeTheReference) {
  for (const std::int64_t channels : {1, 3, 16, 48}) {
    const Case joined{
        "concat", {{"x", graph::Concat{}, {"input", "input", "input"}}}, channels, 5, 4};
    in_every_layout(joined, [&](Trial& trial, WorkSize work_size) {
      const std::vector<Layout> srcs(3, trial.src());
      if (can_concat(srcs)) trial.expect_parity(*make_concat(srcs, trial.dst(), work_size), 3);
    });
  }
  EXPECT_TRUE(can_concat({{{16, 2, 2}, {}, Format::blocked8}, {{3, 2, 2}, {}, Format::blocked8}}));
  EXPECT_FALSE(can_concat({{{16, 2, 2}, {core::DType::u8, 0.5f}, Format::blocked8},
                           {{3, 2, 2}, {core::DType::u8, 0.25f}, Format::blocked8}}));
  EXPECT_FALSE(can_concat({{{3, 2, 2}, {}, Format::blocked8}, {{16, 2, 2}, {}, Format::blocked8}}));
}

// The files of deployed models hold weights in bf16.
TEST(NativeOperations, MultiplyWeightsInBf16LikeTheSameNumbersInF32) {
  for (const auto& [in, out] : {std::pair{1, 1}, {7, 10}, {513, 22}, {1280, 1000}}) {
    KeyedFloats floats;
    std::vector<float> weights = floats(in * out);
    std::vector<std::uint16_t> halves;
    for (float& weight : weights) {
      halves.push_back(core::to_bf16(weight));
      weight = core::from_bf16(halves.back());
    }
    FusedLinear wide{out, std::make_shared<const std::vector<float>>(weights), floats(out), kRelu};
    FusedLinear narrow{out, nullptr, wide.bias, kRelu,
                       std::make_shared<const std::vector<std::uint16_t>>(halves)};
    const std::vector<float> src = floats(in * 3);
    const auto run = [&](const FusedLinear& linear, int threads) {
      std::vector<float> dst(static_cast<std::size_t>(out) * 3);
      const auto operation = make_linear(linear, {3, threads});
      std::vector<std::byte> scratch(operation->scratch_bytes() + 64);
      Buffers buffers;
      buffers.srcs = {const_cast<std::byte*>(reinterpret_cast<const std::byte*>(src.data()))};
      buffers.dst = reinterpret_cast<std::byte*>(dst.data());
      buffers.scratch = scratch.data();
      operation->bind(buffers, dnnl::stream(cpu_engine()))->run();
      return dst;
    };
    const std::vector<float> expected = run(wide, 1);
    for (const int threads : {1, 2, 3}) EXPECT_EQ(run(narrow, threads), expected);
  }
}

TEST(NativeOperations, MultiplyLikePlainLoopsWhateverTheBatch) {
  for (const auto& [in, out] : {std::pair{1, 1}, {7, 10}, {512, 10}, {1344, 3}, {65, 101}})
    for (const bool with_silu : {false, true}) {
      KeyedFloats floats;
      FusedLinear linear{out, std::make_shared<const std::vector<float>>(floats(in * out)),
                         floats(out), with_silu ? Activation{Activation::Kind::silu} : kRelu};
      const std::vector<float> src = floats(in * 5);
      std::vector<float> dst(static_cast<std::size_t>(out) * 5),
          alone(static_cast<std::size_t>(out));
      const auto run = [&](int batch, int threads, const float* from, float* to) {
        Buffers buffers;
        buffers.srcs = {const_cast<std::byte*>(reinterpret_cast<const std::byte*>(from))};
        buffers.dst = reinterpret_cast<std::byte*>(to);
        make_linear(linear, {batch, threads})->bind(buffers, dnnl::stream(cpu_engine()))->run();
      };
      run(5, 2, src.data(), dst.data());
      for (int n = 0; n < 5; ++n) {
        run(1, 1, src.data() + n * in, alone.data());
        for (int o = 0; o < out; ++o) {
          double expected = linear.bias[static_cast<std::size_t>(o)];
          for (int i = 0; i < in; ++i)
            expected +=
                static_cast<double>((*linear.weights)[static_cast<std::size_t>(o * in + i)]) *
                src[static_cast<std::size_t>(n * in + i)];
          const float actual = dst[static_cast<std::size_t>(n * out + o)];
          expected = with_silu ? expected / (1 + std::exp(-expected)) : std::max(expected, 0.0);
          EXPECT_NEAR(actual, expected, 1e-5 * std::sqrt(in) * 4);
          EXPECT_EQ(actual, alone[static_cast<std::size_t>(o)]);
        }
      }
    }
}

// Certificates of int8 files rest on it: the same bits on every CPU with fused multiply-adds. The
// order of the sums is that of docs/guarantee.md, computed here by the C library.
TEST(NativeOperations, SumProductsInTheOrderThatIsWrittenDown) {
  if (!core::clones_use_fma()) GTEST_SKIP() << "no fused multiply-adds here";
  for (const auto& [in, out] :
       {std::pair{1, 1}, {7, 10}, {16, 3}, {2688, 10}, {1344, 3}, {65, 9}}) {
    KeyedFloats floats;
    const std::vector<float> weights = floats(in * out);
    FusedLinear linear{out, std::make_shared<const std::vector<float>>(weights), floats(out), {}};
    const std::vector<float> src = floats(in);
    std::vector<float> dst(static_cast<std::size_t>(out));
    Buffers buffers;
    buffers.srcs = {const_cast<std::byte*>(reinterpret_cast<const std::byte*>(src.data()))};
    buffers.dst = reinterpret_cast<std::byte*>(dst.data());
    make_linear(linear, {1, 1})->bind(buffers, dnnl::stream(cpu_engine()))->run();
    for (int o = 0; o < out; ++o) {
      std::array<float, 16> lanes{};
      for (int i = 0; i < in; ++i) {
        float& lane = lanes[static_cast<std::size_t>(i % 16)];
        lane = std::fma(weights[static_cast<std::size_t>(o * in + i)],
                        src[static_cast<std::size_t>(i)], lane);
      }
      for (std::size_t half = 8; half > 0; half /= 2)
        for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
      EXPECT_EQ(dst[static_cast<std::size_t>(o)],
                lanes[0] + linear.bias[static_cast<std::size_t>(o)])
          << in << " features, output " << o;
    }
  }
}

}  // namespace
}  // namespace offramp::runtime
