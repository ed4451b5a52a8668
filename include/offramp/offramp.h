#ifndef OFFRAMP_OFFRAMP_H
#define OFFRAMP_OFFRAMP_H

#include <stddef.h>
#include <stdint.h>

#include "offramp/export.h"

/* offramp for C, and for all languages that bind to C. What each thing does is said in model.h and
 * session.h, which this is a thin cover of.
 *
 * Functions that can fail return an offramp_status; what went wrong is then said by
 * offramp_last_error(), on the thread that made the call. No C++ exception leaves the library.
 * Pointers must not be NULL where that is not said. Structs are the caller's; what they point to
 * has its lifetime written beside it. */

#ifdef __cplusplus
extern "C" {
#endif

typedef enum offramp_status {
  OFFRAMP_OK = 0,
  OFFRAMP_ERROR = 1, /* a file, an image, a model or a computation is not as it must be */
  OFFRAMP_USAGE = 2, /* the request makes no sense as put */
  OFFRAMP_OUT_OF_MEMORY = 3
} offramp_status;

/* One line, in UTF-8; "" if nothing failed on this thread yet. Valid until the next call on this
 * thread that fails. */
OFFRAMP_API const char* offramp_last_error(void);

/* "0.1.0", for ever. */
OFFRAMP_API const char* offramp_version(void);

/* A model: immutable, used by any number of threads at once. */
typedef struct offramp_model offramp_model;

typedef struct offramp_options {
  const char* precision; /* "auto", "f32", "bf16", "int8" (of a deployment file); NULL: "auto" */
  int threads;           /* 0: one for each core */
  int batch;             /* images at once in batches; 0: 8 */
} offramp_options;

/* Loads a model file. options may be NULL. On success *model is the caller's, to be freed with
 * offramp_model_free; otherwise it is NULL. */
OFFRAMP_API offramp_status offramp_model_load(const char* path, const offramp_options* options,
                                              offramp_model** model);
/* model may be NULL. Sessions made of it go on working. */
OFFRAMP_API void offramp_model_free(offramp_model* model);

OFFRAMP_API int offramp_model_num_classes(const offramp_model* model);
OFFRAMP_API int offramp_model_num_exits(const offramp_model* model);
OFFRAMP_API int offramp_model_width(const offramp_model* model);
OFFRAMP_API int offramp_model_height(const offramp_model* model);
/* 1 if the file says when to stop, else 0. */
OFFRAMP_API int offramp_model_has_policy(const offramp_model* model);
/* That it runs in: "f32", "bf16" or "int8". Valid as long as the model. */
OFFRAMP_API const char* offramp_model_precision(const offramp_model* model);
/* Of class `index`; NULL if there is none such. Valid as long as the model. */
OFFRAMP_API const char* offramp_model_class_name(const offramp_model* model, int index);
/* Multiply-accumulates of an image over the plain network's, if it leaves at `exit` (from 1); 0 if
 * there is none such. */
OFFRAMP_API double offramp_model_relative_cost(const offramp_model* model, int exit);
/* Remarks in a line, from index 0; NULL after the last. Valid as long as the model. */
OFFRAMP_API const char* offramp_model_note(const offramp_model* model, int index);

/* When an image stops. Begin with {0}: by the policy, or at the last exit if there is none. */
typedef enum offramp_rule {
  OFFRAMP_STOP_DEFAULT = 0,
  OFFRAMP_STOP_BY_POLICY = 1,
  OFFRAMP_STOP_AT_THRESHOLD = 2,
  OFFRAMP_STOP_NEVER = 3 /* the last exit, or where time or MACs end */
} offramp_rule;

typedef struct offramp_stop {
  int rule;            /* an offramp_rule */
  float threshold;     /* in [0, 1], for OFFRAMP_STOP_AT_THRESHOLD */
  double milliseconds; /* an image's time; 0: no limit */
  int64_t macs;        /* an image's multiply-accumulates; 0: no limit */
} offramp_stop;

/* A session: for one thread at a time, cheap beside its model. */
typedef struct offramp_session offramp_session;

/* stop may be NULL: the default. On success *session is the caller's, to be freed with
 * offramp_session_free; otherwise it is NULL. */
OFFRAMP_API offramp_status offramp_session_new(const offramp_model* model, const offramp_stop* stop,
                                               offramp_session** session);
/* session may be NULL. */
OFFRAMP_API void offramp_session_free(offramp_session* session);

typedef struct offramp_answer {
  int class_index;
  const char* class_name;     /* valid as long as the session */
  float probability;          /* of that class */
  const float* probabilities; /* [num_classes]; valid until the session's next call */
  int num_classes;
  int exit; /* from 1 */
  int64_t macs;
  double relative_cost;
  const char* error; /* NULL: answered. Else one line, valid as probabilities are; of a batch or a
                      * stream: the image was refused, and the rest means nothing */
} offramp_answer;

/* Classifies an image; *answer is written on success only.
 * rgb8: [height, width, 3] bytes, red, green, blue, rows from the top without gaps. */
OFFRAMP_API offramp_status offramp_classify_rgb8(offramp_session* session, const uint8_t* pixels,
                                                 int width, int height, offramp_answer* answer);
/* A JPEG or PNG file in memory. */
OFFRAMP_API offramp_status offramp_classify_encoded(offramp_session* session, const void* bytes,
                                                    size_t size, offramp_answer* answer);
/* A JPEG or PNG file. */
OFFRAMP_API offramp_status offramp_classify_file(offramp_session* session, const char* path,
                                                 offramp_answer* answer);
/* The network's input as it is: `count` = channels × height × width values, normalised. */
OFFRAMP_API offramp_status offramp_classify_normalised(offramp_session* session,
                                                       const float* values, size_t count,
                                                       offramp_answer* answer);

/* An image, to be read before the call that is given it returns. */
typedef enum offramp_form {
  OFFRAMP_RGB8 = 0,      /* as of offramp_classify_rgb8; width, height; size: bytes */
  OFFRAMP_ENCODED = 1,   /* a JPEG or PNG file in memory; size: bytes */
  OFFRAMP_FILE = 2,      /* data: its path, ending in 0 */
  OFFRAMP_NORMALISED = 3 /* float values; size: their number */
} offramp_form;

typedef struct offramp_image {
  int form; /* an offramp_form */
  const void* data;
  size_t size;
  int width, height; /* of OFFRAMP_RGB8 */
} offramp_image;

/* Classifies many: survivors of an exit fill the next segment's batch.
 * answers: [count], in order; an image that is refused has an error, and spoils no other. */
OFFRAMP_API offramp_status offramp_classify_batch(offramp_session* session,
                                                  const offramp_image* images, size_t count,
                                                  offramp_answer* answers);

/* Called with the number that offramp_push was given. The answer is valid until it returns. It must
 * not call the session. */
typedef void (*offramp_on_answer)(void* user, int64_t id, const offramp_answer* answer);

typedef struct offramp_stream_options {
  int in_order;          /* not 0: answers in the order of offramp_push */
  double flush_after_ms; /* 0: only offramp_flush runs what waits */
  int64_t most_pending;  /* images not yet answered, at most; 0: 4096 */
} offramp_stream_options;

/* Begins a stream; options may be NULL. user is handed to every call of on_answer. */
OFFRAMP_API offramp_status offramp_stream(offramp_session* session, offramp_on_answer on_answer,
                                          void* user, const offramp_stream_options* options);
/* Takes the next image of the stream, hands out answers that are ready. */
OFFRAMP_API offramp_status offramp_push(offramp_session* session, int64_t id,
                                        const offramp_image* image);
/* Runs what has waited too long. */
OFFRAMP_API offramp_status offramp_poll(offramp_session* session);
/* Runs all that waits. */
OFFRAMP_API offramp_status offramp_flush(offramp_session* session);
/* Images pushed and not yet answered. */
OFFRAMP_API int64_t offramp_pending(const offramp_session* session);

/* What was certified of a session's answers: see Promise in model.h. */
typedef struct offramp_promise {
  const char* of; /* "harm" or "disagreement"; NULL: nothing is promised. Valid as the session */
  double epsilon, delta;
} offramp_promise;

OFFRAMP_API offramp_status offramp_session_promise(const offramp_session* session,
                                                   offramp_promise* promise);

typedef enum offramp_drift {
  OFFRAMP_DRIFT_UNKNOWN = 0,
  OFFRAMP_DRIFT_NONE = 1,
  OFFRAMP_DRIFT_SEEN = 2 /* of late images leave elsewhere than when the policy was calibrated */
} offramp_drift;

typedef struct offramp_statistics {
  int64_t images;
  const int64_t*
      exits; /* [num_exits] images that left there; valid until the session's next call */
  int num_exits;
  int64_t macs;
  double relative_cost; /* mean; 0 if there were no images */
  offramp_drift drift;
} offramp_statistics;

OFFRAMP_API offramp_status offramp_stats(offramp_session* session, offramp_statistics* statistics);

#ifdef __cplusplus
}
#endif

#endif
