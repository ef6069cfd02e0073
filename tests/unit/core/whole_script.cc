// SPDX-License-Identifier: Apache-2.0
// The scripted workload of the crash and failure tests.
#include <linux/falloc.h>

#include "tests/unit/core/script.h"

namespace extencfs::core {
namespace {

constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
const std::string kLong(200, 'n');
const std::string kLong2(255, 'm');

void files(Script& s) {
    s.create("small");
    s.write("small", 0, 100);
    s.create("big");
    s.write("big", 0, 150'000);
    s.fsync("small");
    s.fsync_directory("");
    s.write("small", 100, 5000);
    s.write("big", 30'000, 20'000);
    s.fsync("big");
    s.write("big", 0, 10);
    s.write("big", 100'000, 1000);
    s.write("big", 150'000, 10'000);
    s.set_xattr("small", "user.one", "1");
    s.set_xattr("small", "user.two", "22");
    s.fsync("small");
    s.set_xattr("small", "user.one", "another value");
    s.remove_xattr("small", "user.two");
}

void directories(Script& s) {
    s.mkdir("dir");
    s.create("dir/inner");
    s.write("dir/inner", 0, 3000);
    s.fsync("dir/inner");
    s.fsync_directory("dir");
    s.fsync_directory("");
    s.set_xattr("dir", "user.d", "of a directory");
    s.rename("small", "dir/moved");
    s.mkdir("fresh");
    s.rename("dir/inner", "fresh/inner");
    s.write("fresh/inner", 3000, 500);
    s.rename("dir", "fresh/dir");
    s.rename("fresh", "second");
    s.mkdir("second/empty");
    s.mkdir("other");
    s.rename("other", "second/empty");
    s.rmdir("second/empty");
    s.link("big", "second/hard");
    s.mkdir("ex");
    s.create("ex/file");
    s.write("ex/file", 0, 50);
    s.exchange("ex", "second");
    s.exchange("big", "ex/inner");
    s.exchange("big", "ex/inner");
    s.forget_all();
    s.unlink("ex/hard");
    s.unlink("second/file");
    s.rmdir("second");
}

void replacing(Script& s) {
    s.create("conf");
    s.write("conf", 0, 700);
    s.fsync("conf");
    s.fsync_directory("");
    s.create("conf.new");
    s.write("conf.new", 0, 9000);
    s.fsync("conf.new");
    s.rename("conf.new", "conf");
    s.fsync_directory("");
    s.symlink("ln", "some/target");
    s.symlink("lnlong", std::string(3500, 't'));
    s.fsync_directory("");
    s.unlink("ln");
    s.unlink("lnlong");
}

void sizes(Script& s) {
    s.truncate("big", 70'001);
    s.write("big", 70'001, 10);
    s.truncate("big", 500'000);
    s.write("big", 400'000, 20);
    s.fsync("big");
    s.truncate("big", 401'000);
    s.truncate("big", 403'000);
    s.zero("big", kPunch, 20'000, 30'000);
    s.truncate("big", 0);
    s.write("big", 0, 3000);
    s.create("sparse");
    s.write("sparse", 200'000, 10);
    s.fsync("sparse");
    s.fsync_directory("");
    s.zero("sparse", kPunch, 190'000, 10'005);
    s.create("holes");
    s.write("holes", 0, 60'000);
    s.fsync("holes");
    s.zero("holes", kPunch, 5000, 30'000);
    s.zero("holes", FALLOC_FL_ZERO_RANGE, 55'000, 10'000);
    s.zero("holes", 0, 64'000, 3000);
    s.write("holes", 10'000, 100);
    s.write("holes", 70'000, 100);
    s.unlink("holes");
}

void long_names(Script& s) {
    s.create(kLong);
    s.write(kLong, 0, 400);
    s.fsync(kLong);
    s.fsync_directory("");
    s.rename(kLong, kLong2);
    s.rename("conf", kLong);
    s.mkdir("d");
    s.rename(kLong, "d/" + kLong);
    s.mkdir("d/" + kLong2);
    s.rmdir("d/" + kLong2);
    s.unlink(kLong2);
}

void page_cache(Script& s) {
    s.create("pc");
    s.page_write("pc", 12'288, 4096);
    s.page_write("pc", 4096, 4096);
    s.page_write("pc", 8192, 4096);
    s.page_write("pc", 0, 4096);
    s.flush("pc");
    s.fsync("pc");
    s.fsync_directory("");
    s.page_write("pc", 32'768, 4096);
    s.page_write("pc", 24'576, 8192);
    s.page_write("pc", 4096, 4096);
    s.page_write("pc", 131'072, 100);
    s.flush("pc");
    s.write("pc", 131'172, 4000);
    s.forget_all();
}

}  // namespace

Script whole_script() {
    Script s;
    files(s);
    directories(s);
    replacing(s);
    sizes(s);
    long_names(s);
    page_cache(s);
    return s;
}

}  // namespace extencfs::core
