#pragma once

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "config/sweep_spec.h"

namespace bertdist {

// How a [sweep] table spells what has names.
template <typename E, std::size_t size>
using SweepNames = std::array<std::pair<std::string_view, E>, size>;

constexpr SweepNames<SweepSpec::Method, 3> kMethodNames{
    {{"grid", SweepSpec::Method::grid}, {"random", SweepSpec::Method::random}, {"sobol", SweepSpec::Method::sobol}}};
constexpr SweepNames<SweepSpec::Distribution, 7> kDistributionNames{
    {{"constant", SweepSpec::Distribution::constant},
     {"categorical", SweepSpec::Distribution::categorical},
     {"int_uniform", SweepSpec::Distribution::int_uniform},
     {"uniform", SweepSpec::Distribution::uniform},
     {"q_uniform", SweepSpec::Distribution::q_uniform},
     {"log_uniform_values", SweepSpec::Distribution::log_uniform_values},
     {"normal", SweepSpec::Distribution::normal}}};
constexpr SweepNames<SweepSpec::SaveTrials, 3> kSaveTrialsNames{{{"best", SweepSpec::SaveTrials::best},
                                                                 {"all", SweepSpec::SaveTrials::all},
                                                                 {"none", SweepSpec::SaveTrials::none}}};
constexpr SweepNames<SweepSpec::EarlyTerminate::Type, 2> kEarlyTerminateNames{
    {{"asha", SweepSpec::EarlyTerminate::Type::asha}, {"median", SweepSpec::EarlyTerminate::Type::median}}};
constexpr SweepNames<bool, 2> kGoalNames{{{"minimize", false}, {"maximize", true}}};

template <typename E, std::size_t size>
constexpr std::string_view name_of(const SweepNames<E, size>& names, E meaning) {
  return std::find_if(names.begin(), names.end(), [&](const auto& n) { return n.second == meaning; })->first;
}

template <typename E, std::size_t size>
std::vector<std::string_view> names_in(const SweepNames<E, size>& names) {
  std::vector<std::string_view> words;
  for (const auto& [name, meaning] : names) words.push_back(name);
  return words;
}

}  // namespace bertdist
