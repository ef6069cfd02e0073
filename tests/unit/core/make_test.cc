// SPDX-License-Identifier: Apache-2.0
// Making names when a lower call fails: what failed is not there, above or below, and what the
// format wrote for it is gone.
#include <sys/stat.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <cerrno>
#include <filesystem>

#include "encfs/volume/format.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;
using fake::Calls;

namespace {

const std::string kLong(200, 'n');
// Not ours, so that owners are set below.
constexpr Caller kSomebody{.uid = 4711, .gid = 4712, .umask = 0};

using Making = std::function<Result<Entry>(Filesystem&, const std::string& name)>;

std::vector<std::pair<std::string, Making>> makings() {
    return {{"create",
             [](Filesystem& fs, const std::string& name) {
                 return fs.create(kRootNode, name, 0600, kSomebody);
             }},
            {"mknod",
             [](Filesystem& fs, const std::string& name) {
                 return fs.mknod(kRootNode, name, S_IFIFO | 0600, 0, kSomebody);
             }},
            {"mkdir",
             [](Filesystem& fs, const std::string& name) {
                 return fs.mkdir(kRootNode, name, 0700, kSomebody);
             }},
            {"symlink",
             [](Filesystem& fs, const std::string& name) {
                 return fs.symlink(kRootNode, name, std::string(3500, 't'), kSomebody);
             }},
            {"link", [](Filesystem& fs, const std::string& name) -> Result<Entry> {
                 auto source = fs.lookup(kRootNode, "source");
                 if (!source) return source;
                 auto made = fs.link(source->node, kRootNode, name);
                 fs.forget(source->node, 1);
                 return made;
             }}};
}

std::size_t names_below(const fake::ScratchDir& dir) {
    const std::filesystem::recursive_directory_iterator all(dir.path());
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

}  // namespace

TEST_CASE("what could not be made is not there") {
    for (const auto& [what, make] : makings()) {
        for (const std::string& name : {std::string("short"), kLong}) {
            bool done = false;
            for (std::uint64_t n = 1; !done; ++n) {
                INFO(what << " of a name of " << name.size() << " bytes, call " << n << " fails");
                REQUIRE(n < 100);
                const auto dir = fake::ScratchDir::in_memory();
                fake::FaultLowerFs lower;
                Damage damage;
                auto fs = open_fs(lower, dir, {.clean = true, .damage = &damage});
                auto source = fs->create(kRootNode, "source", 0600, {});
                REQUIRE(source);
                fs->forget(source->node, 1);
                // The directory of long targets stays.
                auto first = fs->symlink(kRootNode, "first", std::string(3500, 't'), {});
                REQUIRE(first);
                fs->forget(first->node, 1);
                const std::size_t before = names_below(dir);
                lower.forget_calls();
                lower.fail_at(n, EIO, Calls::any());
                auto made = make(*fs, name);
                done = lower.count(Calls::any()) < n;
                lower.revive();
                if (made) {
                    CHECK(fs->lookup(kRootNode, name));
                    fs->forget(made->node, 2);
                } else {
                    CHECK(errno_of(made.error()) == EIO);
                    const auto found = fs->lookup(kRootNode, name);
                    CHECK_FALSE(found);
                    CHECK(names_below(dir) == before);
                    // It can be tried again.
                    auto again = make(*fs, name);
                    REQUIRE(again);
                    fs->forget(again->node, 1);
                }
                CHECK(fs->node_count() == 1);
                CHECK(fs->finish());
            }
        }
    }
}
