#include "runtime/onednn_operation.h"

namespace offramp::runtime {
namespace {

class BoundPrimitive : public BoundOperation {
 public:
  BoundPrimitive(const dnnl::primitive& primitive, const dnnl::stream& stream)
      : primitive_(primitive), stream_(stream) {}

  void add(int argument, const dnnl::memory& memory) {
    memories_.push_back(memory);
    arguments_.push_back({argument, memory.get()});
  }

  // This calls oneDNN's C function, because the C++ one allocates an argument list in every call.
  void run() override {
    const auto count = static_cast<int>(arguments_.size());
    const dnnl_status_t status =
        dnnl_primitive_execute(primitive_.get(), stream_.get(), count, arguments_.data());
    if (status != dnnl_success)
      throw Error(fmt::format("oneDNN: could not execute a primitive: status {}",
                              static_cast<int>(status)));
  }

 private:
  dnnl::primitive primitive_;
  dnnl::stream stream_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
};

}  // namespace

std::unique_ptr<BoundOperation> OnednnOperation::bind(const Buffers& buffers,
                                                      const dnnl::stream& stream) const {
  OFFRAMP_ASSERT(buffers.srcs.size() == 1);
  auto bound = std::make_unique<BoundPrimitive>(parts_.primitive, stream);
  bound->add(parts_.src_argument, {parts_.src, cpu_engine(), buffers.srcs[0]});
  bound->add(parts_.dst_argument, {parts_.dst, cpu_engine(), buffers.dst});
  for (const auto& [argument, shared] : parts_.constants) bound->add(argument, shared.memory);
  if (parts_.scratchpad.get_size() > 0)
    bound->add(DNNL_ARG_SCRATCHPAD, {parts_.scratchpad, cpu_engine(), buffers.scratch});
  return bound;
}

std::shared_ptr<const Operation> make_reorder(const Layout& src, const Layout& dst, int batch) {
  OFFRAMP_ASSERT(src.shape == dst.shape && src.element == dst.element);
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::reorder::primitive_desc desc(cpu_engine(), batch_desc(src, batch), cpu_engine(),
                                           batch_desc(dst, batch), attr);
  auto parts = OnednnOperation::Parts::of<dnnl::reorder>(desc);
  parts.src_argument = DNNL_ARG_FROM;
  parts.dst_argument = DNNL_ARG_TO;
  return std::make_shared<OnednnOperation>(std::move(parts));
}

}  // namespace offramp::runtime
