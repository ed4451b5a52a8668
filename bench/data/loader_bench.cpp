// Prints how many images a second the loader of training makes from a data set, alone.
//   loader_bench SOURCE [SECONDS] [IMAGE_SIZE]

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <numeric>

#include "data/batch_loader.h"
#include "data/dataset.h"

int main(int argc, char** argv) {
  using namespace offramp;
  if (argc < 2) {
    fmt::print(stderr, "usage: loader_bench SOURCE [SECONDS] [IMAGE_SIZE]\n");
    return 2;
  }
  const double wanted = argc > 2 ? std::atof(argv[2]) : 10;
  const int side = argc > 3 ? std::atoi(argv[3]) : 0;
  try {
    const data::LoadedData loaded =
        data::load_data(argv[1], data::Part::train, {.height = side, .width = side});
    std::vector<std::int64_t> indices(loaded.dataset.labels.size());
    std::iota(indices.begin(), indices.end(), 0);
    data::BatchLoaderOptions options;
    options.augmentation.flip = true;
    options.augmentation.crop_padding = 4;
    options.preprocessing.height = loaded.dataset.height;
    options.preprocessing.width = loaded.dataset.width;
    data::BatchLoader loader(loaded.dataset, indices, options);
    for (int i = 0; i < 8; ++i) loader.next();  // the first batches were made ahead
    std::int64_t images = 0;
    double seconds = 0;
    const auto start = std::chrono::steady_clock::now();
    while (seconds < wanted) {
      images += loader.next().count;
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    fmt::print("{}, {}x{}, {} images: {:.0f} images/s\n", argv[1], loaded.dataset.width,
               loaded.dataset.height, loaded.dataset.size(), static_cast<double>(images) / seconds);
  } catch (const std::exception& error) {
    fmt::print(stderr, "loader_bench: {}\n", error.what());
    return 1;
  }
  return 0;
}
