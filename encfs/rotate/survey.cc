// SPDX-License-Identifier: Apache-2.0
#include "encfs/rotate/survey.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "encfs/rotate/file_contents.h"
#include "encfs/rotate/symlinks.h"

namespace extencfs::rotate {
namespace {

using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;

class Look {
  public:
    Look(const Tools& tools, Damages& damages, Progress& progress)
        : tools_(tools), damages_(damages), progress_(progress), links_(tools) {}

    Outcome<Survey> run() {
        auto root = open_root(tools_);
        if (!root) return std::unexpected(root.error());
        const auto is = tools_.fs.stat((*root)->fd.get());
        if (!is) return cannot("", "read", is.error());
        device_ = is->st_dev;
        found_.records.push_back(before_of(*is));
        if (auto done = directory(**root); !done) return std::unexpected(done.error());
        return std::move(found_);
    }

  private:
    Outcome<void> directory(const OpenDir& dir) {
        auto listing = list(tools_, dir);
        if (!listing) return std::unexpected(listing.error());
        for (const std::string& entry : listing->unknown) {
            damages_.add(below(dir.path, entry), "the name does not authenticate");
        }
        for (const Item& item : listing->items) {
            if (auto done = this->item(dir, item); !done) return done;
        }
        return {};
    }

    Outcome<void> item(const OpenDir& dir, const Item& item) {
        const std::string path = below(dir.path, item.entry);
        if (item.is.st_dev != device_) {
            return fail(FailureKind::kCipherDir, path,
                        " is on another file system; unmount that from the volume's directory");
        }
        const uid_t user = ::geteuid();
        if (user != 0 && item.is.st_uid != user) {
            return fail(FailureKind::kOther, path,
                        " belongs to another user; rotate the keys as root");
        }
        found_.records.push_back(before_of(item.is));
        ++found_.amount.things;
        ++progress_.things;
        if (S_ISDIR(item.is.st_mode)) return child(dir, item, path);
        if (S_ISREG(item.is.st_mode)) return file(dir, item, path);
        if (S_ISLNK(item.is.st_mode)) {
            const auto state = links_.look(dir.fd.get(), item.entry);
            if (!state) return cannot(path, "read", state.error());
            if (*state == LinkState::kDamaged) damages_.add(path, "the target does not open");
        }
        return {};
    }

    Outcome<void> child(const OpenDir& dir, const Item& item, const std::string& path) {
        if (::geteuid() != 0 && (item.is.st_mode & S_IRWXU) != S_IRWXU &&
            (item.is.st_mode & (S_IRUSR | S_IXUSR)) != (S_IRUSR | S_IXUSR)) {
            return fail(FailureKind::kOther, path,
                        " is a directory that its owner may not read; rotate the keys as root");
        }
        auto child = open_child(tools_, dir, item, damages_);
        if (!child) return std::unexpected(child.error());
        if (!*child) return {};
        (*child)->id_file.reset();
        return directory(*(*child)->dir);
    }

    Outcome<void> file(const OpenDir& dir, const Item& item, const std::string& path) {
        // Whether it can be written; reading by that descriptor would move its access time.
        auto writable = tools_.fs.open(dir.fd.get(), item.entry, O_RDWR, 0);
        // Its mode is lifted when its turn comes.
        if (!writable && writable.error().value == EACCES) return {};
        if (!writable) return cannot(path, "opened for writing", writable.error());
        auto fd = tools_.fs.open(dir.fd.get(), item.entry, O_RDONLY, 0);
        if (!fd) return cannot(path, "opened", fd.error());
        const auto opened = read_header(tools_, fd->get());
        if (!opened) return cannot(path, "read", opened.error());
        if (!*opened) {
            damages_.add(path, "the header does not authenticate");
        } else {
            found_.amount.bytes += (*opened)->header.size;
        }
        return {};
    }

    const Tools& tools_;
    Damages& damages_;
    Progress& progress_;
    Symlinks links_;
    dev_t device_ = 0;
    Survey found_;
};

}  // namespace

Outcome<Survey> survey(const Tools& tools, Damages& damages, Progress& progress) {
    progress.begin(Phase::kSurvey);
    return Look(tools, damages, progress).run();
}

}  // namespace extencfs::rotate
