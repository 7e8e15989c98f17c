#include "net/resolver.h"

#include <ares.h>
#include <arpa/nameser.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <unordered_map>

#include "net/resolver_cache.h"
#include "net/resolver_channel.h"
#include "net/resolver_name.h"

namespace sluice::net {
namespace {

namespace asio = boost::asio;
using std::chrono::seconds;

// What one family's query came to.
struct Part {
  bool ended = false;
  int status = ARES_ETIMEOUT;  // until it ends
  Addresses addresses;
  seconds ttl{0};

  // The server said yes or no, rather than nothing or nonsense.
  bool is_conclusive() const { return status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND; }
};

struct Lookup {
  Lookup(asio::io_context& context, std::string its_name)
      : name(std::move(its_name)), done(context, asio::steady_timer::time_point::max()), deadline(context) {}

  std::string name;
  asio::steady_timer done;  // never expires: cancelled when there is a result
  asio::steady_timer deadline;
  Part v6;
  Part v4;
  std::optional<Result<Addresses>> result;
};
using LookupPtr = std::shared_ptr<Lookup>;

template <typename Record, int parse(const unsigned char*, int, hostent**, Record*, int*)>
void read_records(Part& part, ByteSpan answer, std::size_t max) {
  std::vector<Record> records(max);
  int count = static_cast<int>(max);
  part.status = parse(answer.data(), static_cast<int>(answer.size()), nullptr, records.data(), &count);
  if (part.status != ARES_SUCCESS) return;
  records.resize(static_cast<std::size_t>(count));
  if (records.empty()) part.status = ARES_ENODATA;
  part.ttl = seconds::max();
  for (const auto& record : records) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&record);
    const std::size_t size = std::is_same_v<Record, ares_addrttl> ? 4 : 16;
    part.addresses.push_back(*IpAddress::from_bytes({bytes, size}));
    part.ttl = std::min(part.ttl, seconds(record.ttl));
  }
}

std::string cause_of(int status) {
  switch (status) {
    case ARES_ECONNREFUSED:  // c-ares goes on to the next server in each of these cases, and does not say which it was
      return "unreachable, failing (SERVFAIL) or refusing";
    case ARES_EBADRESP:
      return "malformed answer";
    default:
      return ares_strerror(status);
  }
}

}  // namespace

struct Resolver::State : std::enable_shared_from_this<State> {
  State(asio::io_context& io, ResolverOptions its_options)
      : context(io), options(std::move(its_options)), cache(options.max_entries) {}

  static asio::awaitable<Result<Addresses>> run(std::shared_ptr<State> state, std::string name);
  Result<LookupPtr> join(const std::string& name);
  LookupPtr start(const std::string& name);
  void set_deadline(const LookupPtr& lookup, asio::steady_timer::duration left);
  void on_answer(const LookupPtr& lookup, Part& part, int status, ByteSpan answer);
  void finish(const LookupPtr& lookup);
  Result<Addresses> conclude(const Lookup& lookup) const;
  // How long the outcome may be kept; zero for a failure that says nothing about the name.
  seconds lifetime(const Lookup& lookup, bool found) const;
  void close();

  asio::io_context& context;
  ResolverOptions options;
  ResolverCache cache;
  std::unordered_map<std::string, LookupPtr> lookups;  // under way, by name
  std::unique_ptr<DnsChannel> channel;                 // null when closed
};

asio::awaitable<Result<Addresses>> Resolver::State::run(std::shared_ptr<State> state, std::string name) {
  if (auto sound = check_host_name(name); !sound) co_return sound.error();
  if (const auto* known = state->cache.find(name, state->options.now_ns())) co_return *known;
  const auto joined = state->join(name);
  if (!joined) co_return joined.error();
  const LookupPtr& lookup = *joined;
  state.reset();
  boost::system::error_code ignored;  // the wait always ends by cancellation: the look-up's end, or the caller's
  if (!lookup->result) co_await lookup->done.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  if (!lookup->result) co_return Error("dns: look-up of " + name + " was cancelled");
  co_return *lookup->result;
}

Result<LookupPtr> Resolver::State::join(const std::string& name) {
  if (const auto found = lookups.find(name); found != lookups.end()) return found->second;
  if (!channel) return Error("dns: look-up of " + name + ": the resolver is closed");
  // Queries given up by their look-ups count until c-ares has given them up, too.
  if (channel->pending() + 2 > 2 * options.max_lookups) {
    return Error("dns: look-up of " + name + ": too many are under way (limit " + std::to_string(options.max_lookups) +
                 ")");
  }
  return start(name);
}

LookupPtr Resolver::State::start(const std::string& name) {
  auto lookup = std::make_shared<Lookup>(context, name);
  lookups[name] = lookup;
  set_deadline(lookup, options.timeout);
  // The channel calls back while this state lives: close() ends it.
  channel->query(name, ns_t_aaaa,
                 [this, lookup](int status, ByteSpan answer) { on_answer(lookup, lookup->v6, status, answer); });
  channel->query(name, ns_t_a,
                 [this, lookup](int status, ByteSpan answer) { on_answer(lookup, lookup->v4, status, answer); });
  return lookup;
}

