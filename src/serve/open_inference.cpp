#include "serve/open_inference.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <set>

#include "serve/classify.h"

namespace offramp::serve {
namespace {

constexpr const char* kInput = "image";
constexpr std::size_t kMaxOutputs = 64;
// Requests up to these sizes are read by the thread of the HTTP server itself, in less than a
// millisecond.
constexpr std::size_t kQuickJsonBytes = 16384, kQuickBodyBytes = std::size_t{1} << 20;

/// An output tensor of a model. `append` writes the values of one image.
struct OutputKind {
  const char* name;
  const char* datatype;
  bool per_class;  ///< whether the shape is [N, classes]; otherwise it is [N]
};
constexpr OutputKind kOutputs[] = {
    {"class", "BYTES", false},      {"class_index", "INT64", false},
    {"probability", "FP32", false}, {"probabilities", "FP32", true},
    {"exit", "INT64", false},       {"relative_cost", "FP32", false},
    {"limited", "BOOL", false},
};

const OutputKind* find_output(const std::string& name) {
  const auto* const found =
      std::ranges::find_if(kOutputs, [&](const OutputKind& one) { return name == one.name; });
  return found == std::end(kOutputs) ? nullptr : found;
}

std::string output_names() {
  std::string names;
  for (const OutputKind& one : kOutputs)
    names += (names.empty() ? "" : ", ") + std::string(one.name);
  return names;
}

/// An output that the client requested, with its options.
struct Wanted {
  const OutputKind* kind = nullptr;
  bool binary = false;
  /// If above 0, the output is the text of this many most probable classes.
  int classification = 0;
};

/// The images of a request, with the memory that they refer to.
struct Images {
  std::vector<ImageView> views;
  std::vector<float> values;
  std::vector<std::uint8_t> pixels;
  bool are_to_decode = false;
  Reservation memory;                // reservation for `values` and `pixels`
  std::shared_ptr<Request> request;  // its body
};

const RequestJson* find(const RequestJson& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

const RequestJson& parameters_of(const RequestJson& object, const std::string& place) {
  static const RequestJson kNone = RequestJson::object();
  const RequestJson* const found = find(object, "parameters");
  if (found == nullptr) return kNone;
  if (!found->is_object()) throw HttpError(400, place + ": expected parameters to be an object");
  return *found;
}

std::string text_of(const RequestJson& object, const char* key, const std::string& place) {
  const RequestJson* const found = find(object, key);
  if (found == nullptr || !found->is_string())
    throw HttpError(400, fmt::format("{}: expected a text \"{}\"", place, key));
  return found->get<std::string>();
}

bool flag_of(const RequestJson& parameters, const char* key, bool otherwise,
             const std::string& place) {
  const RequestJson* const found = find(parameters, key);
  if (found == nullptr) return otherwise;
  if (!found->is_boolean())
    throw HttpError(400, fmt::format("{}: expected {} to be true or false", place, key));
  return found->get<bool>();
}

std::vector<std::size_t> shape_of(const RequestJson& input) {
  const RequestJson* const found = find(input, "shape");
  if (found == nullptr || !found->is_array() || found->empty() || found->size() > 8)
    throw HttpError(400, "input \"image\": expected a shape of 1 to 8 dimensions");
  std::vector<std::size_t> shape;
  for (const RequestJson& one : *found) {
    if (!one.is_number_integer() || !(one.is_number_unsigned() && one.get<std::uint64_t>() >= 1 &&
                                      one.get<std::uint64_t>() <= (1u << 27)))
      throw HttpError(400, fmt::format("input \"image\": expected whole numbers from 1 to {} as "
                                       "dimensions",
                                       1 << 27));
    shape.push_back(one.get<std::size_t>());
  }
  if (shape[0] > kMaxImages)
    throw HttpError(413, fmt::format("input \"image\": {} images, but a request takes at most {}",
                                     shape[0], kMaxImages));
  return shape;
}

std::string to_text(const std::vector<std::size_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ","));
}

/// Visits the elements of JSON data, nested as the shape says or flat.
template <typename Visit>
void each_element(const RequestJson& data, const Visit& visit) {
  for (const RequestJson& one : data) {
    if (one.is_array())
      each_element(one, visit);
    else
      visit(one);
  }
}

[[noreturn]] void refuse_count(std::size_t got, std::size_t expected, const char* what) {
  throw HttpError(
      400, fmt::format("input \"image\": {} {}, but its shape takes {}", got, what, expected));
}

class InputReader {
 public:
  InputReader(const Model& model, const RequestJson& input, std::string_view binary,
              std::shared_ptr<Budget> budget)
      : model_(model), input_(input), shape_(shape_of(input)), budget_(std::move(budget)) {
    const RequestJson& parameters = parameters_of(input, "input \"image\"");
    if (find(parameters, "shared_memory_region") != nullptr)
      throw HttpError(400,
                      "input \"image\": shared memory is not supported; send the data in the "
                      "request");
    data_ = find(input, "data");
    if (const RequestJson* const size = find(parameters, "binary_data_size")) {
      if (!size->is_number_unsigned())
        throw HttpError(400, "input \"image\": expected binary_data_size to be a whole number");
      if (data_ != nullptr)
        throw HttpError(400, "input \"image\": has both data and binary_data_size; give one");
      if (size->get<std::uint64_t>() != binary.size())
        throw HttpError(400, fmt::format("input \"image\": binary_data_size is {}, but {} bytes "
                                         "follow the JSON",
                                         size->get<std::uint64_t>(), binary.size()));
      binary_ = binary;
    } else if (data_ == nullptr || !data_->is_array()) {
      throw HttpError(400, "input \"image\": expected data, a list, or binary_data_size");
    } else if (!binary.empty()) {
      throw HttpError(400, fmt::format("request: {} bytes follow the JSON, but no input has a "
                                       "binary_data_size",
                                       binary.size()));
    }
  }

