// ONNX Runtime behind the HTTP code of offramp's own server, for peers.py.
//
//   ort_server LIBONNXRUNTIME.so MODEL.onnx PORT STREAMS THREADS
//
// POST /infer takes the pixels of one image, f32 [3,H,W], and gives {"class_index": 3}. Each of the
// STREAMS runs one image at a time, with THREADS. It parses no JSON and checks nothing but the size
// of the body, so it does less for a request than offramp does.
#define ORT_API_MANUAL_INIT
#include <fmt/format.h>
#include <onnxruntime/onnxruntime_cxx_api.h>

#include <dlfcn.h>
#include <algorithm>
#include <array>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <deque>
#include <functional>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "serve/http_server.h"

namespace {

using namespace offramp::serve;

constexpr std::size_t kMostWaiting = 1024;  // as offramp's server by default

/// Loads the library of ONNX Runtime, which may be newer than the headers. @throws Error if it
/// cannot be loaded or does not have their version of the interface
void load_runtime(const std::string& path) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw offramp::Error(dlerror());
  void* const symbol = dlsym(library, "OrtGetApiBase");
  if (symbol == nullptr) throw offramp::Error(path + ": not ONNX Runtime");
  const auto* const base = reinterpret_cast<const OrtApiBase* (*)()>(symbol)();
  const OrtApi* const api = base->GetApi(ORT_API_VERSION);
  if (api == nullptr)
    throw offramp::Error(fmt::format("{}: older than interface {}", path, ORT_API_VERSION));
  Ort::InitApi(api);
}

class Network {
 public:
  Network(const std::string& path, int streams, int threads) {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(threads);
    options.SetInterOpNumThreads(1);
    for (int i = 0; i < streams; ++i) sessions_.emplace_back(environment_, path.c_str(), options);
    const Ort::AllocatorWithDefaultOptions allocator;
    input_ = sessions_[0].GetInputNameAllocated(0, allocator).get();
    output_ = sessions_[0].GetOutputNameAllocated(0, allocator).get();
    shape_ = sessions_[0].GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape();
    shape_.at(0) = 1;
    for (std::size_t i = 0; i < sessions_.size(); ++i)
      threads_.emplace_back([this, i] { run(sessions_[i]); });
  }
  ~Network() {
    {
      const std::lock_guard lock(mutex_);
      is_ending_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  void answer(std::shared_ptr<Request> request, const Reply& reply) {
    if (request->body.text().size() != num_values() * sizeof(float))
      return reply(error_response(400, fmt::format("expected {} values, f32", num_values())));
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.size() >= kMostWaiting) return reply(error_response(503, "the queue is full"));
      waiting_.push_back({std::move(request), reply});
    }
    changed_.notify_one();
  }

 private:
  struct Job {
    std::shared_ptr<Request> request;
    Reply reply;
  };

  std::size_t num_values() const {
    std::size_t count = 1;
    for (const std::int64_t size : shape_) count *= static_cast<std::size_t>(size);
    return count;
  }

  void run(Ort::Session& session) {
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<float> values(num_values());
    const std::array<const char*, 1> inputs{input_.c_str()}, outputs{output_.c_str()};
    for (;;) {
      Job job;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return is_ending_ || !waiting_.empty(); });
        if (waiting_.empty()) return;
        job = std::move(waiting_.front());
        waiting_.pop_front();
      }
      try {
        const std::string& body = job.request->body.text();
        std::memcpy(values.data(), body.data(), body.size());
        const auto src = Ort::Value::CreateTensor<float>(memory, values.data(), values.size(),
                                                         shape_.data(), shape_.size());
        const auto dst =
            session.Run(Ort::RunOptions{nullptr}, inputs.data(), &src, 1, outputs.data(), 1);
        const float* const logits = dst[0].GetTensorData<float>();
        const auto classes = dst[0].GetTensorTypeAndShapeInfo().GetElementCount();
        Response response;
        response.body = fmt::format(R"({{"class_index":{}}})",
                                    std::max_element(logits, logits + classes) - logits);
        job.reply(std::move(response));
      } catch (const std::exception& error) {
        job.reply(error_response(500, error.what()));
      }
    }
  }

  Ort::Env environment_{ORT_LOGGING_LEVEL_ERROR};
  std::vector<Ort::Session> sessions_;
  std::string input_, output_;
  std::vector<std::int64_t> shape_;

  std::mutex mutex_;  // guards the members below except threads_
  std::condition_variable changed_;
  std::deque<Job> waiting_;
  bool is_ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 6)
      throw offramp::UsageError("ort_server LIBONNXRUNTIME.so MODEL.onnx PORT STREAMS THREADS");
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigaddset(&end, SIGINT);
    pthread_sigmask(SIG_BLOCK, &end, nullptr);
    load_runtime(argv[1]);
    Network network(argv[2], std::stoi(argv[4]), std::stoi(argv[5]));
    HttpOptions options;
    options.port = static_cast<std::uint16_t>(std::stoi(argv[3]));
    HttpServer server(options, [&](std::shared_ptr<Request> request, const Reply& reply) {
      network.answer(std::move(request), reply);
    });
    server.start();
    int signal = 0;
    sigwait(&end, &signal);
    server.drain(std::chrono::seconds(5));
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "ort_server: " << error.what() << "\n";
    return 1;
  }
}
