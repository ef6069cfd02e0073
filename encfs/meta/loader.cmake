# SPDX-License-Identifier: Apache-2.0
# Target extencfs_meta_loader: the real one if bpf/ was built (EXTENCFS_HAVE_BPF), else the null one.
set(loader_dir ${CMAKE_CURRENT_LIST_DIR})
if(EXTENCFS_HAVE_BPF)
  add_library(extencfs_meta_loader STATIC
              ${loader_dir}/loader.cc ${loader_dir}/loader_libbpf.cc ${loader_dir}/loader_probe.cc
              ${loader_dir}/loader_names.cc ${loader_dir}/kernel_answers.cc ${loader_dir}/mapped_array.cc
              ${loader_dir}/delegation.cc ${loader_dir}/delegation_client.cc)
  target_link_libraries(extencfs_meta_loader PRIVATE extencfs_bpf_objects PkgConfig::LIBBPF)
else()
  add_library(extencfs_meta_loader STATIC
              ${loader_dir}/loader_null.cc ${loader_dir}/loader_names.cc ${loader_dir}/kernel_answers.cc
              ${loader_dir}/mapped_array.cc ${loader_dir}/delegation.cc ${loader_dir}/delegation_client.cc)
endif()

# libextfuse.h, for other daemons: by itself, without core.
add_library(extencfs_libextfuse STATIC ${loader_dir}/libextfuse.cc ${loader_dir}/records.cc
            ${loader_dir}/records_names.cc)
target_link_libraries(extencfs_libextfuse PRIVATE extencfs_meta_loader Threads::Threads)
