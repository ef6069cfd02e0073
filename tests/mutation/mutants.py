# SPDX-License-Identifier: Apache-2.0
"""
What tests/mutation/run takes out, each with the programs of which one must fail.

Not in the table, since nobody could tell: orders of memory accesses (this machine does not reorder them); which of
several ways is taken for a name; a child without a record, which the programs refuse themselves; comparisons of one
half of a tag, whose collisions nobody can make; that a removed directory is not told of (publish_directory), which takes
a removal between the look at the directory and its lock; the token of a listed name that is left to the daemon; that a
move whose steps fail is taken back at once, since its end takes it back as well.
"""

from mutation import Mutation

# Target and arguments. Cheap ones first, where a mutation names several.
PROGRAMS = {
    "bpf": ("metadata_test",),
    "sink": ("unit_core", "--abort", "sink: *"),
    "table": ("unit_core", "--abort", "*node*,*reference*,*link*,*barred*"),
    "meta": ("unit_meta", "--abort", "~threads*"),
    "encfs_move": ("unit_core", "--abort", "*move in an EncFS*,a renamed directory in an EncFS*,where files are bound*"),
    "encfs_file": ("unit_core", "--abort", "a file of an EncFS*,without room*,a damaged block of an EncFS*"),
    "encfs_kill": ("unit_core", "--abort", "a kill at any call loses no acknowledged operation in EncFS*"),
    "encfs_view": ("unit_core", "--abort", "the reverse view*"),
    "rotate": ("unit_rotate", "--abort", "*failing disk lost*,*lost its end*,*can be listed*,*removed meanwhile*"),
}
MUTANTS = []


def rules(file, checks, *entries):
    for name, old, new in entries:
        MUTANTS.append(Mutation(name, file, old, new, checks))


# --- Core: what each operation closes

CORE = "encfs/core/"
rules(CORE + "ops_attr.cc", "sink",
      ("SETATTR does not close the inode", "Change changed{.inodes = {is->ino}};", "Change changed{.inodes = {}};"),
      ("chmod does not close xattrs", "changed.xattrs = change.mode_set || ", "changed.xattrs = "),
      ("chown does not close xattrs", "change.mode_set || change.uid_set || change.gid_set;", "change.mode_set || change.gid_set;"),
      ("chgrp does not close xattrs", "change.mode_set || change.uid_set || change.gid_set;", "change.mode_set || change.uid_set;"),
      ("SETATTR's token is late",
       "const auto token = sink_->token();\n    auto attr = attr_of(*is);\n    if (attr) sink_->publish_attr(node, *attr, token, scope.change());\n    return attr;",
       "auto attr = attr_of(*is);\n    if (attr) sink_->publish_attr(node, *attr, sink_->token(), scope.change());\n    return attr;"),
      ("a change's token is late", "const auto token = sink_->token();\n    auto is = view(node);\n    if (!is) return;\n    if (node == kRootNode) is->location.emplace();\n    if (auto attr = attr_of(*is)) sink_->publish_attr(node, *attr, token, within);",
       "auto is = view(node);\n    if (!is) return;\n    if (node == kRootNode) is->location.emplace();\n    if (auto attr = attr_of(*is)) sink_->publish_attr(node, *attr, sink_->token(), within);"),
      ("a directory's token is late", "if (is) sink_->publish_attr(at.location.parent, *is, token, within);",
       "if (is) sink_->publish_attr(at.location.parent, *is, sink_->token(), within);"))
rules(CORE + "ops_attr.cc", "sink meta",
      ("GETATTR's token is late", "if (!is->gone || S_ISREG(is->type)) sink_->publish_attr(node, *attr, token, nullptr);",
       "if (!is->gone || S_ISREG(is->type)) sink_->publish_attr(node, *attr, sink_->token(), nullptr);"),
      ("what is told of the nameless is published", "if (!is->gone || S_ISREG(is->type)) sink_->publish_attr", "sink_->publish_attr"))
rules(CORE + "ops_create.cc", "sink meta",
      ("making a name does not close its directory", "{.inodes = {at->dir->ino, also}, .names", "{.inodes = {0, also}, .names"),
      ("SYMLINK does not close the root", "{.inodes = {at->dir->ino, also}, .names", "{.inodes = {at->dir->ino, 0}, .names"),
      ("making a name does not close it", "{.inodes = {at->dir->ino, also}, .names = {{{parent, name}}}});", "{.inodes = {at->dir->ino, also}});"),
      ("making a name publishes outside its change", "const auto token = sink_->token();\n    if (made) sink_->publish_entry({parent, name}, made->node, token, scope.change());\n    publish_directory(*at, scope.change());\n    return made;\n}\n\nResult<Entry> Filesystem::create(",
       "const auto token = sink_->token();\n    if (made) sink_->publish_entry({parent, name}, made->node, token, nullptr);\n    publish_directory(*at, scope.change());\n    return made;\n}\n\nResult<Entry> Filesystem::create("),
      ("TMPFILE does not close the directory", "ChangeScope scope(*sink_, {.inodes = {(*dir)->ino}});", ""),
      ("LINK does not close the inode", "{.inodes = {source->ino, at->dir->ino}, .names", "{.inodes = {0, at->dir->ino}, .names"),
      ("LINK does not close the directory", "{.inodes = {source->ino, at->dir->ino}, .names", "{.inodes = {source->ino, 0}, .names"),
      ("LINK does not close the name", "{.inodes = {source->ino, at->dir->ino}, .names = {{{parent, name}}}});", "{.inodes = {source->ino, at->dir->ino}});"),
      ("CREATE's token is late", "if (exact) sink_->publish_attr(entry.node, entry.attr, token, nullptr);",
       "if (exact) sink_->publish_attr(entry.node, entry.attr, sink_->token(), nullptr);"),
      ("CREATE tells attributes of before the name", "if (exact) sink_->publish_attr(entry.node, entry.attr, token, nullptr);",
       "sink_->publish_attr(entry.node, entry.attr, nameless_token, nullptr);"),
      ("CREATE's token of xattrs is late", "nameless_token);\n    return entry;", "sink_->token());\n    return entry;"),
      ("MKDIR's token of xattrs is late", "MetadataSink::XattrFact::kNone, {}, token);\n    return entry;\n}\n\nResult<Entry> Filesystem::symlink",
       "MetadataSink::XattrFact::kNone, {}, sink_->token());\n    return entry;\n}\n\nResult<Entry> Filesystem::symlink"),
      ("MKNOD's token is late", "const auto token = sink_->token();\n    auto is = lower_->stat_at(dirfd, at.entry());\n    if (!is) return fail(is.error());\n    note_made(is->st_ino);\n    return entry_of(at, *is, token);",
       "auto is = lower_->stat_at(dirfd, at.entry());\n    if (!is) return fail(is.error());\n    note_made(is->st_ino);\n    return entry_of(at, *is, sink_->token());"),
      ("LINK's token is late", ": entry_of(at, *is, token, within);", ": entry_of(at, *is, sink_->token(), within);"))
