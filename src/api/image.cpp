#include "offramp/image.h"

#include <utility>

namespace offramp {

ImageView ImageView::rgb8(std::span<const std::uint8_t> pixels, int width, int height) {
  ImageView view;
  view.form_ = Form::rgb8;
  view.pixels_ = pixels;
  view.width_ = width;
  view.height_ = height;
  return view;
}

ImageView ImageView::encoded(std::span<const std::byte> bytes) {
  ImageView view;
  view.form_ = Form::encoded;
  view.bytes_ = bytes;
  return view;
}

ImageView ImageView::file(std::filesystem::path path) {
  ImageView view;
  view.form_ = Form::file;
  view.path_ = std::move(path);
  return view;
}

ImageView ImageView::normalised(std::span<const float> values) {
  ImageView view;
  view.form_ = Form::normalised;
  view.values_ = values;
  return view;
}

}  // namespace offramp
