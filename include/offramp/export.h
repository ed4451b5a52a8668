#ifndef OFFRAMP_EXPORT_H
#define OFFRAMP_EXPORT_H

/* Marks what the shared library shows; everything else in it is hidden. Plain C. */
#define OFFRAMP_API __attribute__((visibility("default")))

#endif