rules(CORE + "ops_remove.cc", "sink meta",
      ("UNLINK does not close the inode", "if (S_ISDIR(is->st_mode)) return fail(ErrorKind::kIsDirectory);\n    ChangeScope scope(*sink_, {.inodes = {is->st_ino, at->dir->ino},",
       "if (S_ISDIR(is->st_mode)) return fail(ErrorKind::kIsDirectory);\n    ChangeScope scope(*sink_, {.inodes = {0, at->dir->ino},"),
      ("UNLINK does not close the directory", "if (S_ISDIR(is->st_mode)) return fail(ErrorKind::kIsDirectory);\n    ChangeScope scope(*sink_, {.inodes = {is->st_ino, at->dir->ino},",
       "if (S_ISDIR(is->st_mode)) return fail(ErrorKind::kIsDirectory);\n    ChangeScope scope(*sink_, {.inodes = {is->st_ino, 0},"),
      ("UNLINK does not close the name", ".names = {{{parent, name}}}});\n    const NodeId node = table_->find(is->st_ino);",
       "});\n    const NodeId node = table_->find(is->st_ino);"),
      ("UNLINK tells the attributes of what lost a name", "// Not the attributes of what lost a name:", "if (node != 0) publish_change(node, scope.change());\n    // Not the attributes of what lost a name:"),
      ("RMDIR does not close the victim", "if (table_->find(is->st_ino) != victim) return fail(ErrorKind::kStale);\n    ChangeScope scope(*sink_, {.inodes = {is->st_ino, at->dir->ino},",
       "if (table_->find(is->st_ino) != victim) return fail(ErrorKind::kStale);\n    ChangeScope scope(*sink_, {.inodes = {0, at->dir->ino},"),
      ("RMDIR does not close the directory", "if (table_->find(is->st_ino) != victim) return fail(ErrorKind::kStale);\n    ChangeScope scope(*sink_, {.inodes = {is->st_ino, at->dir->ino},",
       "if (table_->find(is->st_ino) != victim) return fail(ErrorKind::kStale);\n    ChangeScope scope(*sink_, {.inodes = {is->st_ino, 0},"),
      ("RMDIR does not close the name", ".names = {{{parent, name}}}});\n    const auto pinned = pin(victim, *at, *is);", "});\n    const auto pinned = pin(victim, *at, *is);"),
      ("RENAME does not close what moves", "{.inodes = {moved, is ? is->st_ino : 0,", "{.inodes = {0, is ? is->st_ino : 0,"),
      ("RENAME does not close what is replaced", "{.inodes = {moved, is ? is->st_ino : 0,", "{.inodes = {moved, 0,"),
      ("RENAME does not close the old directory", "from_at->dir->ino, to_at->dir->ino},", "0, to_at->dir->ino},"),
      ("RENAME does not close the new directory", "from_at->dir->ino, to_at->dir->ino},", "from_at->dir->ino, 0},"),
      ("RENAME does not close the old name", ".names = {{{from_parent, from}, {to_parent, to}}}});", ".names = {{{to_parent, to}}}});"),
      ("RENAME does not close the new name", ".names = {{{from_parent, from}, {to_parent, to}}}});", ".names = {{{from_parent, from}}}});"),
      ("RENAME's tokens are late", "sink_->publish_entry({at.location.parent, name}, node, token, within);\n    if (is && node != MetadataSink::kUnknownNode) {\n        if (complete(node, at, *is)) sink_->publish_attr(node, *is, token, within);",
       "sink_->publish_entry({at.location.parent, name}, node, sink_->token(), within);\n    if (is && node != MetadataSink::kUnknownNode) {\n        if (complete(node, at, *is)) sink_->publish_attr(node, *is, sink_->token(), within);"),
      ("UNLINK publishes outside its change", "sink_->publish_entry({parent, name}, 0, sink_->token(), scope.change());\n    publish_directory(*at, scope.change());\n    return {};\n}\n\nResult<lower::Fd>",
       "sink_->publish_entry({parent, name}, 0, sink_->token(), nullptr);\n    publish_directory(*at, scope.change());\n    return {};\n}\n\nResult<lower::Fd>"))
rules(CORE + "ops_file.cc", "sink",
      ("WRITE, FALLOCATE, COPY_FILE_RANGE do not close the inode", "ChangeScope scope(*sink_, {.inodes = {is->ino}});", "ChangeScope scope(*sink_, {});"),
      ("WRITE takes bits away before it closes", "ChangeScope scope(*sink_, {.inodes = {is->ino}});\n    if (auto r = clear_suid((*opened)->fd(), kill); !r) return std::unexpected(r.error());",
       "if (auto r = clear_suid((*opened)->fd(), kill); !r) return std::unexpected(r.error());\n    ChangeScope scope(*sink_, {.inodes = {is->ino}});"),
      ("the change ends before what it made is told", "auto done = change(**opened);\n    publish_change(node, scope.change());", "auto done = change(**opened);"))
