// The program `model_write_example FILE` writes the example of the newest format for
// tests/data/models. It is run once for each version of the format.
#include "tests/model/tiny_model.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  offramp::model::save_model(argv[1], offramp::model::tiny_certified_model());
}
