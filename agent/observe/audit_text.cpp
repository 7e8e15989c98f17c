#include "observe/audit_text.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "observe/json_fields.h"
#include "observe/json_text.h"
#include "observe/text.h"

namespace sluice::observe {
namespace {

namespace json = boost::json;

// "2026-01-31T10:00:00.000001Z" -> "2026-01-31 10:00:00.000"
std::string short_time(std::string time) {
  if (time.size() < 23) return time;
  time.resize(23);
  time[10] = ' ';
  return time;
}

std::string who(const JsonFields& record) {
  const auto pod = record.object("pod");
  const auto name = pod.text("name");
  if (!name.empty()) return pod.text("namespace") + "/" + name;
  const auto source = record.text("source");
  return source.empty() ? "-" : source;
}

std::string process(const JsonFields& record) {
  const auto facts = record.object("process");
  return facts.number("pid") == 0 ? "" : fmt::format(" {}[{}]", facts.text("comm"), facts.number("pid"));
}

// The name that was asked for with the port that was dialled; the address when there was no name.
std::string where(const JsonFields& record) {
  auto destination = record.text("destination");
  auto host = record.text("sni");
  if (host.empty()) host = record.object("http").text("host");
  if (host.empty()) return destination;
  const auto colon = destination.rfind(':');
  return colon == destination.npos ? host : host + destination.substr(colon);
}

std::string totals(const JsonFields& record) {
  std::string text;
  const auto sent = record.number("bytes_sent");
  const auto received = record.number("bytes_received");
  if (sent + received > 0) text += fmt::format("  sent {}, received {}", format_bytes(sent), format_bytes(received));
  if (const auto duration = record.real("duration_ms")) text += fmt::format("  {:.1f} ms", *duration);
  if (const auto reason = record.text("close_reason"); !reason.empty()) text += "  " + reason;
  if (const auto count = record.number("count"); count > 1) text += fmt::format("  ×{}", count);
  return text;
}

std::string what(const JsonFields& record) {
  std::string text;
  if (const auto to = where(record); !to.empty()) text += " → " + to;
  const auto http = record.object("http");
  if (const auto method = http.text("method"); !method.empty()) text += "  " + method + " " + http.text("path");
  if (const auto reason = record.text("reason"); !reason.empty()) text += "  " + reason;
  if (const auto detail = record.text("detail"); !detail.empty()) text += "  (" + detail + ")";
  if (const auto rule = record.text("rule"); !rule.empty()) text += "  by " + rule;
  return text;
}

json::array remarks_as_json(const std::vector<AuditRemark>& remarks) {
  json::array array;
  for (const auto& remark : remarks) {
    array.push_back({{"file", remark.file}, {"line", remark.line}, {"what", remark.what}});
  }
  return array;
}

std::string format_remark(const AuditRemark& remark) {
  const auto place = remark.line == 0 ? remark.file : fmt::format("{}:{}", remark.file, remark.line);
  return fmt::format("  {}: {}\n", place, printable(remark.what, 1000));
}

}  // namespace

std::string format_audit_line(std::string_view line) {
  boost::system::error_code error;
  const auto value = json::parse(line, error);
  if (error || !value.is_object()) return "no record: " + printable(line, max_cell_bytes);
  const JsonFields record(&value);
  const auto event = record.text("event");
  if (event == "checkpoint") {
    return fmt::format("{}  checkpoint  seq {}, head {}", short_time(record.text("time")), record.number("seq"),
                       record.text("head"));
  }
  return fmt::format("{}  {:<7}  {:<10}  {}{}{}{}", short_time(record.text("time")), event, record.text("verdict"),
                     who(record), process(record), what(record), totals(record));
}

std::string format_verification(const AuditVerification& report) {
  std::string text = report.finding_count == 0
                         ? "sound"
                         : fmt::format("{} finding{}", report.finding_count, report.finding_count == 1 ? "" : "s");
  text += fmt::format(": {} records, seq {} to {}, in {} file{}\n", report.records, report.first_seq, report.last_seq,
                      report.files.size(), report.files.size() == 1 ? "" : "s");
  for (const auto& finding : report.findings) text += format_remark(finding);
  if (report.finding_count > report.findings.size()) {
    text += fmt::format("  and {} more\n", report.finding_count - report.findings.size());
  }
  if (report.proven_records > 0) {
    text += fmt::format("proven by the key: {} records; the last {} wait for their checkpoint\n", report.proven_records,
                        report.records - report.proven_records);
  }
  if (!report.notes.empty()) text += "notes\n";
  for (const auto& note : report.notes) text += format_remark(note);
  return text + "head " + report.head + "\n";
}

json::value verification_as_json(const AuditVerification& report) {
  json::array files;
  for (const auto& file : report.files) files.emplace_back(file);
  return {{"sound", report.finding_count == 0},
          {"files", std::move(files)},
          {"records", report.records},
          {"checkpoints", report.checkpoints},
          {"proven_records", report.proven_records},
          {"first_seq", report.first_seq},
          {"last_seq", report.last_seq},
          {"head", report.head},
          {"finding_count", report.finding_count},
          {"findings", remarks_as_json(report.findings)},
          {"notes", remarks_as_json(report.notes)}};
}

}  // namespace sluice::observe