rules(CORE + "ops_xattr.cc", "sink meta",
      ("SETXATTR, REMOVEXATTR do not close the inode", "Change changed{.inodes = {target->ino}};\n        changed.xattrs = true;", "Change changed{.inodes = {}};"),
      ("SETXATTR, REMOVEXATTR do not close xattrs", "changed.xattrs = true;", ""),
      ("GETXATTR's token is late", "XattrFact::kAbsent, name, token);", "XattrFact::kAbsent, name, sink_->token());"),
      ("LISTXATTR's token is late", "if (!any && encrypted)\n        sink_->publish_xattr(node, target->ino, MetadataSink::XattrFact::kNone, {}, token);",
       "if (!any && encrypted)\n        sink_->publish_xattr(node, target->ino, MetadataSink::XattrFact::kNone, {}, sink_->token());"),
      ("a symlink's empty list is told", "if (!any && encrypted)\n", "if (!any)\n"),
      ("an ACL is no attribute", "return classify(name) == XattrClass::kAcl || format_->owns_xattr(name);", "return format_->owns_xattr(name);"),
      ("an ACL is not in a list", "any = any || acl || ours;", "any = any || ours;"),
      ("after SETXATTR the token is late", "const auto token = sink_->token();\n    if (seen_bare(lower_->list_xattr(target.fd)))\n        sink_->publish_xattr(node, target.ino, MetadataSink::XattrFact::kNone, {}, token);",
       "if (seen_bare(lower_->list_xattr(target.fd)))\n        sink_->publish_xattr(node, target.ino, MetadataSink::XattrFact::kNone, {}, sink_->token());"),
      ("LOOKUP's token of xattrs is late", "if (seen_bare(lower_->list_xattr(at.dir->fd.get(), at.entry())))\n        sink_->publish_xattr(entry.node, entry.attr.st_ino, MetadataSink::XattrFact::kNone, {},\n                             token);",
       "if (seen_bare(lower_->list_xattr(at.dir->fd.get(), at.entry())))\n        sink_->publish_xattr(entry.node, entry.attr.st_ino, MetadataSink::XattrFact::kNone, {},\n                             sink_->token());"))
rules(CORE + "resolver.cc", "sink",
      ("a mode lifted for a moment does not close the inode", "const mode_t mode = is->st_mode & 07777;\n    ChangeScope scope(*sink_, {.inodes = {is->st_ino}});", "const mode_t mode = is->st_mode & 07777;"))
rules(CORE + "own_change.h", "sink",
      ("changes that nobody asked for close nothing", "MetadataSink::Change{{is->st_ino}}", "MetadataSink::Change{}"))
rules(CORE + "format1.cc", "sink",
      ("an id made good does not close the directory", "auto change = OwnChange::begin(context_.sink, lower, dirfd);", "auto change = OwnChange::begin(nullptr, lower, dirfd);"))
rules(CORE + "format1_file_size.cc", "sink",
      ("pages put in order (write-back's end) do not close the inode", "if (!needs_settling()) return {};\n    auto change = OwnChange::begin(context_.sink, lower_, fd_.get());",
       "if (!needs_settling()) return {};\n    auto change = OwnChange::begin(nullptr, lower_, fd_.get());"),
      ("recovery does not close the inode", "size = header_.size;\n    }\n    auto change = OwnChange::begin(context_.sink, lower_, fd_.get());",
       "size = header_.size;\n    }\n    auto change = OwnChange::begin(nullptr, lower_, fd_.get());"))
rules(CORE + "recovery_scan.cc", "sink",
      ("the sweep does not close the directory", "auto change = OwnChange::begin(sink_.get(), *lower_, dirfd);", "auto change = OwnChange::begin(nullptr, *lower_, dirfd);"))
rules(CORE + "metadata_sink.h", "sink",
      ("a change never ends", "~ChangeScope() { sink_.end_change(change_); }", "~ChangeScope() {}"),
      ("a change closes only at its end", "sink_.begin_change(change_);\n    }\n    ~ChangeScope() { sink_.end_change(change_); }", "}\n    ~ChangeScope() { sink_.begin_change(change_); sink_.end_change(change_); }"))
rules(CORE + "filesystem.cc", "sink meta",
      ("LOOKUP's token is late for what is absent", "sink_->publish_entry({parent, name}, 0, token, nullptr);", "sink_->publish_entry({parent, name}, 0, sink_->token(), nullptr);"),
      ("LOOKUP's token is late for a name", "sink_->publish_entry({parent, name}, entry->node, token, nullptr);", "sink_->publish_entry({parent, name}, entry->node, sink_->token(), nullptr);"),
      ("LOOKUP's token is late for attributes", "auto entry = entry_of(*at, *is, token);", "auto entry = entry_of(*at, *is, sink_->token());"),
      ("nothing is wiped at the end", "sink_->end();\n", ""))
rules(CORE + "ops_dir.cc", "sink meta",
      ("a listed entry's token is late", "sink_->entry_listed(listing, told, entry ? entry->node : MetadataSink::kUnknownNode, seen);",
       "sink_->entry_listed(listing, told, entry ? entry->node : MetadataSink::kUnknownNode, sink_->token());"),
      ("a listed entry's attributes are published late", "auto entry = entry_of(at, *found, seen);", "auto entry = entry_of(at, *found, sink_->token());"),
      ("a name that cannot be read does not spoil a listing", "if (!foreign) sink_->listing_spoilt(listing, node);", ""),
      ("a listing that fails proves something", "if (!listed) sink_->listing_spoilt(listing, node);", ""),
      ("a listing that stopped is complete", "next, !stopped);", "next, true);"))

# --- The node table: references

