#include "workflow/selected_images.h"

#include <algorithm>
#include <cstddef>

#include "image/image.h"

namespace offramp::workflow {

std::vector<std::int64_t> take_evenly(const std::vector<std::int64_t>& indices,
                                      std::int64_t count) {
  const auto all = static_cast<std::int64_t>(indices.size());
  const std::int64_t wanted = std::min(count, all);
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < wanted; ++i)
    chosen.push_back(indices[static_cast<std::size_t>(i * all / wanted)]);
  return chosen;
}

void normalise_images(const data::Dataset& data, std::span<const std::int64_t> indices,
                      const core::Preprocessing& preprocessing, std::vector<float>& images) {
  const std::size_t size = static_cast<std::size_t>(data.width) * data.height * 3;
  images.resize(indices.size() * size);
  data.will_need(indices);
  for (std::size_t i = 0; i < indices.size(); ++i)
    image::normalise(data.image(indices[i]), preprocessing,
                     std::span(images).subspan(i * size, size));
}

std::vector<float> normalised_images(const data::Dataset& data,
                                     std::span<const std::int64_t> indices,
                                     const core::Preprocessing& preprocessing) {
  std::vector<float> images;
  normalise_images(data, indices, preprocessing, images);
  return images;
}

}  // namespace offramp::workflow
