/* The C sample of docs/library.md. */
#include <offramp/offramp.h>
#include <stdio.h>

void c_sample(void);

void c_sample(void) {
  offramp_model* model = NULL;
  offramp_session* session = NULL;
  offramp_answer answer;
  if (offramp_model_load("model.safetensors", NULL, &model) != OFFRAMP_OK ||
      offramp_session_new(model, NULL, &session) != OFFRAMP_OK ||
      offramp_classify_file(session, "image.jpg", &answer) != OFFRAMP_OK)
    fprintf(stderr, "%s\n", offramp_last_error());
  else
    printf("%s at exit %d\n", answer.class_name, answer.exit);
  offramp_session_free(session);
  offramp_model_free(model);
}
