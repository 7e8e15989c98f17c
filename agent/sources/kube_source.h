// Istio objects from the API server: every kind that it serves is listed and then watched. A kind that it does not
// serve is left out, and looked for again now and then; when the server cannot be reached, what was read stays.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <vector>

#include "base/result.h"
#include "resources/registry.h"
#include "settings/settings.h"

namespace sluice::sources {

// Belongs to the thread of its io_context.
class KubeSource {
 public:
  // Asks as soon as the loop turns. `changed` is called whenever the objects or the problems have changed, often many
  // times in a row, until this goes.
  static Result<std::unique_ptr<KubeSource>> start(boost::asio::io_context& context,
                                                   const settings::Kubernetes& settings, std::function<void()> changed);
  ~KubeSource();
  KubeSource(const KubeSource&) = delete;
  KubeSource& operator=(const KubeSource&) = delete;

  // Every kind that is served was listed whole: the registry is all there is. Once true it stays so.
  bool is_complete() const;
  const resources::Registry& registry() const;
  // Has the registry changed, or become complete, since the last call?
  bool take_changed();
  // The registry's, and those of the server.
  std::vector<resources::Problem> problems() const;

 private:
  struct State;
  explicit KubeSource(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;
};

}  // namespace sluice::sources