  std::shared_ptr<Images> read() {
    const std::string datatype = text_of(input_, "datatype", "input \"image\"");
    if (datatype == "FP32") return read_values();
    if (datatype == "UINT8") return read_pixels();
    if (datatype == "BYTES") return read_files();
    throw HttpError(
        400,
        fmt::format("input \"image\": datatype {} is not supported; expected FP32, "
                    "the network's normalised input [N,{},{},{}], UINT8, pixels "
                    "[N,height,width,3], or BYTES, image files [N]",
                    json_string(datatype), model_.channels(), model_.height(), model_.width()));
  }

 private:
  std::shared_ptr<Images> read_values() {
    const std::vector<std::size_t> expected{shape_[0], static_cast<std::size_t>(model_.channels()),
                                            static_cast<std::size_t>(model_.height()),
                                            static_cast<std::size_t>(model_.width())};
    if (shape_ != expected)
      throw HttpError(400,
                      fmt::format("input \"image\": got the shape {}, expected [N,{},{},{}] of "
                                  "FP32, normalised; send pixels of any size as UINT8 "
                                  "[N,height,width,3]",
                                  to_text(shape_), expected[1], expected[2], expected[3]));
    const std::size_t each = expected[1] * expected[2] * expected[3], count = shape_[0] * each;
    if (data_ == nullptr && binary_.size() != 4 * count)
      refuse_count(binary_.size(), 4 * count, "bytes");
    auto images = images_of(4 * count);
    if (data_ == nullptr) {
      images->values.resize(count);
      std::memcpy(images->values.data(), binary_.data(), binary_.size());
    } else {
      images->values.reserve(count);
      each_element(*data_, [&](const RequestJson& one) {
        if (!one.is_number()) throw HttpError(400, "input \"image\": expected numbers in data");
        if (images->values.size() == count) refuse_count(count + 1, count, "or more values");
        images->values.push_back(one.get<float>());
      });
      if (images->values.size() != count) refuse_count(images->values.size(), count, "values");
    }
    for (std::size_t i = 0; i < shape_[0]; ++i)
      images->views.push_back(
          ImageView::normalised(std::span<const float>(images->values).subspan(i * each, each)));
    return images;
  }