rules(CORE + "inode_table.cc", "table sink meta",
      ("references that readers took are not folded in", "1 + static_cast<std::int64_t>(sink_.take_served(id_of(slot)));", "1;"),
      ("a node goes although it is still handed out", "if (!sink_.try_retire(id_of(slot), static_cast<std::uint64_t>(-node.references))) return;",
       "(void)sink_.try_retire(id_of(slot), static_cast<std::uint64_t>(-node.references));"),
      ("what came back beyond is not compared", "static_cast<std::uint64_t>(-node.references))) return;", "0)) return;"),
      ("nobody asks whether a node is still handed out", "if (!sink_.try_retire(id_of(slot), static_cast<std::uint64_t>(-node.references))) return;", ""),
      ("a node that others lie in goes", "node.references > 0 ||\n        node.children != 0)\n        return;\n    // Last", "node.references > 0)\n        return;\n    // Last"),
      ("a node in use goes", "!node.used || node.references > 0 ||\n        node.children != 0)", "!node.used ||\n        node.children != 0)"),
      ("a distrusted node is not barred", "node->distrusted = true;\n    sink_.bar(id);", "node->distrusted = true;"),
      ("a node of another type is not barred", "sink_.bar(id_of(slot));\n        hash_remove(slot);\n        slot = 0;", "hash_remove(slot);\n        slot = 0;"),
      ("ids are used again", "node.generation++;", ""),
      ("a removed node is worth keeping", "node.hashed && !node.gone && !node.distrusted", "!node.distrusted"),
      ("a nameless node is worth keeping", " && node.parent != 0;", ";"),
      ("that a node had several links is forgotten", "node->linked = node->linked || now;", "node->linked = now;"),
      ("what readers hold counts as idle", "node.references + static_cast<std::int64_t>(sink_.served(id_of(slot))) == 0)", "node.references <= 0)"))

# --- Gates, and what a change does to records

META = "encfs/meta/"
rules(META + "gates.h", "meta",
      ("a change under way is not counted", "++writers_;\n        last_ = clock.tick();", "last_ = clock.tick();"),
      ("a change's end is not counted", "--writers_;\n        last_ = clock.tick();", "last_ = clock.tick();"),
      ("a change's begin does not tick", "++writers_;\n        last_ = clock.tick();", "++writers_;"),
      ("a change's end does not tick", "--writers_;\n        last_ = clock.tick();", "--writers_;"),
      ("changes under way do not matter", "return writers_ == own && last_ <= token;", "return last_ <= token;"),
      ("other changes under way do not matter", "writers_ == own &&", "writers_ >= own &&"),
      ("the token does not matter", "writers_ == own && last_ <= token;", "writers_ == own;"),
      ("a token of the change's own tick is refused", "last_ <= token;", "last_ < token;"),
      ("the clock stands still", "ticks_.fetch_add(1, std::memory_order_acq_rel) + 1;", "ticks_.fetch_add(0, std::memory_order_acq_rel) + 1;"))
rules(META + "mapped_words.h", "meta",
      ("nothing is closed", "if (!is_closed(now)) Word(version).exchange(now + 1, std::memory_order_seq_cst);", ""),
      ("what is closed is opened", "if (!is_closed(now)) Word(version)", "Word(version)"),
      ("nothing is opened", "Word(version).fetch_add(1, std::memory_order_release);", ""),
      ("an odd version is open", "return (version & 1) != 0;", "return version == 1;"))
