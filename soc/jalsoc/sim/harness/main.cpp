// Runs the verilated system: clock, byte stream, control, and an orderly end.

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "control.h"
#include "design.h"
#include "endpoints.h"
#include "ethernet.h"
#include "line_faults.h"
#include "pages.h"
#include "pcie.h"

namespace {

// Cycles between two looks at the sockets: one system call then costs less than a percent.
constexpr unsigned POLL_CYCLES = 128;

// Polls between two looks at the clock on the wall, the parent and the limits.
constexpr unsigned CHECK_POLLS = 32;

// What a place for the code is judged by, and how many are tried before one is taken: the first
// that is hardly worse than the best before it.
constexpr unsigned TRIAL_CYCLES = 4096;
constexpr unsigned MIN_TRIALS = 5;
constexpr double HARDLY = 1.01;

// A system that its host has not talked to for so long waits for it: it sleeps between two polls,
// so that it leaves the processor to whoever the host waits for, and still gets on. A sleep is so
// many times as long as the cycles behind it, on a slow machine as on a fast one.
constexpr double NAP_AFTER_S = 0.2;
constexpr std::chrono::microseconds MIN_NAP(2000);
constexpr int NAP_SHARE = 4;

volatile sig_atomic_t signalled = 0;

void on_signal(int) { signalled = 1; }

struct Options {
  std::string rom;
  std::string ready_fields;  // JSON members that the ready event repeats
  std::vector<std::string> preloads;  // OFFSET:FILE
  std::string trace_file;
  uint64_t trace_start = 0;
  uint64_t trace_cycles = 1000000;
  uint64_t max_cycles = 0;
  uint64_t cycles_per_byte = 0;
  double clock_hz = 100e6;
  std::string fault;      // of the DRAM: NAME:NUMBER:...
  std::string bus_write;  // CYCLE:ADDRESS:VALUE
  uint64_t line_fault_bytes = 0;
  double idle_exit_s = 0;
  uint16_t port = 0;
  uint16_t udp_port = 0;
  bool terminal = false;
  bool attached = false;
};

// Options are written by the program that starts this one, so a message is all they need.
Options parse(int argc, char **argv) {
  Options options;
  for (int i = 1; i < argc; i++) {
    const std::string name = argv[i];
    if (name == "--pty") {
      options.terminal = true;
      continue;
    }
    if (name == "--attached") {
      options.attached = true;
      continue;
    }
    if (++i == argc) throw std::runtime_error("option " + name + " needs a value");
    const std::string value = argv[i];
    if (name == "--rom") options.rom = value;
    else if (name == "--ready-fields") options.ready_fields = value;
    else if (name == "--preload") options.preloads.push_back(value);
    else if (name == "--trace-file") options.trace_file = value;
    else if (name == "--trace-start") options.trace_start = std::stoull(value);
    else if (name == "--trace-cycles") options.trace_cycles = std::stoull(value);
    else if (name == "--max-cycles") options.max_cycles = std::stoull(value);
    else if (name == "--cycles-per-byte") options.cycles_per_byte = std::stoull(value);
    else if (name == "--clock-hz") options.clock_hz = std::stod(value);
    else if (name == "--dram-fault") options.fault = value;
    else if (name == "--bus-write") options.bus_write = value;
    else if (name == "--line-fault") options.line_fault_bytes = std::stoull(value);
    else if (name == "--idle-exit") options.idle_exit_s = std::stod(value);
    else if (name == "--port") options.port = static_cast<uint16_t>(std::stoul(value));
    else if (name == "--udp-port") options.udp_port = static_cast<uint16_t>(std::stoul(value));
    else throw std::runtime_error("unknown option " + name);
  }
  return options;
}

void preload(Design &design, const std::string &argument) {
  const size_t colon = argument.find(':');
  const std::string path = argument.substr(colon + 1);
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  const std::vector<char> data{std::istreambuf_iterator<char>(file), {}};
  if (!design.write_dram(std::stoull(argument.substr(0, colon)),
                         reinterpret_cast<const uint8_t *>(data.data()), data.size()))
    throw std::runtime_error(path + " does not fit the simulated DRAM");
}

// The numbers of NAME:NUMBER:NUMBER...
std::vector<uint64_t> numbers_in(const std::string &text) {
  std::istringstream parts(text);
  std::string part;
  std::getline(parts, part, ':');
  std::vector<uint64_t> numbers;
  while (std::getline(parts, part, ':')) numbers.push_back(std::stoull(part, nullptr, 0));
  return numbers;
}

// One direction of a serial line: a byte every so many cycles, or as fast as possible.
class Pace {
 public:
  explicit Pace(uint64_t cycles_per_byte) : period_(cycles_per_byte) {}
  bool allows(uint64_t cycle) const { return cycle >= next_; }
  void passed(uint64_t cycle) { next_ = cycle + period_; }