  std::shared_ptr<Images> read_pixels() {
    if (shape_.size() != 4 || shape_[3] != 3 || shape_[1] > 65535 || shape_[2] > 65535)
      throw HttpError(400, fmt::format("input \"image\": got the shape {}, expected "
                                       "[N,height,width,3] of UINT8, sides of at most 65535",
                                       to_text(shape_)));
    // At most 2^8 images of 2^32 pixels of 3 bytes: the product cannot overflow.
    const std::size_t each = shape_[1] * shape_[2] * 3, count = shape_[0] * each;
    // A number takes more bytes in JSON than as a pixel, so the length of the text bounds the
    // pixels.
    auto images = images_of(data_ == nullptr ? 0 : std::min(count, kMaxJsonBytes));
    std::span<const std::uint8_t> pixels(reinterpret_cast<const std::uint8_t*>(binary_.data()),
                                         binary_.size());
    if (data_ == nullptr) {
      if (binary_.size() != count) refuse_count(binary_.size(), count, "bytes");
    } else {
      each_element(*data_, [&](const RequestJson& one) {
        if (!one.is_number_unsigned() || one.get<std::uint64_t>() > 255)
          throw HttpError(400, "input \"image\": expected whole numbers from 0 to 255 in data");
        if (images->pixels.size() == count) refuse_count(count + 1, count, "or more values");
        images->pixels.push_back(one.get<std::uint8_t>());
      });
      if (images->pixels.size() != count) refuse_count(images->pixels.size(), count, "values");
      pixels = images->pixels;
    }
    for (std::size_t i = 0; i < shape_[0]; ++i)
      images->views.push_back(ImageView::rgb8(pixels.subspan(i * each, each),
                                              static_cast<int>(shape_[2]),
                                              static_cast<int>(shape_[1])));
    images->are_to_decode = shape_[1] != static_cast<std::size_t>(model_.height()) ||
                            shape_[2] != static_cast<std::size_t>(model_.width());
    return images;
  }

  std::shared_ptr<Images> read_files() {
    const std::size_t count = shape_[0];
    if (shape_.size() > 2 || (shape_.size() == 2 && shape_[1] != 1))
      throw HttpError(400, fmt::format("input \"image\": got the shape {}, expected [N] of BYTES",
                                       to_text(shape_)));
    if (data_ != nullptr)
      throw HttpError(400,
                      "input \"image\": image files as JSON text are not supported; send them "
                      "as binary data, or to /v1/classify");
    auto images = std::make_shared<Images>();
    std::string_view left = binary_;
    while (!left.empty()) {
      std::uint32_t size = 0;
      if (left.size() < 4)
        throw HttpError(400, "input \"image\": BYTES end inside the length of an element");
      std::memcpy(&size, left.data(), 4);
      left.remove_prefix(4);
      if (size > left.size())
        throw HttpError(400,
                        fmt::format("input \"image\": element {} has {} bytes, but {} are left",
                                    images->views.size(), size, left.size()));
      if (images->views.size() == count) refuse_count(count + 1, count, "or more elements");
      images->views.push_back(ImageView::encoded(std::as_bytes(std::span(left.data(), size))));
      left.remove_prefix(size);
    }
    if (images->views.size() != count) refuse_count(images->views.size(), count, "elements");
    images->are_to_decode = true;
    return images;
  }

  const Model& model_;
  const RequestJson& input_;
  /// Returns an empty set of images for which this much memory is reserved.
  std::shared_ptr<Images> images_of(std::size_t bytes) const {
    auto images = std::make_shared<Images>();
    images->memory = Reservation(budget_);
    if (!images->memory.take(bytes))
      throw HttpError(503, "the server's memory for requests is full; try again later");
    return images;
  }

