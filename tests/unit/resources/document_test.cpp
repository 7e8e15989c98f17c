#include "resources/document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "entry.h"

namespace sluice::resources {
namespace {

const std::string good = "hosts: [a.b]\nresolution: DNS\nports: [{number: 443, name: tls, protocol: TLS}]\n";

std::vector<std::string> lines(const FileContent& content) {
  std::vector<std::string> out;
  for (const auto& document : content.documents) {
    for (const auto& problem : document.problems) out.push_back(problem.to_string());
  }
  return out;
}

std::string read_example(const std::string& name) {
  std::ifstream file(SLUICE_SOURCE_DIR "/config/resources/" + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Documents, of_one_file_know_where_they_start) {
  const auto content =
      parse_documents("---\n" + entry(good, "one") + "---\n\n# nothing\n---\n" + entry(good, "two"), "f");
  ASSERT_EQ(content.documents.size(), 2U);
  EXPECT_EQ(content.documents[0].key.to_string(), "ServiceEntry ns/one");
  EXPECT_EQ(content.documents[0].line, 2U);
  EXPECT_EQ(content.documents[1].key.to_string(), "ServiceEntry ns/two");
  EXPECT_EQ(content.documents[1].line, 15U);
}

TEST(Documents, are_read_in_all_three_versions) {
  for (const std::string version : {"v1alpha3", "v1beta1", "v1"}) {
    auto text = entry(good);
    text.replace(text.find("/v1\n"), 4, "/" + version + "\n");
    const auto content = parse_documents(text, "f");
    EXPECT_NE(content.documents.at(0).as<Service>(), nullptr) << version;
    EXPECT_THAT(lines(content), testing::IsEmpty()) << version;
  }
}

TEST(Documents, of_an_unknown_version_are_refused) {
  auto text = entry(good);
  text.replace(text.find("/v1\n"), 4, "/v2\n");
  EXPECT_THAT(lines(parse_documents(text, "f")),
              testing::ElementsAre("f:1: error IST0106: ServiceEntry ns/se: apiVersion: expected networking.istio.io/ "
                                   "v1, v1beta1 or v1alpha3, found \"networking.istio.io/v2\""));
}

TEST(Documents, of_lists_are_expanded_with_their_own_problems) {
  const auto content = parse_documents(R"(apiVersion: v1
kind: List
items:
- apiVersion: networking.istio.io/v1
  kind: ServiceEntry
  metadata: {name: one, namespace: ns, uid: x, creationTimestamp: "2026-01-31T10:00:00Z"}
  spec: {hosts: [a.b], ports: [{number: 443, name: tls, protocol: TLS}]}
- apiVersion: networking.istio.io/v1
  kind: ServiceEntry
  metadata: {name: two}
  spec: {hosts: [a.b], ports: [{number: 443, name: tls, protocol: TLS}], hosts: [c.d]}
metadata:
  resourceVersion: ""
)",
                                       "f");
  ASSERT_EQ(content.documents.size(), 2U);
  EXPECT_NE(content.documents[0].as<Service>(), nullptr);
  EXPECT_EQ(content.documents[0].as<Service>()->created, 1769853600);
  EXPECT_EQ(content.documents[1].as<Service>(), nullptr);
  EXPECT_THAT(lines(content),
              testing::ElementsAre(
                  "f:11: error IST0106: ServiceEntry default/two: spec.hosts: is there twice: keep one of them"));
}

TEST(Documents, of_kind_sidecar_are_known_by_name_only) {
  const auto content = parse_documents(
      "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: x, namespace: y}\nspec: {any: 1}\n", "f");
  ASSERT_EQ(content.documents.size(), 1U);
  EXPECT_EQ(content.documents[0].key.to_string(), "Sidecar y/x");
  EXPECT_TRUE(std::holds_alternative<std::monostate>(content.documents[0].object));
  EXPECT_THAT(lines(content), testing::IsEmpty());
}

TEST(Documents, of_other_kinds_are_reported_as_not_read) {
  EXPECT_THAT(
      lines(parse_documents("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", "f")),
      testing::ElementsAre("f:1: warning SLU0003: kind: kind ConfigMap of v1 is not read: remove it from here"));
  EXPECT_THAT(lines(parse_documents("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n", "f")),
              testing::ElementsAre("f:1: warning SLU0003: kind: kind Gateway of gateway.networking.k8s.io/v1 is not "
                                   "read: remove it from here"));
}

TEST(Documents, without_a_sound_name_are_errors) {
  const auto named = [](const std::string& metadata) {
    return lines(parse_documents("apiVersion: networking.istio.io/v1\nkind: Sidecar\n" + metadata, "f"));
  };
  EXPECT_THAT(named(""), testing::ElementsAre("f:1: error IST0106: metadata.name: is required: lower-case letters, "
                                              "digits, '-' and '.', found \"\""));
  EXPECT_THAT(
      named("metadata: {name: A}"),
      testing::ElementsAre("f:3: error IST0106: metadata.name: is required: lower-case letters, digits, '-' and "
                           "'.', found \"A\""));
  EXPECT_THAT(named("metadata: {name: a, namespace: b.c}"),
              testing::ElementsAre("f:3: error IST0106: metadata.namespace: expected lower-case letters, digits and "
                                   "'-', found \"b.c\""));
  EXPECT_THAT(named("metadata: {name: a, creationTimestamp: 2026-02-30T10:00:00Z}"),
              testing::ElementsAre("f:3: error IST0106: Sidecar default/a: metadata.creationTimestamp: expected a time "
                                   "like 2026-01-31T10:00:00Z, found \"2026-02-30T10:00:00Z\""));
}

TEST(Documents, that_are_no_objects_are_errors) {
  EXPECT_THAT(lines(parse_documents("---\n- a\n---\nb\n---\nc: d\n", "f")),
              testing::ElementsAre("f:2: error IST0106: expected a mapping of keys, found a list",
                                   "f:4: error IST0106: expected a mapping of keys, found a single value",
                                   "f:6: error IST0106: apiVersion: is required, like networking.istio.io/v1",
                                   "f:6: error IST0106: kind: is required, like ServiceEntry"));
}

TEST(Documents, of_broken_yaml_are_one_failure) {
  const auto content = parse_documents(entry(good) + "---\na: [\n", "f");
  EXPECT_TRUE(content.documents.empty());
  ASSERT_TRUE(content.failure);
  EXPECT_THAT(content.failure->to_string(), testing::StartsWith("f:12: error SLU0004: not valid YAML: "));
}

TEST(Documents, unknown_keys_outside_the_spec_are_warnings) {
  EXPECT_THAT(lines(parse_documents(entry(good) + "status: {x: y}\nextra: 1\n", "f")),
              testing::ElementsAre("f:11: warning IST0133: ServiceEntry ns/se: extra: is not a known key; known are "
                                   "apiVersion, kind, metadata, spec, status"));
}

TEST(Documents, without_a_spec_are_errors) {
  EXPECT_THAT(
      lines(parse_documents("---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: x}\n", "f")),
      testing::Contains("f:2: error IST0106: ServiceEntry default/x: spec.hosts: is required: at least one DNS "
                        "name"));
}

TEST(Documents, every_prefix_of_an_object_is_read_or_refused) {
  const auto text = read_example("database.yaml");
  for (std::size_t size = 0; size < text.size(); ++size) {
    const auto content = parse_documents(std::string_view(text).substr(0, size), "f");
    for (const auto& document : content.documents) {
      EXPECT_TRUE(document.as<Service>() == nullptr || !document.as<Service>()->hosts.empty());
    }
  }
}

TEST(Examples, load_without_a_problem) {
  std::set<Resolution> resolutions;
  for (const auto& file : std::filesystem::directory_iterator(SLUICE_SOURCE_DIR "/config/resources")) {
    const auto content = parse_documents(read_example(file.path().filename()), file.path().filename());
    EXPECT_FALSE(content.failure);
    EXPECT_FALSE(content.documents.empty());
    if (file.path().filename() != "seed.yaml") {
      EXPECT_THAT(lines(content), testing::IsEmpty());
    }
    for (const auto& document : content.documents) {
      if (document.as<Service>() != nullptr) resolutions.insert(document.as<Service>()->resolution);
    }
  }
  EXPECT_EQ(resolutions.size(), 5U) << "an example for each resolution";
}

TEST(Examples, the_first_one_is_in_force_with_what_istio_would_refuse) {
  const auto content = parse_documents(read_example("seed.yaml"), "seed.yaml");
  EXPECT_THAT(lines(content),
              testing::ElementsAre(testing::StartsWith("seed.yaml:25: warning SLU0006: Gateway "
                                                       "istio-system/my-egress-gateway: spec.servers[0].tls: "),
                                   testing::StartsWith("seed.yaml:43: warning SLU0007: VirtualService "
                                                       "default/external-api: spec.tls[0].match[0].sniHosts: ")));
  const auto* gateway = content.documents.at(1).as<Gateway>();
  ASSERT_NE(gateway, nullptr);
  EXPECT_EQ(gateway->servers.at(0).tls_mode(), ServerTlsMode::passthrough);
  const auto* virtual_service = content.documents.at(2).as<VirtualService>();
  ASSERT_NE(virtual_service, nullptr);
  EXPECT_THAT(virtual_service->tls.at(0).matches.at(0).sni_hosts, testing::ElementsAre("api.external.com"));
}

TEST(Examples, the_first_one_registers_its_host_and_names_its_gateway) {
  const auto content = parse_documents(read_example("seed.yaml"), "seed.yaml");
  ASSERT_EQ(content.documents.size(), 3U);
  EXPECT_EQ(content.documents[0].key.to_string(), "ServiceEntry my-namespace/external-api");
  EXPECT_EQ(content.documents[1].key.to_string(), "Gateway istio-system/my-egress-gateway");
  EXPECT_EQ(content.documents[2].key.to_string(), "VirtualService default/external-api");
  const auto& service = *content.documents[0].as<Service>();
  EXPECT_THAT(service.hosts, testing::ElementsAre("api.external-service.com"));
  ASSERT_EQ(service.ports.size(), 1U);
  EXPECT_EQ(service.ports[0].number, 443);
  EXPECT_EQ(service.ports[0].protocol, Protocol::https);
  EXPECT_EQ(service.resolution, Resolution::dns);
  EXPECT_EQ(service.location, Location::mesh_external);
}

}  // namespace
}  // namespace sluice::resources
