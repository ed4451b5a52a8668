#ifndef OFFRAMP_OFFRAMP_H
#define OFFRAMP_OFFRAMP_H

#include <stddef.h>
#include <stdint.h>

#include "offramp/export.h"

/* The C interface of offramp, for C and for languages that call C functions. It wraps the C++
 * classes of model.h and session.h, whose comments describe the behaviour in full.
 *
 * A function that can fail returns an offramp_status; offramp_last_error() then returns the
 * message, on the thread that made the call. No C++ exception leaves the library. A pointer must
 * not be NULL unless its comment allows it. A function that cannot fail returns 0 or NULL for a
 * NULL handle. The caller owns the structs; comments state how long the memory that a struct points
 * to is valid.
 *
 * Every struct begins with its size, so that programs and libraries of different versions work
 * together. Initialise every struct with its _INIT macro (or with zeros and size = sizeof of the
 * struct), whether you or the library fills it:
 *
 *   offramp_stop stop = OFFRAMP_STOP_INIT;
 *   stop.milliseconds = 5;
 *
 * A program compiled with an older header has structs without the newest fields: the library takes
 * these fields as 0 and does not write them. A program compiled with a newer header has structs
 * with fields that the library does not know: they must be 0 on input, and are set to 0 on output.
 * In an array of structs, the size of the first one applies to all of them. */

