// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/volume_check.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "encfs/volume/format.h"

namespace extencfs::core {

namespace {

constexpr std::size_t kPiece = 1 << 17;

// The configuration of either format, and what says that a volume is in use.
bool is_configuration(std::string_view entry) {
    static constexpr std::array kNames{".encfs6.xml", ".encfs5", ".encfs4", ".encfs7"};
    return std::ranges::find(kNames, entry) != kNames.end();
}

std::string text_of_errno(const Error& error) {
    return std::generic_category().message(errno_of(error));
}

class Check {
  public:
    Check(lower::LowerFs& lower, int rootfd, const VolumeFormat& format, DamageNotes& notes,
          const CheckHooks& hooks)
        : lower_(lower), rootfd_(rootfd), format_(format), notes_(notes), hooks_(hooks) {}

    Result<CheckCounts> run() {
        auto is = lower_.stat(rootfd_);
        if (!is) return fail(is.error());
        dev_ = is->st_dev;
        const At root{rootfd_, format_.root(), "", ""};
        if (auto r = directory(root); !r) return std::unexpected(r.error());
        return counts_;
    }

  private:
    // An open directory; paths end with '/', those of the root are empty.
    struct At {
        int fd;
        DirContext context;
        std::string lower, plain;
    };

    void tell(FindingKind kind, const At& at, const std::string& entry, const std::string& name,
              std::string what) {
        hooks_.found({kind, at.lower + entry, at.plain + name, std::move(what)});
    }
    // `kind`: what it is where bytes do not check.
    void tell(FindingKind kind, const At& at, const std::string& entry, const std::string& name,
              const Error& error) {
        std::string note = notes_.take();
        if (error.kind == ErrorKind::kDamaged || error.kind == ErrorKind::kInvalid) {
            tell(kind, at, entry, name, note.empty() ? "it does not authenticate" : note);
        } else {
            tell(FindingKind::kUnreadable, at, entry, name, text_of_errno(error));
        }
    }

    Result<void> directory(const At& at) {
        ++counts_.directories;
        std::vector<std::string> names;
        auto listed = lower_.list(at.fd, [&](const lower::DirEntry& entry) {
            const bool own = format_.is_reserved(entry.name) ||
                             (at.lower.empty() && is_configuration(entry.name));
            if (!own) names.emplace_back(entry.name);
            return true;
        });
        if (!listed) return fail(listed.error());
        std::ranges::sort(names);
        std::vector<std::pair<std::string, std::string>> below;
        for (const std::string& entry : names) {
            auto name = format_.decode_name(lower_, at.fd, at.context, entry);
            if (name) {
                this->entry(at, entry, *name, below);
            } else if (name.error().kind == ErrorKind::kInvalid ||
                       name.error().kind == ErrorKind::kDamaged) {
                const auto kind = name.error().kind == ErrorKind::kDamaged
                                      ? FindingKind::kName
                                      : hooks_.kind_of_name(at.lower + entry, entry);
                tell(kind, at, entry, entry, words_of(kind));
            } else {
                tell(FindingKind::kUnreadable, at, entry, entry, text_of_errno(name.error()));
            }
        }
        for (const auto& [entry, name] : below) subdirectory(at, entry, name);
        return {};
    }

    static std::string words_of(FindingKind kind) {
        switch (kind) {
            case FindingKind::kHalfRenamed:
                return "the name was encoded for another place";
            case FindingKind::kConflict:
                return "a sync program made this name";
            case FindingKind::kForeign:
                return "no name of the volume";
            default:
                return "the name does not decode";
        }
    }

    void entry(const At& at, const std::string& entry, const std::string& name,
               std::vector<std::pair<std::string, std::string>>& below) {
        const auto is = lower_.stat_at(at.fd, entry);
        if (!is) {
            // Gone since the listing: a mount is at work.
            if (is.error().value == ENOENT) return;
            return tell(FindingKind::kUnreadable, at, entry, name, fail(is.error()).error());
        }
        if (is->st_dev != dev_) {
            return tell(FindingKind::kForeign, at, entry, name,
                        "another file system is mounted there");
        }
        if (S_ISDIR(is->st_mode)) {
            below.emplace_back(entry, name);
        } else if (S_ISREG(is->st_mode)) {
            file(at, entry, name, *is);
        } else if (S_ISLNK(is->st_mode)) {
            ++counts_.symlinks;
            auto target = lower_.readlink(at.fd, entry);
            if (!target)
                return tell(FindingKind::kUnreadable, at, entry, name,
                            fail(target.error()).error());
            auto plain = format_.read_symlink(lower_, rootfd_, {at.context, entry}, *target);
            if (!plain) tell(FindingKind::kSymlink, at, entry, name, plain.error());
        } else {
            ++counts_.others;
        }
    }

    void subdirectory(const At& at, const std::string& entry, const std::string& name) {
        auto fd = lower_.open(at.fd, entry, O_RDONLY | O_DIRECTORY, 0);
        if (!fd) return tell(FindingKind::kUnreadable, at, entry, name, fail(fd.error()).error());
        std::vector<std::string> unsynced;
        auto context = format_.open_directory(lower_, fd->get(), at.context, entry, unsynced);
        if (!context) return tell(FindingKind::kDirectory, at, entry, name, context.error());
        attributes(at, entry, name, fd->get(), context->id);
        const At below{fd->get(), *context, at.lower + entry + "/", at.plain + name + "/"};
        if (auto r = directory(below); !r)
            tell(FindingKind::kUnreadable, at, entry, name, r.error());
    }

    // ---- contents ----

