// Real files in a temporary directory; every wait is for the source's descriptor, with a bound.
#include "sources/file_source.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace sluice::sources {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string entry(const std::string& name, const std::string& host) {
  return "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: " + name +
         ", namespace: ns}\nspec: {hosts: [" + host +
         "], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}\n";
}

class FileSourceTest : public testing::Test {
 protected:
  FileSourceTest() {
    std::string pattern = fs::temp_directory_path() / "sluice-sources-XXXXXX";
    directory = ::mkdtemp(pattern.data());
  }
  ~FileSourceTest() override { fs::remove_all(directory); }

  fs::path path(const std::string& name) const { return directory / name; }

  void write(const fs::path& file, const std::string& text) const {
    std::ofstream out(file, std::ios::trunc | std::ios::binary);
    out << text;
    out.close();
    ASSERT_TRUE(out.good()) << file;
  }
  // As editors and kubectl do it: a new file under another name, renamed over the old one.
  void replace(const fs::path& file, const std::string& text) const {
    write(file.string() + ".tmp", text);
    fs::rename(file.string() + ".tmp", file);
  }

  void open(std::vector<std::string> paths) {
    auto opened = FileSource::open(std::move(paths));
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    source = *std::move(opened);
    source->reload();
  }

  // Waits until dispatch() asks for a reload. Strangers' files beside the directory may wake it for nothing.
  bool is_due_within(std::chrono::milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (true) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
      if (left.count() <= 0) return false;
      pollfd poll{.fd = source->fd(), .events = POLLIN, .revents = 0};
      if (::poll(&poll, 1, static_cast<int>(left.count())) != 1) continue;
      const auto due = source->dispatch();
      EXPECT_TRUE(due.ok());
      if (due.ok() && *due) return true;
    }
  }
  // Waits until a reload changes something; fails when the source has nothing to say for a second.
  void expect_change() {
    do {
      ASSERT_TRUE(is_due_within(std::chrono::seconds(1)))
          << "no change was noticed; in force: " << testing::PrintToString(hosts());
    } while (!source->reload());
  }
  // What has happened so far asks for no reload. The events of one's own calls are queued when the calls return.
  void expect_quiet() {
    const auto due = source->dispatch();
    ASSERT_TRUE(due.ok());
    EXPECT_FALSE(*due);
  }

  std::vector<std::string> hosts() const {
    std::vector<std::string> out;
    for (const auto& service : source->registry().policy().services) out.push_back(service.hosts.at(0));
    return out;
  }
  std::vector<std::string> problems() const {
    std::vector<std::string> out;
    for (const auto& problem : source->problems()) out.push_back(problem.to_string());
    return out;
  }

  fs::path directory;
  std::unique_ptr<FileSource> source;
};

