// Pods and Nodes as the API server sends them, trimmed and read.
#include "kube/pod.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::kube {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

// Of `json`, after `trim`.
template <typename Trim>
Object object(const std::string& json, Trim trim) {
  auto read = read_object(boost::json::parse(json));
  EXPECT_TRUE(read) << json;
  trim(read->content);
  return *std::move(read);
}

PodState pod(const std::string& spec, const std::string& status) {
  return read_pod(object(
      R"({"kind":"Pod","metadata":{"namespace":"ns","name":"p","uid":"u","resourceVersion":"1","labels":{"app":"x","n":7},
      "annotations":{"large":"text"}},"spec":)" +
          spec + R"(,"status":)" + status + "}",
      trim_pod));
}

std::vector<std::string> texts(const std::vector<Cidr>& ranges) {
  std::vector<std::string> all;
  for (const auto& range : ranges) all.push_back(range.to_string());
  return all;
}

std::vector<Cidr> node(const std::string& spec, const std::string& status) {
  return read_node(object(R"({"metadata":{"name":"n"},"spec":)" + spec + R"(,"status":)" + status + "}", trim_node));
}

TEST(Pod, is_who_its_metadata_say_with_every_address_of_its_status_once) {
  const auto [read, host_network, over] =
      pod(R"({"nodeName":"n","serviceAccountName":"sa","containers":[{"name":"c"}]})",
          R"({"phase":"Running","podIP":"10.1.0.7","podIPs":[{"ip":"10.1.0.7"},{"ip":"fd00::7"}]})");
  EXPECT_EQ(read.namespace_name, "ns");
  EXPECT_EQ(read.name, "p");
  EXPECT_EQ(read.uid, "u");
  EXPECT_EQ(read.service_account, "sa");
  EXPECT_THAT(read.labels, ElementsAre(Pair("app", "x")));
  EXPECT_THAT(read.addresses, ElementsAre(*IpAddress::parse("10.1.0.7"), *IpAddress::parse("fd00::7")));
  EXPECT_FALSE(host_network);
  EXPECT_FALSE(over);
}

TEST(Pod, that_has_no_address_yet_has_none) {
  const auto read = pod("{}", R"({"phase":"Pending"})").pod;
  EXPECT_THAT(read.addresses, IsEmpty());
  EXPECT_EQ(read.service_account, "default");
}

TEST(Pod, on_the_hosts_network_and_one_that_is_over_are_told_apart) {
  EXPECT_TRUE(pod(R"({"hostNetwork":true})", R"({"podIP":"10.2.0.1"})").host_network);
  EXPECT_TRUE(pod("{}", R"({"phase":"Succeeded","podIP":"10.1.0.7"})").over);
  EXPECT_TRUE(pod("{}", R"({"phase":"Failed","podIP":"10.1.0.7"})").over);
}

TEST(Pod, of_any_shape_is_read_without_harm) {
  for (const auto* part : {"null", "7", "[]", R"({"podIP":7,"podIPs":{},"phase":[],"hostNetwork":"true"})",
                           R"({"podIP":"0.0.0.0","podIPs":[null,{"ip":null},{"ip":"not one"}]})"}) {
    const auto read = pod(part, part);
    EXPECT_THAT(read.pod.addresses, IsEmpty()) << part;
    EXPECT_FALSE(read.host_network) << part;
  }
}

TEST(Pod, keeps_only_what_is_read) {
  const auto kept = object(R"({"metadata":{"name":"p","labels":{},"annotations":{"a":"b"}},
      "spec":{"containers":[1,2,3],"hostNetwork":false},"status":{"conditions":[1],"phase":"Running"}})",
                           trim_pod);
  EXPECT_EQ(boost::json::serialize(kept.content),
            R"({"metadata":{"labels":{}},"spec":{"hostNetwork":false},"status":{"phase":"Running"}})");
}

TEST(Node, makes_its_pods_ranges_and_its_internal_addresses_internal) {
  EXPECT_THAT(texts(node(R"({"podCIDR":"10.1.0.0/24","podCIDRs":["10.1.0.0/24","fd00:1::/64"]})",
                         R"({"addresses":[{"type":"InternalIP","address":"10.2.0.1"},{"type":"Hostname","address":"n"},
                         {"type":"ExternalIP","address":"203.0.113.9"},{"type":"InternalIP","address":"fd00:2::1"}]})")),
              ElementsAre("10.1.0.0/24", "fd00:1::/64", Cidr::parse("10.2.0.1")->to_string(),
                          Cidr::parse("fd00:2::1")->to_string()));
}

TEST(Node, cannot_make_most_of_the_world_internal) {
  EXPECT_THAT(node(R"({"podCIDRs":["0.0.0.0/0","128.0.0.0/1","10.0.0.0/7","::/0","2000::/3","fd00::/15"]})",
                   R"({"addresses":[{"type":"InternalIP","address":"0.0.0.0"}]})"),
              IsEmpty());
  EXPECT_EQ(node(R"({"podCIDRs":["10.0.0.0/8","fd00::/16"]})", "{}").size(), 2U);
}

TEST(Node, of_any_shape_is_read_without_harm) {
  for (const auto* part :
       {"null", "7", R"({"podCIDR":7,"podCIDRs":[7,null,"x"],"addresses":[7,{"type":"InternalIP"}]})"}) {
    EXPECT_THAT(node(part, part), IsEmpty()) << part;
  }
}

}  // namespace
}  // namespace sluice::kube
