// The objects of one kind as what somebody needs of them, kept up to date by a watch.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "kube/object.h"
#include "sources/kube_watch.h"

namespace sluice::sources {

// Belongs to the thread of its io_context.
template <typename Item>
class KubeTable {
 public:
  using Read = Item (*)(const kube::Object&);

  // `kind` is named in trouble(). `changed` is called after changes, and when the watch is well or not well.
  KubeTable(boost::asio::io_context& context, std::shared_ptr<ApiServer> server, std::string kind,
            kube::WatchLimits limits, kube::Watch::Trim trim, Read read, std::function<void()> changed)
      : kind_(std::move(kind)),
        changed_(std::move(changed)),
        watch_(std::make_shared<KubeWatch>(
            context, std::move(server), limits, trim,
            KubeWatch::Sink{[this, read](kube::Change& change) { apply(change, read); },
                            [this](bool news) {
                              if (std::exchange(complete_, watch_->is_complete()) != complete_ || news) changed_();
                            }})) {}
  ~KubeTable() { watch_->end(); }
  KubeTable(const KubeTable&) = delete;
  KubeTable& operator=(const KubeTable&) = delete;

  void follow(std::string path, const std::string& selector = {}) { watch_->follow(std::move(path), selector); }
  void forget() { watch_->forget(); }

  bool is_complete() const { return complete_; }
  const std::map<kube::ObjectId, Item>& items() const { return items_; }
  // Counts the changes.
  std::uint64_t version() const { return version_; }
  // Empty: none.
  std::string trouble() const {
    const auto& trouble = watch_->trouble();
    if (trouble.why.empty()) return {};
    return fmt::format("{} cannot be read since {}: {}; {}", kind_, trouble.time, trouble.why,
                       complete_ ? "what was read before stays in force" : "nothing of it is known yet");
  }

 private:
  void apply(const kube::Change& change, Read read) {
    ++version_;
    if (change.removed)
      items_.erase(change.object.id);
    else
      items_.insert_or_assign(change.object.id, read(change.object));
  }

  const std::string kind_;
  std::function<void()> changed_;
  std::map<kube::ObjectId, Item> items_;
  std::uint64_t version_ = 0;
  bool complete_ = false;
  std::shared_ptr<KubeWatch> watch_;
};

}  // namespace sluice::sources
