// Claims about attaching, pinning, taking over and detaching, on the running kernel.
#include <gmock/gmock.h>
#include <sys/vfs.h>

#include <array>

#include "support/opened.h"

namespace sluice::test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr decltype(statfs::f_type) sysfs_magic = 0x62656572;

void add_veth(const std::string& name, const std::string& peer) {
  ip_command({"link", "add", name, "type", "veth", "peer", "name", peer});
}

// A program of somebody else: lets everything go on.
UniqueFd load_foreign_program() {
  const std::array<bpf_insn, 2> code = {bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, -1},
                                        bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  UniqueFd program(::bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "foreign", "GPL", code.data(), code.size(), nullptr));
  must(static_cast<bool>(program), "load a program");
  return program;
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) names.push_back(entry.path().filename());
  return names;
}

std::vector<unsigned> indexes(const std::vector<kernel::AttachedInterface>& interfaces) {
  std::vector<unsigned> all;
  for (const auto& interface : interfaces) all.push_back(interface.ifindex);
  return all;
}

class Attach : public ::testing::Test {
 protected:
  Attach() {
    add_veth("pod0", "eth0");
    pod_ = ifindex("pod0");
  }
  void expect_pod_hooks(std::size_t programs) const {
    EXPECT_THAT(programs_on(pod_, tcx_ingress), SizeIs(programs));
    EXPECT_THAT(programs_on(pod_, tcx_egress), SizeIs(programs));
  }

  Lab lab_;
  unsigned pod_ = 0;
};

TEST_F(Attach, a_pod_interface_gets_a_program_each_way) {
  const auto kernel = lab_.open();
  expect_pod_hooks(0);
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  expect_pod_hooks(1);
  ASSERT_THAT(kernel->attached(), SizeIs(1));
  EXPECT_EQ(kernel->attached()[0].name, "pod0");
  EXPECT_EQ(kernel->attached()[0].role, kernel::InterfaceRole::pod);
}

TEST_F(Attach, an_uplink_gets_the_guard_only) {
  const auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_uplink(pod_, "pod0"));
  EXPECT_THAT(programs_on(pod_, tcx_ingress), IsEmpty());
  EXPECT_THAT(programs_on(pod_, tcx_egress), SizeIs(1));
  EXPECT_TRUE((lab_.map<std::uint32_t, std::uint8_t>("links").find(pod_)));
  EXPECT_EQ(kernel->attached()[0].role, kernel::InterfaceRole::uplink);
}

TEST_F(Attach, attaching_twice_changes_nothing) {
  const auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  const auto before = programs_on(pod_, tcx_ingress);
  ASSERT_DONE(kernel->set_pod(pod_, {.addresses = {*IpAddress::parse("10.0.0.2")}}));
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  EXPECT_EQ(programs_on(pod_, tcx_ingress), before);
  EXPECT_EQ((lab_.map<std::uint32_t, sluice_pod>("pods").find(pod_)->address_count), 1U);
}

TEST_F(Attach, an_interface_has_the_role_it_got_last) {
  const auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  ASSERT_DONE(kernel->attach_uplink(pod_, "pod0"));
  EXPECT_THAT(programs_on(pod_, tcx_ingress), IsEmpty());
  EXPECT_THAT(names_in(lab_.bpffs() + "/links"), Not(Contains(std::to_string(pod_) + "-to_pod")));
  EXPECT_FALSE((lab_.map<std::uint32_t, sluice_pod>("pods").find(pod_)));
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  EXPECT_THAT(names_in(lab_.bpffs() + "/links"), Not(Contains(std::to_string(pod_) + "-uplink_guard")));
  EXPECT_FALSE((lab_.map<std::uint32_t, std::uint8_t>("links").find(pod_)));
}

TEST_F(Attach, an_interface_that_does_not_exist_is_an_error_that_names_it) {
  const auto kernel = lab_.open();
  const auto done = kernel->attach_pod(4711, "pod9");
  ASSERT_FALSE(done.ok());
  EXPECT_THAT(done.error().message(), HasSubstr("pod9"));
}

TEST_F(Attach, a_foreign_program_on_the_same_hook_stays_behind_ours) {
  const auto foreign = load_foreign_program();
  const UniqueFd link(::bpf_link_create(foreign.get(), static_cast<int>(pod_), tcx_ingress, nullptr));
  ASSERT_TRUE(link);
  const auto foreign_id = link_info(link.get()).prog_id;
  auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  ASSERT_THAT(programs_on(pod_, tcx_ingress), SizeIs(2));
  EXPECT_EQ(programs_on(pod_, tcx_ingress)[1], foreign_id);
  kernel.reset();
  ASSERT_DONE(kernel::detach(lab_.bpffs()));
  EXPECT_THAT(programs_on(pod_, tcx_ingress), ElementsAre(foreign_id));
}

