# cmake -D BUILD=… -D EXAMPLES=… -D WORK=… -D FIXTURE=… … -P package_test.cmake
cmake_minimum_required(VERSION 3.25)

function(run out)
  execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE text ERROR_VARIABLE errors RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}: status ${status}\n${text}\n${errors}")
  endif()
  set(${out} "${text}" PARENT_SCOPE)
endfunction()

function(expect_match text pattern)
  if(NOT text MATCHES "${pattern}")
    message(FATAL_ERROR "expected ${pattern} in:\n${text}")
  endif()
endfunction()

# Installs into an empty folder, so that only installed files can be found there.
file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK}/data)
run(ignored ${CMAKE_COMMAND} --install ${BUILD} --component library --prefix ${WORK}/prefix)
run(ignored ${FIXTURE} ${WORK}/data)
file(GLOB_RECURSE library ${WORK}/prefix/libofframp.so.${VERSION})
if(NOT library)
  message(FATAL_ERROR "no libofframp.so.${VERSION} was installed")
endif()

# The library may depend on oneDNN, its thread runtime and the image codecs only.
run(dynamic readelf -d ${library})
expect_match("${dynamic}" "soname: \\[libofframp\\.so\\.[0-9]+\\.[0-9]+\\]")
string(REGEX MATCHALL "NEEDED[^\n]*\\[[^]]+\\]" needed "${dynamic}")
foreach(line IN LISTS needed)
  string(REGEX REPLACE ".*\\[([^.]+)\\..*" "\\1" name "${line}")
  if(NOT name MATCHES "^(libdnnl|libgomp|libjpeg|libpng16|libturbojpeg|libwebp|libwebpdemux|libstdc\\+\\+|libm|libgcc_s|libc|ld-linux-x86-64)$")
    message(FATAL_ERROR "the library needs ${name}:\n${dynamic}")
  endif()
endforeach()
expect_match("${dynamic}" "libdnnl")

# The library may export only symbols that the public headers declare.
run(symbols nm -D --defined-only -C ${library})
string(REGEX MATCHALL "[^\n]+" symbols "${symbols}")
foreach(line IN LISTS symbols)
  string(REGEX REPLACE "^[0-9a-f]+ [A-Za-z] " "" symbol "${line}")
  if(NOT symbol MATCHES "^(offramp_|offramp::version|((vtable|typeinfo|typeinfo name) for )?offramp::(Model|Session|Stop|ImageView|Error|UsageError)(::|$))"
     OR symbol MATCHES "::State::")
    message(FATAL_ERROR "the library shows ${symbol}")
  endif()
endforeach()
list(LENGTH symbols count)
if(count LESS 40)
  message(FATAL_ERROR "the library shows ${count} symbols only")
endif()

# Uses the library through find_package(offramp), from C++ and from C.
run(ignored ${CMAKE_COMMAND} -S ${EXAMPLES} -B ${WORK}/examples -G ${GENERATOR}
  -D CMAKE_PREFIX_PATH=${WORK}/prefix -D CMAKE_C_COMPILER=${CC} -D CMAKE_CXX_COMPILER=${CXX}
  -D CMAKE_VERBOSE_MAKEFILE=ON)
run(log ${CMAKE_COMMAND} --build ${WORK}/examples)
if(log MATCHES "torch|libfmt|c10")
  message(FATAL_ERROR "more than the library in the build of its examples:\n${log}")
endif()
foreach(program classify classify_c)
  run(text ${WORK}/examples/${program} ${WORK}/data/model.safetensors
    ${WORK}/data/0.png ${WORK}/data/1.png)
  expect_match("${text}" "0\\.png: class [0-9] \\(0\\.[0-9]+\\), exit 1 of 3, relative cost 0\\.[0-9]+\n")
  expect_match("${text}" "1\\.png: class [0-9]")
  execute_process(COMMAND ${WORK}/examples/${program} ${WORK}/data/0.png ${WORK}/data/0.png
    ERROR_VARIABLE errors RESULT_VARIABLE status)
  if(NOT status EQUAL 1)
    message(FATAL_ERROR "${program} ended with ${status} for a model that is none")
  endif()
  expect_match("${errors}" "0\\.png: not a safetensors file")
endforeach()
run(libraries ldd ${WORK}/examples/classify)
if(libraries MATCHES "torch|libfmt")
  message(FATAL_ERROR "more than the library is loaded:\n${libraries}")
endif()

# pkg-config.
file(GLOB_RECURSE pc ${WORK}/prefix/offramp.pc)
get_filename_component(pc_folder ${pc} DIRECTORY)
get_filename_component(library_folder ${library} DIRECTORY)
run(flags ${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${pc_folder} pkg-config --cflags --libs offramp)
separate_arguments(flags UNIX_COMMAND "${flags}")
run(ignored ${CC} -std=c99 ${EXAMPLES}/classify.c ${flags} -Wl,-rpath,${library_folder}
  -o ${WORK}/from_pkg_config)
run(text ${WORK}/from_pkg_config ${WORK}/data/model.safetensors ${WORK}/data/0.png)
expect_match("${text}" "exit 1 of 3")