  const std::vector<std::size_t> shape_;
  const std::shared_ptr<Budget> budget_;
  const RequestJson* data_ = nullptr;
  std::string_view binary_;
};

std::vector<Wanted> wanted_outputs(const Model& model, const RequestJson& json, bool binary) {
  std::vector<Wanted> wanted;
  const RequestJson* const outputs = find(json, "outputs");
  if (outputs == nullptr || (outputs->is_array() && outputs->empty())) {
    for (const OutputKind& kind : kOutputs) wanted.push_back({&kind, binary, 0});
    return wanted;
  }
  if (!outputs->is_array()) throw HttpError(400, "request: expected outputs to be a list");
  if (outputs->size() > kMaxOutputs)
    throw HttpError(400, fmt::format("request: {} outputs, but there are {}: {}", outputs->size(),
                                     std::size(kOutputs), output_names()));
  std::set<std::string> seen;
  for (const RequestJson& output : *outputs) {
    if (!output.is_object()) throw HttpError(400, "request: expected each output to be an object");
    const std::string name = text_of(output, "name", "output");
    const std::string place = "output " + json_string(name);
    Wanted one{find_output(name), binary, 0};
    if (one.kind == nullptr)
      throw HttpError(400, place + ": there is no such output; expected one of " + output_names());
    if (!seen.insert(name).second) throw HttpError(400, place + ": asked for twice");
    const RequestJson& parameters = parameters_of(output, place);
    if (find(parameters, "shared_memory_region") != nullptr)
      throw HttpError(400, place + ": shared memory is not supported");
    one.binary = flag_of(parameters, "binary_data", binary, place);
    if (const RequestJson* const classes = find(parameters, "classification")) {
      if (!classes->is_number_unsigned() || classes->get<std::uint64_t>() > 100000)
        throw HttpError(400, place + ": expected classification to be a whole number");
      one.classification = static_cast<int>(
          std::min<std::uint64_t>(classes->get<std::uint64_t>(), model.classes().size()));
      if (one.classification > 0 && !one.kind->per_class)
        throw HttpError(400, place + ": classification is for the output probabilities");
    }
    wanted.push_back(one);
  }
  return wanted;
}

/// Writes one output of a request, element by element, as JSON or as bytes.
class OutputWriter {
 public:
  explicit OutputWriter(bool binary) : binary_(binary) {}
  template <typename T>
  void number(T value) {
    if (binary_)
      bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    else
      data_.push_back(value);
  }
  void text(const std::string& value) {
    if (!binary_) {
      data_.push_back(value);
      return;
    }
    const auto size = static_cast<std::uint32_t>(value.size());
    bytes_.append(reinterpret_cast<const char*>(&size), sizeof size);
    bytes_ += value;
  }
  const std::string& bytes() const { return bytes_; }
  Json take_data() { return std::move(data_); }

 private:
  bool binary_;
  std::string bytes_;
  Json data_ = Json::array();
};

void append(OutputWriter& writer, const Wanted& wanted, const Model& model, const Answer& answer) {
  const std::string_view name = wanted.kind->name;
  if (wanted.classification > 0) {
    for (const int index : largest(answer.probabilities, wanted.classification))
      writer.text(fmt::format("{:f}:{}:{}", answer.probabilities[static_cast<std::size_t>(index)],
                              index, model.classes()[static_cast<std::size_t>(index)]));
  } else if (name == "class") {
    writer.text(std::string(answer.class_name));
  } else if (name == "class_index") {
    writer.number(static_cast<std::int64_t>(answer.class_index));
  } else if (name == "probability") {
    writer.number(answer.probability);
  } else if (name == "probabilities") {
    for (const float probability : answer.probabilities) writer.number(probability);
  } else if (name == "exit") {
    writer.number(static_cast<std::int64_t>(answer.exit));
  } else if (name == "relative_cost") {
    writer.number(static_cast<float>(answer.relative_cost));
  } else {
    writer.number(answer.limited);
  }
}

Response to_response(const ServedModel& served, const std::vector<ImageResult>& results,
                     const std::vector<Wanted>& wanted, const std::string& id) {
  for (std::size_t i = 0; i < results.size(); ++i) {
    const ImageResult& one = results[i];
    if (one.kind != ImageResult::Kind::answered)
      throw HttpError(status_of(one), fmt::format("image {}: {}", i, one.answer.error));
  }
  Json json;
  json["model_name"] = served.name;
  json["model_version"] = std::to_string(served.version);
  if (!id.empty()) json["id"] = id;
  Json outputs = Json::array();
  std::string binary;
  bool any_binary = false;
  for (const Wanted& one : wanted) {
    OutputWriter writer(one.binary);
    for (const ImageResult& result : results) append(writer, one, served.model, result.answer);
    Json output{{"name", one.kind->name},
                {"datatype", one.classification > 0 ? "BYTES" : one.kind->datatype},
                {"shape", Json::array({results.size()})}};
    if (one.classification > 0)
      output["shape"].push_back(one.classification);
    else if (one.kind->per_class)
      output["shape"].push_back(served.model.classes().size());
    if (one.binary) {
      any_binary = true;
      output["parameters"] = {{"binary_data_size", writer.bytes().size()}};
      binary += writer.bytes();
    } else {
      output["data"] = writer.take_data();
    }
    outputs.push_back(std::move(output));
  }
  json["outputs"] = std::move(outputs);
  Response response;
  response.body = json_line(json);
  if (any_binary) {
    response.headers.emplace_back("Inference-Header-Content-Length",
                                  std::to_string(response.body.size()));
    response.content_type = "application/octet-stream";
    response.body += binary;
  }
  return response;
}

/// Returns the length of the JSON at the start of the body.
std::size_t json_length(const Request& request) {
  const std::size_t size = request.body.text().size();
  const std::string* const given = request.header("inference-header-content-length");
  if (given == nullptr) return size;
  std::size_t length = 0;
  const auto [end, error] = std::from_chars(given->data(), given->data() + given->size(), length);
  if (error != std::errc() || end != given->data() + given->size() || length > size)
    throw HttpError(400, fmt::format("Inference-Header-Content-Length: got {}, expected the length "
                                     "of the JSON, at most the body's {} bytes",
                                     json_string(*given), size));
  return length;
}

/// Rounds shares, because the weights of old images make their last digits meaningless.
std::vector<double> rounded(std::vector<double> shares) {
  for (double& share : shares) share = std::round(1e6 * share) / 1e6;
  return shares;
}

Json watch_json(const WatchStats& watch) {
  using State = WatchStats::State;
  return {{"state", watch.state == State::off          ? "off"
                    : watch.state == State::collecting ? "collecting"
                    : watch.state == State::holding    ? "holding"
                                                       : "alarm"},
          {"why", watch.why},
          {"audit_share", watch.audit_share},
          {"audits", watch.audits},
          {"disagreements", watch.disagreements},
          {"dropped", watch.dropped},
          {"alarms", watch.alarms},
          {"bound", watch.state == State::off ? Json(nullptr) : Json(watch.bound)},
          {"evidence", watch.evidence},
          {"alarm_at", watch.alarm_at},
          {"on_alarm", watch.on_alarm == OnAlarm::none       ? "none"
                       : watch.on_alarm == OnAlarm::cautious ? "cautious"
                                                             : "last"},
          {"step", watch.step ? Json(*watch.step) : Json(nullptr)}};
}

std::uint64_t nanoseconds(double milliseconds) {
  return static_cast<std::uint64_t>(std::llround(milliseconds * 1e6));
}

}  // namespace

