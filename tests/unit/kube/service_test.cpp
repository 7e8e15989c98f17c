// Services, EndpointSlices and Secrets as the API server sends them, trimmed and read.
#include "kube/service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::kube {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

template <typename Trim>
Object object(const std::string& json, Trim trim) {
  auto read = read_object(boost::json::parse(json));
  EXPECT_TRUE(read) << json;
  trim(read->content);
  return *std::move(read);
}

Object service(const std::string& spec) {
  return object(R"({"metadata":{"namespace":"ns","name":"s"},"spec":)" + spec + "}", trim_service);
}

Object slice(const std::string& rest, const std::string& of = "s") {
  return object(R"({"metadata":{"namespace":"ns","name":"s-1","labels":{"kubernetes.io/service-name":")" + of +
                    R"("}},)" + rest + "}",
                trim_slice);
}

std::string endpoint(const std::string& addresses, const std::string& conditions) {
  return R"({"addresses":[)" + addresses + R"(],"conditions":)" + conditions + "}";
}

TEST(Protocol, is_what_the_port_says_and_else_what_its_name_begins_with) {
  EXPECT_EQ(protocol_of("", "http-web"), Protocol::http);
  EXPECT_EQ(protocol_of("", "grpc"), Protocol::grpc);
  EXPECT_EQ(protocol_of("kubernetes.io/h2c", "http"), Protocol::http2);
  EXPECT_EQ(protocol_of("tcp", "http"), Protocol::tcp);
  EXPECT_EQ(protocol_of("", "https-web"), Protocol::https);
  EXPECT_EQ(protocol_of("example.com/own", "redis-x"), Protocol::tcp);
  EXPECT_EQ(protocol_of("", "web"), Protocol::http);
}

TEST(ClusterService, has_the_ports_of_tcp_by_name) {
  const auto ports = read_service(service(R"({"ports":[{"name":"http","port":80,"targetPort":"web"},
      {"name":"dns","port":53,"protocol":"UDP"},{"port":0},{"port":70000},7,{"name":"grpc","port":9090}]})"));
  ASSERT_EQ(ports.size(), 2U);
  EXPECT_EQ(ports[0].number, 80);
  EXPECT_EQ(ports[1].name, "grpc");
  EXPECT_THAT(read_service(service(R"({"type":"ExternalName","ports":[{"port":80}]})")), IsEmpty());
  EXPECT_THAT(read_service(service("null")), IsEmpty());
}

TEST(EndpointSlice, tells_the_addresses_that_are_ready_or_of_which_nothing_is_said) {
  const auto read = read_slice(slice(R"("addressType":"IPv4","ports":[{"name":"http","port":8080}],"endpoints":[)" +
                                     endpoint(R"("10.1.0.1","10.1.0.2")", R"({"ready":true})") + "," +
                                     endpoint(R"("10.1.0.3")", R"({"ready":false})") + "," +
                                     endpoint(R"("10.1.0.4","not one",7,"0.0.0.0")", "{}") + "]"));
  EXPECT_EQ(read.service, "s");
  EXPECT_THAT(read.ports, ElementsAre(Pair("http", 8080)));
  EXPECT_THAT(read.addresses, ElementsAre("10.1.0.1", "10.1.0.2", "10.1.0.4"));
}

TEST(EndpointSlice, of_names_or_of_any_shape_has_none) {
  EXPECT_THAT(read_slice(slice(R"("addressType":"FQDN","endpoints":[{"addresses":["10.1.0.1"]}])")).addresses,
              IsEmpty());
  EXPECT_THAT(read_slice(slice(R"("ports":null,"endpoints":[null,7,{"addresses":{}}])")).addresses, IsEmpty());
}

TEST(ClusterService, is_a_destination_by_its_full_name_with_the_endpoints_of_all_its_slices) {
  const ObjectId id{"ns", "s"};
  const std::map<ObjectId, std::vector<ServicePort>> services = {
      {id, {{80, 80, Protocol::http, "http"}, {81, 81, Protocol::http, "more"}}}, {{"ns", "external"}, {}}};
  const std::map<ObjectId, Slice> slices = {{{"ns", "s-1"}, {"s", {{"http", 8080}}, {"10.1.0.1", "10.1.0.2"}}},
                                            {{"ns", "s-2"}, {"s", {{"more", 8081}}, {"10.1.0.1"}}},
                                            {{"other", "s-3"}, {"s", {{"http", 1}}, {"10.9.9.9"}}},
                                            {{"ns", "x"}, {"absent", {{"http", 1}}, {"10.9.9.9"}}}};
  const auto made = to_services(services, slices);
  ASSERT_EQ(made.size(), 1U);
  EXPECT_THAT(made[0].hosts, ElementsAre("s.ns.svc.cluster.local"));
  ASSERT_EQ(made[0].endpoints.size(), 2U);
  EXPECT_EQ(made[0].endpoints[0].address, "10.1.0.1");
  EXPECT_THAT(made[0].endpoints[0].ports, ElementsAre(Pair("http", 8080), Pair("more", 8081)));
  EXPECT_THAT(made[0].endpoints[1].ports, ElementsAre(Pair("http", 8080)));
}

TEST(Secret, has_its_keys_decoded_without_those_that_are_not_base64) {
  const auto keys = read_secret(object(
      R"({"metadata":{"namespace":"ns","name":"s"},"data":{"tls.crt":"aGVsbG8=","bad":"!","number":7}})", trim_secret));
  EXPECT_THAT(keys, ElementsAre(Pair("tls.crt", "hello")));
}

}  // namespace
}  // namespace sluice::kube
