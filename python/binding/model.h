#pragma once

#include <memory>
#include <optional>
#include <string>

#include "calls.h"
#include "offramp/model.h"
#include "offramp/session.h"

namespace offramp::python {

/// Owns what has threads, or refers to something that has. In a forked child, where the threads do
/// not exist, it is left alone instead of destroyed: joining them would never end.
template <typename T>
std::shared_ptr<T> make_owned(T value) {
  return {new T(std::move(value)), [made_at = fork_count()](T* pointer) {
            if (made_at == fork_count()) delete pointer;
          }};
}

/// A model as Python holds it: it can be closed, and knows in which process it was loaded.
class LoadedModel {
 public:
  LoadedModel(const std::string& path, const Options& options);

  /// The model; close() by another thread does not affect the returned handle.
  /// @throws Error if the model is closed or was loaded before this process was forked
  Model get() const;
  void close() { model_.reset(); }
  const std::string& path() const { return path_; }
  bool is_closed() const { return model_ == nullptr; }
  /// Whether this process was forked after the model was loaded.
  bool is_of_parent() const { return fork_ != fork_count(); }

 private:
  std::string path_;
  std::shared_ptr<Model> model_;
  int fork_ = fork_count();
};

/// The model file that a path stands for: the model of a run folder, or the path itself. Sets
/// FileNotFoundError, PermissionError, … if it cannot be opened. @throws Error if a folder contains
/// no model
std::string find_model(const std::string& path);

/// (of, epsilon, delta, in force: True, False or None where it is not known, why), or None.
nb::object from_guarantee(const std::optional<Guarantee>& guarantee);

/// A Stop that also knows the calls of Python that made it.
struct PythonStop : Stop {
  std::shared_ptr<const PythonStop> before;  ///< that and_within() was called on; else empty
  const char* method = "";
  nb::tuple arguments;

  /// "Stop.by_policy().and_within(5.0)"
  std::string text() const;
};

/// A rule from Python: None, a Stop, a threshold, "policy" or "never".
/// @throws UsageError, nb::type_error
std::optional<PythonStop> to_stop(nb::handle object);

void add_model(nb::module_& module);
void add_session(nb::module_& module);
void add_policy(nb::module_& module);
void add_metrics(nb::module_& module);
void add_report(nb::module_& module);
void add_workflow(nb::module_& module);

}  // namespace offramp::python