Json model_metadata(const ServedModel& served) {
  const Model& model = served.model;
  Json json{{"name", served.name},
            {"versions", Json::array({std::to_string(served.version)})},
            {"platform", "offramp"}};
  json["inputs"] =
      Json::array({{{"name", kInput},
                    {"datatype", "FP32"},
                    {"shape", {-1, model.channels(), model.height(), model.width()}}}});
  Json outputs = Json::array();
  for (const OutputKind& kind : kOutputs) {
    Json shape = Json::array({-1});
    if (kind.per_class) shape.push_back(model.classes().size());
    outputs.push_back({{"name", kind.name}, {"datatype", kind.datatype}, {"shape", shape}});
  }
  json["outputs"] = std::move(outputs);
  return json;
}

Json model_config(const ServedModel& served) {
  const Model& model = served.model;
  Json json{{"name", served.name},
            {"platform", "offramp"},
            {"backend", "offramp"},
            {"max_batch_size", kMaxImages}};
  json["input"] = Json::array({{{"name", kInput},
                                {"data_type", "TYPE_FP32"},
                                {"dims", {model.channels(), model.height(), model.width()}}}});
  Json outputs = Json::array();
  for (const OutputKind& kind : kOutputs) {
    const std::string type = std::string_view(kind.datatype) == "BYTES" ? "STRING" : kind.datatype;
    Json dims = Json::array({kind.per_class ? model.classes().size() : 1});
    Json output{{"name", kind.name}, {"data_type", "TYPE_" + type}, {"dims", dims}};
    if (!kind.per_class) output["reshape"] = {{"shape", Json::array()}};
    outputs.push_back(std::move(output));
  }
  json["output"] = std::move(outputs);
  return json;
}

