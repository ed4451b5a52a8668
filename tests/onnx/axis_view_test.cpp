#include "onnx/axis_view.h"

#include <gtest/gtest.h>

namespace offramp::onnx {
namespace {

const graph::Shape kImage = {12, 5, 7};

TEST(AxisView, ShowsAnImageWithADimensionForEachAxis) {
  const AxisView view = AxisView::of(kImage);
  EXPECT_EQ(view.sizes(), (Dims{12, 5, 7}));
  EXPECT_TRUE(view.is_plain(kImage));
  EXPECT_FALSE(view.is_flat(kImage));
}

TEST(AxisView, IsFlatAfterAReshapeToOneDimension) {
  const auto view = AxisView::of(kImage).reshaped({12 * 5 * 7});
  ASSERT_TRUE(view);
  EXPECT_TRUE(view->is_flat(kImage));
  EXPECT_FALSE(AxisView::of(kImage).permuted({1, 2, 0}).reshaped({420})->is_flat(kImage));
}

TEST(AxisView, IsTheSameAfterAReshapeAndBack) {
  const auto split = AxisView::of(kImage).reshaped({3, 4, 35});
  ASSERT_TRUE(split);
  EXPECT_EQ(split->sizes(), (Dims{3, 4, 35}));
  EXPECT_EQ(split->reshaped({12, 5, 7}), AxisView::of(kImage));
}

TEST(AxisView, CannotBeCutThroughAnAxisThatASizeDoesNotDivide) {
  EXPECT_FALSE(AxisView::of(kImage).reshaped({8, 105 / 2}));
  EXPECT_FALSE(AxisView::of(kImage).reshaped({5, 84}));
  EXPECT_FALSE(AxisView::of(kImage).reshaped({12, 5}));
  EXPECT_FALSE(AxisView::of(kImage).reshaped({12, 5, 7, 2}));
  EXPECT_FALSE(AxisView::of(kImage).reshaped({0, 5, 7}));
}

TEST(AxisView, HasTheChannelsWhereATransposePutThem) {
  const AxisView last = AxisView::of(kImage).permuted({1, 2, 0});
  EXPECT_EQ(last.sizes(), (Dims{5, 7, 12}));
  EXPECT_EQ(last.channel_dim(kImage), 2u);
  EXPECT_FALSE(last.is_plain(kImage));
  EXPECT_TRUE(last.permuted({2, 0, 1}).is_plain(kImage));
}

TEST(AxisView, OfAVectorMayHaveDimensionsOfSizeOneAfterIt) {
  const graph::Shape vector = {6};
  const AxisView view = AxisView::of(vector).with_dim(1, {}).with_dim(2, {});
  EXPECT_EQ(view.sizes(), (Dims{6, 1, 1}));
  EXPECT_TRUE(view.is_plain(vector));
  EXPECT_FALSE(AxisView::of(vector).with_dim(0, {}).is_plain(vector));
}

}  // namespace
}  // namespace offramp::onnx
