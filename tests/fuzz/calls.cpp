#include "calls.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <new>

#include "core/error.h"
#include "core/random.h"
#include "images.h"
#include "promises.h"
#include "specs.h"

namespace fuzz {

using namespace sparsebp;

namespace {

// What a fuzzer runs: more multiply-adds in a pass, or in all calls, or more bytes take too long.
constexpr double kMostPass = 3e6, kMostWork = 4e6;
constexpr std::size_t kMostBlock = std::size_t{1} << 24;

template <class T>
class Caller {
 public:
  Caller(AnyProgram& program, Choices& choices)
      : program_(program), spec_(program.spec()), choices_(choices), params_(spec_.layers.size()) {
    pass_ = work(spec_);
    small_ = pass_ <= kMostPass && program.training_layout().peak() <= kMostBlock &&
             program.workspace_layout().peak() <= kMostBlock;
    if (!small_) return;
    for (std::size_t l = 0; l < params_.size(); ++l) params_[l] = Params(*this, spec_.layers[l]);
  }

  void run() {
    if (choices_.flag()) {
      attempt([&] { allocate(program_.training_layout().peak()); });
      for (int l = 0; l < layers(); ++l) attempt([&] { bind(l); });
    }
    for (int calls = 0; calls < 24 && choices_.any() && done_ <= kMostWork; ++calls) {
      if (choices_.rarely(3)) {
        step();
      } else {
        attempt([&] { any_call(); });
      }
    }
    if (program_.arena() == nullptr) return;
    program_.discard();
    require(program_.arena()->used() == persistent_bytes(), "a landed program holds its persistent state alone");
  }

 private:
  // Exactly so many numbers on the heap, so that a sanitizer sees who reads beyond.
  class Block {
   public:
    Block() = default;
    Block(Caller& caller, Index count) : Block(caller, static_cast<std::size_t>(count)) {}
    Block(Caller& caller, std::size_t count) : size_(count), data_(new T[count]) {
      for (std::size_t i = 0; i < size_; ++i) {
        data_[i] = static_cast<T>(2 * random_unit(11, caller.drawn_++) - 1);
      }
    }
    T* data() const { return size_ > 0 ? data_.get() : nullptr; }
    std::size_t size() const { return size_; }

   private:
    std::size_t size_ = 0;
    std::unique_ptr<T[]> data_;
  };

  struct Params {
    Block weight, bias, gamma, beta, mean, var;

    Params() = default;
    Params(Caller& caller, const LayerSpec& layer) {
      const Index out = layer.shape.out, vector = layer.shared ? 1 : out;
      if (layer.has_weight()) weight = Block(caller, layer.shape.weights());
      if (layer.has_bias) bias = Block(caller, vector);
      if (layer.has_norm) mean = Block(caller, out), var = Block(caller, out);
      for (std::size_t i = 0; i < var.size(); ++i) var.data()[i] = std::abs(var.data()[i]);
      if (!layer.has_scale() || caller.choices_.rarely(8)) return;  // a norm may be without scale and shift
      gamma = Block(caller, vector);
      if (layer.has_norm) beta = Block(caller, out);
    }
  };

  template <class Call>
  void attempt(const Call& call) {
    const Counters before(program_);
    bool refused = true;
    try {
      call();
      refused = false;
    } catch (const InvalidArgument&) {
    } catch (const WrongState&) {
    } catch (const BudgetExceeded&) {
    } catch (const NonFinite&) {
    } catch (const std::bad_alloc&) {
    }
    require(!refused || before == Counters(program_), "a refused call changes nothing");
    if (program_.arena() == nullptr) return;
    require(program_.arena()->peak() <= program_.training_layout().peak(),
            "the measured peak is within the planned one");
    require(program_.workspace()->used() == 0, "nothing is held in the workspace between calls");
  }

  void any_call() {
    switch (choices_.below(19)) {
      case 0:
        return allocate(odd_bytes());
      case 1:
        return bind(odd_layer());
      case 2:
      case 3:
        return forward();
      case 4:
      case 5:
        return backward();
      case 6:
        return program_.apply(rules());
      case 7:
        return program_.draw(odd_layer(), odd_draw(), choices_.word(), choices_.word());
      case 8:
        return program_.draw_all(odd_draw(), choices_.word(), choices_.word());
      case 9:
        return set_indices();
      case 10:
        program_.indices(odd_layer());
        program_.visited(odd_layer());
        return;
      case 11:
        return read_or_write();
      case 12: {
        const char* const names[] = {"weight", "bias", "beta", "", "gamma"};
        const auto region = program_.sum_region(odd_layer(), choices_.of(names));
        require(region.offset + region.bytes <= program_.arena()->capacity(), "sums lie in the arena");
        return;
      }
      case 13:
        return program_.discard();
      case 14:
        return program_.prepare_replay(rules(), choices_.word());
      case 15:
        return program_.replayed();
      case 16:
        return own_gradient();
      case 17:
        return program_.set_spare(odd_layer(), choices_.below(12) - 1);
      default:
        program_.set_stream(choices_.word());
        program_.spoilt();
    }
  }

