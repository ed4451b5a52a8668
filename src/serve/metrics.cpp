#include "serve/metrics.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <mutex>

namespace offramp::serve {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using Labels = std::map<std::string, std::string>;

class Metrics::State {
 public:
  prometheus::Registry registry;
  Family<Counter>& requests = BuildCounter()
                                  .Name("offramp_requests_total")
                                  .Help("Requests by route and HTTP status")
                                  .Register(registry);
  Family<Histogram>& seconds = BuildHistogram()
                                   .Name("offramp_request_seconds")
                                   .Help("Time from a request until its response, by route")
                                   .Register(registry);
  Family<Gauge>& connections =
      BuildGauge().Name("offramp_connections").Help("Open connections").Register(registry);
  Family<Gauge>& memory = BuildGauge()
                              .Name("offramp_request_memory_bytes")
                              .Help("Memory of the bodies of requests under way")
                              .Register(registry);
  std::mutex scraping;
};

namespace {

/// Every fifth bucket of the statistics, which keeps the number of lines small.
prometheus::ClientMetric latency_of(const ServedModel& model, const BatcherStats& stats) {
  prometheus::ClientMetric metric;
  metric.label = {{"model", model.name}, {"version", std::to_string(model.version)}};
  metric.histogram.sample_count = static_cast<std::uint64_t>(stats.answered);
  metric.histogram.sample_sum = stats.total_ms / 1e3;
  const std::vector<double>& bounds = LatencyCounts::bounds_ms();
  std::uint64_t so_far = 0;
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    so_far += static_cast<std::uint64_t>(stats.latency.counts()[i]);
    if (i % 5 == 4) metric.histogram.bucket.push_back({so_far, bounds[i] / 1e3});
  }
  metric.histogram.bucket.push_back(
      {metric.histogram.sample_count, std::numeric_limits<double>::infinity()});
  return metric;
}

/// Returns the metrics that are read from the models at the time of the request.
std::vector<prometheus::MetricFamily> model_families(const ServedModels& models) {
  using prometheus::ClientMetric;
  using prometheus::MetricFamily;
  using prometheus::MetricType;
  std::vector<MetricFamily> families;
  const auto family = [&](const char* name, const char* help, MetricType type) {
    families.push_back({name, help, type, {}});
    return families.size() - 1;
  };
  const auto images = family("offramp_images_total", "Images answered, by the exit where they left",
                             MetricType::Counter);
  const auto refused = family("offramp_images_refused_total", "Images without an answer, by reason",
                              MetricType::Counter);
  const auto limited =
      family("offramp_images_limited_total", "Images that a deadline stopped before their rule did",
             MetricType::Counter);
  const auto cost = family("offramp_relative_cost_total",
                           "Sum of the relative costs of the images answered", MetricType::Counter);
  const auto queue =
      family("offramp_queue_seconds_total", "Time that the answered images waited in the queue",
             MetricType::Counter);
  const auto seconds = family("offramp_image_seconds", "Time from an image's arrival to its answer",
                              MetricType::Histogram);
  const auto in_force =
      family("offramp_guarantee_in_force",
             "1 where the model's certificate is in force, 0 where it is not", MetricType::Gauge);
  const auto audits = family("offramp_audits",
                             "Audited answers under the rule in use that agree with the complete "
                             "network or do not; a dropped audit does not",
                             MetricType::Gauge);
  const auto alarms =
      family("offramp_watch_alarms_total", "Times that the audits contradicted the certified bound",
             MetricType::Counter);
  const auto evidence =
      family("offramp_watch_evidence",
             "Evidence against the certified bound on disagreement; the alarm is at alarm_at",
             MetricType::Gauge);
  const auto bound =
      family("offramp_watch_bound", "The certified bound on disagreement", MetricType::Gauge);
  const auto waiting = family("offramp_queue_images", "Images that wait now", MetricType::Gauge);
  const auto drift = family("offramp_drift_distance",
                            "Share of the recent images that leave elsewhere than in calibration",
                            MetricType::Gauge);
  for (const auto& model : models.all()) {
    const BatcherStats stats = model->batcher.stats();
    const auto add = [&](std::size_t index, double value, const char* label = nullptr,
                         const std::string& label_value = {}) {
      ClientMetric metric;
      metric.label = {{"model", model->name}, {"version", std::to_string(model->version)}};
      if (label != nullptr) metric.label.push_back({label, label_value});
      if (families[index].type == MetricType::Counter)
        metric.counter.value = value;
      else
        metric.gauge.value = value;
      families[index].metric.push_back(std::move(metric));
    };
    for (std::size_t k = 0; k < stats.exits.size(); ++k)
      add(images, static_cast<double>(stats.exits[k]), "exit", std::to_string(k + 1));
    families[seconds].metric.push_back(latency_of(*model, stats));
    add(refused, static_cast<double>(stats.refused), "reason", "refused");
    add(refused, static_cast<double>(stats.no_room), "reason", "no_room");
    add(refused, static_cast<double>(stats.cancelled), "reason", "cancelled");
    add(refused, static_cast<double>(stats.failed), "reason", "failed");
    add(limited, static_cast<double>(stats.limited));
    add(cost, stats.relative_cost);
    add(queue, stats.queue_ms / 1e3);
    if (const WatchStats& watch = stats.watch; watch.state != WatchStats::State::off) {
      add(audits, static_cast<double>(watch.audits - watch.disagreements), "result", "agree");
      add(audits, static_cast<double>(watch.disagreements), "result", "disagree");
      add(alarms, static_cast<double>(watch.alarms));
      add(evidence, watch.evidence, "alarm_at", fmt::format("{:.0f}", watch.alarm_at));
      add(bound, watch.bound);
    }
    add(waiting, static_cast<double>(model->batcher.waiting()));
    if (stats.guarantee && stats.guarantee->in_force != InForce::unknown)
      add(in_force, stats.guarantee->in_force == InForce::yes ? 1 : 0);
    if (stats.session.drift != DriftFlag::unknown) add(drift, stats.session.drift_distance);
  }
  return families;
}

}  // namespace

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::~Metrics() = default;

void Metrics::count_request(const std::string& route, int status, double seconds) {
  static const Histogram::BucketBoundaries kBounds{0.0005, 0.001, 0.002, 0.005, 0.01, 0.02,
                                                   0.05,   0.1,   0.2,   0.5,   1,    5};
  state_->requests.Add({{"route", route}, {"status", std::to_string(status)}}).Increment();
  state_->seconds.Add({{"route", route}}, kBounds).Observe(seconds);
}

std::string Metrics::text(const ServedModels& models, const HttpCounts& counts) {
  const std::lock_guard lock(state_->scraping);
  state_->connections.Add(Labels{}).Set(static_cast<double>(counts.connections));
  state_->memory.Add(Labels{}).Set(static_cast<double>(counts.memory_bytes));
  std::vector<prometheus::MetricFamily> families = state_->registry.Collect();
  for (auto& family : model_families(models)) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace offramp::serve
