/* The C samples of docs/library.md. */
#include <offramp/offramp.h>
#include <stdio.h>

void c_samples(void);

static void classify_within(offramp_session* session) {
  offramp_answer answer = OFFRAMP_ANSWER_INIT;
  offramp_stop stop = OFFRAMP_STOP_INIT;
  offramp_image image = OFFRAMP_IMAGE_INIT;
  offramp_image_options options = OFFRAMP_IMAGE_OPTIONS_INIT;
  stop.rule = OFFRAMP_STOP_BY_POLICY;
  stop.milliseconds = 5;
  options.stop = &stop;
  image.form = OFFRAMP_FILE;
  image.data = "image.jpg";
  if (offramp_classify(session, &image, &options, &answer) == OFFRAMP_OK && answer.limited)
    printf("%s, when the time was up\n", answer.class_name);
}

void c_samples(void) {
  offramp_model* model = NULL;
  offramp_session* session = NULL;
  offramp_answer answer = OFFRAMP_ANSWER_INIT;
  if (offramp_model_load("model.safetensors", NULL, &model) != OFFRAMP_OK ||
      offramp_session_new(model, NULL, &session) != OFFRAMP_OK ||
      offramp_classify_file(session, "image.jpg", &answer) != OFFRAMP_OK)
    fprintf(stderr, "%s\n", offramp_last_error());
  else
    printf("%s at exit %d\n", answer.class_name, answer.exit);
  classify_within(session); /* the session is NULL here, so the call fails */
  offramp_session_free(session);
  offramp_model_free(model);
}
