// A DNS server on 127.0.0.1 for tests: answers from a table on the test's own event loop, counts, holds back and lies.
#pragma once

#include <boost/asio.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/ip.h"

namespace sluice::net {

using Wire = std::vector<std::uint8_t>;

inline constexpr std::uint16_t type_a = 1;
inline constexpr std::uint16_t type_cname = 5;
inline constexpr std::uint16_t type_aaaa = 28;

struct DnsRecord {
  std::string owner;
  std::uint16_t type = type_a;
  std::uint32_t ttl_s = 60;
  Wire data;
};

// How the server treats one name and type. The default: the name exists without such addresses.
struct DnsReply {
  enum class Manner {
    honest,
    silent,
    held,                 // until release()
    truncated,            // by UDP; whole by TCP
    truncated_held,       // by UDP, until release(); silent by TCP
    wrong_id,             // nothing else
    wrong_id_then_right,  // a forged answer first
    wrong_question,
    garbage,  // after a right header and question
  };
  Manner manner = Manner::honest;
  int rcode = 0;
  std::vector<DnsRecord> records;
};

DnsRecord address_record(const std::string& owner, const std::string& address, std::uint32_t ttl_s);
DnsRecord cname_record(const std::string& owner, const std::string& target, std::uint32_t ttl_s);

class DnsServer {
 public:
  explicit DnsServer(boost::asio::io_context& context);

  Endpoint endpoint() const;
  // Names are known by their first of these; all others do not exist (NXDOMAIN).
  DnsReply& reply(const std::string& name, std::uint16_t type);
  // An honest answer with these addresses, each to its family's query.
  void add(const std::string& name, const std::vector<std::string>& addresses, std::uint32_t ttl_s = 60);
  // Sends the held answers.
  void release();

  int queries = 0;  // over UDP
  int tcp_queries = 0;

 private:
  using Udp = boost::asio::ip::udp;
  using Tcp = boost::asio::ip::tcp;

  boost::asio::awaitable<void> serve_udp();
  boost::asio::awaitable<void> serve_tcp();
  boost::asio::awaitable<void> serve_connection(Tcp::socket socket);
  void answer_udp(const Wire& query, const Udp::endpoint& client);
  void send(const Wire& message, const Udp::endpoint& client);
  Wire answer(const Wire& query, const DnsReply& reply, bool truncate);
  const DnsReply& find(const Wire& query);

  Udp::socket udp_;
  Tcp::acceptor tcp_;
  std::map<std::string, std::map<std::uint16_t, DnsReply>> table_;
  std::vector<std::pair<Wire, Udp::endpoint>> held_;
};

}  // namespace sluice::net
