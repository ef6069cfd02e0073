// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/places.h"

#include <algorithm>
#include <filesystem>

namespace extencfs::migrate {
namespace {

namespace files = std::filesystem;

// As `path` is without links, dots and a slash at its end.
files::path real_path(const std::string& path, std::error_code& error) {
    auto real = files::absolute(path, error);
    if (!error) real = files::weakly_canonical(real, error);
    return real.has_filename() ? real : real.parent_path();
}

}  // namespace

bool lie_in_each_other(const std::string& one, const std::string& other) {
    std::error_code error;
    const auto a = real_path(one, error);
    if (error) return false;
    const auto b = real_path(other, error);
    if (error) return false;
    const auto is_in = [](const files::path& inner, const files::path& outer) {
        return std::ranges::mismatch(outer, inner).in1 == outer.end();
    };
    return is_in(a, b) || is_in(b, a);
}

std::uint64_t free_bytes_at(const std::string& place) {
    std::error_code error;
    auto path = real_path(place, error);
    while (!error && !files::exists(path, error) && path.has_relative_path())
        path = path.parent_path();
    const auto space = files::space(path, error);
    return error ? 0 : space.available;
}

}  // namespace extencfs::migrate