RECORDS = META + "records.cc"
rules(RECORDS, "meta",
      ("a change does not begin at the gate", "if (touches_first(change, i)) gate.attrs.begin(clock_);", ""),
      ("a change does not end at the gate", "if (touches_first(change, i)) gate.attrs.end(clock_);", ""),
      ("a change counts twice at a gate", "if (change.inodes[i] != 0 && inode_gate(change.inodes[i]) == gate) return false;", ""),
      ("a change of xattrs does not begin at the gate", "if (xattrs) gate.xattrs.begin(clock_);", ""),
      ("a change of xattrs does not end at the gate", "if (change.xattrs && i == 0) gate.xattrs.end(clock_);", ""),
      ("a change closes no records", "close_nodes(gate, ino, xattrs);\n    }", "}"),
      ("a change does not close attributes", "close_version(attr_version(nodes_[at]));\n        if (xattrs", "if (xattrs"),
      ("a change leaves absences", "if (xattrs && !slots_[at].barred) write_xattrs(nodes_[at], settings_.always_absent);", ""),
      ("a change opens the absences of a barred node", "if (xattrs && !slots_[at].barred)", "if (xattrs)"),
      ("only the first node of a gate is closed", "at != 0; at = slots_[at].next) {", "at != 0; at = 0) {"),
      ("a change leaves names", "begin_names(change);\n}", "}"),
      ("names are never let go", "end_names(change);\n    for", "for"),
      ("nobody publishes within a change", "return std::ranges::any_of(", "return 0 * std::ranges::any_of("),
      ("publishing within any change", "[&](std::uint64_t ino) { return ino != 0 && inode_gate(ino) == gate; });", "[&](std::uint64_t ino) { return ino != 0; });"),
      ("attributes of another inode", "slot->ino.load(std::memory_order_relaxed) != attr.st_ino) return;", "false) return;"),
      ("two links are forgotten", "slot->linked = slot->linked || (", "slot->linked = ("),
      ("two links that are not published are forgotten", "slot->linked = slot->linked || (attr.st_nlink > 1 && !S_ISDIR(attr.st_mode));\n    if (slot->barred || !gate.attrs.admits(token, own(within, at))) return;",
       "if (slot->barred || !gate.attrs.admits(token, own(within, at))) return;\n    slot->linked = slot->linked || (attr.st_nlink > 1 && !S_ISDIR(attr.st_mode));"),
      ("files with two links may be kept", "if (!slot->linked) {\n        image", "{\n        image"),
      ("directories have links", "attr.st_nlink > 1 && !S_ISDIR(attr.st_mode)", "attr.st_nlink > 1"),
      ("a barred node is published", "if (slot->barred || !gate.attrs.admits(token, own(within, at))) return;\n    xf_node image", "if (!gate.attrs.admits(token, own(within, at))) return;\n    xf_node image"),
      ("attributes are published unasked", "if (slot->barred || !gate.attrs.admits(token, own(within, at))) return;\n    xf_node image", "if (slot->barred) return;\n    xf_node image"),
      ("attributes are written while open", "close_version(attr_version(to));\n    store_words", "store_words"),
      ("attributes are opened before they are whole", "store_words(words_of(to) + kAttrBegin, &image.nodeid, kAttrWords);\n    open_version(attr_version(to));",
       "open_version(attr_version(to));\n    store_words(words_of(to) + kAttrBegin, &image.nodeid, kAttrWords);"),
      ("absences are written while open", "close_version(xattr_version(node));\n    Word(xattr_bits(node)).store(bits, std::memory_order_release);\n    open_version(xattr_version(node));",
       "Word(xattr_bits(node)).store(bits, std::memory_order_release);\n    Word(xattr_version(node)).fetch_and(~1ull);"),
      ("absences of another inode", "if (slot == nullptr || slot->ino.load(std::memory_order_relaxed) != ino) return;\n    if (slot->barred || !gate.xattrs", "if (slot == nullptr) return;\n    if (slot->barred || !gate.xattrs"),
      ("absences of a barred node", "if (slot->barred || !gate.xattrs.admits(token, 0)) return;", "if (!gate.xattrs.admits(token, 0)) return;"),
      ("absences are published unasked", "if (slot->barred || !gate.xattrs.admits(token, 0)) return;", "if (slot->barred) return;"),
      ("a new node's attributes are open", "// All three are odd while the id and the word change (abi.h). Nobody has this id yet.\n    close_version(attr_version(to));", ""),
      ("a new node's absences are open", "close_version(xattr_version(to));\n    make_version_incomplete(to);\n    Word(words_of(to)", "make_version_incomplete(to);\n    Word(words_of(to)"),
      ("a new directory is complete", "make_version_incomplete(to);\n    Word(words_of(to)", "Word(words_of(to)"),
      ("a new node has the old one's references", "Word(reference(to)).exchange(xf_ref_alive(node), std::memory_order_acq_rel);", "Word(reference(to)).fetch_or(XF_REF_ALIVE);"),
      ("a new node has the old one's absences", "write_xattrs(to, settings_.always_absent);\n    Slot& slot", "open_version(xattr_version(to));\n    Slot& slot"),
      ("a new node has the old one's links and bar", "slot.linked = slot.barred = false;", ""),
      ("a new node is unknown at its gate", "slot.next = gate.first;\n    gate.first = at;", ""),
      ("a node is not barred", "slot->barred = true;", ""),
      ("bar leaves attributes", "slot->barred = true;\n    close_version(attr_version(record(node)));", "slot->barred = true;"),
      ("bar leaves absences", "close_version(xattr_version(record(node)));\n}", "}"),
      ("a full count is not taken over", "while (xf_ref_count(seen) >= kManyServed) {", "while (false) {"),
      ("a count that is taken over stays", "compare_exchange_weak(seen, seen & ~XF_REF_COUNT_MASK,", "compare_exchange_weak(seen, seen,"),
      ("taking the count over forgets the node's life", "seen & ~XF_REF_COUNT_MASK, std::memory_order_acq_rel))\n            return", "0, std::memory_order_acq_rel))\n            return"),
      ("a node is retired at any count", "__u64 alive = xf_ref_alive(node) | owed;", "__u64 alive = Word(reference(from)).load();"),
      ("a node is retired without what readers hold", "__u64 alive = xf_ref_alive(node) | owed;", "__u64 alive = xf_ref_alive(node);"),
      ("more than a count holds is owed", "if (owed > XF_REF_COUNT_MASK ||\n        !Word", "if (!Word"),
      ("a retired node stays alive", "alive & ~(XF_REF_ALIVE | XF_REF_COUNT_MASK),", "alive & ~XF_REF_COUNT_MASK,"),
      ("a retired node's attributes stay open", "close_version(attr_version(from));", ""),
      ("a retired node's absences stay open", "close_version(xattr_version(from));", ""),
      ("a retired directory stays complete", "make_version_incomplete(from);", ""),
      ("a retired node's attributes stay", "clear_words(words_of(from) + kAttrBegin, kAttrWords);", ""),
      ("a retired node's absences stay", "Word(xattr_bits(from)).store(0, std::memory_order_release);", ""),
      ("a retired node stays at its gate", "unlink_slot(gate, xf_slot(node));", ""),
      ("a retired node keeps its slot", "slot->owner.store(0, std::memory_order_relaxed);", ""),
      ("a slot is anybody's", "return slots_[slot].owner.load(std::memory_order_relaxed) == node ? &slots_[slot] : nullptr;", "return &slots_[slot];"),
      ("nodes are not wiped", "for (std::uint32_t at = 1; at < nodes_.size(); ++at) {\n        const NodeId node", "for (std::uint32_t at = 1; at < 0; ++at) {\n        const NodeId node"),
      ("names are not wiped", "    wipe_names();\n", ""),
      ("a node with readers is not wiped", "while (!try_retire(node, xf_ref_count(seen))) seen = word.load(std::memory_order_relaxed);", "(void)try_retire(node, 0);"))

# --- Names

