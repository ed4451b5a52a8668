# LibTorch behind one target, offramp::torch. Its own config sets global flags and lists
# libraries in variables; only this file knows.
find_package(Torch REQUIRED)
add_library(offramp_torch INTERFACE)
add_library(offramp::torch ALIAS offramp_torch)
target_include_directories(offramp_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
target_link_libraries(offramp_torch INTERFACE ${TORCH_LIBRARIES})
