#include "data/cooperation.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace bertdist {

namespace {

std::optional<Error> error_of(const std::function<void()>& work) {
  try {
    work();
    return std::nullopt;
  } catch (const Error& error) {
    return error;
  } catch (const std::exception& error) {
    return Error(ExitCode::internal, error.what());
  }
}

std::string to_text(const Error& error) {
  return nlohmann::json{static_cast<int>(error.code()), error.what(), error.hint()}.dump(
      -1, ' ', false, nlohmann::json::error_handler_t::replace);
}

[[noreturn]] void throw_from_text(std::string_view text) {
  const nlohmann::json error = nlohmann::json::parse(text);
  throw Error(static_cast<ExitCode>(error[0].get<int>()), error[1].get<std::string>(), error[2].get<std::string>());
}

}  // namespace

void root_in_steps(Communicator& communicator, std::string_view what, const std::function<bool()>& step) {
  constexpr std::string_view kMore = "more";
  for (std::string outcome(kMore); outcome == kMore;) {
    if (communicator.rank() == 0) {
      bool done = false;
      communicator.progress().enter(what);
      const std::optional<Error> error = error_of([&] { done = step(); });
      outcome = error ? to_text(*error) : std::string(done ? "" : kMore);
    }
    outcome = broadcast_text(communicator, outcome, 0, what);
    if (!outcome.empty() && outcome != kMore) throw_from_text(outcome);
  }
}

void on_all_ranks(Communicator& communicator, std::string_view what, const std::function<void()>& work) {
  communicator.progress().enter(what);
  const std::optional<Error> error = error_of(work);
  const std::string mine = error ? to_text(*error) : "";
  for (const Bytes& text : communicator.all_gather(std::as_bytes(std::span(mine)), what)) {
    if (!text.empty()) throw_from_text({reinterpret_cast<const char*>(text.data()), text.size()});
  }
}

}  // namespace bertdist