NAMES = META + "records_names.cc"
rules(NAMES, "meta",
      ("a change of a name does not begin at the gate", "if (!counted) name_gates_[gate].entries.begin(clock_);", ""),
      ("a change of a name does not end at the gate", "if (!counted) name_gates_[gate].entries.end(clock_);", ""),
      ("a change counts twice at a name's gate", "if (!counted) name_gates_[gate].entries.begin(clock_);", "name_gates_[gate].entries.begin(clock_);"),
      ("a change takes no way for its name", "put(tag, name.parent, XF_CHILD_BUSY, false);", ""),
      ("a change leaves a name that is known", "put(tag, name.parent, XF_CHILD_BUSY, false);", "put(tag, name.parent, XF_CHILD_BUSY, true);"),
      ("a change says that its name does not exist", "put(tag, name.parent, XF_CHILD_BUSY, false);", "put(tag, name.parent, XF_CHILD_ABSENT, false);"),
      ("names are published unasked", "if (!name_gates_[at].entries.admits(token, own_name(within, at))) return false;", ""),
      ("nobody publishes a name within a change", "name_gate(prepared_tag(*within, i)) == gate) return 1;", "name_gate(prepared_tag(*within, i)) == gate) return 0;"),
      ("a name within any change", "if (can_be_known(within->names[i]) && name_gate(prepared_tag(*within, i)) == gate) return 1;", "return 1;"),
      ("an eviction leaves the directory complete", "if (!same && of != 0) make_incomplete(of);", ""),
      ("an eviction takes the way first", "if (!same && of != 0) make_incomplete(of);\n    const xf_way image{parent, tag, child};\n    close_version(version_of(bucket));\n    store_words(way, &image, kWayWords);\n    open_version(version_of(bucket));",
       "const xf_way image{parent, tag, child};\n    close_version(version_of(bucket));\n    store_words(way, &image, kWayWords);\n    open_version(version_of(bucket));\n    if (!same && of != 0) make_incomplete(of);"),
      ("ways are written while open", "close_version(version_of(bucket));\n    store_words(way, &image, kWayWords);\n    open_version(version_of(bucket));",
       "store_words(way, &image, kWayWords);\n    close_version(version_of(bucket));\n    open_version(version_of(bucket));"),
      ("ways are opened before they are whole", "store_words(way, &image, kWayWords);\n    open_version(version_of(bucket));", "open_version(version_of(bucket));\n    store_words(way, &image, kWayWords);"),
      ("a listing takes back what is known", "if (same && (keep || get(way[kChild]) == child)) return;", "if (same && get(way[kChild]) == child) return;"),
      ("a directory of another inode is complete", "if (slot == nullptr || slot->ino.load(std::memory_order_relaxed) != ino) return;\n    // Any change", "if (slot == nullptr) return;\n    // Any change"),
      ("what is complete becomes incomplete", "if (!is_closed(seen) || slot->barred", "if (slot->barred"),
      ("a barred directory is complete", "!is_closed(seen) || slot->barred || ", "!is_closed(seen) || "),
      ("a directory is complete whatever changed", " || !gate.attrs.admits(token, own(within, at))) return;\n    // Fails", ") return;\n    // Fails"),
      ("a directory is complete whatever was evicted", ".compare_exchange_strong(expected, seen + 1, std::memory_order_acq_rel);", ".store((expected | 1) + 1);"),
      ("names of no directory are known", "return name.parent != 0 && !name.name.empty()", "return !name.name.empty()"),
      ("ways are not wiped", "clear_words(way_of(buckets_[i], 0), XF_WAYS * kWayWords);", ""),
      ("a way is anybody's", "if (of == parent && get(way[kTagLo]) == tag.lo && get(way[kTagHi]) == tag.hi) return at;", "if (of == parent) return at;"))
rules(META + "records_private.h", "meta",
      ("an eviction does not show where nothing was complete", "seen + (is_closed(seen) ? 2 : 1)", "seen + (is_closed(seen) ? 0 : 1)"),
      ("an eviction makes complete what was not", "seen + (is_closed(seen) ? 2 : 1)", "seen + 1"))
rules(META + "bpf_sink.cc", "meta",
      ("a listing's last request counts, not its first", "if (cookie == 0) {\n        pass.directory = directory;\n        pass.token = token;", "pass.token = token;\n    if (cookie == 0) {\n        pass.directory = directory;"),
      ("evictions in a listing's first request do not show", "records_.publish_complete(directory, ino, pass.version, pass.token, nullptr);", "records_.publish_complete(directory, ino, records_.directory_version(directory), pass.token, nullptr);"),
      ("a listing goes on at another place", " || pass.cookie != cookie) {", ") {"),
      ("a listing goes on with another directory's", "pass.directory != directory || pass.under_way", "pass.under_way"),
      ("a listing goes on beside another one", "|| pass.under_way != 0 ||", "||"),
      ("a listed name that is not admitted spoils nothing", "if (!records_.publish_entry(name, child, token, nullptr)) listing_spoilt(listing, name.parent);", "(void)records_.publish_entry(name, child, token, nullptr);"),
      ("nothing spoils a listing", "if (listing == 0 || pass.under_way != listing) return;\n    pass.directory = 0;\n    pass.under_way = 0;", "return;"),
      ("a listing's part is the whole", "if (!complete) return;\n", ""),
      ("another listing's end is this one's", "if (listing == 0 || pass.under_way != listing) return;\n    pass.under_way = 0;\n    pass.cookie", "pass.under_way = 0;\n    pass.cookie"),
      ("no ACL where the file system has none", "if (fact == XattrFact::kNone && acls_known_) bits |= kAcls;", "if (fact == XattrFact::kNone) bits |= kAcls;"),
      ("a list tells names", "if (known.name == name) return known.bit;", "if (known.name.substr(0, 9) == name.substr(0, 9)) return known.bit;"))

# --- The programs

rules("bpf/maps.bpf.h", "bpf",
      ("closed attributes are told", "__u64 ver = xf_load_acquire(&n->attr_ver);\n\n\tif (ver & 1 || n->nodeid != nodeid)", "__u64 ver = xf_load_acquire(&n->attr_ver);\n\n\tif (n->nodeid != nodeid)"),
      ("attributes of the slot's next node", "__u64 ver = xf_load_acquire(&n->attr_ver);\n\n\tif (ver & 1 || n->nodeid != nodeid)", "__u64 ver = xf_load_acquire(&n->attr_ver);\n\n\tif (ver & 1)"),
      ("the attributes' version is not read again", "return xf_load_after(&n->attr_ver) == ver;", "return true;"),
      ("the attributes' version need only be even again", "return xf_load_after(&n->attr_ver) == ver;", "return !(xf_load_after(&n->attr_ver) & 1);"),
      ("closed absences are told", "__u64 ver = xf_load_acquire(&n->xattr_ver);\n\n\tif (ver & 1 || n->nodeid != nodeid)", "__u64 ver = xf_load_acquire(&n->xattr_ver);\n\n\tif (n->nodeid != nodeid)"),
      ("absences of the slot's next node", "__u64 ver = xf_load_acquire(&n->xattr_ver);\n\n\tif (ver & 1 || n->nodeid != nodeid)", "__u64 ver = xf_load_acquire(&n->xattr_ver);\n\n\tif (ver & 1)"),
      ("the absences' version is not read again", "return xf_load_after(&n->xattr_ver) == ver;", "return true;"),
      ("a dead node is handed out", "if (!xf_ref_is(ref, nodeid) || ", "if ("),
      ("a full count overflows", " || xf_ref_count(ref) == XF_REF_COUNT_MASK)", ")"),
      ("references are counted without compare-and-swap", "seen = __sync_val_compare_and_swap(&n->ref, ref, ref + 1);", "seen = __sync_val_compare_and_swap(&n->ref, n->ref, ref + 1), seen = ref;"),
      ("a lost race goes for a won one", "if (seen == ref)\n\t\t\treturn true;", "return true;"),
      ("after lost races the node is handed out all the same", "\t\tref = seen;\n\t}\n\treturn false;", "\t\tref = seen;\n\t}\n\treturn true;"))
