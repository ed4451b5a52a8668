#include "calls.h"
#include "model.h"
#include "nanobind/nanobind.h"
#include "offramp/error.h"

NB_MODULE(_core, module) {
  namespace python = offramp::python;
  nanobind::set_leak_warnings(true);
  python::watch_forks();
  module.doc() = "The extension under the package offramp; use that instead.";
  module.attr("version") = offramp::version();

  // The last one that is registered is asked first.
  const nanobind::exception<offramp::Error> error(module, "Error");
  const nanobind::tuple bases = nanobind::make_tuple(error, nanobind::handle(PyExc_ValueError));
  const nanobind::exception<offramp::UsageError> usage_error(module, "UsageError", bases);
  error.attr("__doc__") = "The work failed: a file, an image, a model or a computation.";
  usage_error.attr("__doc__") = "The request is invalid: an argument or a combination of them.";

  python::add_model(module);
  python::add_session(module);
  python::add_policy(module);
  python::add_metrics(module);
  python::add_report(module);
  python::add_workflow(module);
}
