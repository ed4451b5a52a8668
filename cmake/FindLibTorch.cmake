# LibTorch behind one target, offramp::torch. Its own config sets global flags and lists
# libraries in variables; only this file knows.
# It warns of static libraries of its own build that Debian's package does not have.
set(CMAKE_MESSAGE_LOG_LEVEL ERROR)
find_package(Torch REQUIRED)
unset(CMAKE_MESSAGE_LOG_LEVEL)
add_library(offramp_torch INTERFACE)
add_library(offramp::torch ALIAS offramp_torch)
target_include_directories(offramp_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
target_link_libraries(offramp_torch INTERFACE ${TORCH_LIBRARIES})