rules("bpf/abi.h", "bpf",
      ("references of any generation", "return (ref & ~XF_REF_COUNT_MASK) == xf_ref_alive(nodeid);", "return (ref & XF_REF_ALIVE) != 0;"))
rules("bpf/metadata.bpf.c", "bpf",
      ("entry and attributes of two moments", "if (xf_load_after(&b->ver) != bucket_ver)\n\t\treturn EXTFUSE_PASS;", ""),
      ("a reference is counted before the reply", "if (extfuse_out(ctx, &out, sizeof(out)))\n\t\treturn EXTFUSE_PASS;\n\t/* Last", "if (take_reference(n, child) && extfuse_out(ctx, &out, sizeof(out)))\n\t\treturn EXTFUSE_PASS;\n\treturn 0;\n\t/* Last"),
      ("no reference is counted", "return take_reference(n, child) ? 0 : EXTFUSE_PASS;", "return 0;"),
      ("dots are looked up", "if (name->word[0] == '.' || name->word[0] == ('.' | '.' << 8))", "if (0)"),
      ("a closed bucket is read", "ver = xf_load_acquire(&b->ver);\n\tif (ver & 1)", "ver = xf_load_acquire(&b->ver);\n\tif (0)"),
      ("a way of another directory", " && w->parent == parent) {", ") {"),
      ("a way of half the tag (low)", "w->tag.lo == tag.lo && ", ""),
      ("a way of half the tag (high)", "w->tag.hi == tag.hi && ", ""),
      ("the bucket's version is not read again", "if (xf_load_after(&b->ver) != ver)\n\t\treturn EXTFUSE_PASS;\n\n\tif (found)", "if (found)"),
      ("a name that is being changed is answered", "if (child == XF_CHILD_BUSY)\n\t\t\treturn EXTFUSE_PASS;", "if (child == XF_CHILD_BUSY)\n\t\t\treturn reply_absent(ctx);"),
      ("an incomplete directory is complete", "if (dir && !(dir_ver & 1) && ", "if (dir && "),
      ("the slot's next directory is complete", " && dir->nodeid == parent &&", " &&"),
      ("the directory's version is not read again", " &&\n\t    xf_load_after(&dir->dir_ver) == dir_ver)", ")"),
      ("the directory's version is read after the probe", "\tif (found) {\n", "\tdir_ver = dir ? xf_load_acquire(&dir->dir_ver) : 1;\n\tif (found) {\n"),
      ("STATX of closed attributes", "if (ver & 1 || n->nodeid != nodeid || !", "if (n->nodeid != nodeid || !"),
      ("STATX of the slot's next node", "if (ver & 1 || n->nodeid != nodeid || !", "if (ver & 1 || !"),
      ("STATX without a birth time", " || !(n->attr_flags & XF_ATTR_BTIME))", ")"),
      ("STATX does not read the version again", "if (xf_load_after(&n->attr_ver) != ver)\n\t\treturn EXTFUSE_PASS;", ""),
      ("an attribute that is not known is absent", "if (absent & bit)\n\t\treturn -XF_ENODATA;", "if (absent)\n\t\treturn -XF_ENODATA;"),
      ("a list that is not known is empty", "|| !(absent & XF_XATTR_NONE))\n\t\treturn EXTFUSE_PASS;\n\tif (extfuse_in(ctx, 0", ")\n\t\treturn EXTFUSE_PASS;\n\tif (extfuse_in(ctx, 0"),
      ("GETATTR without a reply", "return extfuse_out(ctx, &out, sizeof(out)) ? EXTFUSE_PASS : 0;\n}\n\nSEC(\"struct_ops/getattr\")", "extfuse_out(ctx, &out, sizeof(out));\n\treturn 0;\n}\n\nSEC(\"struct_ops/getattr\")"),
      ("strangers are answered", "if (!p || xf_admitted(p))\n\t\treturn false;", "return false;"))

# --- EncFS volumes: what a kill, a failure or a lack of room must not cost

rules(CORE + "legacy_move.cc", "encfs_move",
      ("a move without a journal", "if (auto r = move->make_journal(); !r) return std::unexpected(r.error());", ""),
      ("the journal is not durable before the move", "    if (done) done = lower.fsync(file->get());\n", ""),
      ("the journal's name is not durable before the move", "    if (done) done = lower.fsync(rootfd);\n", ""),
      ("a failed move is not taken back", "    if (!finished_) take_back();\n", ""),
      ("the journal goes before the move is durable", "    (void)tools_.lower.syncfs(rootfd_);\n", ""),
      ("the journal stays", "    drop_journal();\n}\n\n// ---- after a crash", "}\n\n// ---- after a crash"),
      ("a recovery always finishes", "const auto direction = renamed ? MoveDirection::kForward : MoveDirection::kBack;",
       "const auto direction = MoveDirection::kForward;"),
      ("a recovery always takes back", "const auto direction = renamed ? MoveDirection::kForward : MoveDirection::kBack;",
       "const auto direction = MoveDirection::kBack;"),
      ("a recovery looks at the old place", "renamed ? MoveTop::kNew : MoveTop::kOld, observer)", "MoveTop::kOld, observer)"),
      ("contexts stay", "watch_.context_changed(dir.ino, tools_.context_of(forward ? dir.new_chain : dir.chain));", ""),
      ("empty open files stay bound", "if (step.file) watch_.file_moved(step.ino, forward ? step.new_chain : step.chain);", ""),
      ("the root's times are not closed", "(void)watch_.step({.dir_ino = root_.st_ino, .ino = root_.st_ino}, [&] {\n        made", "([&](auto, auto act) { (void)act(); })(0, [&] {\n        made"))