#ifdef __cplusplus
extern "C" {
#endif

typedef enum offramp_status {
  OFFRAMP_OK = 0,
  OFFRAMP_ERROR = 1, /* the work failed because of a file, an image, a model or a computation */
  OFFRAMP_USAGE = 2, /* the request is invalid: an argument or a combination of arguments */
  OFFRAMP_OUT_OF_MEMORY = 3
} offramp_status;

/* The message of the last call on this thread that failed: one line in UTF-8; "" if none failed.
 * Valid until the next call on this thread that fails. */
OFFRAMP_API const char* offramp_last_error(void);

/* The version of the library, for example "0.1.0". The text is static and must not be freed. */
OFFRAMP_API const char* offramp_version(void);

/* A loaded model. It is immutable: any number of threads may use it at the same time. */
typedef struct offramp_model offramp_model;

/* How a model is prepared to run: see Options in model.h. */
typedef struct offramp_options {
  size_t size;
  const char* precision; /* "auto", "f32", "bf16", "int8" (deployment files only); NULL: "auto" */
  int threads;           /* number of threads, shared by all sessions; 0: one for each core */
  int batch;             /* images that each thread runs together, 1 to 1024; 0: 8 */
} offramp_options;

#define OFFRAMP_OPTIONS_INIT \
  { sizeof(offramp_options), NULL, 0, 0 }

/* Loads a model file. options may be NULL. On success the caller owns *model and frees it with
 * offramp_model_free; otherwise *model is NULL. */
OFFRAMP_API offramp_status offramp_model_load(const char* path, const offramp_options* options,
                                              offramp_model** model);
/* Frees a model; model may be NULL. Sessions that were made from it stay valid. */
OFFRAMP_API void offramp_model_free(offramp_model* model);

OFFRAMP_API int offramp_model_num_classes(const offramp_model* model);
OFFRAMP_API int offramp_model_num_exits(const offramp_model* model);
/* Width, height (in pixels) and channels of the network's input. */
OFFRAMP_API int offramp_model_width(const offramp_model* model);
OFFRAMP_API int offramp_model_height(const offramp_model* model);
OFFRAMP_API int offramp_model_channels(const offramp_model* model);
/* 1 if the file holds a policy, so that OFFRAMP_STOP_BY_POLICY can be used; else 0. */
OFFRAMP_API int offramp_model_has_policy(const offramp_model* model);
/* The precision in use: "f32", "bf16" or "int8". Valid as long as the model. */
OFFRAMP_API const char* offramp_model_precision(const offramp_model* model);
/* The name of class `index`, from 0; NULL if there is no such class. Valid as long as the model. */
OFFRAMP_API const char* offramp_model_class_name(const offramp_model* model, int index);
/* Multiply-accumulates spent on an image that leaves at `exit` (counted from 1), divided by those
 * of the plain network; 0 if there is no such exit. */
OFFRAMP_API double offramp_model_relative_cost(const offramp_model* model, int exit);
/* One-line messages for the user (Model::notes), by index from 0; NULL after the last one. Valid as
 * long as the model. */
OFFRAMP_API const char* offramp_model_note(const offramp_model* model, int index);

/* The rules that decide at which exit an image stops: see Stop in session.h. */
typedef enum offramp_rule {
  OFFRAMP_STOP_DEFAULT = 0,      /* by the policy, or at the last exit if the model has none */
  OFFRAMP_STOP_BY_POLICY = 1,    /* by the policy */
  OFFRAMP_STOP_AT_THRESHOLD = 2, /* the policy's score is at least `threshold` */
  OFFRAMP_STOP_NEVER = 3,   /* at the last exit, unless a deadline or a budget stops it before */
  OFFRAMP_STOP_AT_SCORE = 4 /* the score of `criterion` is at least `threshold` */
} offramp_rule;

typedef struct offramp_stop {
  size_t size;
  int rule;            /* an offramp_rule */
  float threshold;     /* for OFFRAMP_STOP_AT_THRESHOLD and OFFRAMP_STOP_AT_SCORE */
  double milliseconds; /* deadline of an image, from the call that passes it; 0: none */
  int64_t macs;        /* budget of multiply-accumulates for an image; 0: none */
  /* For OFFRAMP_STOP_AT_SCORE: "confidence", "entropy", "margin" or "patience". The text is not
   * used after the call that takes this struct. */
  const char* criterion;
} offramp_stop;

#define OFFRAMP_STOP_INIT \
  { sizeof(offramp_stop), OFFRAMP_STOP_DEFAULT, 0, 0, 0, NULL }

/* A session classifies images with a model. One thread at a time may use it. It is small compared
 * with its model; batches and streams run on all of the model's threads. */
typedef struct offramp_session offramp_session;

typedef struct offramp_session_options {
  size_t size;
  const offramp_stop* stop; /* for images without a rule of their own; NULL: OFFRAMP_STOP_DEFAULT */
  int probabilities;        /* not 0: answers hold the probabilities of all classes */
  int reserved;             /* must be 0 */
} offramp_session_options;

#define OFFRAMP_SESSION_OPTIONS_INIT \
  { sizeof(offramp_session_options), NULL, 0, 0 }

/* Makes a session of a model; options may be NULL. On success the caller owns *session and frees it
 * with offramp_session_free; otherwise *session is NULL. */
OFFRAMP_API offramp_status offramp_session_new(const offramp_model* model,
                                               const offramp_session_options* options,
                                               offramp_session** session);
/* Frees a session; session may be NULL. */
OFFRAMP_API void offramp_session_free(offramp_session* session);

/* Cancels images that were passed to a session with it. Any thread may use it, but not after
 * offramp_cancellation_free. */
typedef struct offramp_cancellation offramp_cancellation;

OFFRAMP_API offramp_status offramp_cancellation_new(offramp_cancellation** cancellation);
/* The answer of an image that was not answered yet is then an error, given at the next exit it
 * would reach. cancellation may be NULL. */
OFFRAMP_API void offramp_cancellation_cancel(offramp_cancellation* cancellation);
/* 1 if it was cancelled, else 0. */
OFFRAMP_API int offramp_cancellation_is_cancelled(const offramp_cancellation* cancellation);
/* Frees a cancellation without cancelling its images; cancellation may be NULL. */
OFFRAMP_API void offramp_cancellation_free(offramp_cancellation* cancellation);

/* Options for one image. A field that is NULL takes the session's value. Nothing here is used after
 * the call that takes this struct. */
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
  const float* probabilities; /* [num_classes]; NULL unless the session's options ask for them.
                               * Valid until the session's next call */
  /* NULL if the image was classified. Else one line that says why it was not, valid until the
   * session's next call; all other fields but `cancelled` are then to be ignored. */
  const char* error;
  int64_t macs;         /* multiply-accumulates spent on the image */
  double relative_cost; /* `macs` divided by those of the plain network */
  int class_index;
  float probability; /* of the class `class_index` */
  int num_classes;
  int exit; /* where the image stopped, counted from 1 */
  /* 1 if a deadline or a budget of multiply-accumulates stopped the image before its rule did. */
  int limited;
  int cancelled; /* 1 if it was cancelled, else 0 */
} offramp_answer;

#define OFFRAMP_ANSWER_INIT \
  { sizeof(offramp_answer), NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0 }

