// One rule about objects, as a row of a table: what breaks it, and the problem that is reported.
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "resources/problem.h"

namespace sluice::resources {

struct Row {
  std::string name;
  std::string text;     // of the object, or of what the suite makes one of
  std::string where;    // as where() has it
  std::string message;  // a part of it
};

inline void PrintTo(const Row& row, std::ostream* out) {
  *out << row.name;
}

inline std::string name_of(const testing::TestParamInfo<Row>& row) {
  return row.param.name;
}

// "LINE severity CODE field"
inline std::string where(const Problem& problem) {
  return std::to_string(problem.line) + (problem.severity == Severity::error ? " error " : " warning ") + problem.code +
         " " + problem.field;
}

}  // namespace sluice::resources