void Resolver::State::set_deadline(const LookupPtr& lookup, asio::steady_timer::duration left) {
  const auto end = asio::steady_timer::clock_type::now() + left;
  if (lookup->deadline.expiry() != asio::steady_timer::time_point{} && lookup->deadline.expiry() <= end) return;
  lookup->deadline.expires_at(end);
  lookup->deadline.async_wait([self = weak_from_this(), weak = std::weak_ptr(lookup)](boost::system::error_code error) {
    const auto state = self.lock();
    const auto late = weak.lock();
    if (!error && state && late) state->finish(late);
  });
}

void Resolver::State::on_answer(const LookupPtr& lookup, Part& part, int status, ByteSpan answer) {
  if (lookup->result) return;
  part.ended = true;
  part.status = status;
  if (status == ARES_SUCCESS && &part == &lookup->v6) {
    read_records<ares_addr6ttl, ares_parse_aaaa_reply>(part, answer, options.max_addresses);
  } else if (status == ARES_SUCCESS) {
    read_records<ares_addrttl, ares_parse_a_reply>(part, answer, options.max_addresses);
  }
  if (lookup->v6.ended && lookup->v4.ended) {
    finish(lookup);
  } else if (!part.addresses.empty()) {
    set_deadline(lookup, options.timeout / 4);
  }
}

void Resolver::State::finish(const LookupPtr& lookup) {
  if (lookup->result) return;
  lookup->result = conclude(*lookup);
  const auto keep = lifetime(*lookup, lookup->result->ok());
  if (keep > seconds(0)) {
    const auto keep_ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(keep).count());
    cache.put(lookup->name, *lookup->result, options.now_ns() + keep_ns);
  }
  lookups.erase(lookup->name);
  lookup->deadline.cancel();
  lookup->done.cancel();
}

Result<Addresses> Resolver::State::conclude(const Lookup& lookup) const {
  const auto& [v6, v4] = std::tie(lookup.v6, lookup.v4);
  if (auto addresses = interleave(v6.addresses, v4.addresses, options.max_addresses); !addresses.empty()) {
    return addresses;
  }
  const auto where = channel ? " (" + channel->servers() + ")" : "";
  for (const auto* part : {&v6, &v4}) {
    if (part->is_conclusive()) continue;
    if (part->status == ARES_ETIMEOUT) {
      return Error("dns: no answer for " + lookup.name + " within " + std::to_string(options.timeout.count()) + " ms" +
                   where);
    }
    return Error("dns: look-up of " + lookup.name + ": " + cause_of(part->status) + where);
  }
  const bool exists = v6.status != ARES_ENOTFOUND || v4.status != ARES_ENOTFOUND;
  return Error((exists ? "dns: no addresses for " : "dns: no such name ") + lookup.name + where);
}

seconds Resolver::State::lifetime(const Lookup& lookup, bool found) const {
  const bool whole = lookup.v6.is_conclusive() && lookup.v4.is_conclusive();
  if (!found) return whole ? options.negative_ttl : seconds(0);
  auto ttl = options.max_ttl;
  for (const auto* part : {&lookup.v6, &lookup.v4}) {
    if (!part->addresses.empty()) ttl = std::min(ttl, part->ttl);
  }
  if (!whole) ttl = std::min(ttl, options.negative_ttl);
  // Negative where the record's highest bit was set, which means none (RFC 2181 section 8).
  return std::max(ttl, seconds(1));
}

void Resolver::State::close() {
  for (const auto& [name, lookup] : std::exchange(lookups, {})) {
    lookup->result = Error("dns: look-up of " + name + ": the resolver is closed");
    lookup->deadline.cancel();
    lookup->done.cancel();
  }
  channel.reset();
}

Resolver::Resolver(std::shared_ptr<State> state) : state_(std::move(state)) {}
Resolver::~Resolver() {
  state_->close();
}

Result<std::unique_ptr<Resolver>> Resolver::open(asio::io_context& context, ResolverOptions options) {
  if (options.timeout.count() <= 0 || options.max_addresses == 0) {
    return Error("dns: timeout and max_addresses must be more than zero");
  }
  auto channel = DnsChannel::open(context, options.servers, options.timeout);
  if (!channel) return channel.error();
  auto state = std::make_shared<State>(context, std::move(options));
  state->channel = *std::move(channel);
  return std::unique_ptr<Resolver>(new Resolver(std::move(state)));
}

const Result<Addresses>* Resolver::known(const std::string& name) {
  return state_->cache.find(name, state_->options.now_ns());
}

asio::awaitable<Result<Addresses>> Resolver::resolve(std::string name) {
  return State::run(state_, std::move(name));
}

}  // namespace sluice::net