/* Classifies an image of decoded pixels; *answer is written on success only.
 * pixels: [height, width, 3] bytes: red, green, blue, rows from top to bottom without padding. */
OFFRAMP_API offramp_status offramp_classify_rgb8(offramp_session* session, const uint8_t* pixels,
                                                 int width, int height, offramp_answer* answer);
/* Classifies the image in the bytes of a JPEG, PNG, WebP or BMP file; *answer is written on success
 * only. */
OFFRAMP_API offramp_status offramp_classify_encoded(offramp_session* session, const void* bytes,
                                                    size_t size, offramp_answer* answer);
/* Classifies the image in a JPEG, PNG, WebP or BMP file; *answer is written on success only. */
OFFRAMP_API offramp_status offramp_classify_file(offramp_session* session, const char* path,
                                                 offramp_answer* answer);
/* Classifies an image that is already resized and normalised: [channels, height, width] values.
 * count: their number. *answer is written on success only. */
OFFRAMP_API offramp_status offramp_classify_normalised(offramp_session* session,
                                                       const float* values, size_t count,
                                                       offramp_answer* answer);

/* What the data of an offramp_image are. */
typedef enum offramp_form {
  OFFRAMP_RGB8 = 0,    /* pixels as offramp_classify_rgb8 takes them; length: in bytes */
  OFFRAMP_ENCODED = 1, /* the bytes of a JPEG, PNG, WebP or BMP file; length: in bytes */
  OFFRAMP_FILE = 2, /* the path of a JPEG, PNG, WebP or BMP file, ending in 0; length is ignored */
  OFFRAMP_NORMALISED = 3 /* floats as offramp_classify_normalised takes them; length: in floats */
} offramp_form;

/* An image in one of these forms. Its data are not used after the call that takes it. */
typedef struct offramp_image {
  size_t size; /* of this struct */
  const void* data;
  size_t length;
  int form;          /* an offramp_form */
  int width, height; /* in pixels, for OFFRAMP_RGB8 only */
  int reserved;      /* must be 0 */
} offramp_image;

#define OFFRAMP_IMAGE_INIT \
  { sizeof(offramp_image), NULL, 0, OFFRAMP_RGB8, 0, 0, 0 }

/* Classifies an image of any form; options may be NULL. *answer is written on success only. */
OFFRAMP_API offramp_status offramp_classify(offramp_session* session, const offramp_image* image,
                                            const offramp_image_options* options,
                                            offramp_answer* answer);

/* Classifies many images, divided among the model's threads. An image that cannot be classified has
 * an error in its answer; the other answers are not affected.
 * images: [count]; options: [count], or NULL for the session's options; answers: [count], in the
 * order of the images; at least answers[0].size must be set. */
OFFRAMP_API offramp_status offramp_classify_batch(offramp_session* session,
                                                  const offramp_image* images,
                                                  const offramp_image_options* options,
                                                  size_t count, offramp_answer* answers);

/* Computes the logits of every exit: no image stops early, whatever the session's rule is.
 * logits: [num_exits, count, num_classes] floats, written; length: their number, which must be
 * num_exits × count × num_classes. */
OFFRAMP_API offramp_status offramp_all_exits(offramp_session* session, const offramp_image* images,
                                             size_t count, float* logits, size_t length);

/* A function that receives an answer and the `id` that its image was pushed with. The answer is
 * valid until the function returns; its size is that of the library's offramp_answer. The function
 * must not call the session. */
typedef void (*offramp_on_answer)(void* user, int64_t id, const offramp_answer* answer);
/* A function that is called when an answer becomes ready for the next offramp_poll or offramp_push
 * to deliver. Any of the model's threads may call it, also from inside offramp_push. It must return
 * quickly and must not call the session. */
typedef void (*offramp_on_ready)(void* user);

typedef struct offramp_stream_options {
  size_t size;
  double flush_after_ms;     /* longest wait of an image for a full batch, in ms; 0: no limit */
  int64_t most_pending;      /* largest number of images without a delivered answer; 0: 4096 */
  int in_order;              /* not 0: answers are delivered in the order of offramp_push */
  int reserved;              /* must be 0 */
  offramp_on_ready on_ready; /* may be NULL */
} offramp_stream_options;

#define OFFRAMP_STREAM_OPTIONS_INIT \
  { sizeof(offramp_stream_options), 0, 0, 0, 0, NULL }

