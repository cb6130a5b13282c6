#include "training/batch.h"

#include <string>

namespace sparsebp {

void check_labels(const std::int32_t* labels, Index images, Index classes) {
  if (images < 1) throw InvalidArgument("n: expected at least one image, got " + std::to_string(images));
  if (labels == nullptr) throw InvalidArgument("labels: expected one for each image, got none");
  for (Index i = 0; i < images; ++i) {
    if (labels[i] < 0 || labels[i] >= classes) {
      throw InvalidArgument("labels: expected 0 to " + std::to_string(classes - 1) + ", got " +
                            std::to_string(labels[i]) + " for image " + std::to_string(i));
    }
  }
}

}  // namespace sparsebp
