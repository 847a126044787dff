// Squares of the gradients of filters, without these or the unfolded input in memory.
//
// One sample lies padded and with its channels last, so that the taps of one line of a window are
// adjacent: a run. A gradient is a product of rows of delta, one per output and cotangent, with the
// runs of all positions, and is squared in registers.
#include <vector>

#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "ops.h"

namespace landscape {
namespace {

constexpr int64_t kTogether = 1 << 18;  // elements of padded samples that are in use at a time
constexpr int64_t kRowsOfTask = 32;

// (I, H, W) to (groups, padded H, padded W, I / groups); zeros around are there already.
template <typename scalar_t>
void pack(const FilterGeometry& g, const scalar_t* x, scalar_t* packed) {
  const int64_t line = g.padded_width() * g.channels;
  for (int64_t group = 0; group < g.groups; ++group) {
    for (int64_t h = 0; h < g.input.height; ++h) {
      scalar_t* out = packed + (group * g.padded_height() + h + g.padding.height) * line +
                      g.padding.width * g.channels;
      const scalar_t* in = x + (group * g.channels * g.input.height + h) * g.input.width;
      for (int64_t i = 0; i < g.channels; ++i) {
        const scalar_t* from = in + i * g.input.height * g.input.width;
        for (int64_t w = 0; w < g.input.width; ++w) out[w * g.channels + i] = from[w];
      }
    }
  }
}

template <typename scalar_t>
class FilterPass {
 public:
  FilterPass(const FilterSquares& of, double* sums) : of_(of), g_(of.geometry), sums_(sums) {
    line_ = g_.padded_width() * g_.channels;
    image_ = g_.groups * g_.padded_height() * line_;
    // Neighbouring taps of a line are neighbours in memory, unless they are spread out.
    apart_ = g_.dilation.width > 1 ? g_.window.width : 1;
    taps_ = g_.window.width / apart_ * g_.channels;
    runs_ = g_.window.height * apart_;
  }

  void run() const {
    const int64_t batch = of_.delta.batch, rows = of_.outputs * of_.delta.tangents;
    const int64_t together = std::clamp<int64_t>(kTogether / std::max<int64_t>(1, image_), 1,
                                                 std::max<int64_t>(1, batch));
    std::vector<scalar_t> packed(together * image_ + cpu::kFilterMargin);
    const int64_t work = rows * of_.delta.size / of_.outputs * runs_ * taps_;
    const int threads = cpu::threads_for(work * batch);
    const int64_t tasks = (of_.outputs + outputs_of_task() - 1) / outputs_of_task();
    for (int64_t first = 0; first < batch; first += together) {
      const int64_t count = std::min(together, batch - first);
      cpu::for_each_task(count, threads, [&](int64_t b, int) {
        pack(g_, of_.x.template as<scalar_t>() + (first + b) * of_.x.stride,
             packed.data() + b * image_);
      });
      cpu::for_each_task(tasks, threads, [&](int64_t task, int) {
        for (int64_t b = 0; b < count; ++b) squares(task, first + b, packed.data() + b * image_);
      });
    }
  }

 private:
  int64_t outputs_of_task() const {
    const int64_t wanted =
        std::max<int64_t>(1, kRowsOfTask / std::max<int64_t>(1, of_.delta.tangents));
    return std::min(wanted, of_.outputs / g_.groups);  // one group, if rows are cut evenly
  }

  void squares(int64_t task, int64_t b, const scalar_t* image) const {
    const int64_t of_group = of_.outputs / g_.groups, tangents = of_.delta.tangents;
    const int64_t positions = g_.output.height * g_.output.width;
    const cpu::FilterSteps steps{g_.output.height, g_.output.width, g_.stride.height * line_,
                                 g_.stride.width * g_.channels};
    const int64_t end = std::min(of_.outputs, (task + 1) * outputs_of_task());
    for (int64_t first = task * outputs_of_task(); first < end;) {
      const int64_t group = first / of_group, last = std::min(end, (group + 1) * of_group);
      std::vector<const scalar_t*> deltas;
      std::vector<double*> totals((last - first) * tangents);
      for (int64_t o = first; o < last; ++o) {
        for (int64_t k = 0; k < tangents; ++k) {
          deltas.push_back(of_.delta.template piece<scalar_t>(k, b) + o * positions);
        }
      }
      for (int64_t run = 0; run < runs_; ++run) {
        const int64_t u = run / apart_, v = run % apart_;
        const scalar_t* start = image +
                                (group * g_.padded_height() + u * g_.dilation.height) * line_ +
                                v * g_.dilation.width * g_.channels;
        for (size_t r = 0; r < totals.size(); ++r) {
          totals[r] = sums_ + ((first + r / tangents) * runs_ + run) * taps_;
        }
        cpu::kernels<scalar_t>().filter_squares(deltas.data(), deltas.size(), start, steps, taps_,
                                                totals.data());
      }
      first = last;
    }
  }

  const FilterSquares& of_;
  const FilterGeometry& g_;
  double* sums_;
  int64_t line_, image_, apart_, taps_, runs_;
};

}  // namespace

void filter_squares(const FilterSquares& of, double* sums) {
  const FilterGeometry& g = of.geometry;
  const int64_t size = of.outputs * g.window.height * g.window.width * g.channels;
  std::fill(sums, sums + size, 0.0);
  if (size == 0 || of.delta.tangents * of.delta.batch * of.delta.size == 0) return;
  if (of.delta.scalar == Scalar::float32) {
    FilterPass<float>(of, sums).run();
  } else {
    FilterPass<double>(of, sums).run();
  }
}

}  // namespace landscape
