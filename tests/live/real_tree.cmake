# SPDX-License-Identifier: Apache-2.0
# The acceptance tests on real trees, in the size for every run; each also takes --full.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)

function(add_acceptance_test name)
  add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} ${ARGN})
  set_tests_properties(${name} PROPERTIES
    ENVIRONMENT "EXTENCFS=${CMAKE_BINARY_DIR}/tools/extencfs;PYTHONDONTWRITEBYTECODE=1"
    TIMEOUT 900 SKIP_RETURN_CODE 77 LABELS live RESOURCE_LOCK mounts COST 1000)
endfunction()

add_acceptance_test(live_real_tree ${CMAKE_CURRENT_LIST_DIR}/real_tree --quick --limit 240)
add_acceptance_test(live_workloads ${CMAKE_CURRENT_LIST_DIR}/workloads --quick --limit 240)
add_acceptance_test(live_bench_report ${CMAKE_CURRENT_LIST_DIR}/../bench/report_test)
add_acceptance_test(live_bench_guest_report ${CMAKE_CURRENT_LIST_DIR}/../bench/guest_test)
# The harness itself, at a size that says nothing about speed.
add_acceptance_test(live_bench_smoke ${CMAKE_CURRENT_LIST_DIR}/../bench/run --only native,extencfs --rounds 1
                    --tree-files 300 --big-mb 16)
add_acceptance_test(live_bench_legacy ${CMAKE_CURRENT_LIST_DIR}/../bench/run --legacy --rounds 1
                    --tree-files 300 --big-mb 16 --rows create,unpack,cat_all,seq_write,rand_write)
