# SPDX-License-Identifier: Apache-2.0
#
# The imported target extencfs::libfuse: the libfuse3 that encfs/fuse links. Either
#   - the static library that tools/build-libfuse made in build/libfuse (>= 3.18.3, FUSE over io_uring), when
#     EXTENCFS_BUNDLED_LIBFUSE is ON and it is there; sources then see EXTENCFS_LIBFUSE_BUNDLED=1, or
#   - the system's libfuse3 (>= 3.14).
# FUSE_USE_VERSION comes from the target, so that no source states it: the API of the library taken.
# EXTENCFS_LIBFUSE_TEXT says in words which one it is.

set(EXTENCFS_LIBFUSE_DIR ${CMAKE_SOURCE_DIR}/build/libfuse CACHE PATH "What tools/build-libfuse made")

add_library(extencfs_libfuse INTERFACE)
add_library(extencfs::libfuse ALIAS extencfs_libfuse)

set(extencfs_libfuse_archive ${EXTENCFS_LIBFUSE_DIR}/lib/libfuse3.a)
if(EXTENCFS_BUNDLED_LIBFUSE AND EXISTS ${extencfs_libfuse_archive})
  pkg_check_modules(LIBURING REQUIRED IMPORTED_TARGET liburing)
  pkg_check_modules(LIBNUMA REQUIRED IMPORTED_TARGET numa)
  file(READ ${EXTENCFS_LIBFUSE_DIR}/include/fuse3/libfuse_config.h extencfs_libfuse_config)
  string(REGEX MATCH "FUSE_MAJOR_VERSION ([0-9]+)" _ "${extencfs_libfuse_config}")
  set(extencfs_libfuse_major ${CMAKE_MATCH_1})
  string(REGEX MATCH "FUSE_MINOR_VERSION ([0-9]+)" _ "${extencfs_libfuse_config}")
  set(extencfs_libfuse_version ${extencfs_libfuse_major}.${CMAKE_MATCH_1})
  string(REGEX MATCH "FUSE_HOTFIX_VERSION ([0-9]+)" _ "${extencfs_libfuse_config}")
  string(APPEND extencfs_libfuse_version .${CMAKE_MATCH_1})
  # 3.18.3: the first that passes the kernel's kill-suid flags of open and write on to the file system.
  if(extencfs_libfuse_version VERSION_LESS 3.18.3)
    message(FATAL_ERROR "build/libfuse holds libfuse ${extencfs_libfuse_version}, 3.18.3 is needed: "
                        "run tools/build-libfuse --force")
  endif()
  # SYSTEM: libfuse's headers are not ours to warn about.
  target_include_directories(extencfs_libfuse SYSTEM INTERFACE ${EXTENCFS_LIBFUSE_DIR}/include/fuse3)
  target_link_libraries(extencfs_libfuse INTERFACE ${extencfs_libfuse_archive} PkgConfig::LIBURING PkgConfig::LIBNUMA
                                                   ${CMAKE_DL_LIBS} Threads::Threads)
  target_compile_definitions(extencfs_libfuse INTERFACE FUSE_USE_VERSION=318 EXTENCFS_LIBFUSE_BUNDLED=1)
  set(EXTENCFS_LIBFUSE_TEXT "bundled libfuse ${extencfs_libfuse_version} (FUSE over io_uring)")
else()
  pkg_check_modules(SYSTEM_FUSE3 REQUIRED IMPORTED_TARGET fuse3>=3.14)
  target_link_libraries(extencfs_libfuse INTERFACE PkgConfig::SYSTEM_FUSE3 Threads::Threads)
  target_compile_definitions(extencfs_libfuse INTERFACE FUSE_USE_VERSION=314)
  set(EXTENCFS_LIBFUSE_TEXT "the system's libfuse ${SYSTEM_FUSE3_VERSION} (no FUSE over io_uring)")
  if(EXTENCFS_BUNDLED_LIBFUSE)
    string(APPEND EXTENCFS_LIBFUSE_TEXT "; tools/build-libfuse makes a faster one")
  endif()
endif()
message(STATUS "libfuse: ${EXTENCFS_LIBFUSE_TEXT}")
