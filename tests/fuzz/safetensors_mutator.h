#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

// Included by the target of each fuzzer of safetensors files.
#ifdef OFFRAMP_FUZZER
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

// After a mutation of the header, the length stored before it is corrected. Otherwise hardly any
// mutated file would pass the first check.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  std::uint64_t length = 0;
  if (size >= 8) std::memcpy(&length, data, 8);
  if (size < 8 || length > size - 8 || seed % 8 == 0) return LLVMFuzzerMutate(data, size, max_size);
  const std::vector<std::uint8_t> rest(data + 8 + length, data + size);
  if (rest.size() + 8 >= max_size) return LLVMFuzzerMutate(data, size, max_size);
  const std::size_t mutated = LLVMFuzzerMutate(data + 8, length, max_size - 8 - rest.size());
  length = mutated;
  std::memcpy(data, &length, 8);
  if (!rest.empty()) std::memcpy(data + 8 + mutated, rest.data(), rest.size());
  return 8 + mutated + rest.size();
}
#endif
