#include "resources/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "entry.h"

namespace sluice::resources {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string spec(const std::string& host) {
  return "hosts: [" + host + "]\nresolution: DNS\nports: [{number: 443, name: tls, protocol: TLS}]\n";
}

class RegistryTest : public testing::Test {
 protected:
  void write(const std::string& file, const std::string& yaml) {
    registry.update_file(file, parse_documents(yaml, file));
  }
  std::vector<std::string> hosts() const {
    std::vector<std::string> out;
    for (const auto& service : registry.policy().services) out.push_back(service.name + "=" + service.hosts.at(0));
    return out;
  }
  std::vector<std::string> problems() const {
    std::vector<std::string> out;
    for (const auto& problem : registry.problems()) out.push_back(problem.to_string());
    return out;
  }
  Registry registry;
};

TEST_F(RegistryTest, a_new_version_replaces_the_old_one) {
  write("a", entry(spec("one.b"), "x") + "---\n" + entry(spec("two.b"), "y"));
  EXPECT_THAT(hosts(), ElementsAre("x=one.b", "y=two.b"));
  write("a", entry(spec("three.b"), "x"));
  EXPECT_THAT(hosts(), ElementsAre("x=three.b"));
  registry.remove_file("a");
  EXPECT_THAT(hosts(), IsEmpty());
}

// Objects of a source that tells of each by itself.
class ObjectsTest : public RegistryTest {
 protected:
  void put(const std::string& name, const std::string& host) {
    auto parsed = settings::yaml::parse(entry(spec(host), name));
    registry.update_object("server", key(name), read_document(parsed.documents.at(0).root, "server"));
  }
  static ObjectKey key(const std::string& name) { return {"ServiceEntry", "ns", name}; }
};

TEST_F(ObjectsTest, one_that_is_told_of_replaces_itself_alone) {
  put("x", "one.b");
  put("y", "two.b");
  put("x", "three.b");
  EXPECT_THAT(hosts(), ElementsAre("x=three.b", "y=two.b"));
  registry.remove_object("server", key("x"));
  EXPECT_THAT(hosts(), ElementsAre("y=two.b"));
}

TEST_F(ObjectsTest, a_bad_one_keeps_its_last_good_version_until_it_is_fixed_or_removed) {
  put("x", "one.b");
  put("x", "one_.b");
  EXPECT_THAT(hosts(), ElementsAre("x=one.b"));
  ASSERT_EQ(problems().size(), 1U);
  EXPECT_THAT(problems()[0], testing::HasSubstr("the last good version stays in force"));
  put("x", "two.b");
  EXPECT_THAT(hosts(), ElementsAre("x=two.b"));
  put("x", "one_.b");
  registry.remove_object("server", key("x"));
  EXPECT_THAT(hosts(), IsEmpty());
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(ObjectsTest, removing_what_is_not_there_is_nothing) {
  registry.remove_object("server", key("x"));
  put("x", "one.b");
  registry.remove_object("server", key("y"));
  registry.remove_object("another", key("x"));
  EXPECT_THAT(hosts(), ElementsAre("x=one.b"));
}

TEST_F(ObjectsTest, a_document_without_a_name_is_still_the_object_that_was_told_of) {
  put("x", "one.b");
  const auto parsed = settings::yaml::parse("{}");
  registry.update_object("server", key("x"), read_document(parsed.documents.at(0).root, "server"));
  EXPECT_THAT(hosts(), ElementsAre("x=one.b"));
  EXPECT_FALSE(problems().empty());
}

TEST_F(RegistryTest, a_bad_object_keeps_its_last_good_version_until_it_is_fixed_or_removed) {
  write("a", entry(spec("one.b"), "x") + "---\n" + entry(spec("two.b"), "y"));
  const auto broken = entry(spec("one_.b"), "x") + "---\n" + entry(spec("three.b"), "y");
  write("a", broken);
  write("a", broken);
  EXPECT_THAT(hosts(), ElementsAre("x=one.b", "y=three.b"));
  ASSERT_EQ(problems().size(), 1U);
  EXPECT_EQ(
      problems()[0],
      "a:7: error IST0106: ServiceEntry ns/x: spec.hosts[0]: expected a DNS name, with \"*\" at most as its first "
      "label, found \"one_.b\"; the last good version stays in force");
  write("a", entry(spec("three.b"), "y"));
  EXPECT_THAT(hosts(), ElementsAre("y=three.b"));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(RegistryTest, an_object_that_was_never_good_is_not_in_force_and_says_so) {
  write("a", entry("hosts: [a.b]\nresolution: WRONG\nports: [{number: 443, name: tls, protocol: TLS}]\n"));
  EXPECT_THAT(hosts(), IsEmpty());
  EXPECT_THAT(problems(), ElementsAre(testing::EndsWith("found \"WRONG\"; the object is not in force")));
}

TEST_F(RegistryTest, a_broken_file_keeps_everything_and_is_one_problem) {
  write("a", entry(spec("one.b"), "x") + "---\n" + entry("hosts: [q.b]", "y"));
  write("a", entry(spec("two.b"), "x") + "---\n[}");
  EXPECT_THAT(hosts(), ElementsAre("x=one.b", "y=q.b"));
  ASSERT_EQ(problems().size(), 2U);
  EXPECT_THAT(problems()[0], testing::AllOf(testing::StartsWith("a:11: error SLU0004: not valid YAML"),
                                            testing::EndsWith("; what it said before stays in force")));
  write("a", entry(spec("two.b"), "x"));
  EXPECT_THAT(hosts(), ElementsAre("x=two.b"));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(RegistryTest, a_file_that_was_never_good_has_nothing_in_force_and_says_so) {
  write("a", "{");
  EXPECT_THAT(problems(), ElementsAre(testing::EndsWith("; nothing of it is in force")));
}

TEST_F(RegistryTest, a_document_that_lost_its_name_takes_no_object_along) {
  write("a", entry(spec("one.b"), "x") + "---\n" + entry(spec("two.b"), "y"));
  write("a", entry(spec("one.b"), "X") + "---\n" + entry(spec("three.b"), "y"));
  EXPECT_THAT(hosts(), ElementsAre("x=one.b", "y=three.b"));
  write("a", entry(spec("three.b"), "y"));
  EXPECT_THAT(hosts(), ElementsAre("y=three.b"));
}

TEST_F(RegistryTest, of_an_object_in_two_files_the_first_by_name_is_in_force) {
  write("b", entry(spec("from-b.b")));
  EXPECT_THAT(hosts(), ElementsAre("se=from-b.b"));
  write("a", "\n" + entry(spec("from-a.b")));
  EXPECT_THAT(hosts(), ElementsAre("se=from-a.b"));
  EXPECT_THAT(problems(), ElementsAre("b:1: error SLU0005: ServiceEntry ns/se: is in a too, and that one is in force: "
                                      "remove one"));
  registry.remove_file("a");
  EXPECT_THAT(hosts(), ElementsAre("se=from-b.b"));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(RegistryTest, a_copy_that_was_never_good_does_not_hide_a_good_one) {
  write("b", entry(spec("good.b")));
  write("a", entry(spec("bad_.b")));
  EXPECT_THAT(hosts(), ElementsAre("se=good.b"));
}

TEST_F(RegistryTest, an_object_twice_in_a_file_counts_once) {
  write("a", entry(spec("one.b")) + "---\n" + entry(spec("two.b")));
  EXPECT_THAT(hosts(), ElementsAre("se=one.b"));
  EXPECT_THAT(problems(),
              ElementsAre("a:11: error SLU0005: ServiceEntry ns/se: is there already, in line 1: remove one"));
}

TEST_F(RegistryTest, one_host_and_port_with_two_protocols_is_reported) {
  write("a", entry(spec("a.b"), "x", "n1"));
  write("b",
        entry("hosts: [c.b, a.b]\nresolution: DNS\nports: [{number: 443, name: web, protocol: HTTP}]\n", "y", "n2"));
  EXPECT_THAT(problems(),
              ElementsAre("b:9: warning IST0177: ServiceEntry n2/y: spec.ports: a.b:443 is HTTP here and TLS "
                          "in n1/x: use one protocol"));
}

TEST_F(RegistryTest, protocols_do_not_conflict_between_namespaces_that_cannot_see_each_other) {
  const std::string web = "hosts: [a.b]\nresolution: DNS\nports: [{number: 443, name: web, protocol: HTTP}]\n";
  write("a", entry(spec("a.b") + "exportTo: [\".\"]\n", "x", "n1"));
  write("b", entry(web + "exportTo: [n2, n3]\n", "y", "n2"));
  EXPECT_THAT(problems(), IsEmpty());
  write("b", entry(web + "exportTo: [n2, n1]\n", "y", "n2"));
  EXPECT_EQ(problems().size(), 1U);
  write("b", entry(web + "exportTo: [\"~\"]\n", "y", "n2"));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(RegistryTest, every_kind_is_in_force_oldest_first_and_keeps_its_last_good_version) {
  const auto gateway = [](const std::string& name, const std::string& created, const std::string& host) {
    return "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: " + name + ", creationTimestamp: \"" +
           created + "\"}\nspec: {servers: [{port: {number: 1, name: x, protocol: TCP}, hosts: [" + host + "]}]}\n";
  };
  const auto in_force = [&] {
    std::vector<std::string> out;
    for (const auto& one : registry.policy().gateways)
      out.push_back(one.object.name + "=" + one.servers[0].hosts[0].host);
    return out;
  };
  write("a", gateway("young", "2026-01-02T00:00:00Z", "a.b") + "---\n" + gateway("old", "2026-01-01T00:00:00Z", "c.d"));
  EXPECT_THAT(in_force(), ElementsAre("old=c.d", "young=a.b"));
  write("a", gateway("young", "2026-01-02T00:00:00Z", "a_b"));
  EXPECT_THAT(in_force(), ElementsAre("young=a.b"));
  EXPECT_FALSE(registry.is_rejected({"Gateway", "default", "young"}));
  write("b", gateway("bad", "2026-01-02T00:00:00Z", "a_b"));
  EXPECT_TRUE(registry.is_rejected({"Gateway", "default", "bad"}));
  EXPECT_EQ(registry.objects().size(), 1U);
}

TEST_F(RegistryTest, problems_are_sorted_by_file_and_line) {
  write("b", entry(spec("x_")));
  write("a", entry(spec("a.b") + "new: 1\n", "x") + "---\n[]\n---\n" + entry(spec("x_"), "y"));
  std::vector<std::string> places;
  for (const auto& problem : registry.problems()) places.push_back(problem.file + ":" + std::to_string(problem.line));
  EXPECT_THAT(places, ElementsAre("a:10", "a:12", "a:20", "b:7"));
}

}  // namespace
}  // namespace sluice::resources
