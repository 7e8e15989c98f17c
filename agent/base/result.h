// Errors as values. An Error is written for the operator: what was tried, what happened, what to do.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace sluice {

// A failure with its context, outermost first: "read /etc/sluice/agent.yaml: permission denied".
class [[nodiscard]] Error {
 public:
  explicit Error(std::string message) : message_(std::move(message)) {}
  // The error of a system call: `what` followed by the text of errno value `code`.
  static Error from_errno(std::string_view what, int code);

  const std::string& message() const { return message_; }
  // The same error with "context: " in front.
  Error in(std::string_view context) const;

 private:
  std::string message_;
};

// Either a T or an Error. Test it before use: `*result` on a failure and `error()` on a success are undefined.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& operator*() & { return *std::get_if<0>(&state_); }
  const T& operator*() const& { return *std::get_if<0>(&state_); }
  T&& operator*() && { return std::move(*std::get_if<0>(&state_)); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }
  const Error& error() const { return *std::get_if<1>(&state_); }

 private:
  std::variant<T, Error> state_;
};

// Success without a value: `return Done{};`.
struct Done {};
using Status = Result<Done>;

}  // namespace sluice
