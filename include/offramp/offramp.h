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
 * Pointers must not be NULL where that is not said; functions that cannot fail return 0 or NULL for
 * a NULL handle. Structs are the caller's; what they point to has its lifetime written beside it.
 *
 * Every struct begins with its size, so that programs and libraries of different versions work
 * together. Begin with the struct's _INIT macro (or with zeros and size = sizeof of the struct),
 * whether you fill the struct or the library does:
 *
 *   offramp_stop stop = OFFRAMP_STOP_INIT;
 *   stop.milliseconds = 5;
 *
 * A struct of an older program lacks the last fields: they are taken as 0, or not written. One of a
 * newer program has fields that the library does not know: they must be 0, and the library sets
 * them to 0. Of an array of structs the first one's size is read, and holds for all of them. */

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

/* The library's version, "0.1.0". The text is never freed. */
OFFRAMP_API const char* offramp_version(void);

/* A model: immutable, used by any number of threads at once. */
typedef struct offramp_model offramp_model;

typedef struct offramp_options {
  size_t size;
  const char* precision; /* "auto", "f32", "bf16", "int8" (of a deployment file); NULL: "auto" */
  int threads;           /* that share the work of all sessions; 0: one for each core */
  int batch;             /* images at once, on each thread; 0: 8 */
} offramp_options;

#define OFFRAMP_OPTIONS_INIT \
  { sizeof(offramp_options), NULL, 0, 0 }

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
OFFRAMP_API int offramp_model_channels(const offramp_model* model);
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

/* When an image stops. The default is by the policy, or at the last exit if there is none. */
typedef enum offramp_rule {
  OFFRAMP_STOP_DEFAULT = 0,
  OFFRAMP_STOP_BY_POLICY = 1,
  OFFRAMP_STOP_AT_THRESHOLD = 2,
  OFFRAMP_STOP_NEVER = 3, /* the last exit, or where time or MACs end */
  OFFRAMP_STOP_AT_SCORE = 4
} offramp_rule;

typedef struct offramp_stop {
  size_t size;
  int rule;            /* an offramp_rule */
  float threshold;     /* of OFFRAMP_STOP_AT_THRESHOLD and OFFRAMP_STOP_AT_SCORE */
  double milliseconds; /* an image's time, from the call that is given it; 0: no limit */
  int64_t macs;        /* an image's multiply-accumulates; 0: no limit */
  /* Of OFFRAMP_STOP_AT_SCORE: "confidence", "entropy", "margin" or "patience". Read by the call
   * that is given the struct. */
  const char* criterion;
} offramp_stop;

#define OFFRAMP_STOP_INIT \
  { sizeof(offramp_stop), OFFRAMP_STOP_DEFAULT, 0, 0, 0, NULL }

/* A session: for one thread at a time, cheap beside its model. Batches and streams run on all of
 * the model's threads. */
typedef struct offramp_session offramp_session;

typedef struct offramp_session_options {
  size_t size;
  const offramp_stop* stop; /* of images without a rule of their own; NULL: the default */
  int probabilities;        /* not 0: answers hold the probabilities of all classes */
  int reserved;             /* 0 */
} offramp_session_options;

#define OFFRAMP_SESSION_OPTIONS_INIT \
  { sizeof(offramp_session_options), NULL, 0, 0 }

/* options may be NULL. On success *session is the caller's, to be freed with offramp_session_free;
 * otherwise it is NULL. */
OFFRAMP_API offramp_status offramp_session_new(const offramp_model* model,
                                               const offramp_session_options* options,
                                               offramp_session** session);
/* session may be NULL. */
OFFRAMP_API void offramp_session_free(offramp_session* session);

/* Withdraws images that were given to a session. All three functions may be called from any thread,
 * but nothing after offramp_cancellation_free. */
typedef struct offramp_cancellation offramp_cancellation;

OFFRAMP_API offramp_status offramp_cancellation_new(offramp_cancellation** cancellation);
/* Images under way are answered with an error at the next exit they would reach. cancellation may
 * be NULL. */
OFFRAMP_API void offramp_cancellation_cancel(offramp_cancellation* cancellation);
/* 1 if it was cancelled, else 0. */
OFFRAMP_API int offramp_cancellation_is_cancelled(const offramp_cancellation* cancellation);
/* May be NULL. Does not cancel: images that were given it go on. */
OFFRAMP_API void offramp_cancellation_free(offramp_cancellation* cancellation);

/* How one image is treated. What is NULL is as the session has it. All of it is read by the call
 * that is given the struct. */
typedef struct offramp_image_options {
  size_t size;
  const offramp_stop* stop;
  const offramp_cancellation* cancellation;
} offramp_image_options;

#define OFFRAMP_IMAGE_OPTIONS_INIT \
  { sizeof(offramp_image_options), NULL, NULL }

typedef struct offramp_answer {
  size_t size;
  const char* class_name;     /* valid as long as the session */
  const float* probabilities; /* [num_classes]; NULL unless the session was asked for them. Valid
                               * until the session's next call */
  const char* error; /* NULL: answered. Else one line, valid as probabilities are; of a batch or a
                      * stream: the image was refused or cancelled, and of the rest only `cancelled`
                      * means something */
  int64_t macs;
  double relative_cost;
  int class_index;
  float probability; /* of that class */
  int num_classes;
  int exit; /* from 1 */
  /* 1 if a deadline or a budget of MACs stopped the image before its rule did, else 0. */
  int limited;
  int cancelled; /* 1 if it was cancelled, else 0 */
} offramp_answer;