TEST_F(Attach, pins_stay_in_force_without_the_process) {
  auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  const auto before = programs_on(pod_, tcx_ingress);
  kernel.reset();
  EXPECT_EQ(programs_on(pod_, tcx_ingress), before);
  expect_pod_hooks(1);
}

TEST_F(Attach, a_new_process_takes_links_over_in_place) {
  auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  const UniqueFd link(::bpf_obj_get(lab_.link(pod_, "from_pod").c_str()));
  const UniqueFd lookup(::bpf_obj_get(lab_.link("choose_listener").c_str()));
  const auto old_program = link_info(link.get()).prog_id;
  const auto old_lookup = link_info(lookup.get()).prog_id;
  kernel.reset();

  kernel = lab_.open();
  // The very links that were there before run the new program, already before anything is attached anew.
  EXPECT_NE(link_info(link.get()).prog_id, old_program);
  EXPECT_NE(link_info(lookup.get()).prog_id, old_lookup);
  EXPECT_THAT(programs_on(pod_, tcx_ingress), ElementsAre(link_info(link.get()).prog_id));
  EXPECT_THAT(indexes(kernel->attached()), ElementsAre(pod_));
  EXPECT_EQ(kernel->attached()[0].name, "pod0");
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  expect_pod_hooks(1);
}

TEST_F(Attach, a_new_process_keeps_what_the_maps_say) {
  auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  ASSERT_DONE(kernel->set_pod(pod_, {.addresses = {*IpAddress::parse("10.0.0.2")}}));
  ASSERT_DONE(kernel->set_ports({any_address(443)}));
  const auto map_id = lab_.map<std::uint32_t, sluice_pod>("pods").id();
  const auto generation = lab_.config().generation;
  kernel.reset();
  kernel = lab_.open();
  EXPECT_EQ((lab_.map<std::uint32_t, sluice_pod>("pods").id()), map_id);
  EXPECT_EQ((lab_.map<std::uint32_t, sluice_pod>("pods").find(pod_)->address_count), 1U);
  EXPECT_EQ(lab_.config().generation, generation);
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  EXPECT_EQ((lab_.map<std::uint32_t, sluice_pod>("pods").find(pod_)->address_count), 1U);
}

TEST_F(Attach, a_second_agent_is_refused_while_the_first_lives) {
  const auto kernel = lab_.open();
  const auto second = lab_.try_open();
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error().message(), HasSubstr("a running agent: stop that one first"));
}

TEST_F(Attach, forgetting_detaches_and_removes_what_is_known) {
  const auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  ASSERT_DONE(kernel->forget(pod_));
  expect_pod_hooks(0);
  EXPECT_THAT(kernel->attached(), IsEmpty());
  EXPECT_FALSE((lab_.map<std::uint32_t, sluice_pod>("pods").find(pod_)));
  ASSERT_DONE(kernel->forget(pod_));
}

TEST_F(Attach, forgetting_an_interface_that_is_gone_removes_its_dead_links) {
  const auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  ip_command({"link", "delete", "pod0"});
  ASSERT_DONE(kernel->forget(pod_));
  EXPECT_THAT(names_in(lab_.bpffs() + "/links"), ElementsAre("choose_listener"));
}

TEST_F(Attach, a_new_process_clears_away_interfaces_that_are_gone) {
  auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  add_veth("up0", "up1");
  const auto uplink = ifindex("up0");
  ASSERT_DONE(kernel->attach_uplink(uplink, "up0"));
  kernel.reset();
  ip_command({"link", "delete", "pod0"});
  ip_command({"link", "delete", "up0"});
  kernel = lab_.open();
  EXPECT_THAT(names_in(lab_.bpffs() + "/links"), ElementsAre("choose_listener"));
  EXPECT_THAT(kernel->attached(), IsEmpty());
  EXPECT_FALSE((lab_.map<std::uint32_t, sluice_pod>("pods").find(pod_)));
  EXPECT_FALSE((lab_.map<std::uint32_t, std::uint8_t>("links").find(uplink)));
}

