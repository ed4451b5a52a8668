/* Classifies image files with a model file through the C interface.
 *
 *   classify_c MODEL IMAGE... */
#include <offramp/offramp.h>
#include <stdio.h>

int main(int argc, char** argv) {
  offramp_model* model = NULL;
  offramp_session* session = NULL;
  int i, failures = 0;
  if (argc < 3) {
    fprintf(stderr, "usage: %s MODEL IMAGE...\n", argv[0]);
    return 2;
  }
  if (offramp_model_load(argv[1], NULL, &model) != OFFRAMP_OK ||
      offramp_session_new(model, NULL, &session) != OFFRAMP_OK) {
    fprintf(stderr, "%s\n", offramp_last_error());
    offramp_model_free(model);
    return 1;
  }
  for (i = 2; i < argc; ++i) {
    offramp_answer answer = OFFRAMP_ANSWER_INIT;
    if (offramp_classify_file(session, argv[i], &answer) == OFFRAMP_OK) {
      printf("%s: %s (%.3f), exit %d of %d, relative cost %.2f\n", argv[i], answer.class_name,
             (double)answer.probability, answer.exit, offramp_model_num_exits(model),
             answer.relative_cost);
    } else {
      printf("%s\n", offramp_last_error());
      ++failures;
    }
  }
  offramp_session_free(session);
  offramp_model_free(model);
  return failures > 0;
}