Json model_statistics(const ServedModel& served) {
  const BatcherStats stats = served.batcher.stats();
  const auto duration = [](std::int64_t count, double milliseconds) {
    return Json{{"count", count}, {"ns", nanoseconds(milliseconds)}};
  };
  const auto last =
      std::chrono::duration_cast<std::chrono::milliseconds>(stats.last.time_since_epoch());
  Json json{{"name", served.name},
            {"version", std::to_string(served.version)},
            {"last_inference", last.count()},
            {"inference_count", stats.answered},
            {"execution_count", stats.groups}};
  json["inference_stats"] = {
      {"success", duration(stats.answered, stats.total_ms)},
      {"fail", duration(stats.refused + stats.failed, 0)},
      {"queue", duration(stats.answered, stats.queue_ms)},
      {"compute_input", duration(stats.answered, 0)},
      {"compute_infer", duration(stats.answered, stats.total_ms - stats.queue_ms)},
      {"compute_output", duration(stats.answered, 0)},
      {"cache_hit", duration(0, 0)},
      {"cache_miss", duration(0, 0)}};
  json["batch_stats"] = Json::array();
  const Stats& session = stats.session;
  Json offramp{
      {"loaded", served.loaded_ms},
      {"requests", served.requests.load()},
      {"exits", stats.exits},
      {"mean_relative_cost",
       stats.answered == 0 ? 0 : stats.relative_cost / static_cast<double>(stats.answered)},
      {"relative_costs", served.model.relative_costs()},
      {"limited", stats.limited},
      {"refused", stats.refused},
      {"no_room", stats.no_room},
      {"cancelled", stats.cancelled},
      {"failed", stats.failed},
      {"alone", stats.alone},
      {"waiting", served.batcher.waiting()},
      {"latency", {{"bounds_ms", LatencyCounts::bounds_ms()}, {"counts", stats.latency.counts()}}},
      {"drift", session.drift == DriftFlag::unknown ? "unknown"
                : session.drift == DriftFlag::none  ? "none"
                                                    : "drifted"},
      {"drift_distance", session.drift_distance},
      {"drift_p_value", session.drift_p_value},
      {"recent_shares", rounded(session.recent_shares)},
      {"calibrated_shares", session.calibrated_shares}};
  offramp["guarantee"] = nullptr;
  if (const std::optional<Guarantee>& guarantee = stats.guarantee)
    offramp["guarantee"] = {{"of", guarantee->of},
                            {"epsilon", guarantee->epsilon},
                            {"delta", guarantee->delta},
                            {"in_force", guarantee->in_force == InForce::yes  ? "yes"
                                         : guarantee->in_force == InForce::no ? "no"
                                                                              : "unknown"},
                            {"why", guarantee->why}};
  offramp["watch"] = watch_json(stats.watch);
  json["offramp"] = std::move(offramp);
  return json;
}

bool is_long_to_read(const Request& request) {
  const std::size_t size = request.body.text().size();
  return size > kQuickBodyBytes || json_length(request) > kQuickJsonBytes;
}

void infer(const std::shared_ptr<ServedModel>& model, const std::shared_ptr<Request>& request,
           Worker& worker, Reply reply) {
  const std::string_view body = request->body.text();
  const std::size_t length = json_length(*request);
  const ParsedJson parsed = parse_request_json(body.substr(0, length), request->body.budget());
  const RequestJson& json = parsed.json;

  ImageRuleReader reader;
  const RequestJson& parameters = parameters_of(json, "request");
  for (const auto& [name, value] : parameters.items()) {
    if (name == "binary_data_output") continue;
    if (name.starts_with("sequence_"))
      throw HttpError(400, "parameter " + name + ": sequences are not supported");
    reader.read(name, value);  // unknown parameters are ignored, as the protocol requires
  }
  const bool binary = flag_of(parameters, "binary_data_output", false, "request");

  const RequestJson* const inputs = find(json, "inputs");
  if (inputs == nullptr || !inputs->is_array() || inputs->size() != 1 || !(*inputs)[0].is_object())
    throw HttpError(400, "request: expected inputs to be a list with one tensor, \"image\"");
  const RequestJson& input = (*inputs)[0];
  const std::string name = text_of(input, "name", "input");
  if (name != kInput)
    throw HttpError(400, "input " + json_string(name) +
                             ": there is no such input; expected "
                             "\"image\"");
  std::string id;
  if (const RequestJson* const given = find(json, "id")) {
    if (!given->is_string()) throw HttpError(400, "request: expected id to be a text");
    id = given->get<std::string>();
  }
  std::vector<Wanted> wanted = wanted_outputs(model->model, json, binary);
  std::shared_ptr<Images> images =
      InputReader(model->model, input, body.substr(length), request->body.budget()).read();
  images->request = request;
  run_images(model, request, images->views, images->are_to_decode, images, reader.rule(), worker,
             std::move(reply),
             [model, wanted = std::move(wanted),
              id = std::move(id)](const std::vector<ImageResult>& results) {
               return to_response(*model, results, wanted, id);
             });
}

}  // namespace offramp::serve
