#include "cli/serve_command.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "cli/terminal.h"
#include "serve/server.h"

namespace offramp::cli {
namespace {

struct Flags {
  std::vector<std::string> models;
  std::string config;
  std::size_t max_body_mib = 0, memory_mib = 0;
  std::int64_t max_megapixels = 0;
  std::string on_alarm;
  bool no_watch = false;
  serve::ServerSettings settings;
};

int run(const CLI::App& command, const Flags& flags) {
  // A flag overrides the settings file, and the file overrides the defaults.
  serve::ServerSettings settings;
  if (!flags.config.empty()) serve::read_settings(flags.config, settings);
  const auto given = [&](const char* name) { return command.get_option(name)->count() > 0; };
  const serve::ServerSettings& own = flags.settings;
  for (const std::string& text : flags.models)
    for (serve::ModelEntry& entry : serve::parse_model_entries(text))
      settings.models.push_back(std::move(entry));
  if (given("--address")) settings.http.address = own.http.address;
  if (given("--port")) settings.http.port = own.http.port;
  if (given("--threads")) settings.model.threads = own.model.threads;
  if (given("--batch")) settings.model.batch = own.model.batch;
  if (given("--precision")) settings.model.precision = own.model.precision;
  if (given("--max-queue")) settings.queue.max_queue = own.queue.max_queue;
  if (given("--max-wait-ms")) settings.queue.max_wait_ms = own.queue.max_wait_ms;
  if (given("--max-queue-delay-ms"))
    settings.queue.max_queue_delay_ms = own.queue.max_queue_delay_ms;
  if (given("--max-body-mib")) settings.http.max_body_bytes = flags.max_body_mib << 20;
  if (given("--memory-mib")) settings.http.memory_bytes = flags.memory_mib << 20;
  if (given("--max-megapixels")) settings.queue.max_pixels = 1000000 * flags.max_megapixels;
  if (given("--max-connections")) settings.http.max_connections = own.http.max_connections;
  if (given("--audit-share")) settings.queue.watch.audit_share = own.queue.watch.audit_share;
  if (given("--on-alarm"))
    settings.queue.watch.on_alarm = serve::on_alarm_from_string(flags.on_alarm);
  if (given("--token-file")) settings.token_file = own.token_file;
  if (given("--drain-seconds")) settings.drain_seconds = own.drain_seconds;
  if (given("--no-watch")) settings.watch_files = false;
  if (given("--log-requests")) settings.log_requests = true;
  const bool all = serve::run_server(
      settings, [&](const std::string& address, const serve::ServedModels& models) {
        std::string text = fmt::format("page:   {}/\n", address);
        const bool token = !settings.token_file.empty();
        for (const auto& model : models.all())
          text += fmt::format("model:  {}, version {}, {}, {} exits\n", model->name, model->version,
                              model->model.precision(), model->model.num_exits());
        text += fmt::format(
            "try it: curl -s {0}/example.png | curl -s --data-binary @-{1} "
            "{0}/v1/classify\n",
            address, token ? " -H 'Authorization: Bearer TOKEN'" : "");
        write_stdout(text);
        std::fflush(stdout);
      });
  return all ? 0 : 1;
}

template <typename Number>
CLI::Range within(serve::Range<Number> range) {
  return {range.least, range.most};
}

}  // namespace

void add_serve_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  serve::ServerSettings& own = flags->settings;
  CLI::App* command = app.add_subcommand("serve", "Answer requests over HTTP");
  command->add_option(
      "models", flags->models,
      "Model files: PATH, NAME=PATH or NAME@VERSION=PATH; or a folder: its model files");
  command->add_option("--config", flags->config, "TOML file with these settings");
  command->add_option("--address", own.http.address,
                      "IP address to listen on, or localhost (default: 127.0.0.1, this machine "
                      "alone)");
  command->add_option("--port", own.http.port, "Port (default: 8000; 0: any that is free)")
      ->check(within(serve::ranges::kPort));
  command
      ->add_option("--threads", own.model.threads, "Threads of each model (default: 0, all cores)")
      ->check(within(serve::ranges::kThreads));
  command->add_option("--batch", own.model.batch, "Images that run together (default: 8)")
      ->check(within(serve::ranges::kBatch));
  command->add_option("--precision", own.model.precision, "auto (default), f32, bf16 or int8");
  command
      ->add_option("--max-queue", own.queue.max_queue,
                   "Images that may wait for a model (default: 1024); more are refused with 503")
      ->check(within(serve::ranges::kMaxQueue));
  command
      ->add_option("--max-wait-ms", own.queue.max_wait_ms,
                   "Refuse images with 503 while those before them take longer than this "
                   "(default: 0, no limit)")
      ->check(within(serve::ranges::kMaxWaitMs));
  command
      ->add_option("--max-queue-delay-ms", own.queue.max_queue_delay_ms,
                   "How long an image may wait for others to fill a batch (default: 0)")
      ->check(within(serve::ranges::kMaxQueueDelayMs));
  command
      ->add_option("--max-body-mib", flags->max_body_mib,
                   "Largest body of a request, MiB (default: 32)")
      ->check(within(serve::ranges::kMebibytes));
  command
      ->add_option("--memory-mib", flags->memory_mib,
                   "Memory for the data of all requests under way, MiB (default: 512)")
      ->check(within(serve::ranges::kMebibytes));
  command
      ->add_option("--max-megapixels", flags->max_megapixels,
                   "Largest image that is decoded, in millions of pixels (default: 16)")
      ->check(within(serve::ranges::kMaxMegapixels));
  command
      ->add_option("--max-connections", own.http.max_connections,
                   "Connections at a time (default: 2048)")
      ->check(within(serve::ranges::kMaxConnections));
  command
      ->add_option("--audit-share", own.queue.watch.audit_share,
                   "Share of the images that also run to the last exit, after their answers, to "
                   "watch the certified bound (default: 0.01; 0: none)")
      ->check(within(serve::ranges::kAuditShare));
  command
      ->add_option("--on-alarm", flags->on_alarm,
                   "When the bound is exceeded: none (default), cautious (use a more cautious step "
                   "of the certified path) or last (send all images to the last exit)")
      ->check(CLI::IsMember({"none", "cautious", "last"}));
  command->add_option("--token-file", own.token_file,
                      "File whose first line is the token that requests must carry");
  command
      ->add_option("--drain-seconds", own.drain_seconds,
                   "Time to answer what is under way after SIGTERM (default: 30)")
      ->check(within(serve::ranges::kDrainSeconds));
  command->add_flag("--no-watch", flags->no_watch,
                    "Load models again only on SIGHUP, not when a file changes");
  command->add_flag("--log-requests", own.log_requests, "Log a line for every request");
  command->callback(
      [command, flags, &action] { action = [command, flags] { return run(*command, *flags); }; });
}

}  // namespace offramp::cli