 private:
  uint64_t period_;
  uint64_t next_ = 0;
};

class Simulation {
 public:
  Simulation(const Options &options, Design &design, Endpoints &endpoints, Ethernet &ethernet)
      : options_(options),
        design_(design),
        endpoints_(endpoints),
        ethernet_(ethernet),
        control_(design, options.attached, options.clock_hz),
        line_in_(options.line_fault_bytes),
        line_out_(options.line_fault_bytes),
        input_(options.cycles_per_byte),
        output_(options.cycles_per_byte),
        parent_(getppid()),
        last_active_(Clock::now()),
        last_talk_(last_active_) {
#ifdef PCIE_BAR0
    design.attach(pcie_);
#endif
    if (options.bus_write.empty()) return;
    const std::vector<uint64_t> plan = numbers_in("write:" + options.bus_write);
    if (plan.size() != 3) throw std::runtime_error("--bus-write CYCLE:ADDRESS:VALUE");
    intruder_.plan(plan[0], static_cast<uint32_t>(plan[1]), static_cast<uint32_t>(plan[2]));
  }

  // Members of the ready event for links besides the serial port.
  std::string link_fields() const {
#ifdef PCIE_BAR0
    return ", \"pcie\": [\"127.0.0.1\", " + std::to_string(pcie_.port()) + "]";
#else
    return "";
#endif
  }

  // Runs until there is a reason to stop, and returns it.
  std::string run() {
    if (options_.max_cycles == 0 && options_.trace_file.empty()) settle();
    for (unsigned polls = 0;; polls++) {
      endpoints_.poll();
      ethernet_.poll();
#ifdef PCIE_BAR0
      pcie_.poll();
#endif
      std::string reason = control_.poll();
      if (reason.empty() && (polls % CHECK_POLLS == 0 || signalled)) reason = check();
      if (!reason.empty()) return reason;
      const bool nap = napping_ && !talked_;
      const Clock::time_point start = nap ? Clock::now() : Clock::time_point();
      for (unsigned i = 0; i < POLL_CYCLES; i++) {
        if (options_.max_cycles && design_.cycles() >= options_.max_cycles) return "max-cycles";
        step();
      }
      if (nap && !talked_) {
        const Clock::duration worked = Clock::now() - start;
        std::this_thread::sleep_for(std::max<Clock::duration>(MIN_NAP, NAP_SHARE * worked));
      }
    }
  }

 private:
  using Clock = std::chrono::steady_clock;

  // Finds the code a good place, while the first cycles are simulated.
  void settle() {
    CodePlaces places;
    double best = trial();  // this one meets cold caches
    for (unsigned trials = 1; places.next(); trials++) {
      const double seconds = trial();
      if (trials >= MIN_TRIALS && seconds < best * HARDLY) return;
      best = std::min(best, seconds);
    }
  }

  // Processor time of some cycles.
  double trial() {
    timespec start, end;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    for (unsigned i = 0; i < TRIAL_CYCLES; i++) step();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    return static_cast<double>(end.tv_sec - start.tv_sec) +
           1e-9 * static_cast<double>(end.tv_nsec - start.tv_nsec);
  }

