#ifndef OFFRAMP_EXPORT_H
#define OFFRAMP_EXPORT_H

/* Marks the symbols that the shared library exports; all others are hidden. Valid in C and C++. */
#define OFFRAMP_API __attribute__((visibility("default")))

#endif