  int layers() const { return static_cast<int>(spec_.layers.size()); }
  int ops() const { return static_cast<int>(spec_.ops.size()); }
  Index count(int value) const { return spec_.values[static_cast<std::size_t>(value)].count(); }

  int odd_layer() { return static_cast<int>(choices_.below(layers() + 2)) - (choices_.rarely(8) ? 1 : 0); }
  Draw odd_draw() { return static_cast<Draw>(choices_.rarely(8) ? choices_.byte() - 100 : choices_.below(4)); }
  std::size_t odd_bytes() {
    const std::size_t peak = program_.training_layout().peak();
    const std::size_t all[] = {peak, peak + 1, peak - 1, 0, std::numeric_limits<std::size_t>::max(), peak + 4096};
    return choices_.of(all);
  }

  // Where the address is used it is right; now and then it is none that could be.
  template <class P>
  P* odd(P* address) {
    if (!choices_.rarely(16)) return address;
    return choices_.flag() ? nullptr : reinterpret_cast<P*>(reinterpret_cast<std::uintptr_t>(address) | 1);
  }

  void allocate(std::size_t budget) {
    if (!small_ && budget >= program_.training_layout().peak()) return;
    program_.allocate(budget);
  }

  void bind(int layer) {
    if (!small_ || layer < 0 || layer >= layers()) return program_.bind(layer, {});
    const Params& p = params_[static_cast<std::size_t>(layer)];
    program_.bind(layer, {odd(p.weight.data()), odd(p.bias.data()), odd(p.gamma.data()), odd(p.beta.data()),
                          odd(p.mean.data()), odd(p.var.data())});
  }

  void forward() {
    const bool save = choices_.flag(), drop = choices_.flag();
    int first = 0, last = ops();
    Index images = choices_.from(0, std::min<Index>(spec_.batch, 3));
    if (choices_.flag()) {
      first = static_cast<int>(choices_.below(ops() + 1)) - (choices_.rarely(8) ? 1 : 0);
      last = static_cast<int>(choices_.below(ops() + 2));
    }
    if (choices_.rarely(16)) images = choices_.flag() ? -1 : spec_.batch + 1;
    const bool fits = small_ && images >= 0 && images <= spec_.batch && first >= 0 && first < last && last <= ops();
    if (!fits) return program_.forward(first, last, nullptr, nullptr, images, save, drop, 3);
    const OpSpec &begin = spec_.ops[static_cast<std::size_t>(first)],
                 &end = spec_.ops[static_cast<std::size_t>(last) - 1];
    done_ += pass_;
    const Block in(*this, images * count(begin.inputs[0])), out(*this, images * count(end.output));
    if (choices_.rarely(3)) {
      if (!forward_bytes(first, last, out.data(), images, save)) return;
    } else {
      void* place = choices_.rarely(4) && last == ops() ? program_.output() : nullptr;
      place = place != nullptr ? place : odd(out.data());
      program_.forward(first, last, odd(in.data()), place, images, save, drop, choices_.word());
    }
    if (save) flight_ = images;
  }

  // False if a reader ended, and the pass with it: only the output of the one before is gone.
  bool forward_bytes(int first, int last, T* out, Index images, bool save) {
    Images pictures(spec_.values[static_cast<std::size_t>(spec_.input)], images);
    PassInput in =
        choices_.flag() ? pictures.bytes() : pictures.rows(choices_.rarely(4) ? choices_.below(20) : 1 << 20);
    if (choices_.rarely(8)) in.table = nullptr;
    std::uint8_t* const place = program_.pictures();
    const std::size_t bytes = static_cast<std::size_t>(images * count(spec_.input));
    if (in.bytes != nullptr && place != nullptr && choices_.flag() && !program_.in_flight()) {
      in.bytes = std::copy_n(in.bytes, bytes, place) - bytes;
    }
    try {
      program_.forward(first, last, in, out, images, save, true, 5);
      return true;
    } catch (const InvalidArgument&) {
      if (!pictures.ended()) throw;
      require(!program_.in_flight(), "a pass without its images is none");
      return false;
    }
  }

