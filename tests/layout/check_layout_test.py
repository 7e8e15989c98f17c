#!/usr/bin/env python3
"""The layout check finds what it is for: each test breaks one rule in a small tree of its own."""

import pathlib
import tempfile
import unittest

from check_layout import LINES_LIMIT, Layout


class CheckLayout(unittest.TestCase):
    def findings(self, files):
        with tempfile.TemporaryDirectory() as root:
            (pathlib.Path(root) / "agent").mkdir()
            for name, text in files.items():
                path = pathlib.Path(root) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return Layout(root).check()

    def assert_found(self, files, *words):
        findings = self.findings(files)
        self.assertEqual(len(findings), 1, findings)
        for word in words:
            self.assertIn(word, findings[0])

    def includes(self, name, line, *words):
        self.assert_found({name: line + "\n"}, name + ":1", *words)

    def test_a_tree_as_designed_has_no_findings(self):
        self.assertEqual(self.findings({
            "agent/egress/outbound_call.cpp": '#include "egress/outbound_call.h"\n#include "relay/tunnel.h"\n'
                                              '#include "kernel/flows.h"\n#include <vector>\n#include <net/if.h>\n',
            "agent/egress/outbound_call.h": '#pragma once\n#include "serving/live.h"\n',
            "agent/resources/registry.cpp": '#include "settings/settings.h"\n#include "policy/snapshot.h"\n'
                                            '#include <yaml-cpp/yaml.h>\n',
            "agent/kernel/gate.cpp": '#include <bpf/libbpf.h>\n#include "bpf/abi.h"\n#include "gate.skel.h"\n',
            "agent/tls/digest.cpp": "#include <openssl/evp.h>\n#include <boost/asio/ssl.hpp>\n",
            "agent/net/netlink.cpp": "#include <netlink/netlink.h>\n#include <sys/socket.h>\n",
            "bpf/decide.h": '#pragma once\n#include "bpf/abi.h"\n#include <linux/ip.h>\n',
            "bpf/abi.h": "#pragma once\n",
            "bpf/gate.bpf.c": "#include <bpf/bpf_helpers.h>\n",
        }), [])

    def test_an_upward_include_is_found(self):
        self.includes("agent/policy/a.cpp", '#include "resources/registry.h"', "upward")
        self.includes("agent/base/a.cpp", '  #  include "cli/main.h"', "upward")

    def test_a_sideways_include_is_found(self):
        self.includes("agent/policy/a.cpp", '#include "wire/client_hello.h"', "sideways")
        self.includes("agent/gateway/a.cpp", '#include "egress/outbound_call.h"', "sideways")

    def test_a_module_include_by_another_route_is_found(self):
        self.includes("agent/policy/a.cpp", '#include "../cli/main.h"', "module/header.h")
        self.includes("agent/policy/a.cpp", '#include "agent/cli/main.h"', "module/header.h")
        self.includes("agent/policy/a.cpp", '#include "snapshot.h"', "module/header.h")
        self.includes("agent/policy/a.cpp", '#include "unheard/of.h"', "module/header.h")
        self.includes("agent/policy/a.cpp", "#include SOME_HEADER", "cannot be read")
        self.assert_found({"agent/policy/a.cpp": "#include <cli/main.h>\n", "agent/cli/main.h": "#pragma once\n"},
                          "in quotes")

    def test_a_library_outside_its_module_is_found(self):
        self.includes("agent/observe/a.cpp", "#include <openssl/evp.h>", "belongs to tls")
        self.includes("agent/gateway/a.cpp", "#include <boost/asio/ssl.hpp>", "belongs to tls")
        self.includes("agent/gateway/a.cpp", "#include <boost/asio/ssl/context.hpp>", "belongs to tls")
        self.includes("agent/gateway/a.cpp", "#include <boost/beast/ssl/ssl_stream.hpp>", "belongs to tls")
        self.includes("agent/egress/a.cpp", "#include <bpf/bpf.h>", "belongs to kernel")
        self.includes("agent/egress/a.cpp", '#include "bpf/abi.h"', "belongs to kernel")
        self.includes("agent/egress/a.cpp", '#include "gate.skel.h"', "belongs to kernel")
        self.includes("agent/kernel/a.cpp", "#include <netlink/route/link.h>", "belongs to net")

    def test_a_system_header_in_pure_code_is_found(self):
        for module in ("wire", "policy", "resources"):
            for header in ("sys/socket.h", "unistd.h", "openssl/evp.h", "bpf/bpf.h", "boost/asio.hpp",
                           "boost/beast/http.hpp", "spdlog/spdlog.h", "netlink/netlink.h"):
                self.includes(f"agent/{module}/a.cpp", f"#include <{header}>", "pure")
        self.includes("agent/policy/a.cpp", '#include "bpf/abi.h"', "pure")

    def test_a_system_header_under_decide_h_is_found(self):
        decide = '#pragma once\n#include "bpf/abi.h"\n'
        self.assert_found({"bpf/decide.h": decide + "#include <bpf/bpf_helpers.h>\n"}, "bpf/decide.h:3", "pure")
        self.assert_found({"bpf/decide.h": decide, "bpf/abi.h": "#pragma once\n#include <sys/types.h>\n"},
                          "bpf/abi.h:2", "pure")

    def test_a_module_without_a_rank_is_found(self):
        self.assert_found({"agent/manager/a.h": "#pragma once\n"}, "agent/manager", "rank")

    def test_a_header_without_pragma_once_is_found(self):
        for name in ("agent/base/a.h", "bpf/a.h", "tests/unit/base/a.h"):
            self.assert_found({name: "int a;\n"}, name, "#pragma once")

    def test_a_file_over_the_limit_is_found(self):
        self.assertEqual(self.findings({"agent/base/a.cpp": "\n" * LINES_LIMIT}), [])
        for name in ("agent/base/a.cpp", "bpf/a.bpf.c", "tests/netns/a.py", "deploy/a.sh"):
            self.assert_found({name: "\n" * (LINES_LIMIT + 1)}, name, "lines")


if __name__ == "__main__":
    unittest.main()
