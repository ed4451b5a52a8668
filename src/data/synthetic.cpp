#include "data/synthetic.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"
#include "data/sources.h"
#include "data/synthetic_shapes.h"

namespace offramp::data {
namespace {

using detail::Canvas;
using detail::Colour;
using detail::Outline;
using detail::Pose;

constexpr int kMinSide = 32;
constexpr std::size_t kImagesPerTask = 64;
constexpr double kTwoPi = 2 * std::numbers::pi;

float interpolate(float low, float high, float share) { return low + share * (high - low); }

// The result is computed in double and rounded to float, so that pixels do not depend on the last
// bit of a math library's sine.
float sine(float turns) {
  return static_cast<float>(std::sin(kTwoPi * static_cast<double>(turns)));
}
float cosine(float turns) { return sine(turns + 0.25f); }

// Returns the random numbers of one image. The first is the image's difficulty.
core::KeyedRandom random_of_image(Part part, std::int64_t index, std::uint64_t seed) {
  return {seed, part == Part::train ? 1u : 2u, static_cast<std::uint64_t>(index)};
}

// Draws one image: background, clutter, the shape of the class, bars across the shape, and noise.
class Scene {
 public:
  Scene(int height, int width, core::KeyedRandom random)
      : random_(random),
        canvas_(height, width),
        side_(static_cast<float>(std::min(height, width))),
        difficulty_(random_.uniform()),
        contrast_(interpolate(0.6f, 0.2f, difficulty_)) {}

  void draw(std::size_t shape) {
    draw_background();
    draw_clutter();
    draw_shape(shape);
    draw_bars();
    add_noise();
  }
  void write(std::span<std::uint8_t> rgb) const {
    for (std::size_t i = 0; i < rgb.size(); ++i) {
      rgb[i] = static_cast<std::uint8_t>(std::clamp(canvas_.rgb[i], 0.0f, 1.0f) * 255.0f + 0.5f);
    }
  }

 private:
  int width() const { return canvas_.width; }
  int height() const { return canvas_.height; }

  // Returns a colour at the given distance from the background colour in RGB space, in a random
  // direction that keeps it in range. It is lighter than the background if distance > 0 and darker
  // if distance < 0.
  Colour colour_at(float distance) {
    Colour colour{};
    for (int attempt = 0; attempt < 32; ++attempt) {
      Colour direction{};
      float length = 0;
      for (float& d : direction) {
        d = random_.uniform(-0.5f, 1);
        length += d * d;
      }
      length = std::sqrt(length) + 1e-3f;
      bool in_range = direction[0] + direction[1] + direction[2] > length;
      for (std::size_t c = 0; c < 3; ++c) {
        colour[c] = base_[c] + distance * direction[c] / length;
        in_range = in_range && colour[c] >= 0.03f && colour[c] <= 0.97f;
      }
      if (in_range) break;
    }
    return colour;
  }

  // Draws a linear change from one colour to a similar one, and two waves of low contrast.
  void draw_background() {
    for (float& c : base_) c = random_.uniform(0.1f, 0.55f);
    const Colour other = colour_at(random_.uniform(0.0f, 0.15f));
    const float angle = random_.uniform();
    const float slope_x = cosine(angle) / side_, slope_y = sine(angle) / side_;
    struct Wave {
      float x, y, phase, height;
    };
    std::array<Wave, 2> waves{};
    for (Wave& wave : waves) {
      const float direction = random_.uniform(), per_side = random_.uniform(2.0f, 7.0f);
      wave = {per_side * cosine(direction) / side_, per_side * sine(direction) / side_,
              random_.uniform(), random_.uniform(0.0f, interpolate(0.02f, 0.05f, difficulty_))};
    }
    for (int y = 0; y < height(); ++y) {
      for (int x = 0; x < width(); ++x) {
        const float px = static_cast<float>(x), py = static_cast<float>(y);
        float light = 0;
        for (const Wave& wave : waves) {
          light += wave.height * sine(wave.x * px + wave.y * py + wave.phase);
        }
        const float share = std::clamp(0.5f + slope_x * (px - static_cast<float>(width()) / 2) +
                                           slope_y * (py - static_cast<float>(height()) / 2),
                                       0.0f, 1.0f);
        float* pixel = canvas_.pixel(x, y);
        for (std::size_t c = 0; c < 3; ++c) {
          pixel[c] = interpolate(base_[c], other[c], share) + light;
        }
      }
    }
  }

  // Returns a random rotation and squeeze, scaled to `radius` and centred at (x0, y0).
  Pose random_pose(float radius, float x0, float y0) {
    const float max_turn = interpolate(0.03f, 0.5f, difficulty_);
    const float turn = random_.uniform(-max_turn, max_turn), axis = random_.uniform();
    const float stretch = random_.uniform(0.82f, 1.0f);
    // The map rotates by `turn`, then squeezes by `stretch` along the direction `axis`.
    const float c = cosine(turn), s = sine(turn), ax = cosine(axis), ay = sine(axis);
    const float sxx = 1 + (stretch - 1) * ax * ax, sxy = (stretch - 1) * ax * ay;
    const float syy = 1 + (stretch - 1) * ay * ay;
    return {radius * (sxx * c + sxy * s),
            radius * (sxy * c - sxx * s),
            radius * (sxy * c + syy * s),
            radius * (syy * c - sxy * s),
            x0,
            y0};
  }

  void fill(const Outline& outline, const Colour& colour) {
    Colour from = colour, to = colour;
    const float shade = random_.uniform(-0.15f, 0.15f) * contrast_;
    for (std::size_t c = 0; c < 3; ++c) {
      from[c] += shade;
      to[c] -= shade;
    }
    detail::fill(canvas_, outline, from, to);
  }

