#include "admin/status_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <functional>
#include <vector>

#include "observe/json_fields.h"
#include "observe/json_text.h"
#include "observe/text.h"

namespace sluice::admin {
namespace {

namespace json = boost::json;
using observe::JsonFields;

constexpr std::size_t max_reasons = 12;
constexpr std::size_t max_column = 44;

std::string row(std::string_view name, std::string_view text) {
  return fmt::format("{:<12} {}\n", name, text);
}

std::string headline(const JsonFields& status) {
  return fmt::format("sluice {} {} on {}, up {}: {}\n", status.text("role"), status.text("version"),
                     status.text("node"), observe::format_seconds(status.number("uptime_s")),
                     status.flag("healthy") ? "healthy" : "NOT HEALTHY");
}

std::string what_is_wrong(const JsonFields& status) {
  std::string text;
  for (const auto& item : status.list("wrong")) {
    if (item.is_string()) text += "  ! " + observe::printable(item.get_string(), 500) + "\n";
  }
  return text;
}

// "error  shop.yaml:12  ServiceEntry shop/api  spec.ports: must not be empty"
std::string problem_line(const JsonFields& problem) {
  auto place = problem.text("file");
  if (const auto line = problem.number("line"); line > 0) place += fmt::format(":{}", line);
  std::string text = "  " + problem.text("severity");
  for (const auto& part : {place, problem.text("object")}) {
    if (!part.empty()) text += "  " + part;
  }
  const auto field = problem.text("field");
  return text + "  " + (field.empty() ? "" : field + ": ") + problem.text("message") + "\n";
}

std::string policy_rows(const JsonFields& policy) {
  auto text = row("policy", fmt::format("generation {}, {} services, {} hosts", policy.number("generation"),
                                        policy.number("services"), policy.number("hosts")));
  const auto& problems = policy.list("problems");
  text += row("problems", problems.empty() ? "none" : std::to_string(problems.size()));
  for (const auto& problem : problems) text += problem_line(JsonFields(&problem));
  return text;
}

std::string interface_rows(const json::array& interfaces) {
  auto text = row("interfaces", interfaces.empty() ? "none" : std::to_string(interfaces.size()));
  for (const auto& item : interfaces) {
    const JsonFields interface(&item);
    text += fmt::format("  {:<6}  {:<15}  {:>4}  {}\n", interface.text("kind"), interface.text("name"),
                        interface.number("ifindex"), interface.text("pod"));
  }
  return text;
}

// The members of an object of numbers that are not zero, greatest first: "registered 10, sni_missing 2".
std::string counts(const json::value* value) {
  std::vector<std::pair<std::uint64_t, std::string>> entries;
  const JsonFields fields(value);
  if (value != nullptr && value->is_object()) {
    for (const auto& [key, unused] : value->get_object()) {
      const auto count = fields.number(key);
      if (count > 0) entries.emplace_back(count, observe::printable(key, observe::max_cell_bytes));
    }
  }
  std::sort(entries.begin(), entries.end(), std::greater<>());
  std::string text;
  for (std::size_t index = 0; index < std::min(entries.size(), max_reasons); ++index) {
    text += fmt::format("{}{} {}", index == 0 ? "" : ", ", entries[index].second, entries[index].first);
  }
  if (entries.size() > max_reasons) text += ", …";
  return text.empty() ? "none" : text;
}

std::string audit_row(const JsonFields& audit) {
  return row("audit", fmt::format("{}: {} lines, {} drops, head {:.12}", audit.text("path"), audit.number("lines"),
                                  audit.number("drops"), audit.text("head")));
}

using Cells = std::vector<std::string>;

Cells flow_cells(const JsonFields& flow) {
  return {flow.text("id"),
          flow.text("pod"),
          flow.text("source"),
          flow.text("destination"),
          flow.text("host"),
          flow.text("verdict"),
          flow.text("rule"),
          flow.text("gateway"),
          observe::format_bytes(flow.number("bytes_sent")),
          observe::format_bytes(flow.number("bytes_received")),
          observe::format_seconds(flow.number("age_s")),
          flow.text("datapath")};
}

std::string format_table(std::vector<Cells>& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (auto& cells : rows) {
    for (std::size_t column = 0; column < widths.size(); ++column) {
      if (cells[column].empty()) cells[column] = "-";
      cells[column] = observe::printable(cells[column], max_column);
      widths[column] = std::max(widths[column], cells[column].size());
    }
  }
  std::string text;
  for (const auto& cells : rows) {
    for (std::size_t column = 0; column + 1 < widths.size(); ++column) {
      text += fmt::format("{:<{}}  ", cells[column], widths[column]);
    }
    text += cells.back() + "\n";
  }
  return text;
}

}  // namespace

std::string format_status(const json::value& value) {
  const JsonFields status(&value);
  auto text = headline(status) + what_is_wrong(status) + "\n";
  if (status.find("policy") != nullptr) text += policy_rows(status.object("policy"));
  if (status.find("interfaces") != nullptr) text += interface_rows(status.list("interfaces"));
  if (status.find("connections") != nullptr) {
    text += row("connections", fmt::format("{} open", status.object("connections").number("open")));
  }
  if (const auto* verdicts = status.find("verdicts")) text += row("verdicts", counts(verdicts));
  if (const auto* reasons = status.find("reasons")) text += row("reasons", counts(reasons));
  if (status.find("audit") != nullptr) text += audit_row(status.object("audit"));
  return text;
}

std::string format_flows(const json::value& value) {
  std::vector<Cells> rows = {
      {"ID", "POD", "SOURCE", "DESTINATION", "HOST", "VERDICT", "RULE", "GATEWAY", "SENT", "RECEIVED", "AGE", "PATH"}};
  if (value.is_array()) {
    for (const auto& flow : value.get_array()) rows.push_back(flow_cells(JsonFields(&flow)));
  }
  return rows.size() == 1 ? "no connections\n" : format_table(rows);
}

}  // namespace sluice::admin
