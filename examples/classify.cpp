// Classifies image files with a model file. Each image leaves at the exit where the model's policy
// stops it.
//
//   classify MODEL IMAGE...
#include <offramp/session.h>

#include <cstdio>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s MODEL IMAGE...\n", argv[0]);
    return 2;
  }
  try {
    const offramp::Model model = offramp::Model::load(argv[1]);
    for (const std::string& note : model.notes()) std::fprintf(stderr, "%s\n", note.c_str());

    offramp::Session session(model);
    std::vector<offramp::ImageView> images;
    for (int i = 2; i < argc; ++i) images.push_back(offramp::ImageView::file(argv[i]));
    const std::vector<offramp::Answer> answers = session.classify(images);

    for (std::size_t i = 0; i < answers.size(); ++i) {
      const offramp::Answer& answer = answers[i];
      if (answer.ok())
        std::printf("%s: %s (%.3f), exit %d of %d, relative cost %.2f\n", argv[i + 2],
                    std::string(answer.class_name).c_str(), static_cast<double>(answer.probability),
                    answer.exit, model.num_exits(), answer.relative_cost);
      else
        std::printf("%s\n", answer.error.c_str());
    }
    const offramp::Stats stats = session.stats();
    std::printf("%lld images, mean relative cost %.2f\n", static_cast<long long>(stats.images),
                stats.relative_cost);
    return 0;
  } catch (const offramp::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
