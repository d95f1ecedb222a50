#include "trial_failure.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <span>
#include <system_error>
#include <vector>

#include "base/error.h"

namespace bertdist {

Failure failure_of(const std::exception& exception) {
  const auto* error = dynamic_cast<const Error*>(&exception);
  if (error == nullptr) {
    const auto* system = dynamic_cast<const std::system_error*>(&exception);
    const bool is_full = system != nullptr && system->code() == std::errc::no_space_on_device;
    return {static_cast<int>(is_full ? ExitCode::output : ExitCode::internal), exception.what()};
  }
  const std::string hint = error->hint().empty() ? "" : fmt::format(" ({})", error->hint());
  return {static_cast<int>(error->code()), error->what() + hint};
}

bool ends_the_sweep(const Failure& failure) {
  switch (static_cast<ExitCode>(failure.exit_code)) {
    case ExitCode::success:
    case ExitCode::internal:
    case ExitCode::configuration:
    case ExitCode::data:
    case ExitCode::model:
    case ExitCode::numeric:
    case ExitCode::device:
      return false;
    default:
      return true;
  }
}

Failure failure_of_group(Communicator& ranks, const Failure& mine) {
  const std::string text =
      nlohmann::json{mine.exit_code, mine.message}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::vector<Bytes> texts;
  for (int attempt = 0; texts.empty(); ++attempt) {
    try {
      texts = ranks.all_gather(std::as_bytes(std::span(text)), "how the common work ended");
    } catch (const Error& error) {
      if (error.code() != ExitCode::peer || attempt > 0) throw;
    }
  }
  Failure failure;
  for (const Bytes& bytes : texts) {
    const auto json = nlohmann::json::parse(reinterpret_cast<const char*>(bytes.data()),
                                            reinterpret_cast<const char*>(bytes.data()) + bytes.size());
    const Failure other{json[0], json[1]};
    const bool is_consequence = other.exit_code == static_cast<int>(ExitCode::peer);
    if (other.exit_code != 0 && (failure.exit_code == 0 || !is_consequence)) failure = other;
  }
  return failure;
}

}  // namespace bertdist
