#include "observe/audit_line.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace sluice::observe {
namespace {

LineFrame frame() {
  return {.seq = 7, .wall_ns = 1'000, .node = "\"n\"", .role = "\"agent\"", .prev = "00", .head = {}, .mac = {}};
}

TEST(AuditLine, a_full_record_has_the_fields_of_the_format_in_order) {
  Record record;
  record.event = Event::close;
  record.id = "c-1";
  record.pod = PodFacts{"shop", "cart-7", "uid-7", "cart"};
  record.process = {.pid = 42, .comm = "curl", .exe = "/usr/bin/curl", .container = "c0ffee"};
  record.source = Endpoint::parse("10.1.0.5:40000");
  record.destination = Endpoint::parse("[2001:db8::1]:443");
  record.protocol = "tls";
  record.sni = "api.example.com";
  record.alpn = {"h2", "http/1.1"};
  record.tls_versions = {"1.3"};
  record.ja4 = "t13d";
  record.ech = true;
  record.http = HttpFacts{"GET", "api.example.com", "/v1"};
  record.verdict = Decision::would_deny;
  record.reason = Reason::host_not_registered;
  record.detail = "why";
  record.rule = "shop/api";
  record.route = "r";
  record.gateway = "10.0.0.7:15443";
  record.upstream = "198.51.100.1:443";
  record.bytes_sent = 10;
  record.bytes_received = 20;
  record.duration_ms = 1.5;
  record.datapath = "relay";
  record.close_reason = "finished";
  record.count = 3;
  std::string out;
  append_line(out, frame(), record);
  EXPECT_EQ(
      out, R"({"v":1,"seq":7,"time":"1970-01-01T00:00:00.000001Z","event":"close","id":"c-1","node":"n",)"
           R"("role":"agent","pod":{"namespace":"shop","name":"cart-7","uid":"uid-7","service_account":"cart"},)"
           R"("process":{"pid":42,"comm":"curl","exe":"/usr/bin/curl","container":"c0ffee"},"source":"10.1.0.5:40000",)"
           R"("destination":"[2001:db8::1]:443","protocol":"tls","sni":"api.example.com","alpn":["h2","http/1.1"],)"
           R"("tls_versions":["1.3"],"ja4":"t13d","ech":true,)"
           R"("http":{"method":"GET","host":"api.example.com","path":"/v1"},"verdict":"would_deny",)"
           R"("reason":"host_not_registered","detail":"why","rule":"shop/api","route":"r",)"
           R"("gateway":"10.0.0.7:15443","upstream":"198.51.100.1:443","bytes_sent":10,"bytes_received":20,)"
           R"("duration_ms":1.500,"datapath":"relay","close_reason":"finished","count":3,"prev":"00"})"
           "\n");
}

TEST(AuditLine, kept_facts_make_the_line_that_the_record_makes) {
  Record record;
  record.event = Event::close;
  record.id = "c-1";
  record.pod = PodFacts{"shop", "cart-7", "uid-7", "cart"};
  record.source = Endpoint::parse("10.1.0.5:40000");
  record.destination = Endpoint::parse("10.1.0.6:443");
  record.sni = "a\"b";
  record.alpn = {"h2"};
  record.verdict = Decision::allow;
  record.reason = Reason::registered;
  record.upstream = "198.51.100.1:443";
  Record kept;
  const auto facts = facts_of(record);
  kept.event = record.event;
  kept.id = record.id;
  kept.facts = facts;
  for (auto* one : {&record, &kept}) {
    one->bytes_sent = 10;
    one->duration_ms = 1.5;
    one->datapath = "relay";
    one->close_reason = "finished";
  }
  std::string whole;
  std::string from_facts;
  append_line(whole, frame(), record);
  append_line(from_facts, frame(), kept);
  EXPECT_EQ(from_facts, whole);
}

TEST(AuditLine, what_is_not_known_is_left_out) {
  std::string out;
  append_line(out, frame(), Record{});
  EXPECT_EQ(out, R"({"v":1,"seq":7,"time":"1970-01-01T00:00:00.000001Z","event":"open","node":"n","role":"agent",)"
                 R"("prev":"00"})"
                 "\n");
}

TEST(AuditLine, the_worst_record_is_one_line_within_the_bound) {
  const std::string evil(100'000, '\x01');
  Record record;
  record.id = evil;
  record.pod = PodFacts{evil, evil, evil, evil};
  record.process = {.pid = 1, .comm = evil, .exe = evil, .container = evil};
  record.source = record.destination = Endpoint::parse("[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
  record.protocol = record.sni = record.ja4 = record.detail = record.rule = record.route = evil;
  record.gateway = record.upstream = record.datapath = record.close_reason = evil;
  record.alpn = record.tls_versions = std::vector<std::string>(1000, evil);
  record.http = HttpFacts{evil, evil, evil};
  record.duration_ms = 1e308;
  const auto name = name_as_json(evil);
  auto full = frame();
  full.node = full.role = name;
  std::string out;
  append_line(out, full, record);
  EXPECT_LE(out.size(), max_line_bytes);
  EXPECT_EQ(out.find('\n'), out.size() - 1);
  const auto parsed = boost::json::parse(out).as_object();
  EXPECT_LE(parsed.at("http").as_object().at("path").as_string().size(), 1024U);
  EXPECT_EQ(parsed.at("alpn").as_array().size(), 9U);
  EXPECT_EQ(parsed.at("alpn").as_array().back().as_string(), "\xe2\x80\xa6");
}

TEST(AuditLine, a_duration_that_is_no_number_is_left_out) {
  Record record;
  record.duration_ms = std::numeric_limits<double>::quiet_NaN();
  std::string out;
  append_line(out, frame(), record);
  EXPECT_EQ(out.find("duration_ms"), out.npos);
}

TEST(AuditLine, every_part_of_a_checkpoint_is_under_its_hmac) {
  const std::vector<std::uint8_t> key(16, 1);
  const auto mac = checkpoint_mac(key, "n", "r", 5, 10, "h");
  EXPECT_EQ(mac, checkpoint_mac(key, "n", "r", 5, 10, "h"));
  EXPECT_NE(mac, checkpoint_mac(std::vector<std::uint8_t>(16, 2), "n", "r", 5, 10, "h"));
  EXPECT_NE(mac, checkpoint_mac(key, "m", "r", 5, 10, "h"));
  EXPECT_NE(mac, checkpoint_mac(key, "n", "s", 5, 10, "h"));
  EXPECT_NE(mac, checkpoint_mac(key, "n", "r", 6, 10, "h"));
  EXPECT_NE(mac, checkpoint_mac(key, "n", "r", 5, 11, "h"));
  EXPECT_NE(mac, checkpoint_mac(key, "n", "r", 5, 10, "i"));
}

}  // namespace
}  // namespace sluice::observe