TEST_F(FileSourceTest, reads_the_yaml_files_of_a_directory_only) {
  write(path("b.yml"), entry("b", "b.x"));
  write(path("a.yaml"), entry("a", "a.x"));
  write(path(".hidden.yaml"), entry("h", "h.x"));
  write(path("notes.txt"), "- not ours");
  write(path("c.yaml.bak"), "- not ours");
  fs::create_directory(path("sub"));
  write(path("sub/d.yaml"), entry("d", "d.x"));
  open({directory});
  EXPECT_THAT(hosts(), ElementsAre("a.x", "b.x"));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(FileSourceTest, an_edit_in_place_is_noticed) {
  write(path("a.yaml"), entry("a", "a.x"));
  open({directory});
  write(path("a.yaml"), entry("a", "b.x"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("b.x"));
}

TEST_F(FileSourceTest, an_edit_in_place_of_a_plain_file_is_noticed) {
  write(path("a.yaml"), entry("a", "a.x"));
  open({path("a.yaml")});
  write(path("a.yaml"), entry("a", "b.x"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("b.x"));
}

TEST_F(FileSourceTest, a_file_is_read_when_its_writer_is_done) {
  open({directory});
  const int fd = ::open(path("a.yaml").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  ASSERT_GE(fd, 0);
  expect_quiet();
  const auto text = entry("a", "a.x");
  ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  expect_quiet();
  ::close(fd);
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("a.x"));
}

TEST_F(FileSourceTest, an_atomic_rename_is_noticed) {
  write(path("a.yaml"), entry("a", "a.x"));
  open({directory});
  replace(path("a.yaml"), entry("a", "b.x"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("b.x"));
}

TEST_F(FileSourceTest, atomic_renames_of_a_plain_file_are_noticed_each_time) {
  write(path("a.yaml"), entry("a", "a.x"));
  open({path("a.yaml")});
  for (const std::string host : {"b.x", "c.x", "d.x"}) {
    replace(path("a.yaml"), entry("a", host));
    expect_change();
    EXPECT_THAT(hosts(), ElementsAre(host));
  }
}

TEST_F(FileSourceTest, a_hard_link_made_and_its_first_name_removed_is_noticed) {
  write(path("new.tmp"), entry("a", "a.x"));
  open({directory});
  fs::create_hard_link(path("new.tmp"), path("a.yaml"));
  fs::remove(path("new.tmp"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("a.x"));
}

TEST_F(FileSourceTest, a_write_through_another_name_of_a_plain_file_is_noticed) {
  fs::create_directory(path("elsewhere"));
  write(path("elsewhere/a.yaml"), entry("a", "a.x"));
  fs::create_hard_link(path("elsewhere/a.yaml"), path("a.yaml"));
  open({path("a.yaml")});
  write(path("elsewhere/a.yaml"), entry("a", "b.x"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("b.x"));
}

// A ConfigMap volume: a.yaml -> ..data/a.yaml, ..data -> ..2026_1, and an update renames a new ..data over the old one.
class ConfigMapTest : public FileSourceTest {
 protected:
  ConfigMapTest() {
    make_version("..2026_1", "a.x");
    fs::create_symlink("..2026_1", path("..data"));
    fs::create_symlink("..data/a.yaml", path("a.yaml"));
  }
  void make_version(const std::string& name, const std::string& host) const {
    fs::create_directory(path(name));
    write(path(name) / "a.yaml", entry("a", host));
  }
  void swap(const std::string& from, const std::string& to, const std::string& host) const {
    make_version(to, host);
    fs::create_symlink(to, path("..data_tmp"));
    fs::rename(path("..data_tmp"), path("..data"));
    fs::remove_all(path(from));
  }
};

TEST_F(ConfigMapTest, swaps_are_noticed_in_a_directory) {
  open({directory});
  EXPECT_THAT(hosts(), ElementsAre("a.x"));
  swap("..2026_1", "..2026_2", "b.x");
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("b.x"));
  swap("..2026_2", "..2026_3", "c.x");
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("c.x"));
}

TEST_F(ConfigMapTest, swaps_are_noticed_for_a_plain_file) {
  open({path("a.yaml")});
  swap("..2026_1", "..2026_2", "b.x");
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("b.x"));
}

TEST_F(FileSourceTest, a_swapped_link_on_the_way_is_noticed) {
  fs::create_directories(path("releases/1"));
  fs::create_directories(path("releases/2"));
  write(path("releases/1/a.yaml"), entry("a", "a.x"));
  write(path("releases/2/a.yaml"), entry("a", "b.x"));
  fs::create_directory_symlink("releases/1", path("current"));
  open({path("current") / "a.yaml"});
  fs::create_directory_symlink("releases/2", path("next"));
  fs::rename(path("next"), path("current"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("b.x"));
}

TEST_F(FileSourceTest, the_target_of_a_link_replaced_where_it_lies_is_noticed) {
  fs::create_directories(path("real"));
  fs::create_directories(path("watched"));
  write(path("real/a.yaml"), entry("a", "a.x"));
  fs::create_symlink("../real/a.yaml", path("watched/a.yaml"));
  open({path("watched")});
  replace(path("real/a.yaml"), entry("a", "b.x"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("b.x"));
}

TEST_F(FileSourceTest, a_removed_file_takes_its_objects_along) {
  write(path("a.yaml"), entry("a", "a.x"));
  write(path("b.yaml"), entry("b", "b.x"));
  open({directory});
  fs::remove(path("a.yaml"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("b.x"));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(FileSourceTest, a_removed_directory_takes_its_objects_along_and_may_come_back) {
  fs::create_directory(path("d"));
  write(path("d/a.yaml"), entry("a", "a.x"));
  open({path("d")});
  fs::remove_all(path("d"));
  while (!hosts().empty()) expect_change();
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("warning SLU0004: does not exist yet")));
  fs::create_directory(path("d"));
  write(path("d/a.yaml"), entry("a", "b.x"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("b.x"));
}

TEST_F(FileSourceTest, a_path_may_appear_later_level_by_level) {
  open({path("x/y/z.yaml")});
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("does not exist yet")));
  fs::create_directory(path("x"));
  EXPECT_TRUE(*source->dispatch());
  EXPECT_FALSE(source->reload());
  fs::create_directory(path("x/y"));
  EXPECT_TRUE(*source->dispatch());
  EXPECT_FALSE(source->reload());
  write(path("x/y/z.yaml"), entry("a", "a.x"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("a.x"));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(FileSourceTest, a_path_that_appears_all_at_once_is_not_missed) {
  fs::create_directories(path("made/y"));
  write(path("made/y/z.yaml"), entry("a", "a.x"));
  open({path("x/y")});
  fs::rename(path("made"), path("x"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("a.x"));
}

TEST_F(FileSourceTest, a_broken_file_keeps_what_it_said_until_it_is_fixed) {
  write(path("a.yaml"), entry("a", "a.x"));
  open({directory});
  write(path("a.yaml"), "a: [");
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("a.x"));
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("what it said before stays in force")));
  write(path("a.yaml"), entry("a", "b.x"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("b.x"));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(FileSourceTest, a_path_that_stops_being_a_file_keeps_what_it_said) {
  write(path("a.yaml"), entry("a", "a.x"));
  open({directory});
  fs::remove(path("a.yaml"));
  ASSERT_EQ(::mkfifo(path("a.yaml").c_str(), 0644), 0);
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("a.x"));
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("is not a regular file; what it said before stays in force")));
  fs::remove(path("a.yaml"));
  write(path("a.yaml"), entry("a", "a.x"));
  expect_change();
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(FileSourceTest, what_cannot_be_read_keeps_what_it_said_and_is_tried_again_each_second) {
  write(path("a.yaml"), entry("a", "a.x"));
  open({directory});
  fs::create_symlink("/proc/self/mem", path("link"));  // nothing is mapped at its start: EIO
  fs::rename(path("link"), path("a.yaml"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("a.x"));
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("cannot be read: Input/output error; what it said before")));
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(is_due_within(std::chrono::seconds(5)));
    EXPECT_FALSE(source->reload());
  }
  replace(path("a.yaml"), entry("a", "b.x"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("b.x"));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(FileSourceTest, a_file_over_the_limit_keeps_what_it_said) {
  write(path("a.yaml"), entry("a", "a.x"));
  open({directory});
  write(path("a.yaml"), entry("a", "b.x") + std::string(max_file_bytes, '\n'));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("a.x"));
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("larger than 16 MiB: split the file; what it said before")));
}

TEST_F(FileSourceTest, an_endless_file_is_not_read) {
  write(path("b.yaml"), entry("b", "b.x"));
  fs::create_symlink("/dev/zero", path("a.yaml"));
  open({directory});
  EXPECT_THAT(hosts(), ElementsAre("b.x"));
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("is not a regular file; nothing of it is in force")));
}

