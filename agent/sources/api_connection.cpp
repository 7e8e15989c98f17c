#include "sources/api_connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::sources {
namespace {

constexpr std::size_t read_bytes = 32UL * 1024;

ByteSpan as_bytes(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string write(const ApiRequest& request) {
  auto text = fmt::format(
      "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: sluice\r\nAccept: application/json\r\n"
      "Accept-Encoding: identity\r\n",
      request.method, request.target, request.host);
  if (!request.token.empty()) text += fmt::format("Authorization: Bearer {}\r\n", request.token);
  if (!request.content_type.empty()) {
    text += fmt::format("Content-Type: {}\r\nContent-Length: {}\r\n", request.content_type, request.body.size());
  }
  text += "\r\n";
  return text + request.body;
}

}  // namespace

ApiConnection::ApiConnection(std::unique_ptr<net::Stream> stream) : stream_(std::move(stream)) {}

net::Task<Result<unsigned>> ApiConnection::ask(ApiRequest request, net::Milliseconds timeout) {
  const auto text = write(request);
  {
    const net::Deadline deadline(stream_->socket(), timeout);
    const bool written = co_await stream_->write_all(as_bytes(text));
    if (!written) co_return Error("the connection broke while it was asked");
  }
  body_.reset();
  for (;;) {
    const ByteSpan received(buffer_.data() + start_, buffer_.size() - start_);
    auto result = wire::parse_response_head(received, request.method);
    if (const auto* answer = std::get_if<wire::ResponseHead>(&result)) {
      start_ += answer->wire_bytes;
      if (answer->status < 200) continue;
      keep_alive_ = answer->keep_alive;
      until_close_ = answer->framing.kind == wire::Framing::Kind::until_close;
      body_.emplace(answer->framing);
      co_return answer->status;
    }
    if (!std::holds_alternative<wire::NeedMore>(result)) co_return Error("the answer is not HTTP/1.1");
    const auto more = co_await receive(timeout);
    if (!more) co_return more.error();
  }
}

net::Task<Result<std::string_view>> ApiConnection::read_body(net::Milliseconds timeout) {
  while (!body_->done()) {
    const auto piece = take_body();
    if (!piece) co_return Error("the answer's chunks are malformed");
    if (!piece->empty()) co_return *piece;
    if (body_->done()) break;
    const auto more = co_await receive(timeout);
    if (!more && until_close_) break;
    if (!more) co_return more.error();
  }
  co_return std::string_view();
}

net::Task<Result<Done>> ApiConnection::receive(net::Milliseconds timeout) {
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(start_));
  start_ = 0;
  const auto before = buffer_.size();
  buffer_.resize(before + read_bytes);
  const net::Deadline deadline(stream_->socket(), timeout);
  const auto result = co_await stream_->read_some(std::span(buffer_).subspan(before));
  const auto* size = std::get_if<std::size_t>(&result);
  buffer_.resize(before + (size != nullptr ? *size : 0));
  if (deadline.expired()) co_return Error("no answer in time");
  if (size == nullptr) {
    co_return Error("the connection broke: " + std::get_if<boost::system::error_code>(&result)->message());
  }
  if (*size == 0) co_return Error("the server closed the connection");
  co_return Done{};
}

std::optional<std::string_view> ApiConnection::take_body() {
  while (start_ < buffer_.size() && !body_->done()) {
    const auto left = buffer_.size() - start_;
    const auto data =
        until_close_ ? left : static_cast<std::size_t>(std::min<std::uint64_t>(body_->certain_bytes(), left));
    const auto at = start_;
    if (data > 0) {
      if (!until_close_) body_->skip(data);
      start_ += data;
      return std::string_view(reinterpret_cast<const char*>(buffer_.data() + at), data);
    }
    const auto framing = body_->consume(ByteSpan(buffer_.data() + start_, 1));
    if (!framing) return std::nullopt;
    start_ += *framing;
  }
  return std::string_view();
}

}  // namespace sluice::sources