  void step() {
    const uint64_t now = design_.cycles();
    const bool intruder = intruder_.speaks(now);
    const std::optional<uint8_t> input = intruder ? intruder_.byte() : offer(now);
    const bool room = endpoints_.has_room() && output_.allows(now);
    ethernet_.step(design_);
    const Design::Exchange exchange = design_.cycle(input, room);
    talked_ |= exchange.taken || exchange.output;
    if (exchange.taken && intruder) {
      intruder_.taken();
    } else if (exchange.taken) {
      intruder_.overhears(*offered_);
      offered_.reset();
      endpoints_.take_input();
      input_.passed(now);
    }
    if (exchange.output) {
      endpoints_.put_output(line_out_.pass(*exchange.output));
      output_.passed(now);
    }
  }

  // The client's next byte, as the line makes it; the same one until it is taken.
  std::optional<uint8_t> offer(uint64_t now) {
    if (!offered_ && endpoints_.has_input() && input_.allows(now))
      offered_ = line_in_.pass(endpoints_.input());
    return offered_;
  }

  std::string check() {
    if (signalled) return "signal";
    // Not by PR_SET_PDEATHSIG: that fires when the thread ends that started this process.
    if (getppid() != parent_) return "parent";
    if (design_.finished()) return "finish";
    const Clock::time_point now = Clock::now();
    bool packets = ethernet_.active();
#ifdef PCIE_BAR0
    packets |= pcie_.active();
#endif
    if (endpoints_.active() || packets) last_active_ = now;
    if (talked_ || packets) {
      last_talk_ = now;
      known_ = true;
      talked_ = false;
    }
    // Before its host has found it, it starts; and who asked for cycles waits for them.
    const std::chrono::duration<double> silence = now - last_talk_;
    napping_ = known_ && silence.count() > NAP_AFTER_S && options_.max_cycles == 0 &&
               options_.trace_file.empty();
    const std::chrono::duration<double> idle = now - last_active_;
    if (options_.idle_exit_s > 0 && idle.count() > options_.idle_exit_s) return "idle";
    return "";
  }

  const Options &options_;
  Design &design_;
  Endpoints &endpoints_;
  Ethernet &ethernet_;
#ifdef PCIE_BAR0
  PcieLink pcie_;
#endif
  Control control_;
  NoisyLine line_in_, line_out_;
  Intruder intruder_;
  std::optional<uint8_t> offered_;
  Pace input_, output_;
  pid_t parent_;
  Clock::time_point last_active_, last_talk_;
  bool talked_ = false, known_ = false, napping_ = false;
};

int simulate(const Options &options) {
  Design design;
  design.load_rom(options.rom);
  for (const std::string &argument : options.preloads) preload(design, argument);
  const std::string fault = options.fault.substr(0, options.fault.find(':'));
  if (!fault.empty() && !design.break_dram(fault, numbers_in(options.fault)))
    throw std::runtime_error("there is no fault " + fault + " of the DRAM");
  if (!options.trace_file.empty())
    design.trace(options.trace_file, options.trace_start, options.trace_cycles);
  Endpoints endpoints(options.port);
  Ethernet ethernet(options.udp_port);
  const std::string terminal = options.terminal ? endpoints.open_terminal() : "";

  std::string ready = "{\"event\": \"ready\", \"tcp\": [\"127.0.0.1\", " +
                      std::to_string(endpoints.port()) +
                      "], \"pty\": " + (terminal.empty() ? "null" : quoted(terminal)) +
                      ethernet.ready_field() + ", \"pid\": " + std::to_string(getpid());
  Simulation simulation(options, design, endpoints, ethernet);
  ready += simulation.link_fields();
  if (!options.ready_fields.empty()) ready += ", " + options.ready_fields;
  if (!emit(ready + "}")) return 1;

  const auto start = std::chrono::steady_clock::now();
  const std::string reason = simulation.run();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  emit("{\"event\": \"stopped\", \"reason\": " + quoted(reason) +
       ", \"cycles\": " + std::to_string(design.cycles()) +
       ", \"seconds\": " + std::to_string(seconds.count()) + "}");
  return 0;
}

}  // namespace

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  try {
    return simulate(parse(argc, argv));
  } catch (const std::exception &error) {
    emit_error(error.what(), "");
    return 1;
  }
}
