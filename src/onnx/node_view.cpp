#include "onnx/node_view.h"

#include "core/error.h"

namespace offramp::onnx {

using schema::AttributeProto;

NodeView::NodeView(const schema::NodeProto& node, int opset, TensorReader& tensors)
    : node_(node), opset_(opset), tensors_(tensors) {
  std::set<std::string_view> names;
  for (const AttributeProto& attribute : node.attribute()) {
    if (!names.insert(attribute.name()).second)
      throw Error(fmt::format("the attribute {} appears twice", core::quote(attribute.name())));
    if (!attribute.ref_attr_name().empty())
      throw Error(fmt::format("the attribute {} refers to one of a function, which is missing",
                              core::quote(attribute.name())));
  }
}

bool NodeView::has(std::string_view name) const {
  for (const AttributeProto& attribute : node_.attribute())
    if (attribute.name() == name) return true;
  return false;
}

const AttributeProto* NodeView::find(std::string_view name, int type) {
  for (const AttributeProto& attribute : node_.attribute()) {
    if (attribute.name() != name) continue;
    if (attribute.has_type() && attribute.type() != type)
      throw Error(fmt::format("the attribute {} has the wrong type", core::quote(name)));
    read_.emplace(name);
    return &attribute;
  }
  return nullptr;
}

std::int64_t NodeView::integer(std::string_view name, std::int64_t otherwise) {
  const AttributeProto* found = find(name, AttributeProto::INT);
  return found == nullptr ? otherwise : found->i();
}

double NodeView::number(std::string_view name, double otherwise) {
  const AttributeProto* found = find(name, AttributeProto::FLOAT);
  return found == nullptr ? otherwise : static_cast<double>(found->f());
}

std::string NodeView::text(std::string_view name, const std::string& otherwise) {
  const AttributeProto* found = find(name, AttributeProto::STRING);
  return found == nullptr ? otherwise : found->s();
}

std::vector<std::int64_t> NodeView::integers(std::string_view name) {
  const AttributeProto* found = find(name, AttributeProto::INTS);
  if (found == nullptr) return {};
  return {found->ints().begin(), found->ints().end()};
}

std::vector<float> NodeView::numbers(std::string_view name) {
  const AttributeProto* found = find(name, AttributeProto::FLOATS);
  if (found == nullptr) return {};
  return {found->floats().begin(), found->floats().end()};
}

std::optional<Constant> NodeView::tensor(std::string_view name) {
  const AttributeProto* found = find(name, AttributeProto::TENSOR);
  if (found == nullptr) return std::nullopt;
  return tensors_.read(found->t());
}

const schema::GraphProto* NodeView::graph(std::string_view name) {
  const AttributeProto* found = find(name, AttributeProto::GRAPH);
  return found == nullptr ? nullptr : &found->g();
}

void NodeView::expect(std::string_view name, std::int64_t value) {
  if (const std::int64_t got = integer(name, value); got != value)
    throw Error(fmt::format("the attribute {} is {}, only {} is supported", name, got, value));
}

void NodeView::finish() const {
  for (const AttributeProto& attribute : node_.attribute())
    if (!read_.contains(attribute.name()))
      throw Error(fmt::format("the attribute {} is not supported", core::quote(attribute.name())));
}

}  // namespace offramp::onnx
