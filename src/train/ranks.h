#pragma once

#include <functional>
#include <optional>
#include <string>

namespace offramp::train {

/// This process's place among the processes (ranks) that train one network together, and where they
/// meet.
struct Ranks {
  int rank = 0, world = 1;
  int local_world = 1;                ///< ranks on this machine, as far as the launcher says
  std::string address = "127.0.0.1";  ///< address of the machine of rank 0
  int port = 29500;
  /// The launcher's agent serves the meeting point (torchrun), so no rank does.
  bool agent_serves = false;
  int restart = 0;  ///< how often the launcher has started the ranks again
  std::string launcher;
};

/// Reads the variables that a launcher sets, in this order: RANK and WORLD_SIZE (torchrun, a
/// PyTorchJob), OMPI_COMM_WORLD_RANK and _SIZE (Open MPI), PMI_RANK and PMI_SIZE (MPICH, Intel
/// MPI), SLURM_PROCID and SLURM_STEP_NUM_TASKS (srun). MASTER_ADDR and MASTER_PORT say where the
/// ranks meet. Without them it is this machine if all ranks run here, and the first machine of a
/// SLURM step.
/// @param variable  looks up a variable, as std::getenv
/// @return nullopt if no launcher started several processes
/// @throws UsageError if a variable is missing or is not a number in its range
std::optional<Ranks> ranks_from_environment(
    const std::function<const char*(const char*)>& variable);

/// Returns the first host of a SLURM list: "node[03-07,9],login" is "node03".
std::string first_slurm_host(const std::string& list);

}  // namespace offramp::train