rules(CORE + "legacy_move_run.cc", "encfs_move",
      ("a move stops at what is done", "return is_missing(is.error()) ? lower::Result<void>{} : std::unexpected(is.error());\n    return observer_",
       "return std::unexpected(is.error());\n    return observer_"),
      ("headers are not written", "auto done = lower_.pwrite(fd->get(), header, 0);", "lower::Result<void> done;"),
      ("headers are not taken back", "const ByteVector& header = forward ? step.new_header : step.header;", "const ByteVector& header = step.new_header;"),
      ("a directory is found by its old name only", "    if (!fd && is_missing(fd.error()))\n        fd = lower_.open(parent, dir.new_entry", "    if (false)\n        fd = lower_.open(parent, dir.new_entry"))
rules(CORE + "legacy_file_write.cc", "encfs_file encfs_kill",
      ("the last block is not put back", "if (!tail.empty()) (void)lower_.pwrite(fd(), tail, tail_at);", ""),
      ("what a failed growth left is not cut off", "    (void)lower_.truncate(fd(), has_header_ ? legacy::lower_size(layout(), old) : 0);\n", ""),
      ("the old last block is not made whole", "if (old % data != 0) {\n        const MutBytes plain = plain_buffer.take(data);", "if (false) {\n        const MutBytes plain = plain_buffer.take(data);"),
      ("zeros are not written without holes", "if (layout().holes || layout().plain) return {};", "return {};"),
      ("a file that begins with a hole has no header", "    if (!has_header_ && !with_header) {\n        if (auto r = write_header(); !r) return r;\n    }\n", ""),
      ("the last block is not coded anew when it is cut", "if (auto r = context_.tail->cut(lower_, fd(), at, block); !r) return r;",
       "if (auto r = lower_.truncate(fd(), at + block.size()); !r) return fail(r.error());"))
rules(CORE + "legacy_tail.cc", "encfs_kill",
      ("a cut is not noted", "    auto noted = note(lower, fd, offset, block);", "    auto noted = Result<bool>(false);"),
      ("a cut is not finished", "auto done = cut_to(lower, cut_file->get(), record->offset, record->block);", "lower::Result<void> done;"),
      ("a journal that is done stays", "    auto cleared = lower.truncate(journal_.get(), 0);\n    if (cleared) cleared", "    lower::Result<void> cleared;\n    if (cleared) cleared"))
rules(CORE + "legacy_file.cc", "encfs_file",
      ("damage is shown", "if (*state == BlockState::kDamaged)", "if (false)"),
      ("part of a hole is a hole", "(*lower_hole - layout().header_size() + layout().block_size - 1) /",
       "(*lower_hole - layout().header_size()) /"),
      ("a header that is cut off is empty", "    if (!size) {\n        if (context.on_damage)", "    if (false) {\n        if (context.on_damage)"))
rules(CORE + "legacy_reverse.cc", "encfs_view",
      ("the settings' size is that of coded ones", "return lower_stat.st_ino == config_ino_ ? size : shown_size(codec_.layout(), size);", "return shown_size(codec_.layout(), size);"),
      ("the settings are coded", "std::make_shared<ReverseFile>(config ? nullptr : &codec_,", "std::make_shared<ReverseFile>(&codec_,"))
rules(CORE + "legacy_reverse_file.cc", "encfs_view",
      ("an empty file has a header", "return size == 0 ? 0 : legacy::lower_size(layout, size);", "return legacy::lower_size(layout, size);"))

# --- Rotations of keys

ROTATE = "encfs/rotate/"
rules(ROTATE + "tools.h", "rotate",
      ("what is cached of a disk that failed is believed", "if (is_resumed) fs.forget_cached(fd);", ""))
rules(ROTATE + "rotation.cc", "rotate", ("no rotation is one that is gone on with", "is_resumed_ = true;", ""))
rules(ROTATE + "passes.cc", "rotate", ("headers are believed", "    tools_.forget_cached(fd);\n", ""))
rules(ROTATE + "directory.cc", "rotate", ("id files are believed", "    tools.forget_cached(fd->get());\n", ""))
rules(ROTATE + "file_contents.cc", "rotate",
      ("short fragments become whole", "is_short ? Fate::kSealShort : Fate::kSeal", "Fate::kSeal"),
      ("short fragments keep the old key", "is_short ? Fate::kSealShort : Fate::kSeal", "is_short ? Fate::kKeep : Fate::kSeal"))
rules(ROTATE + "attributes.cc", "rotate", ("attributes fill the list", "return bytes <= XATTR_LIST_MAX;", "return true;"))
rules(ROTATE + "beside_mount.cc", "rotate",
      ("lost writes are forgotten", "    if (rotation_.has_lost_writes()) return lost_writes();\n", ""))
rules(CORE + "format1_file_reseal.cc", "rotate",
      ("short runs become whole", "is_short[from] ? begin.plain_off + states[from].used : size", "size"),
      ("short pages become whole", "is_short ? state.used : header_.size", "header_.size"))
rules(CORE + "listing_snapshots.cc", "rotate",
      ("positions are not looked at", "next = std::ranges::find(items, lower_cookie, &Item::position);", "next = items.end();"),
      ("orders that fall are not known", "else if (std::ranges::is_sorted(items, std::greater(), &Item::position))", "else if (false)"))
