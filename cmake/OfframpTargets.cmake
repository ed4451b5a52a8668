# Defines the compiler options of the project and the functions offramp_library and offramp_test.
# Each CMakeLists.txt calls these with its files and dependencies.

# Options for our own code only: consumers of the installed library do not inherit them.
add_library(offramp_options INTERFACE)
add_library(offramp::options ALIAS offramp_options)
target_compile_features(offramp_options INTERFACE cxx_std_20)
target_include_directories(offramp_options INTERFACE
  ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
target_compile_options(offramp_options INTERFACE -Wall -Wextra -Wshadow
  # GCC 12 gives a false warning in std::string at -O3 (GCC bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
# Conversion warnings are separate, because the macros of GoogleTest and LibTorch cause them.
add_library(offramp_strict INTERFACE)
target_compile_options(offramp_strict INTERFACE -Wconversion -Wno-sign-conversion)
if(OFFRAMP_WERROR)
  target_compile_options(offramp_options INTERFACE -Werror)
endif()
if(OFFRAMP_ASSERTS)
  target_compile_definitions(offramp_options INTERFACE OFFRAMP_ASSERTS=1)
endif()
if(OFFRAMP_SANITIZE)
  target_compile_options(offramp_options INTERFACE
    -fsanitize=${OFFRAMP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
    # GCC gives false warnings in sanitized library code (std::regex).
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(offramp_options INTERFACE -fsanitize=${OFFRAMP_SANITIZE})
endif()

# offramp_library(<folder> SOURCES ... [PUBLIC other folders ...] [LINK libraries ...] [RELAXED])
# defines the library of a folder of src/. PUBLIC names the folders whose headers it may include, as
# in docs/architecture.md. RELAXED turns conversion warnings off.
function(offramp_library name)
  cmake_parse_arguments(arg "RELAXED" "" "SOURCES;PUBLIC;LINK" ${ARGN})
  add_library(offramp_${name} STATIC ${arg_SOURCES})
  add_library(offramp::${name} ALIAS offramp_${name})
  # Symbols are hidden so that the shared library exports only what OFFRAMP_API marks.
  set_target_properties(offramp_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_link_libraries(offramp_${name} PRIVATE $<BUILD_INTERFACE:offramp::options>)
  if(NOT arg_RELAXED)
    target_link_libraries(offramp_${name} PRIVATE $<BUILD_INTERFACE:offramp_strict>)
  endif()
  foreach(folder IN LISTS arg_PUBLIC)
    target_link_libraries(offramp_${name} PUBLIC offramp::${folder})
  endforeach()
  target_link_libraries(offramp_${name} PRIVATE ${arg_LINK})
endfunction()

# offramp_test(<folder>/<unit> [LABELS ...] [LINK folders ...] [THREADS filter]): builds
# tests/<folder>/<unit>_test.cpp into one program per unit. GoogleTest finds the cases at build time.
# THREADS is a GoogleTest filter: the cases that also get the label "threads", which the preset tsan
# selects.
function(offramp_test unit)
  cmake_parse_arguments(arg "" "THREADS" "LABELS;LINK" ${ARGN})
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  string(REPLACE "/" "_" name ${unit})
  get_filename_component(file ${unit} NAME)
  add_executable(${name}_test ${file}_test.cpp)
  # Only the code under test has to be fast; without optimisation a test builds in half of the time.
  target_compile_options(${name}_test PRIVATE $<$<NOT:$<CONFIG:Release>>:-O0>)
  target_link_libraries(${name}_test PRIVATE offramp::options GTest::gmock GTest::gtest_main)
  # Headers that tests share are included as "tests/support/<file>.h".
  target_include_directories(${name}_test PRIVATE ${PROJECT_SOURCE_DIR})
  foreach(folder IN LISTS arg_LINK)
    target_link_libraries(${name}_test PRIVATE offramp::${folder})
  endforeach()
  if(train IN_LIST arg_LINK)  # other compiler options
    target_precompile_headers(${name}_test REUSE_FROM offramp_train_test_headers)
  else()
    target_precompile_headers(${name}_test REUSE_FROM offramp_test_headers)
  endif()
  set(others "")
  if(arg_THREADS)
    offramp_discover(${name} ${unit} ${name}_threads "${arg_THREADS}" "${arg_LABELS};threads")
    set_property(GLOBAL APPEND PROPERTY OFFRAMP_THREADS_TESTS ${name}_test)
    set(others "-${arg_THREADS}")
  endif()
  if(NOT others STREQUAL "-*")
    offramp_discover(${name} ${unit} ${name}_others "${others}" "${arg_LABELS}")
  endif()
endfunction()

# The cases of a test program that a GoogleTest filter selects, with their labels. ctest stops if the
# filter selects none.
function(offramp_discover name unit list filter labels)
  include(GoogleTest)
  gtest_discover_tests(${name}_test TEST_PREFIX "${unit}:" TEST_FILTER "${filter}" TEST_LIST ${list}
                       DISCOVERY_TIMEOUT 120 PROPERTIES TIMEOUT 600)
  # gtest_discover_tests keeps only the first of several labels; this runs after its own script.
  set(script ${CMAKE_CURRENT_BINARY_DIR}/${list}_labels.cmake)
  file(WRITE ${script} "if(${list})
  set_tests_properties(\${${list}} PROPERTIES LABELS \"${labels}\")
elseif(EXISTS \"${CMAKE_CURRENT_BINARY_DIR}/${name}_test\")
  message(FATAL_ERROR \"${unit}: the filter ${filter} selects no test\")
endif()
")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${script})
endfunction()

# offramp_capped(<folder>/<unit> filter [cap...]): runs these cases of a test program again with
# oneDNN capped to each instruction set, by default to all. The program skips all of its cases, and
# ctest says so, where the CPU or its oneDNN does not have the set
# (tests/support/instruction_set_cap.h). Our own loops do not follow the cap: see offramp_versions.
function(offramp_capped unit filter)
  string(REPLACE "/" "_" name ${unit})
  set(caps ${ARGN})
  if(NOT caps)
    set(caps SSE41 AVX2 AVX2_VNNI AVX512_CORE AVX512_CORE_VNNI AVX512_CORE_BF16 AVX512_CORE_AMX)
  endif()
  foreach(cap ${caps})
    add_test(NAME ${unit}:On${cap} COMMAND ${name}_test --gtest_filter=${filter})
    set_tests_properties(${unit}:On${cap} PROPERTIES
      ENVIRONMENT "ONEDNN_MAX_CPU_ISA=${cap}" LABELS "unit;parity;capped" TIMEOUT 900
      SKIP_REGULAR_EXPRESSION "ONEDNN_MAX_CPU_ISA=${cap} has no effect here"
      FAIL_REGULAR_EXPRESSION "Running 0 tests")
  endforeach()
endfunction()

# offramp_versions(<folder>/<unit> SOURCE file LINK folders ...): runs a test program again with the
# loops of this file of src/ compiled for each instruction set that OFFRAMP_CLONES names, but for the
# widest, which the program itself runs where the CPU has it. A CPU without the set skips the test.
function(offramp_versions unit)
  cmake_parse_arguments(arg "" "SOURCE" "LINK" ${ARGN})
  if(OFFRAMP_SANITIZE OR NOT CMAKE_CXX_COMPILER_ID STREQUAL GNU
     OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    return()  # there is one version
  endif()
  string(REPLACE "/" "_" name ${unit})
  get_filename_component(file ${unit} NAME)
  foreach(version x86-64 x86-64-v3)
    set(program ${name}_${version}_test)
    add_executable(${program} ${file}_test.cpp ${PROJECT_SOURCE_DIR}/src/${arg_SOURCE})
    # -O3 as src/runtime compiles its kernels: at -O1 GCC makes no fused multiply-adds.
    target_compile_options(${program} PRIVATE -O3 -march=${version} -fopenmp-simd)
    target_compile_definitions(${program} PRIVATE OFFRAMP_ONE_VERSION)
    target_include_directories(${program} PRIVATE ${PROJECT_SOURCE_DIR})
    target_link_libraries(${program} PRIVATE offramp::options GTest::gmock GTest::gtest_main)
    foreach(folder test_cpu_version ${arg_LINK})
      target_link_libraries(${program} PRIVATE offramp::${folder})
    endforeach()
    add_test(NAME ${unit}:For${version} COMMAND ${program})
    set_tests_properties(${unit}:For${version} PROPERTIES
      ENVIRONMENT "OFFRAMP_TEST_VERSION=${version}" LABELS "unit;parity;versions" TIMEOUT 900
      SKIP_REGULAR_EXPRESSION "this CPU lacks the instructions of"
      FAIL_REGULAR_EXPRESSION "Running 0 tests")
  endforeach()
endfunction()
