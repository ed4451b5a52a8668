// Writes a small model and two images into a folder: fixture FOLDER
#include <cstdio>

#include "image/image.h"
#include "tests/api/example_model.h"

int main(int argc, char** argv) {
  using namespace offramp;
  if (argc != 2) return 2;
  const std::filesystem::path folder = argv[1];
  model::ModelFile model = test::example_model(small_resnet());
  policy::Policy policy = policy::never_stop(3);
  policy.thresholds = {0.0f, 0.0f};
  model.policy = policy::ChosenPolicy{policy};
  model::save_model(folder / "model.safetensors", model);
  for (int i = 0; i < 2; ++i) {
    image::Image image{40, 30 + i, {}};
    for (int k = 0; k < image.width * image.height * 3; ++k)
      image.rgb.push_back(static_cast<std::uint8_t>(k * (7 + i)));
    const auto png = image::encode_png(image);
    std::FILE* file = std::fopen((folder / (std::to_string(i) + ".png")).c_str(), "wb");
    if (file == nullptr || std::fwrite(png.data(), 1, png.size(), file) != png.size()) return 1;
    std::fclose(file);
  }
  return 0;
}
