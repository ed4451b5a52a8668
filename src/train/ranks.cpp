#include "train/ranks.h"

#include <string_view>

#include "core/error.h"
#include "core/numbers.h"

namespace offramp::train {
namespace {

using Lookup = std::function<const char*(const char*)>;

std::optional<std::string> text_of(const Lookup& variable, const char* name) {
  const char* value = variable(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

int number_of(const char* name, const std::string& text, int low, int high) {
  const auto value = core::parse_number<int>(text);
  if (!value || *value < low || *value > high)
    throw UsageError(fmt::format("the variable {} must be a whole number from {} to {}: got {}",
                                 name, low, high, core::quote(text)));
  return *value;
}

int number_or(const Lookup& variable, const char* name, int low, int high, int otherwise) {
  const auto text = text_of(variable, name);
  return text ? number_of(name, *text, low, high) : otherwise;
}

// The variables of one launcher.
struct Launcher {
  const char* name;
  const char* rank;
  const char* world;
  const char* local_world;
};
constexpr Launcher kLaunchers[] = {
    {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"},
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"PMI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"},
    // SLURM_NTASKS is also set in a batch script, which is one process; this one only by srun.
    {"SLURM", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_TASKS_PER_NODE"},
};

constexpr int kMaxRanks = 1 << 20;

void read_address(const Lookup& variable, Ranks& ranks) {
  if (const auto address = text_of(variable, "MASTER_ADDR")) {
    ranks.address = *address;
  } else if (ranks.launcher == "SLURM") {
    const auto hosts = text_of(variable, "SLURM_STEP_NODELIST");
    if (!hosts) throw UsageError("set the variable MASTER_ADDR to the machine of rank 0");
    ranks.address = first_slurm_host(*hosts);
  } else if (ranks.local_world != ranks.world) {
    throw UsageError(
        "set the variable MASTER_ADDR to the machine of rank 0, for example with mpirun -x "
        "MASTER_ADDR=node01");
  }
  // Jobs of several people on one machine must not meet at the same port.
  const int job = number_or(variable, "SLURM_JOB_ID", 0, 2147483647, 0);
  const int otherwise = ranks.launcher == "SLURM" ? 20000 + job % 10000 : 29500;
  ranks.port = number_or(variable, "MASTER_PORT", 1, 65535, otherwise);
}

}  // namespace

std::string first_slurm_host(const std::string& list) {
  const std::size_t end = list.find_first_of("[,");
  if (end == std::string::npos || list[end] == ',') return list.substr(0, end);
  const std::size_t stop = list.find_first_of("-,]", end);
  return list.substr(0, end) +
         list.substr(end + 1, stop == std::string::npos ? stop : stop - end - 1);
}

std::optional<Ranks> ranks_from_environment(const Lookup& variable) {
  for (const Launcher& launcher : kLaunchers) {
    const auto rank = text_of(variable, launcher.rank), world = text_of(variable, launcher.world);
    if (!rank || !world) continue;
    Ranks ranks;
    ranks.launcher = launcher.name;
    ranks.world = number_of(launcher.world, *world, 1, kMaxRanks);
    ranks.rank = number_of(launcher.rank, *rank, 0, ranks.world - 1);
    if (ranks.world == 1) return std::nullopt;
    if (const auto local = text_of(variable, launcher.local_world)) {
      // SLURM writes "4(x2)" for 4 tasks on each of 2 machines.
      const std::string count = local->substr(0, local->find_first_not_of("0123456789"));
      ranks.local_world = number_of(launcher.local_world, count, 1, kMaxRanks);
    }
    read_address(variable, ranks);
    if (ranks.launcher == std::string_view("torchrun")) {
      const auto agent = text_of(variable, "TORCHELASTIC_USE_AGENT_STORE");
      ranks.agent_serves = agent && *agent == "True";
      ranks.restart = number_or(variable, "TORCHELASTIC_RESTART_COUNT", 0, 1000000, 0);
    }
    return ranks;
  }
  return std::nullopt;
}

}  // namespace offramp::train