  Outline line(float x, float y, float turn, float half_length, float half_width) {
    const Outline box = {{{-1, -1}, {1, -1}, {1, 1}, {-1, 1}}};
    const float c = cosine(turn), s = sine(turn);
    return detail::transformed(
        box, {half_length * c, -half_width * s, half_length * s, half_width * c, x, y});
  }

  // Draws lines and small shapes of all classes, so that local corners and curves do not reveal
  // the class of the image.
  void draw_clutter() {
    const int clutter_count = static_cast<int>(difficulty_ * 5 + random_.uniform());
    for (int i = 0; i < clutter_count; ++i) {
      const float x = random_.uniform(0, static_cast<float>(width()));
      const float y = random_.uniform(0, static_cast<float>(height()));
      const Colour colour = colour_at(contrast_ * random_.uniform(0.3f, 0.9f));
      if (random_.uniform() < 0.3f) {
        fill(line(x, y, random_.uniform(), side_ * random_.uniform(0.1f, 0.3f),
                  side_ * random_.uniform(0.012f, 0.03f)),
             colour);
      } else {
        const std::size_t kind = random_.below(detail::shape_names().size());
        const float radius = side_ * random_.uniform(0.06f, 0.13f);
        fill(detail::transformed(detail::shape_outline(kind), random_pose(radius, x, y)), colour);
      }
    }
  }

  void draw_shape(std::size_t shape) {
    radius_ = side_ * random_.uniform(0.28f, 0.42f);
    // The shape lies inside the image, except for a narrow part of its rim.
    const auto random_position = [&](float size) {
      const float margin = std::min(0.92f * radius_, size / 2);
      return random_.uniform(margin, size - margin);
    };
    centre_.x = random_position(static_cast<float>(width()));
    centre_.y = random_position(static_cast<float>(height()));
    fill(detail::transformed(detail::shape_outline(shape),
                             random_pose(radius_, centre_.x, centre_.y)),
         colour_at(contrast_));
  }

  // Draws bars across the shape, in colours similar to the background.
  void draw_bars() {
    const int bars = static_cast<int>(std::max(0.0f, difficulty_ - 0.35f) * 2 + random_.uniform());
    for (int i = 0; i < bars; ++i) {
      const float turn = random_.uniform(), offset = radius_ * random_.uniform(-0.8f, 0.8f);
      fill(line(centre_.x - offset * sine(turn), centre_.y + offset * cosine(turn), turn,
                1.5f * side_, side_ * random_.uniform(0.02f, 0.045f)),
           colour_at(contrast_ * random_.uniform(0.0f, 0.8f)));
    }
  }

  void add_noise() {
    const float sigma = interpolate(0.01f, 0.06f, difficulty_);
    for (float& value : canvas_.rgb) {
      // The sum of three uniform numbers is nearly normal and has variance 1/4.
      const std::uint64_t bits = random_.next();
      const auto sum =
          static_cast<float>((bits & 0x1fffff) + (bits >> 21 & 0x1fffff) + (bits >> 42 & 0x1fffff));
      value += sigma * 2 * (sum * 0x1p-21f - 1.5f);
    }
  }

  core::KeyedRandom random_;
  Canvas canvas_;
  float side_, difficulty_, contrast_;
  Colour base_{};
  detail::Point centre_;
  float radius_ = 0;
};

void check(int height, int width, std::int64_t count, int classes) {
  if (height < kMinSide || width < kMinSide) {
    throw UsageError(fmt::format("synthetic images need sides of at least {}: got {}x{}", kMinSide,
                                 height, width));
  }
  if (classes < 2 || classes > kMaxSyntheticClasses) {
    throw UsageError(fmt::format("synthetic images have from 2 to {} classes: got {}",
                                 kMaxSyntheticClasses, classes));
  }
  if (count < classes) {
    throw UsageError(fmt::format(
        "synthetic images must be at least as many as the {} classes: got {}", classes, count));
  }
  detail::check_memory(count, height, width);
}

}  // namespace

Dataset synthetic_data(int height, int width, std::int64_t count, Part part, std::uint64_t seed,
                       int classes) {
  check(height, width, count, classes);
  const auto names = detail::shape_names().first(static_cast<std::size_t>(classes));
  const auto images = static_cast<std::size_t>(count);
  const std::size_t values = static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * 3;
  Dataset dataset;
  dataset.height = height;
  dataset.width = width;
  dataset.classes.assign(names.begin(), names.end());
  dataset.pixels.resize(images * values);
  dataset.labels.resize(images);
  dataset.names.resize(images);
  dataset.hashes.resize(images);
  const std::string_view part_name = part == Part::train ? "train" : "test";
  const auto draw = [&](std::size_t i) {
    const std::size_t label = i % names.size();
    const auto rgb = std::span(dataset.pixels).subspan(i * values, values);
    Scene scene(height, width, random_of_image(part, static_cast<std::int64_t>(i), seed));
    scene.draw(label);
    scene.write(rgb);
    dataset.labels[i] = static_cast<std::int64_t>(label);
    dataset.names[i] = fmt::format("{}/{}/{:06}", part_name, names[label], i);
    dataset.hashes[i] = image_hash(width, height, rgb);
  };
  core::parallel_for((images + kImagesPerTask - 1) / kImagesPerTask, [&](std::size_t task) {
    const std::size_t end = std::min(images, (task + 1) * kImagesPerTask);
    for (std::size_t i = task * kImagesPerTask; i < end; ++i) draw(i);
  });
  return dataset;
}

float synthetic_difficulty(Part part, std::int64_t index, std::uint64_t seed) {
  return random_of_image(part, index, seed).uniform();
}

}  // namespace offramp::data
