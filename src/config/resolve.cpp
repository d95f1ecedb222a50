#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.h"
#include "config/given.h"

namespace bertdist {
namespace {

using Strategy = Config::Strategy;

std::string default_token_cache_dir() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache) return std::string(cache) + "/bertdist";
  const char* home = std::getenv("HOME");
  if (!home || !*home) {
    const passwd* user = getpwuid(getuid());
    home = user ? user->pw_dir : nullptr;
  }
  if (!home || !*home) {
    throw Error(ExitCode::configuration, "there is no home folder to keep the token cache in",
                "set token_cache_dir, or the environment variable XDG_CACHE_HOME");
  }
  return std::string(home) + "/.cache/bertdist";
}

void resolve_labels(Config& config, const Given& given) {
  std::map<std::string, std::int64_t> inverse;
  for (std::size_t id = 0; id < config.id2label.size(); ++id) {
    inverse[config.id2label[id]] = static_cast<std::int64_t>(id);
  }
  if (config.id2label.empty()) {
    config.id2label.resize(config.label2id.size());
    for (const auto& [name, id] : config.label2id) config.id2label[id] = name;
  } else if (config.label2id.empty()) {
    config.label2id = inverse;
  } else if (config.label2id != inverse) {
    throw Error(ExitCode::configuration,
                given.find("label2id")->second + ": it is not the inverse of " + given.find("id2label")->second,
                "give one of the two; the other follows from it");
  }
}

}  // namespace

bool has_validation_set(const Config& config) {
  return !config.validation_file.empty() || config.validation_split > 0;
}

bool saves_each_evaluation(const Config& config) {
  if (config.eval_strategy != config.save_strategy || config.eval_strategy == Strategy::no) return false;
  return config.eval_strategy == Strategy::epoch || config.save_steps % config.eval_steps == 0;
}

void resolve(Config& config, const Given& given) {
  const auto is_given = [&](std::string_view key) { return given.find(key) != given.end(); };
  if (!is_given("eval_strategy")) config.eval_strategy = has_validation_set(config) ? Strategy::epoch : Strategy::no;
  if (!is_given("save_strategy")) {
    config.save_strategy = config.eval_strategy == Strategy::no ? Strategy::steps : config.eval_strategy;
  }
  if (!is_given("logging_strategy")) {
    config.logging_strategy = config.eval_strategy == Strategy::epoch ? Strategy::epoch : Strategy::steps;
  }
  if (!is_given("eval_steps")) config.eval_steps = config.logging_steps;
  if (!is_given("save_steps") && config.eval_strategy == Strategy::steps) config.save_steps = config.eval_steps;
  if (!is_given("load_best_model_at_end")) config.load_best_model_at_end = saves_each_evaluation(config);
  if (!is_given("greater_is_better")) config.greater_is_better = config.metric_for_best_model != "loss";
  if (config.token_cache_dir.empty()) config.token_cache_dir = default_token_cache_dir();
  resolve_labels(config, given);
}

}  // namespace bertdist