TEST_F(Attach, an_interface_of_the_node_is_noted_until_it_is_gone_or_a_pods) {
  add_veth("cni0", "cni1");
  const auto bridge = ifindex("cni0");
  const auto noted = [&] { return lab_.map<std::uint32_t, std::uint8_t>("links").find(bridge); };
  auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_uplink(bridge, "cni0"));
  ASSERT_DONE(kernel->note_other(bridge, "cni0"));
  EXPECT_THAT(programs_on(bridge, tcx_egress), IsEmpty());
  EXPECT_EQ(noted(), SLUICE_LINK_OTHER);
  kernel.reset();
  kernel = lab_.open();
  EXPECT_EQ(noted(), SLUICE_LINK_OTHER) << "to the next agent, too";
  ASSERT_THAT(kernel->attached(), SizeIs(1));
  EXPECT_EQ(kernel->attached()[0].role, kernel::InterfaceRole::other);
  ASSERT_DONE(kernel->attach_pod(bridge, "cni0"));
  EXPECT_FALSE(noted());
  ASSERT_DONE(kernel->note_other(bridge, "cni0"));
  EXPECT_THAT(programs_on(bridge, tcx_ingress), IsEmpty());
  EXPECT_FALSE((lab_.map<std::uint32_t, sluice_pod>("pods").find(bridge)));
  kernel.reset();
  ip_command({"link", "delete", "cni0"});
  kernel = lab_.open();
  EXPECT_FALSE(noted());
}

TEST_F(Attach, an_interface_of_a_known_number_starts_unknown) {
  const auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  ASSERT_DONE(kernel->set_pod(pod_, {.addresses = {*IpAddress::parse("10.0.0.2")}, .audit = true}));
  ip_command({"link", "delete", "pod0"});
  ip_command({"link", "add", "index", std::to_string(pod_), "name", "pod0", "type", "veth", "peer", "name", "eth0"});
  expect_pod_hooks(0);
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  expect_pod_hooks(1);
  const auto known = lab_.map<std::uint32_t, sluice_pod>("pods").find(pod_);
  ASSERT_TRUE(known);
  EXPECT_EQ(known->address_count, 0U);
  EXPECT_EQ(known->flags, 0U);
}

TEST_F(Attach, a_pod_with_more_addresses_than_can_be_checked_is_an_error) {
  const auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  const std::vector<IpAddress> addresses(SLUICE_POD_ADDRESSES + 1, *IpAddress::parse("10.0.0.2"));
  EXPECT_FALSE(kernel->set_pod(pod_, {.addresses = addresses}).ok());
  EXPECT_EQ((lab_.map<std::uint32_t, sluice_pod>("pods").find(pod_)->address_count), 0U);
}

TEST_F(Attach, maps_of_another_abi_are_refused_by_version_and_left_alone) {
  auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  kernel.reset();
  const auto before = programs_on(pod_, tcx_ingress);
  auto config = lab_.config();
  config.abi_version = SLUICE_ABI_VERSION + 41;
  lab_.map<std::uint32_t, sluice_config>("configs").put(0, config);
  const auto opened = lab_.try_open();
  ASSERT_FALSE(opened.ok());
  EXPECT_THAT(opened.error().message(), HasSubstr("ABI version " + std::to_string(SLUICE_ABI_VERSION + 41)));
  EXPECT_THAT(opened.error().message(), HasSubstr("sluice detach"));
  EXPECT_EQ(programs_on(pod_, tcx_ingress), before);
}

// Replaces the pin of `pods` by another map.
void repin_pods(const Lab& lab, bpf_map_type type, std::uint32_t value_bytes, std::uint32_t entries,
                std::uint32_t flags) {
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.map_flags = flags;
  const UniqueFd other(::bpf_map_create(type, "pods", 4, value_bytes, entries, &options));
  must(static_cast<bool>(other), "create a map");
  must(::unlink(lab.map_pin("pods").c_str()) == 0, "unpin");
  must(::bpf_obj_pin(other.get(), lab.map_pin("pods").c_str()) == 0, "pin");
}

TEST_F(Attach, a_map_of_another_shape_is_refused_by_what_differs) {
  lab_.open().reset();
  struct Case {
    bpf_map_type type;
    std::uint32_t value_bytes;
    std::uint32_t entries;
    std::uint32_t flags;
    const char* complaint;
  };
  const Case cases[] = {
      {BPF_MAP_TYPE_LRU_HASH, sizeof(sluice_pod), SLUICE_MAX_PODS, 0, "pods has type"},
      {BPF_MAP_TYPE_HASH, 8, SLUICE_MAX_PODS, BPF_F_NO_PREALLOC, "pods has value size 8"},
      {BPF_MAP_TYPE_HASH, sizeof(sluice_pod), 7, BPF_F_NO_PREALLOC, "pods has max_entries 7"},
      {BPF_MAP_TYPE_HASH, sizeof(sluice_pod), SLUICE_MAX_PODS, 0, "pods has flags 0"},
  };
  for (const auto& row : cases) {
    repin_pods(lab_, row.type, row.value_bytes, row.entries, row.flags);
    const auto opened = lab_.try_open();
    ASSERT_FALSE(opened.ok()) << row.complaint;
    EXPECT_THAT(opened.error().message(), HasSubstr(row.complaint));
    EXPECT_THAT(opened.error().message(), HasSubstr("sluice detach"));
  }
}