  void backward() {
    if (!small_) return program_.backward(nullptr, nullptr, {}, false);
    const Block dy(*this, flight_ * count(spec_.output)), dx(*this, flight_ * count(spec_.input));
    if (dy.size() > 0 && choices_.rarely(16)) dy.data()[dy.size() - 1] = std::numeric_limits<T>::quiet_NaN();
    const bool keep = choices_.rarely(4);
    program_.backward(odd(dy.data()), spec_.input_grad ? odd(dx.data()) : nullptr, rules(), keep);
  }

  // As training does it. A gradient may be beyond what is finite.
  void step() {
    if (!small_) return;
    done_ += 3 * pass_;
    const Block in(*this, spec_.batch * count(spec_.input)), out(*this, spec_.batch * count(spec_.output));
    const Block dx(*this, in.size());
    rules();
    attempt([&] { program_.draw_all(choices_.flag() ? Draw::uniform : Draw::cyclic, 17, drawn_); });
    attempt([&] {
      program_.forward(0, ops(), in.data(), out.data(), spec_.batch, true, true, drawn_);
      flight_ = spec_.batch;
    });
    if (spec_.loss) attempt([&] { own_gradient(); });
    if (flight_ == spec_.batch) attempt([&] { program_.backward(out.data(), dx.data(), rules_, false); });
    if (spec_.sums) attempt([&] { program_.apply(rules_); });
  }

  // The program's own place for the output's gradient holds all of it, and is the same until the pass has landed.
  void own_gradient() {
    auto* const gradient = static_cast<T*>(program_.loss_gradient());
    std::fill_n(gradient, flight_ * count(spec_.output), T(0.5));
    require(gradient == program_.loss_gradient(), "the gradient of the output stays where it is");
  }

  const std::vector<LayerRule>& rules() {
    const ParameterRule kinds[] = {
        {true, 1e-3, 0, 0, false}, {true, 1e-3, 1e-4, 0.9, true}, {}, {true, NAN, -INFINITY, 2, false}};
    const ParameterRule& kind = kinds[choices_.rarely(16) ? 3 : choices_.below(3)];
    rules_.assign(spec_.layers.size() + (choices_.rarely(16) ? 1 : 0), {kind, kind, kind});
    return rules_;
  }

  void set_indices() {
    const int layer = odd_layer();
    std::vector<std::int32_t> channels;
    if (layer >= 0 && layer < layers()) {
      const LayerSpec& l = spec_.layers[static_cast<std::size_t>(layer)];
      if (l.selected > 4096) return;
      for (Index j = 0; j < l.selected; ++j) channels.push_back(static_cast<std::int32_t>(l.shape.in - 1 - j));
    }
    if (choices_.rarely(4)) channels.push_back(choices_.byte() - 128);
    if (!channels.empty() && choices_.rarely(4)) channels[0] = static_cast<std::int32_t>(choices_.word());
    program_.set_indices(layer, channels);
  }

  void read_or_write() {
    const auto all = program_.persistent();
    Region region{"", static_cast<std::size_t>(choices_.word()), 16};
    if (!all.empty() && !choices_.rarely(8)) {
      region = all[static_cast<std::size_t>(choices_.below(static_cast<Index>(all.size())))];
    }
    if (choices_.rarely(8)) region.bytes += choices_.byte();
    if (region.bytes > kMostBlock) return;
    std::vector<unsigned char> bytes(region.bytes);
    program_.read(region, bytes.data());
    for (unsigned char& byte : bytes) byte = choices_.any() ? choices_.byte() : byte;
    program_.write(region, bytes.data());
  }

  std::size_t persistent_bytes() const {
    std::size_t bytes = 0;
    for (const auto& region : program_.persistent()) bytes += region.bytes;
    return bytes;
  }

  AnyProgram& program_;
  const ProgramSpec& spec_;
  Choices& choices_;
  double pass_ = 0, done_ = 0;  // multiply-adds
  bool small_ = false;
  std::vector<Params> params_;
  std::vector<LayerRule> rules_;
  Index flight_ = 0;  // images of the last training forward pass
  std::uint64_t drawn_ = 0;
};

}  // namespace

void call(AnyProgram& program, bool float64, Choices& choices) {
  if (float64) {
    Caller<double>(program, choices).run();
  } else {
    Caller<float>(program, choices).run();
  }
}

}  // namespace fuzz
