/* Uses the library as a C99 program does, and is compiled as C99; c_api_test.cpp calls it. */
#include "tests/api/c_api_consumer.h"

#include "offramp/offramp.h"

int classify_from_c(const char* path, const unsigned char* pixels, int width, int height, int* exit,
                    float* probability) {
  offramp_options options = OFFRAMP_OPTIONS_INIT;
  offramp_stop stop = OFFRAMP_STOP_INIT;
  offramp_session_options with_stop = OFFRAMP_SESSION_OPTIONS_INIT;
  offramp_model* model = 0;
  offramp_session* session = 0;
  offramp_answer answer = OFFRAMP_ANSWER_INIT;
  offramp_status status;
  options.precision = "f32";
  options.threads = 1;
  stop.rule = OFFRAMP_STOP_AT_THRESHOLD;
  stop.threshold = 0.0f;
  with_stop.stop = &stop;
  with_stop.probabilities = 1;
  status = offramp_model_load(path, &options, &model);
  if (status == OFFRAMP_OK) status = offramp_session_new(model, &with_stop, &session);
  offramp_model_free(model); /* the session stays valid */
  if (status == OFFRAMP_OK) {
    offramp_image image = OFFRAMP_IMAGE_INIT;
    offramp_image_options image_options = OFFRAMP_IMAGE_OPTIONS_INIT;
    offramp_statistics statistics = OFFRAMP_STATISTICS_INIT;
    offramp_guarantee guarantee = OFFRAMP_GUARANTEE_INIT;
    offramp_stream_options stream_options = OFFRAMP_STREAM_OPTIONS_INIT;
    (void)stream_options;
    image.data = pixels;
    image.length = 3 * (size_t)width * (size_t)height;
    image.width = width;
    image.height = height;
    status = offramp_classify(session, &image, &image_options, &answer);
    if (status == OFFRAMP_OK) status = offramp_stats(session, &statistics);
    if (status == OFFRAMP_OK) status = offramp_session_guarantee(session, &guarantee);
    if (status == OFFRAMP_OK) {
      *exit = answer.exit;
      *probability = answer.probabilities[answer.class_index];
    }
  }
  offramp_session_free(session);
  return (int)status;
}
