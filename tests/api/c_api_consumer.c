/* A C99 program's use of the library, compiled as such; c_api_test.cpp calls it. */
#include "tests/api/c_api_consumer.h"

#include "offramp/offramp.h"

int classify_from_c(const char* path, const unsigned char* pixels, int width, int height, int* exit,
                    float* probability) {
  offramp_options options = {0};
  offramp_stop stop = {0};
  offramp_model* model = 0;
  offramp_session* session = 0;
  offramp_answer answer;
  offramp_status status;
  options.precision = "f32";
  options.threads = 1;
  stop.rule = OFFRAMP_STOP_AT_THRESHOLD;
  stop.threshold = 0.0f;
  status = offramp_model_load(path, &options, &model);
  if (status == OFFRAMP_OK) status = offramp_session_new(model, &stop, &session);
  offramp_model_free(model); /* the session keeps what it needs */
  if (status == OFFRAMP_OK) {
    status = offramp_classify_rgb8(session, pixels, width, height, &answer);
    if (status == OFFRAMP_OK) {
      *exit = answer.exit;
      *probability = answer.probabilities[answer.class_index];
    }
  }
  offramp_session_free(session);
  return (int)status;
}