    void file(const At& at, const std::string& entry, const std::string& name,
              const struct stat& is) {
        ++counts_.files;
        auto fd = lower_.open(at.fd, entry, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
        if (!fd) return tell(FindingKind::kUnreadable, at, entry, name, fail(fd.error()).error());
        const FilePlace place{at.context, entry};
        auto now = lower_.stat(fd->get());
        auto content = format_.open_content(lower_, std::move(*fd), now ? *now : is, &place);
        if (!content) return tell(FindingKind::kContents, at, entry, name, content.error());
        read_all(at, entry, name, **content, is);
        auto owner = format_.content_id(lower_, (*content)->fd());
        if (owner) attributes(at, entry, name, (*content)->fd(), *owner);
    }

    void read_all(const At& at, const std::string& entry, const std::string& name,
                  ContentFile& content, const struct stat& is) {
        constexpr std::int64_t kSectorBytes = 512;
        const bool sparse =
            is.st_blocks * kSectorBytes + std::int64_t{kPiece} < std::int64_t{is.st_size};
        std::uint64_t places = 0;
        std::string first;
        for (std::uint64_t off = 0; off < content.size();) {
            if (sparse) {
                auto data = content.seek(off, SEEK_DATA);
                if (!data && data.error().kind == ErrorKind::kPastEnd) break;
                if (data) off = *data;
            }
            const std::size_t size = std::min<std::uint64_t>(kPiece, content.size() - off);
            if (auto piece = content.read(off, size, buffer_)) {
                counts_.bytes += piece->size();
            } else if (piece.error().kind != ErrorKind::kDamaged) {
                return tell(FindingKind::kUnreadable, at, entry, name, piece.error());
            } else {
                const std::string note = notes_.take();
                if (++places == 1) first = note.empty() ? "it does not authenticate" : note;
            }
            off += size;
        }
        if (places == 0) return;
        if (places > 1) first += " (and more in " + std::to_string(places - 1) + " other places)";
        tell(FindingKind::kContents, at, entry, name, first);
    }

    // ---- attributes ----

    void attributes(const At& at, const std::string& entry, const std::string& name, int fd,
                    const ByteArray<16>& owner) {
        auto listed = lower_.list_xattr(fd);
        if (!listed) return;  // a file system without any
        for (const std::string& attribute : *listed) {
            if (!format_.owns_xattr(attribute)) continue;
            auto plain = format_.decode_xattr_name(owner, attribute);
            auto value = lower_.get_xattr(fd, attribute);
            const bool good =
                plain && (!value || format_.open_xattr(owner, *plain, *value).has_value());
            if (!good) {
                tell(FindingKind::kAttribute, at, entry, name,
                     "the attribute " + attribute + " does not authenticate");
            }
        }
    }

    lower::LowerFs& lower_;
    int rootfd_;
    const VolumeFormat& format_;
    DamageNotes& notes_;
    const CheckHooks& hooks_;
    dev_t dev_ = 0;
    CheckCounts counts_;
    IoBuffer buffer_;
};

}  // namespace

FindingKind kind_of_foreign(std::string_view entry) {
    // Dropbox, Nextcloud and ownCloud; Syncthing; Seafile; OneDrive and Google Drive number theirs.
    static constexpr std::array<std::string_view, 6> kMarks{
        "conflicted copy", "(conflict", ".sync-conflict-", "_conflict-", "SFConflict", "CONFLICT"};
    const bool marked = std::ranges::any_of(kMarks, [entry](std::string_view mark) {
        return entry.find(mark) != std::string_view::npos;
    });
    return marked ? FindingKind::kConflict : FindingKind::kForeign;
}

Result<CheckCounts> check_volume(lower::LowerFs& lower, int rootfd, const VolumeFormat& format,
                                 DamageNotes& notes, const CheckHooks& hooks) {
    return Check(lower, rootfd, format, notes, hooks).run();
}

NameCount count_undecodable(lower::LowerFs& lower, int rootfd, const VolumeFormat& format,
                            std::uint64_t most_names, const std::function<bool()>& give_up) {
    struct Waiting {
        std::vector<std::string> path;
        DirContext context;
    };
    NameCount count;
    std::uint64_t seen = 0;
    std::vector<Waiting> waiting{{{}, format.root()}};
    for (std::size_t next = 0; next < waiting.size(); ++next) {
        const Waiting at = waiting[next];
        lower::Fd held;
        int dirfd = rootfd;
        for (const std::string& part : at.path) {
            auto fd = lower.open(dirfd, part, O_RDONLY | O_DIRECTORY, 0);
            held = fd ? std::move(*fd) : lower::Fd();
            dirfd = held.get();
            if (!held) break;
        }
        if (!at.path.empty() && !held) continue;
        const bool whole = [&] {
            bool go_on = true;
            std::vector<std::pair<std::string, bool>> names;
            (void)lower.list(dirfd, [&](const lower::DirEntry& entry) {
                ++seen;
                go_on = seen <= most_names && (seen % 64 != 0 || !give_up());
                const bool own = format.is_reserved(entry.name) ||
                                 (at.path.empty() && is_configuration(entry.name));
                if (go_on && !own) names.emplace_back(entry.name, entry.type == DT_DIR);
                return go_on;
            });
            for (const auto& [entry, is_directory] : names) {
                auto name = format.decode_name(lower, dirfd, at.context, entry);
                if (!name) ++count.undecodable;
                if (!name || !is_directory) continue;
                auto below = lower.open(dirfd, entry, O_RDONLY | O_DIRECTORY, 0);
                if (!below) continue;
                std::vector<std::string> unsynced;
                auto context =
                    format.open_directory(lower, below->get(), at.context, entry, unsynced);
                if (!context) continue;
                waiting.push_back({at.path, *context});
                waiting.back().path.push_back(entry);
            }
            return go_on;
        }();
        if (!whole) {
            count.all = false;
            break;
        }
    }
    return count;
}

}  // namespace extencfs::core
