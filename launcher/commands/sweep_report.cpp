#include <fmt/format.h>

#include "base/error.h"
#include "commands.h"
#include "report/table.h"
#include "sweep/trial_table.h"

namespace bertdist {

namespace {

void print_plan(const std::vector<Trial>& trials) {
  std::vector<Column> columns{{"trial", Align::right}};
  for (const Assignment& parameter : trials.front().parameters) columns.push_back({parameter.name, Align::right});
  TablePrinter table(columns);
  for (const Trial& trial : trials) {
    std::vector<std::string> cells{fmt::format("{}", trial.index)};
    for (const Assignment& parameter : trial.parameters) cells.push_back(short_value(parameter.value));
    table.add_row(std::move(cells));
  }
  fmt::print("{} trials\n\n{}", trials.size(), table.to_string());
}

void plan(const Request& request) {
  if (!request.sweep->output_file.empty()) {
    write_trial_table(request.sweep->output_file, request.trials);
    fmt::print("{} trials in '{}'\n", request.trials.size(), request.sweep->output_file);
  } else {
    print_plan(request.trials);
  }
}

}  // namespace

void report_sweep(const Request& request) {
  switch (request.sweep->action) {
    case SweepAction::plan:
      return plan(request);
    case SweepAction::status:
    case SweepAction::best:
    case SweepAction::export_results:
    case SweepAction::run:
    case SweepAction::submit:
      break;
  }
  throw Error(ExitCode::internal, "not an action that reports");
}

}  // namespace bertdist
