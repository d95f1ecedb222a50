#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace bertdist {

// The keys that the user gave, each with its place ("run.toml:3:1: seed", "--seed").
using Given = std::map<std::string, std::string, std::less<>>;

struct CommandLine {
  std::string config_file;  // empty: none
  struct Argument {
    std::string key;  // may be dotted: "id2label.0"
    std::string value;
  };
  std::vector<Argument> arguments;
};

// Takes the command line apart; which keys there are is known from the options table. Throws Error(configuration).
CommandLine split_command_line(const std::vector<std::string>& arguments);
void read_arguments(const CommandLine& command_line, Config& config, Given& given);

// Of two keys that exclude each other, one on the command line replaces the other one of the file.
void let_command_line_win(Config& config, Given& given);

// "unknown key ..." with the nearest known one as the hint. `place` comes before the message.
[[noreturn]] void fail_unknown_key(const std::string& place, std::string_view key);

bool has_validation_set(const Config& config);
// Each evaluation, which may turn out the best one, has its checkpoint.
bool saves_each_evaluation(const Config& config);

// Fills in the defaults that follow from other keys, and checks what several keys say together.
void resolve(Config& config, const Given& given);
void validate(Command command, const Config& config, const Given& given);

}  // namespace bertdist
