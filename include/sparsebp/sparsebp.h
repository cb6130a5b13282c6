/* sparsebp: fine-tuning a convolutional network inside a number of bytes, from a plan file that a PC has made.
 *
 * The order of calls: sbp_open_*, sbp_attach, then sbp_train, sbp_predict, sbp_evaluate, sbp_save and sbp_save_delta as
 * often as one likes, sbp_close. Nothing is allocated between sbp_attach and sbp_close but while saving. A session
 * belongs to one thread at a time; two sessions may run in two threads.
 *
 * Every call that can fail returns a status. sbp_last_error says what went wrong, in a sentence. After an error weights
 * and counters are as they were, unless a call says otherwise. Nothing here prints, exits or throws.
 */
#ifndef SPARSEBP_H
#define SPARSEBP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SBP_API __attribute__((visibility("default")))
#else
#define SBP_API
#endif

typedef enum {
  SBP_OK = 0,
  SBP_INVALID_ARGUMENT = 1, /* an argument that the caller can correct */
  SBP_INVALID_FILE = 2,     /* damaged, foreign, of a newer version, or it cannot be read or written */
  SBP_WRONG_STATE = 3,      /* a call at the wrong moment */
  SBP_BUDGET_EXCEEDED = 4,  /* the plan needs more bytes than there are */
  SBP_NOT_FINITE = 5,       /* a loss with a NaN or an infinity: training diverged */
  SBP_NO_MEMORY = 6,        /* the system gives no more */
  SBP_FAILED = 7            /* anything else */
} sbp_status;

typedef struct sbp_session sbp_session;

/* Sizes of an opened plan. */
typedef struct {
  size_t arena_bytes;     /* training: the most that one step needs of the plan's budget */
  size_t budget_bytes;    /* what the plan was made for */
  size_t workspace_bytes; /* inference: activations, one micro-batch of images and of logits; 0 if whole_step */
  int32_t whole_step;     /* does the budget cover all that a step needs but the weights, and not training alone */
  size_t attach_bytes;    /* what sbp_attach wants of a block of the caller's */
  size_t file_bytes;
  int32_t height, width, channels; /* of an image */
  int32_t classes;                 /* sbp_add_class makes them more */
  int32_t outputs;                 /* classes and spare ones */
  int32_t micro_batch;             /* images that go through at once */
  int32_t batch;                   /* images of a whole step; one of fewer, or of more, takes its share of the rates */
  size_t feature_count;            /* numbers that the frozen prefix makes of an image; see sbp_features */
} sbp_sizes;

/* What a call to sbp_train or sbp_evaluate came to. */
typedef struct {
  double loss;     /* mean */
  int64_t correct; /* images recognised, before the update */
  int64_t trained; /* images that trained something; with a skip threshold fewer than there were */
} sbp_result;

/* Where training is. */
typedef struct {
  uint64_t batches; /* seen; the schedule goes by them */
  uint64_t steps;   /* taken */
  uint64_t turn;    /* draws of the channels so far, less one */
  double rate;      /* factor of all rates, see sbp_set_rate */
  double coverage;  /* share of the weights of trained convolutions that were visited so far */
} sbp_progress;

/* How an image's numbers are given. Images are [n][height][width][channels] in memory. */
typedef enum {
  SBP_FLOAT32 = 0, /* as the network reads them */
  SBP_UINT8 = 1,   /* 0..255, turned into numbers as the plan says */
  SBP_ROWS = 2     /* likewise, but `images` is an sbp_rows, which gives them row by row; only if sizes.whole_step */
} sbp_pixels;

/* Images that lie elsewhere, in a camera or a file. `read` writes row `row` of image `image`, [width][channels] bytes,
 * to `out` and returns 0, or another number if it cannot: then the call fails with SBP_INVALID_ARGUMENT, and changes
 * nothing of the micro-batch. The rows of an image are read once, from the first to the last. */
typedef struct {
  int (*read)(void* context, size_t image, size_t row, uint8_t* out);
  void* context;
} sbp_rows;

