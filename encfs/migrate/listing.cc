// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/listing.h"

namespace extencfs::migrate {
namespace {

constexpr std::size_t kAtOnce = 1000;

}  // namespace

core::Result<std::vector<Listed>> Listing::next() {
    std::vector<Listed> found;
    while (found.empty() && !ended_) {
        std::vector<std::string> unseen;
        bool more = false;
        auto listed =
            fs_.list(directory_, cookie_, core::ListMode::kWithAttributes,
                     [&](const core::ListedEntry& entry) {
                         const bool own = entry.name == "." || entry.name == "..";
                         if (!own && found.size() + unseen.size() == kAtOnce) {
                             more = true;
                             return false;
                         }
                         cookie_ = entry.cookie;
                         if (own) return true;
                         if (entry.entry == nullptr) {
                             unseen.emplace_back(entry.name);
                         } else {
                             found.push_back({std::string(entry.name),
                                              NodeRef(fs_, entry.entry->node), entry.entry->attr});
                         }
                         return true;
                     });
        if (left_out_ != nullptr) {
            for (auto& [name, why] : left_out_->take()) {
                problems_->add(ProblemKind::kName, join(path_, name),
                               why == LeftOutNames::Why::kForeign
                                   ? "this lower name is none of the volume's"
                                   : "this lower name cannot be decoded");
            }
        }
        if (!listed) return std::unexpected(listed.error());
        for (const std::string& name : unseen) {
            auto one = find(fs_, directory_, name);
            if (one) {
                found.push_back({name, std::move(one->node), one->attr});
            } else if (problems_ != nullptr) {
                problems_->add(ProblemKind::kContents, join(path_, name), words_of(one.error()));
            }
        }
        ended_ = !more;
    }
    return found;
}

}  // namespace extencfs::migrate
