#include "dns_server.h"

#include <algorithm>

namespace sluice::net {
namespace {

namespace asio = boost::asio;

constexpr std::size_t header_bytes = 12;
constexpr int name_error = 3;

void put16(Wire& out, std::size_t value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8));
  out.push_back(static_cast<std::uint8_t>(value));
}

Wire encode_name(const std::string& name) {
  Wire out;
  for (std::size_t begin = 0; begin < name.size();) {
    const auto end = std::min(name.find('.', begin), name.size());
    out.push_back(static_cast<std::uint8_t>(end - begin));
    out.insert(out.end(), name.begin() + static_cast<std::ptrdiff_t>(begin),
               name.begin() + static_cast<std::ptrdiff_t>(end));
    begin = end + 1;
  }
  out.push_back(0);
  return out;
}

std::string question_name(const Wire& query) {
  std::string name;
  for (std::size_t at = header_bytes; at < query.size() && query[at] != 0; at += query[at] + 1U) {
    if (!name.empty()) name += '.';
    name.append(query.begin() + static_cast<std::ptrdiff_t>(at) + 1,
                query.begin() + static_cast<std::ptrdiff_t>(at) + 1 + query[at]);
  }
  return name;
}

std::size_t question_end(const Wire& query) {
  std::size_t at = header_bytes;
  while (query[at] != 0) at += query[at] + 1U;
  return at + 5;
}

std::uint16_t question_type(const Wire& query) {
  const auto end = question_end(query);
  return static_cast<std::uint16_t>(query[end - 4] << 8 | query[end - 3]);
}

}  // namespace

DnsRecord address_record(const std::string& owner, const std::string& address, std::uint32_t ttl_s) {
  const auto parsed = *IpAddress::parse(address);
  const auto bytes = parsed.native();
  return {owner, parsed.is_v4() ? type_a : type_aaaa, ttl_s, Wire(bytes.begin(), bytes.end())};
}

DnsRecord cname_record(const std::string& owner, const std::string& target, std::uint32_t ttl_s) {
  return {owner, type_cname, ttl_s, encode_name(target)};
}

DnsServer::DnsServer(asio::io_context& context)
    : udp_(context, Udp::endpoint(asio::ip::address_v4::loopback(), 0)),
      tcp_(context, Tcp::endpoint(asio::ip::address_v4::loopback(), udp_.local_endpoint().port())) {
  asio::co_spawn(context, serve_udp(), asio::detached);
  asio::co_spawn(context, serve_tcp(), asio::detached);
}

Endpoint DnsServer::endpoint() const {
  return {*IpAddress::parse("127.0.0.1"), udp_.local_endpoint().port()};
}

DnsReply& DnsServer::reply(const std::string& name, std::uint16_t type) {
  return table_[name][type];
}

void DnsServer::add(const std::string& name, const std::vector<std::string>& addresses, std::uint32_t ttl_s) {
  for (const auto& address : addresses) {
    auto record = address_record(name, address, ttl_s);
    auto& records = reply(name, record.type).records;
    records.push_back(std::move(record));
  }
}

void DnsServer::release() {
  for (const auto& [message, client] : std::exchange(held_, {})) send(message, client);
}

asio::awaitable<void> DnsServer::serve_udp() {
  for (;;) {
    Wire query(4096);
    Udp::endpoint client;
    query.resize(co_await udp_.async_receive_from(asio::buffer(query), client, asio::use_awaitable));
    ++queries;
    answer_udp(query, client);
  }
}

asio::awaitable<void> DnsServer::serve_tcp() {
  for (;;) {
    auto socket = co_await tcp_.async_accept(asio::use_awaitable);
    asio::co_spawn(tcp_.get_executor(), serve_connection(std::move(socket)), asio::detached);
  }
}

asio::awaitable<void> DnsServer::serve_connection(Tcp::socket socket) {
  for (;;) {
    Wire length(2);
    co_await asio::async_read(socket, asio::buffer(length), asio::use_awaitable);
    Wire query(static_cast<std::size_t>(length[0] << 8 | length[1]));
    co_await asio::async_read(socket, asio::buffer(query), asio::use_awaitable);
    ++tcp_queries;
    if (find(query).manner == DnsReply::Manner::truncated_held) continue;
    const auto message = answer(query, find(query), false);
    Wire framed;
    put16(framed, message.size());
    framed.insert(framed.end(), message.begin(), message.end());
    co_await asio::async_write(socket, asio::buffer(framed), asio::use_awaitable);
  }
}

void DnsServer::answer_udp(const Wire& query, const Udp::endpoint& client) {
  using Manner = DnsReply::Manner;
  const auto& reply = find(query);
  auto message = answer(query, reply, reply.manner == Manner::truncated || reply.manner == Manner::truncated_held);
  switch (reply.manner) {
    case Manner::silent:
      return;
    case Manner::held:
    case Manner::truncated_held:
      held_.emplace_back(std::move(message), client);
      return;
    case Manner::wrong_id:
    case Manner::wrong_id_then_right: {
      auto forged = message;
      forged[0] ^= 0x55;
      forged.back() ^= 0x01;  // another address
      send(forged, client);
      if (reply.manner == Manner::wrong_id) return;
      break;
    }
    case Manner::wrong_question:
      message[header_bytes + 1] ^= 0x01;
      break;
    case Manner::garbage:
      message.resize(question_end(query));
      message.insert(message.end(), 7, 0xff);
      break;
    default:
      break;
  }
  send(message, client);
}

void DnsServer::send(const Wire& message, const Udp::endpoint& client) {
  boost::system::error_code ignored;
  udp_.send_to(asio::buffer(message), client, 0, ignored);
}

Wire DnsServer::answer(const Wire& query, const DnsReply& reply, bool truncate) {
  const std::size_t count = truncate ? 0 : reply.records.size();
  Wire out(query.begin(), query.begin() + 2);
  put16(out, 0x8180U | (truncate ? 0x0200U : 0U) | static_cast<unsigned>(reply.rcode));
  put16(out, 1);
  put16(out, count);
  put16(out, 0);
  put16(out, 0);
  out.insert(out.end(), query.begin() + header_bytes, query.begin() + static_cast<std::ptrdiff_t>(question_end(query)));
  for (std::size_t i = 0; i < count; ++i) {
    const auto& record = reply.records[i];
    if (record.owner == question_name(query)) {
      put16(out, 0xc000U | header_bytes);  // a pointer to the question's name
    } else {
      const auto owner = encode_name(record.owner);
      out.insert(out.end(), owner.begin(), owner.end());
    }
    put16(out, record.type);
    put16(out, 1);
    put16(out, record.ttl_s >> 16);
    put16(out, record.ttl_s);
    put16(out, record.data.size());
    out.insert(out.end(), record.data.begin(), record.data.end());
  }
  return out;
}

const DnsReply& DnsServer::find(const Wire& query) {
  static const DnsReply unknown{.manner = DnsReply::Manner::honest, .rcode = name_error, .records = {}};
  const auto known = table_.find(question_name(query));
  return known == table_.end() ? unknown : known->second[question_type(query)];
}

}  // namespace sluice::net