TEST_F(Attach, pins_without_the_config_map_are_refused) {
  lab_.open().reset();
  ASSERT_EQ(::unlink(lab_.map_pin("configs").c_str()), 0);
  const auto opened = lab_.try_open();
  ASSERT_FALSE(opened.ok());
  EXPECT_THAT(opened.error().message(), HasSubstr("sluice detach"));
}

TEST_F(Attach, a_half_pinned_set_is_completed) {
  lab_.open().reset();
  ASSERT_EQ(::unlink(lab_.map_pin("internals").c_str()), 0);
  ASSERT_EQ(::unlink(lab_.link("choose_listener").c_str()), 0);
  const auto kernel = lab_.open();
  EXPECT_THAT(names_in(lab_.bpffs() + "/maps"), Contains("internals"));
  EXPECT_THAT(names_in(lab_.bpffs() + "/links"), ElementsAre("choose_listener"));
}

TEST_F(Attach, pins_of_another_network_namespace_are_refused) {
  auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  kernel.reset();
  const auto elsewhere = enter_new_namespace();
  const auto opened = lab_.try_open();
  ASSERT_FALSE(opened.ok());
  EXPECT_THAT(opened.error().message(), HasSubstr("another network namespace"));
  const Inside node(lab_.node());
  expect_pod_hooks(1);
}

TEST_F(Attach, detaching_removes_programs_pins_and_the_mount) {
  auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  kernel.reset();
  ASSERT_DONE(kernel::detach(lab_.bpffs()));
  expect_pod_hooks(0);
  EXPECT_FALSE(std::filesystem::exists(lab_.bpffs()));
  ASSERT_DONE(kernel::detach(lab_.bpffs()));
}

TEST_F(Attach, detaching_works_while_the_agent_still_runs) {
  const auto kernel = lab_.open();
  ASSERT_DONE(kernel->attach_pod(pod_, "pod0"));
  ASSERT_DONE(kernel::detach(lab_.bpffs()));
  expect_pod_hooks(0);
  EXPECT_FALSE(std::filesystem::exists(lab_.bpffs()));
}

TEST_F(Attach, a_system_bpffs_is_used_and_stays_mounted) {
  const std::string system = "/mnt/system";
  std::filesystem::create_directory(system);
  ASSERT_EQ(::mount("bpf", system.c_str(), "bpf", 0, nullptr), 0);
  const std::string pins = system + "/sluice";
  {
    auto kernel = kernel::Interception::open({.bpffs = pins, .cgroup = ""});
    ASSERT_TRUE(kernel.ok());
    EXPECT_TRUE(std::filesystem::exists(pins + "/maps/pods"));
  }
  ASSERT_DONE(kernel::detach(pins));
  EXPECT_FALSE(std::filesystem::exists(pins));
  EXPECT_EQ(::umount2(system.c_str(), 0), 0) << std::strerror(errno);
}

TEST_F(Attach, where_sysfs_has_no_bpffs_yet_one_is_mounted_and_taken_away_again) {
  while (::umount2("/sys/fs/bpf", MNT_DETACH) == 0) {
  }
  const auto type = [] {
    struct statfs info{};
    must(::statfs("/sys/fs/bpf", &info) == 0, "statfs");
    return info.f_type;
  };
  ASSERT_EQ(type(), sysfs_magic);
  {
    auto kernel = kernel::Interception::open({.bpffs = "/sys/fs/bpf/sluice", .cgroup = ""});
    ASSERT_TRUE(kernel.ok()) << kernel.error().message();
    EXPECT_TRUE(std::filesystem::exists("/sys/fs/bpf/sluice/maps/pods"));
  }
  ASSERT_DONE(kernel::detach("/sys/fs/bpf/sluice"));
  EXPECT_EQ(type(), sysfs_magic);
}

TEST_F(Attach, a_relative_pin_directory_is_refused) {
  EXPECT_FALSE(kernel::Interception::open({.bpffs = "sluice", .cgroup = ""}).ok());
}

}  // namespace
}  // namespace sluice::test