/* The version of the library, such as "0.2.0". */
SBP_API const char* sbp_version(void);

/* Opens a plan file. On success *session is to be closed by sbp_close; otherwise it is null and `error`, a buffer of
 * `error_bytes` bytes or null, holds the reason.
 * From a path the file is mapped: pages that are not trained stay evictable. `data` is copied. A reader copies `size`
 * bytes from `offset` of a file of `file_bytes` to `out` and returns 0, or another number if it cannot. */
SBP_API sbp_status sbp_open_path(const char* path, sbp_session** session, char* error, size_t error_bytes);
SBP_API sbp_status sbp_open_memory(const void* data, size_t bytes, sbp_session** session, char* error,
                                   size_t error_bytes);
typedef int (*sbp_reader)(void* context, uint64_t offset, void* out, size_t size);
SBP_API sbp_status sbp_open_reader(sbp_reader reader, void* context, uint64_t file_bytes, sbp_session** session,
                                   char* error, size_t error_bytes);

/* Null is allowed. */
SBP_API void sbp_close(sbp_session* session);

/* Why the last call with this session failed; an empty string if it did not. Valid until the next call. */
SBP_API const char* sbp_last_error(const sbp_session* session);

SBP_API sbp_status sbp_get_sizes(sbp_session* session, sbp_sizes* sizes);

/* A text of the file: "classes" (a JSON array of names; null in a file with spare classes, see sbp_class_name),
 * "preprocess", "format", ...; null if it has none of that name. Valid until sbp_close. */
SBP_API const char* sbp_metadata(const sbp_session* session, const char* key);

/* The name of class `index`, as UTF-8; null if the file names none or there are no so many. Valid until sbp_close. */
SBP_API const char* sbp_class_name(const sbp_session* session, size_t index);

/* Takes memory, once: a block of at least sizes.attach_bytes that outlives the session, or null for the session's own.
 * The arena in it has exactly the plan's budget. */
SBP_API sbp_status sbp_attach(sbp_session* session, void* block, size_t block_bytes);

/* Where the block holds the bytes of a micro-batch of images, if the plan has room for them: a caller who writes them
 * there, and gives this address to sbp_train, needs no memory of his own. Null if it has none, or before sbp_attach.
 * Every call with images spoils what lies there. */
SBP_API uint8_t* sbp_pictures(sbp_session* session);

/* One step on `n` images: forward, softmax cross-entropy, backward, update, and the next draw. `labels` lie in
 * [0, classes). More than micro_batch images go through in micro-batches, each with its share of the rates. With
 * SBP_NOT_FINITE, micro-batches before the one that diverged are applied, unless the plan sums gradients. */
SBP_API sbp_status sbp_train(sbp_session* session, const void* images, sbp_pixels pixels, const int32_t* labels,
                             size_t n, sbp_result* result);

/* Logits [n][classes] as in evaluation: without dropout. */
SBP_API sbp_status sbp_predict(sbp_session* session, const void* images, sbp_pixels pixels, size_t n, float* logits);

/* Loss and images recognised, without training. */
SBP_API sbp_status sbp_evaluate(sbp_session* session, const void* images, sbp_pixels pixels, const int32_t* labels,
                                size_t n, sbp_result* result);

/* One more class, in a file that was exported with spare classes: the next spare output gets this name, 1 to 63 bytes
 * of UTF-8, and the number sizes.classes had. Its weights begin at zero; those of the others stay as they are. Spare
 * outputs count in no loss and no logits. SBP_INVALID_ARGUMENT if none is left, or a class has that name. */
SBP_API sbp_status sbp_add_class(sbp_session* session, const char* name);

/* What the frozen prefix, the layers in front of all that train, makes of images: [n][feature_count] numbers, as in
 * evaluation. They stay the same however long the session trains, so that they may be kept in place of images to train
 * on again. Where nothing is frozen they are the numbers that the network reads. */
SBP_API sbp_status sbp_features(sbp_session* session, const void* images, sbp_pixels pixels, size_t n, float* features);

