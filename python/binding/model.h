#pragma once

#include <memory>
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

  /// @throws Error if the model is closed or was loaded before this process was forked
  const Model& get() const;
  void close() { model_.reset(); }
  bool is_closed() const { return model_ == nullptr; }

 private:
  std::shared_ptr<Model> model_;
  int fork_ = fork_count();
};

/// A rule from Python: None, a Stop, a threshold, "policy" or "never".
/// @throws UsageError, nb::type_error
std::optional<Stop> to_stop(nb::handle object);

void add_model(nb::module_& module);
void add_session(nb::module_& module);
void add_policy(nb::module_& module);
void add_metrics(nb::module_& module);
void add_report(nb::module_& module);
void add_workflow(nb::module_& module);

}  // namespace offramp::python