/* Begins a stream of images; options may be NULL. `user` is passed to every call of on_answer and
 * on_ready. */
OFFRAMP_API offramp_status offramp_stream(offramp_session* session, offramp_on_answer on_answer,
                                          void* user, const offramp_stream_options* options);
/* Adds an image to the stream and delivers the answers that are ready; options may be NULL. */
OFFRAMP_API offramp_status offramp_push(offramp_session* session, int64_t id,
                                        const offramp_image* image,
                                        const offramp_image_options* options);
/* Delivers the answers that are ready, answers images whose deadline has passed, and runs images
 * that have waited longer than flush_after_ms or must start now because of their deadline. */
OFFRAMP_API offramp_status offramp_poll(offramp_session* session);
/* Milliseconds from now until offramp_poll should be called; 0: now; negative: no image needs it.
 */
OFFRAMP_API double offramp_next_due_ms(const offramp_session* session);
/* Runs all waiting images and delivers the answers of all images pushed so far. */
OFFRAMP_API offramp_status offramp_flush(offramp_session* session);
/* Number of images that were pushed and whose answers were not delivered yet. */
OFFRAMP_API int64_t offramp_pending(const offramp_session* session);

typedef enum offramp_in_force {
  OFFRAMP_IN_FORCE_NO = 0,
  OFFRAMP_IN_FORCE_YES = 1,
  OFFRAMP_IN_FORCE_UNKNOWN = 2 /* something could not be checked yet */
} offramp_in_force;

/* The certified bound of the model's policy, and whether it is in force for the session's answers:
 * see Session::guarantee in session.h. */
typedef struct offramp_guarantee {
  size_t size;
  const char* of;  /* "harm" or "disagreement"; NULL: the model has none */
  double epsilon;  /* bound on the rate, in (0, 1) */
  double delta;    /* probability that the bound is wrong, in (0, 1) */
  const char* why; /* why it is not in force or why that is unknown; "" if it is in force. Valid
                      until the session's next call */
  int in_force;    /* an offramp_in_force */
  int reserved;    /* must be 0 */
  /* bound on the rate of images that the policy and the last exit (or the ensemble of all exits, if
     the certificate is against it) classify differently; certified together with the other one. 0:
     the model file holds none */
  double disagreement;
} offramp_guarantee;

#define OFFRAMP_GUARANTEE_INIT \
  { sizeof(offramp_guarantee), NULL, 0, 0, NULL, OFFRAMP_IN_FORCE_NO, 0, 0 }

/* Not to be called before the first answer: the first call checks the weights and may run the
 * images that the model file stores. */
OFFRAMP_API offramp_status offramp_session_guarantee(offramp_session* session,
                                                     offramp_guarantee* guarantee);

typedef enum offramp_drift {
  OFFRAMP_DRIFT_UNKNOWN = 0,
  OFFRAMP_DRIFT_NONE = 1,
  OFFRAMP_DRIFT_SEEN = 2 /* the most recent images leave at other exits than at calibration */
} offramp_drift;

/* Counts of a session's answers: see Stats in session.h. Pointers are valid until the session's
 * next call. */
typedef struct offramp_statistics {
  size_t size;
  int64_t images;
  const int64_t* exits; /* [num_exits] number of images that left at each exit */
  int64_t macs;         /* multiply-accumulates spent on all images */
  double relative_cost; /* mean; 0 if there were no images */
  int num_exits;
  int drift;                       /* an offramp_drift */
  const double* shares;            /* [num_exits] `exits` divided by `images` */
  const double* recent_shares;     /* [num_exits] shares of the last few thousand images */
  const double* calibrated_shares; /* [num_exits] shares at calibration; NULL if not stored */
  double drift_distance;           /* share of the images that leave at another exit, in [0, 1] */
  double drift_p_value;            /* probability of a difference this large by chance */
} offramp_statistics;

#define OFFRAMP_STATISTICS_INIT \
  { sizeof(offramp_statistics), 0, NULL, 0, 0, 0, 0, NULL, NULL, NULL, 0, 0 }

OFFRAMP_API offramp_status offramp_stats(offramp_session* session, offramp_statistics* statistics);
/* Sets all counts of offramp_stats to 0. */
OFFRAMP_API offramp_status offramp_reset_stats(offramp_session* session);

#ifdef __cplusplus
}
#endif

#endif
