#pragma once

#include "data/label_map.h"
#include "job.h"
#include "pretrained/bert_config.h"
#include "train/dataset.h"

namespace bertdist {

// Tells how many training rows each label has, and warns of labels that are probably one, and of names that are not
// those which a fine-tuned checkpoint was trained with. Not collective; rank 0 speaks.
void report_labels(const Job& job, const LabelMap& labels, const Dataset& train, const BertConfig& checkpoint);

}  // namespace bertdist
