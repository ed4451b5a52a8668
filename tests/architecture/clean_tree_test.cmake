# cmake -D ROOT=… -P clean_tree_test.cmake: checks that git ignores the files which commands write
# beside a model of models/, and no file that ships. Skipped outside a git repository.
cmake_minimum_required(VERSION 3.25)

find_program(git git)
if(NOT git OR NOT EXISTS ${ROOT}/.git)
  message("skipped: no git repository")
  return()
endif()

function(expect_ignored expected file)
  execute_process(COMMAND ${git} -c safe.directory=* check-ignore -q --no-index ${file}
    WORKING_DIRECTORY ${ROOT} RESULT_VARIABLE status)
  if(NOT status EQUAL expected)
    message(SEND_ERROR "${file}: git check-ignore returned ${status}, expected ${expected}")
  endif()
endfunction()

file(GLOB shipped RELATIVE ${ROOT} ${ROOT}/models/cifar10-?-exits*.safetensors)
if(shipped STREQUAL "")
  message(SEND_ERROR "found no shipped model")
endif()
foreach(model ${shipped})
  expect_ignored(1 ${model})
  string(REPLACE .safetensors "" stem ${model})
  foreach(ending test-logits tune-logits int8 bf16)
    expect_ignored(0 ${stem}.${ending}.safetensors)
  endforeach()
endforeach()
expect_ignored(0 models/test_reads.jsonl)
expect_ignored(0 models/report.html)
expect_ignored(1 models/README.md)