TEST_F(FileSourceTest, more_files_than_the_limit_are_cut_by_name) {
  for (std::size_t i = 0; i <= max_files; ++i) {
    fs::create_symlink("none", path(std::to_string(100'000 + i) + ".yaml"));
  }
  write(path("0.yaml"), entry("a", "a.x"));
  write(path("z.yaml"), entry("z", "z.x"));
  open({directory});
  EXPECT_THAT(hosts(), ElementsAre("a.x"));
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("109999.yaml: error SLU0004: is not read, nor is any file that sorts "
                                                "after it")));
}

TEST_F(FileSourceTest, a_loop_of_links_is_no_file) {
  fs::create_symlink("b.yaml", path("a.yaml"));
  fs::create_symlink("a.yaml", path("b.yaml"));
  open({directory, path("a.yaml")});
  EXPECT_THAT(hosts(), IsEmpty());
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("does not exist yet")));
}

TEST_F(FileSourceTest, the_same_text_written_again_is_no_change) {
  write(path("a.yaml"), entry("a", "a.x"));
  open({directory});
  write(path("a.yaml"), entry("a", "a.x"));
  EXPECT_TRUE(*source->dispatch());
  EXPECT_FALSE(source->reload());
}

TEST_F(FileSourceTest, files_that_are_not_ours_wake_nobody) {
  fs::create_directory(path("d"));
  open({path("d")});
  write(path("other.yaml"), "x");
  write(path("d/notes.txt"), "x");
  write(path("d/.a.yaml.swp"), "x");
  expect_quiet();
}

TEST_F(FileSourceTest, one_file_named_twice_is_read_once) {
  write(path("a.yaml"), entry("a", "a.x"));
  open({directory, directory.string() + "/", path("a.yaml")});
  EXPECT_THAT(hosts(), ElementsAre("a.x"));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(FileSourceTest, an_overflow_of_the_queue_asks_for_a_reload) {
  std::ifstream limit("/proc/sys/fs/inotify/max_queued_events");
  int queued = 0;
  limit >> queued;
  ASSERT_GT(queued, 0);
  ASSERT_LE(queued, 200'000);
  fs::create_directory(path("d"));
  open({path("d")});
  // Alternating names, so that the kernel cannot merge the events; none of them is ours.
  for (int i = 0; i <= queued / 2; ++i) {
    const auto name = path("d") / std::to_string(i % 2);
    ::symlink("x", name.c_str());
    ::unlink(name.c_str());
  }
  replace(path("d/a.yaml"), entry("a", "a.x"));
  expect_change();
  EXPECT_THAT(hosts(), ElementsAre("a.x"));
}

}  // namespace
}  // namespace sluice::sources
