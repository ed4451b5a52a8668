#ifndef OFFRAMP_TESTS_C_API_CONSUMER_H
#define OFFRAMP_TESTS_C_API_CONSUMER_H

#ifdef __cplusplus
extern "C" {
#endif

/* Loads a model, classifies one image at threshold 0 and frees everything. Returns an
 * offramp_status. */
int classify_from_c(const char* path, const unsigned char* pixels, int width, int height, int* exit,
                    float* probability);

#ifdef __cplusplus
}
#endif

#endif