#define OFFRAMP_ANSWER_INIT \
  { sizeof(offramp_answer), NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0 }

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
  OFFRAMP_RGB8 = 0,      /* as of offramp_classify_rgb8; width, height; length: bytes */
  OFFRAMP_ENCODED = 1,   /* a JPEG or PNG file in memory; length: bytes */
  OFFRAMP_FILE = 2,      /* data: its path, ending in 0 */
  OFFRAMP_NORMALISED = 3 /* float values; length: their number */
} offramp_form;

typedef struct offramp_image {
  size_t size; /* of this struct */
  const void* data;
  size_t length;
  int form;          /* an offramp_form */
  int width, height; /* of OFFRAMP_RGB8 */
  int reserved;      /* 0 */
} offramp_image;

#define OFFRAMP_IMAGE_INIT \
  { sizeof(offramp_image), NULL, 0, OFFRAMP_RGB8, 0, 0, 0 }

/* Classifies an image in any form; options may be NULL. *answer is written on success only. */
OFFRAMP_API offramp_status offramp_classify(offramp_session* session, const offramp_image* image,
                                            const offramp_image_options* options,
                                            offramp_answer* answer);

/* Classifies many, each of the model's threads on images of its own: survivors of an exit fill the
 * next segment's batch.
 * images: [count]; options: [count], or NULL for all; answers: [count], in order, their size set in
 * the first at least. An image that is refused has an error, and spoils no other. */
OFFRAMP_API offramp_status offramp_classify_batch(offramp_session* session,
                                                  const offramp_image* images,
                                                  const offramp_image_options* options,
                                                  size_t count, offramp_answer* answers);

/* Logits of every exit: the whole network runs, whatever the rule says.
 * logits: [num_exits, count, num_classes]; length: their number, which must be that product. */
OFFRAMP_API offramp_status offramp_all_exits(offramp_session* session, const offramp_image* images,
                                             size_t count, float* logits, size_t length);

/* Called with the number that offramp_push was given. The answer is valid until it returns; its
 * size is the library's. It must not call the session. */
typedef void (*offramp_on_answer)(void* user, int64_t id, const offramp_answer* answer);
/* Called when an answer becomes ready that the next offramp_poll or offramp_push will hand out,
 * from any of the model's threads. It must be quick and must not call the session. */
typedef void (*offramp_on_ready)(void* user);

typedef struct offramp_stream_options {
  size_t size;
  double flush_after_ms;     /* 0: only offramp_flush runs what waits */
  int64_t most_pending;      /* images not yet answered, at most; 0: 4096 */
  int in_order;              /* not 0: answers in the order of offramp_push */
  int reserved;              /* 0 */
  offramp_on_ready on_ready; /* may be NULL */
} offramp_stream_options;

#define OFFRAMP_STREAM_OPTIONS_INIT \
  { sizeof(offramp_stream_options), 0, 0, 0, 0, NULL }

/* Begins a stream; options may be NULL. user is handed to every call of on_answer and on_ready. */
OFFRAMP_API offramp_status offramp_stream(offramp_session* session, offramp_on_answer on_answer,
                                          void* user, const offramp_stream_options* options);
/* Takes the next image of the stream, hands out answers that are ready. options may be NULL. */
OFFRAMP_API offramp_status offramp_push(offramp_session* session, int64_t id,
                                        const offramp_image* image,
                                        const offramp_image_options* options);
/* Hands out answers that are ready, answers images whose deadline has come, and runs what has
 * waited too long. */
OFFRAMP_API offramp_status offramp_poll(offramp_session* session);
/* Milliseconds from now until offramp_poll has something to do; 0: now; negative: nothing of that
 * kind lies ahead. */
OFFRAMP_API double offramp_next_due_ms(const offramp_session* session);
/* Runs all that waits. */
OFFRAMP_API offramp_status offramp_flush(offramp_session* session);
/* Images pushed and not yet answered. */
OFFRAMP_API int64_t offramp_pending(const offramp_session* session);

/* What was certified of a session's answers: see Promise in model.h. */
typedef struct offramp_promise {
  size_t size;
  const char* of; /* "harm" or "disagreement"; NULL: nothing is promised. Valid as the session */
  double epsilon, delta;
} offramp_promise;

#define OFFRAMP_PROMISE_INIT \
  { sizeof(offramp_promise), NULL, 0, 0 }

OFFRAMP_API offramp_status offramp_session_promise(const offramp_session* session,
                                                   offramp_promise* promise);

typedef enum offramp_drift {
  OFFRAMP_DRIFT_UNKNOWN = 0,
  OFFRAMP_DRIFT_NONE = 1,
  OFFRAMP_DRIFT_SEEN = 2 /* the last images leave elsewhere than when the policy was calibrated */
} offramp_drift;

/* What a session has answered: see Stats in session.h. Pointers are valid until the session's next
 * call. */
typedef struct offramp_statistics {
  size_t size;
  int64_t images;
  const int64_t* exits; /* [num_exits] images that left there */
  int64_t macs;
  double relative_cost; /* mean; 0 if there were no images */
  int num_exits;
  int drift;                       /* an offramp_drift */
  const double* shares;            /* [num_exits] exits over images */
  const double* recent_shares;     /* [num_exits] of the last few thousand images */
  const double* calibrated_shares; /* [num_exits]; NULL where the file does not say */
  double drift_distance;           /* share of the images that leave elsewhere */
  double drift_p_value;            /* of a difference like that by chance */
} offramp_statistics;

#define OFFRAMP_STATISTICS_INIT \
  { sizeof(offramp_statistics), 0, NULL, 0, 0, 0, 0, NULL, NULL, NULL, 0, 0 }

OFFRAMP_API offramp_status offramp_stats(offramp_session* session, offramp_statistics* statistics);
/* Forgets the statistics. */
OFFRAMP_API offramp_status offramp_reset_stats(offramp_session* session);

#ifdef __cplusplus
}
#endif

#endif
