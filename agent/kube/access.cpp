#include "kube/access.h"

#include <fmt/format.h>

#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>
#include <charconv>
#include <optional>
#include <utility>

#include "kube/base64.h"
#include "settings/yaml_tree.h"

namespace sluice::kube {
namespace {

namespace yaml = settings::yaml;

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

const yaml::Node* find(const yaml::Node* mapping, std::string_view key) {
  if (mapping == nullptr || mapping->kind != yaml::Kind::mapping) return nullptr;
  for (const auto& item : mapping->items) {
    if (item.key == key) return item.kind == yaml::Kind::null ? nullptr : &item;
  }
  return nullptr;
}

std::string text_of(const yaml::Node* mapping, std::string_view key) {
  const auto* found = find(mapping, key);
  return found != nullptr && found->kind == yaml::Kind::scalar ? found->text : "";
}

// The entry of a list {name, ITEM} with that name.
const yaml::Node* find_named(const yaml::Node& root, std::string_view list, std::string_view item,
                             std::string_view name) {
  const auto* entries = find(&root, list);
  if (entries == nullptr || entries->kind != yaml::Kind::sequence) return nullptr;
  for (const auto& entry : entries->items) {
    if (text_of(&entry, "name") == name) return find(&entry, item);
  }
  return nullptr;
}

class Kubeconfig {
 public:
  Kubeconfig(const yaml::Node& root, const std::string& path) : root_(root), path_(path) {}

  Result<Access> read(std::string context_name) {
    if (context_name.empty()) context_name = text_of(&root_, "current-context");
    if (context_name.empty()) return fail("no `current-context`: name a context");
    const auto* context = find_named(root_, "contexts", "context", context_name);
    if (context == nullptr) return fail("no context " + yaml::quote(context_name));
    const auto cluster_name = text_of(context, "cluster");
    const auto* cluster = find_named(root_, "clusters", "cluster", cluster_name);
    if (cluster == nullptr) return fail("no cluster " + yaml::quote(cluster_name));
    if (auto done = read_cluster(*cluster); !done) return done.error();
    const auto user_name = text_of(context, "user");
    if (user_name.empty()) return access_;
    const auto* user = find_named(root_, "users", "user", user_name);
    if (user == nullptr) return fail("no user " + yaml::quote(user_name));
    if (auto done = read_user(*user); !done) return done.error();
    return access_;
  }

 private:
  Status read_cluster(const yaml::Node& cluster) {
    const auto server = text_of(&cluster, "server");
    const auto url = boost::urls::parse_uri(server);
    if (!url || (url->scheme() != "https" && url->scheme() != "http") || url->host().empty() || url->has_userinfo()) {
      return fail("cluster.server: expected a URL like https://10.0.0.1:6443, found " + yaml::quote(server));
    }
    access_.tls = url->scheme() == "https";
    access_.host = url->host_address();
    access_.port = access_.tls ? 443 : 80;
    if (url->has_port()) {
      const auto port = parse_port(std::string_view(url->port()));
      if (!port) return fail("cluster.server: expected a port from 1 to 65535, found " + yaml::quote(server));
      access_.port = *port;
    }
    access_.path = std::string(url->encoded_path());
    while (access_.path.ends_with('/')) access_.path.pop_back();
    access_.server_name = text_of(&cluster, "tls-server-name");
    access_.skip_verification = text_of(&cluster, "insecure-skip-tls-verify") == "true";
    if (!text_of(&cluster, "proxy-url").empty()) return fail("cluster.proxy-url is not followed: remove it");
    return read_pem(cluster, "certificate-authority", access_.roots);
  }

  Status read_user(const yaml::Node& user) {
    for (const auto* key : {"exec", "auth-provider", "username", "password", "as"}) {
      if (find(&user, key) != nullptr) {
        return fail(fmt::format("user.{} is not supported: use a token, a tokenFile or a client certificate", key));
      }
    }
    access_.token = text_of(&user, "token");
    access_.token_file = resolve(text_of(&user, "tokenFile"));
    if (auto done = read_pem(user, "client-certificate", access_.certificate); !done) return done;
    if (auto done = read_pem(user, "client-key", access_.key); !done) return done;
    if (access_.certificate.empty() != access_.key.empty()) {
      return fail("user.client-certificate and user.client-key: expected both or neither");
    }
    if (!access_.tls && (!access_.token.empty() || !access_.token_file.empty())) {
      return fail("a token is never sent without TLS: cluster.server must be an https URL");
    }
    return Done{};
  }

  // KEY, or KEY-data in base64, which goes first.
  Status read_pem(const yaml::Node& mapping, const std::string& key, Pem& pem) {
    const auto data = text_of(&mapping, key + "-data");
    if (data.empty()) {
      pem.file = resolve(text_of(&mapping, key));
      return Done{};
    }
    auto text = decode_base64(data);
    if (!text || text->empty()) return fail(key + "-data: expected base64");
    pem.text = *std::move(text);
    return Done{};
  }

  std::string resolve(std::string file) const {
    if (file.empty() || file.starts_with('/')) return file;
    const auto slash = path_.rfind('/');
    return slash == std::string::npos ? file : path_.substr(0, slash + 1) + file;
  }

  Error fail(const std::string& why) const { return Error(path_ + ": " + why); }

  const yaml::Node& root_;
  const std::string& path_;
  Access access_;
};

}  // namespace

Result<Access> in_cluster(std::string_view host, std::string_view port, const std::string& directory) {
  if (host.empty() || port.empty()) {
    return Error(
        "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: outside a pod "
        "resources.kubernetes.kubeconfig "
        "is needed");
  }
  const auto number = parse_port(port);
  if (!number) return Error("KUBERNETES_SERVICE_PORT: expected a port, found " + yaml::quote(port));
  Access access;
  access.host = host;
  access.port = *number;
  access.roots.file = directory + "/ca.crt";
  access.token_file = directory + "/token";
  return access;
}

Result<Access> parse_kubeconfig(std::string_view text, const std::string& path, std::string_view context) {
  const auto stream = yaml::parse(text);
  if (stream.fault) return Error(fmt::format("{}:{}: {}", path, stream.fault->line, stream.fault->message));
  if (stream.documents.size() != 1) return Error(path + ": expected one YAML document");
  return Kubeconfig(stream.documents.front().root, path).read(std::string(context));
}

}  // namespace sluice::kube
