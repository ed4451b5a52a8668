#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "graph/cost.h"
#include "model/model_file.h"
#include "policy/policy.h"

// A model file from anywhere is read whole or refused with an Error. What was read is written again
// and must read back as the same.

namespace offramp {
namespace {

/// A file that exists in memory only.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("model", 0)) {
    if (descriptor_ < 0) std::abort();
  }
  MemoryFile(const std::uint8_t* data, std::size_t size) : MemoryFile() {
    while (size > 0) {
      const ssize_t done = ::write(descriptor_, data, size);
      if (done <= 0) std::abort();
      data += done;
      size -= static_cast<std::size_t>(done);
    }
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

void use(const ModelFile& model) {
  cost_of(model.graph);
  infer_shapes(model.graph);
  if (graph_from_json(graph_to_json(model.graph)) != model.graph) std::abort();
  if (!model.policy) return;
  if (policy_from_json(policy_to_json(*model.policy), model.policy->policy.num_exits()) !=
      *model.policy)
    std::abort();
  // Decides about something.
  Opinion opinion;
  const std::vector<float> logits(model.classes.size(), 0.5f);
  for (int k = 0; k < model.policy->policy.num_exits(); ++k)
    consult(model.policy->policy, k, logits, opinion);
}

}  // namespace
}  // namespace offramp

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace offramp;
  const MemoryFile file(data, size);
  try {
    Tensors extra;
    use(load_model(file.path(), &extra));
  } catch (const Error& error) {
    if (std::strchr(error.what(), '\n') != nullptr || *error.what() == '\0') std::abort();
  }
  return 0;
}

#ifdef OFFRAMP_FUZZER
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

// Mutations of the header keep its length, which stands before it, true: else hardly any would get
// past the first check.
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
