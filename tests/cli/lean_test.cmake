# cmake -D PROGRAM=… -P lean_test.cmake: checks that a program does not link
# LibTorch, which would make it start slowly.
cmake_minimum_required(VERSION 3.25)

execute_process(COMMAND ldd ${PROGRAM} OUTPUT_VARIABLE libraries RESULT_VARIABLE status)
if(NOT status EQUAL 0 OR NOT libraries MATCHES "libc\\.so")
  message(FATAL_ERROR "ldd ${PROGRAM}: status ${status}\n${libraries}")
endif()
if(libraries MATCHES "torch|libc10|libcaffe")
  message(FATAL_ERROR "LibTorch is loaded by a program that does not train:\n${libraries}")
endif()
