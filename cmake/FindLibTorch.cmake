# Defines the target offramp::torch for LibTorch, whose own CMake config only sets variables. Only
# this file uses those variables.
find_package(Torch REQUIRED)
add_library(offramp_torch INTERFACE)
add_library(offramp::torch ALIAS offramp_torch)
target_include_directories(offramp_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
target_link_libraries(offramp_torch INTERFACE ${TORCH_LIBRARIES})
