// Connections of one thread, which end by themselves: at the end of the turn in which they said so, when nothing that
// led there is on the stack any more.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/intrusive/list.hpp>
#include <memory>
#include <vector>

namespace sluice::ingress {

class Guest : public boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
 public:
  virtual ~Guest() = default;
};

class GuestList {
 public:
  explicit GuestList(boost::asio::io_context& context) : context_(context) {}
  ~GuestList() {
    guests_.clear_and_dispose([](Guest* guest) { delete guest; });
  }
  GuestList(const GuestList&) = delete;
  GuestList& operator=(const GuestList&) = delete;

  template <typename T>
  T& add(std::unique_ptr<T> guest) {
    guests_.push_back(*guest);
    return *guest.release();
  }
  // Destroys it when this turn is over.
  void dismiss(Guest& guest) {
    guest.unlink();
    if (leaving_.empty()) boost::asio::post(context_, [this] { leaving_.clear(); });
    leaving_.emplace_back(&guest);
  }
  template <typename Visit>
  void for_each(Visit visit) {
    for (auto next = guests_.begin(); next != guests_.end();) visit(*next++);
  }

 private:
  boost::asio::io_context& context_;
  boost::intrusive::list<Guest, boost::intrusive::constant_time_size<false>> guests_;
  std::vector<std::unique_ptr<Guest>> leaving_;
};

}  // namespace sluice::ingress
