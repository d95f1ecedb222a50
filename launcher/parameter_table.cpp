#include "parameter_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <span>
#include <string_view>
#include <vector>

#include "report/table.h"

namespace bertdist {

namespace {

constexpr std::string_view kLayerPrefix = "bert.encoder.layer.";

// The parameters of one encoder layer, or one parameter outside the encoder.
struct Group {
  int layer = -1;  // -1: outside the encoder
  std::span<const ParameterStatus> parameters;
};

int layer_of(std::string_view name) {
  int layer = -1;
  if (name.starts_with(kLayerPrefix))
    std::from_chars(name.data() + kLayerPrefix.size(), name.data() + name.size(), layer);
  return layer;
}

std::string_view name_in_layer(std::string_view name) {
  return name.substr(std::min(name.size(), name.find('.', kLayerPrefix.size())));
}

std::vector<Group> groups_of(std::span<const ParameterStatus> parameters) {
  std::vector<Group> groups;
  for (std::size_t begin = 0; begin < parameters.size();) {
    const int layer = layer_of(parameters[begin].name);
    std::size_t end = begin + 1;
    while (layer >= 0 && end < parameters.size() && layer_of(parameters[end].name) == layer) ++end;
    groups.push_back({layer, parameters.subspan(begin, end - begin)});
    begin = end;
  }
  return groups;
}

bool are_alike(const Group& a, const Group& b) {
  return a.layer >= 0 && b.layer >= 0 &&
         std::equal(a.parameters.begin(), a.parameters.end(), b.parameters.begin(), b.parameters.end(),
                    [](const ParameterStatus& p, const ParameterStatus& q) {
                      return p.shape == q.shape && p.trainable == q.trainable &&
                             name_in_layer(p.name) == name_in_layer(q.name);
                    });
}

void add_rows(TablePrinter& table, const Group& first, int last_layer) {
  for (const ParameterStatus& parameter : first.parameters) {
    const std::string name = first.layer == last_layer ? parameter.name
                                                       : fmt::format("{}{}-{}{}", kLayerPrefix, first.layer, last_layer,
                                                                     name_in_layer(parameter.name));
    table.add_row({name, fmt::format("[{}]", fmt::join(parameter.shape, ", ")), parameter.trainable ? "yes" : "no"});
  }
}

}  // namespace

std::string parameter_table(const Freezing& freezing) {
  TablePrinter table({{"parameter"}, {"shape"}, {"trainable"}});
  const std::vector<Group> groups = groups_of(freezing.parameters);
  for (std::size_t begin = 0; begin < groups.size();) {
    std::size_t end = begin + 1;
    while (end < groups.size() && are_alike(groups[begin], groups[end])) ++end;
    add_rows(table, groups[begin], groups[end - 1].layer);
    begin = end;
  }
  return fmt::format("{}\ntrainable parameters: {} of {} ({:.2f} %)\n", table.to_string(),
                     with_thousands_separators(freezing.num_trainable), with_thousands_separators(freezing.num_total),
                     100.0 * static_cast<double>(freezing.num_trainable) / static_cast<double>(freezing.num_total));
}

}  // namespace bertdist