/* sbp_train, sbp_predict and sbp_evaluate of images whose features these are, [n][feature_count]: what they do without
 * the frozen prefix, with the same bits. Only if dropout lies in the frozen prefix, which drops nothing here, sbp_train
 * gives others. */
SBP_API sbp_status sbp_train_features(sbp_session* session, const float* features, const int32_t* labels, size_t n,
                                      sbp_result* result);
SBP_API sbp_status sbp_predict_features(sbp_session* session, const float* features, size_t n, float* logits);
SBP_API sbp_status sbp_evaluate_features(sbp_session* session, const float* features, const int32_t* labels, size_t n,
                                         sbp_result* result);

/* Multiplies all learning rates, beside the plan's schedule; at first by 1. */
SBP_API sbp_status sbp_set_rate(sbp_session* session, double factor);

SBP_API sbp_status sbp_get_progress(sbp_session* session, sbp_progress* progress);

/* Draws the channels of turn `turn` and keeps them until the next call, however many steps they train; the file does
 * not remember that. Machines that hold one turn of one plan train the same rows without telling each other which.
 * SBP_INVALID_ARGUMENT if the plan's sampler draws by what was trained. */
SBP_API sbp_status sbp_hold(sbp_session* session, uint64_t turn);

/* What trains now: numbers of the drawn channels' rows (`drawn`, may be null), and behind them those of everything else
 * that trains: classifier, biases, shifts. Their order is the same in all sessions of a plan. */
SBP_API sbp_status sbp_trainable_count(sbp_session* session, size_t* count, size_t* drawn);

/* Copies these numbers out, or sets them. `count` is that of sbp_trainable_count. Numbers that are not finite are
 * refused. After sbp_set_trainable sbp_save_delta fails until sbp_save: a delta holds only what the session trained. */
SBP_API sbp_status sbp_get_trainable(sbp_session* session, float* values, size_t count);
SBP_API sbp_status sbp_set_trainable(sbp_session* session, const float* values, size_t count);

/* Writes a plan file with the weights and the training state of now, whole or not at all. Opened again it goes on with
 * the same bits. It may replace the file that was opened. */
SBP_API sbp_status sbp_save(sbp_session* session, const char* path);

/* Writes a delta, whole or not at all: weights, shifts and state that have changed since the session was opened or last
 * saved, by sbp_save or by this call. What it continues is named in it by its SHA-256. */
SBP_API sbp_status sbp_save_delta(sbp_session* session, const char* path);

/* Writes to `out` what `base`, a plan file, becomes with `delta`: bit for bit the file that sbp_save would have written
 * instead of the delta. Deltas are applied one by one, in the order in which they were saved; a delta of another base
 * is refused with SBP_INVALID_FILE. `out` may be `base`. `error`: see sbp_open_path. */
SBP_API sbp_status sbp_apply_delta(const char* base, const char* delta, const char* out, char* error,
                                   size_t error_bytes);

/* Writes to `out` the delta from `base` to `next`, two plan files of the same plan, however `next` came about. `error`:
 * see sbp_open_path. */
SBP_API sbp_status sbp_make_delta(const char* base, const char* next, const char* out, char* error, size_t error_bytes);

/* Threads that kernels run on, 1 to 64, unless the host gives its own; at first 1. For all sessions. With any number of
 * threads the results have the same bits. */
SBP_API sbp_status sbp_set_threads(int threads);

/* Computes on the host's threads instead. `parallel` calls task(work, index) once for every index in [0, count), on
 * whichever threads, at the same time or one after the other, and returns when all of these calls have. `count` is at
 * most `threads`, 1 to 64. It is called from the thread that calls sbp_train and the like: from two at once if two
 * sessions run in two threads; never from inside a task. It does not throw, and does not leave by longjmp. Null goes
 * back to the library's own threads. Waits for tasks that run. For all sessions. */
typedef void (*sbp_task)(void* work, int index);
typedef void (*sbp_parallel)(void* context, int count, sbp_task task, void* work);
SBP_API sbp_status sbp_set_parallel(sbp_parallel parallel, void* context, int threads);

#ifdef __cplusplus
}
#endif

#endif
