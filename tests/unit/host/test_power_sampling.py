"""Samples beside a run: their times, the energy, and meters that fail."""

import math
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jalhost.errors import EnvironmentProblem, JalError, LinkError, UsageError
from jalhost.power.meter import Meter, Sample, Sampler, Source, Trace
from jalhost.power.session import Power, open_power
from jalhost.power.spec import parse_meter
from jaltest.sensors import INSTRUMENT, RESOURCE


class Time:
    """A clock that goes on only while samples are waited for, up to an end."""

    def __init__(self, end: float, then: Callable[[float], object] = lambda _: None) -> None:
        self.now, self.end, self.then = 0.0, end, then
        self.over = threading.Event()

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now = min(self.end, self.now + seconds)
        self.then(self.now)
        if self.now < self.end:
            return False
        self.over.set()
        return True


class Scripted:
    """A meter that follows a function of time; an exception is raised."""

    source = Source.METERED
    description = "script"

    def __init__(
        self, time: Time, power: Callable[[float], float], interval_s: float = 0.1
    ) -> None:
        self._time, self._power, self.interval_s = time, power, interval_s
        self.closed = False

    def read_w(self) -> float:
        return self._power(self._time.now)

    def close(self) -> None:
        self.closed = True


def sampled(time: Time, power: Callable[[float], float], interval_s: float = 0.1) -> Trace:
    with Sampler(Scripted(time, power, interval_s), time, time.wait) as sampler:
        assert time.over.wait(10)
    return sampler.trace


def test_energy_is_the_trapezium_rule() -> None:
    trace = Trace((Sample(1.0, 2.0), Sample(2.0, 4.0), Sample(4.0, 0.0)))
    assert trace.energy_j == 3.0 + 4.0
    assert trace.seconds == 3.0
    assert trace.mean_w == pytest.approx(7 / 3)
    assert trace.range_w == (0.0, 4.0)


def test_a_moment_has_a_mean_and_no_energy() -> None:
    trace = Trace((Sample(1.0, 2.0), Sample(1.0, 4.0)))
    assert (trace.energy_j, trace.mean_w) == (0.0, 3.0)


def test_a_run_is_sampled_from_its_start_to_its_end() -> None:
    trace = sampled(Time(1.0), lambda now: 3.0 + now, 0.25)
    assert [sample.seconds for sample in trace.samples] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert trace.energy_j == pytest.approx(3.5)


def test_samples_stand_at_the_middle_of_their_reading() -> None:
    time = Time(1.0)

    def slow(now: float) -> float:
        time.now += 0.1
        return now

    assert sampled(time, slow, 0.9).samples[0].seconds == 0.05


def test_real_time_passes_without_a_clock_of_ours() -> None:
    meter = Scripted(Time(0), lambda _: 2.0, 0.001)
    with Sampler(meter) as sampler:
        threading.Event().wait(0.02)
    trace = sampler.trace
    assert len(trace.samples) >= 3
    assert trace.mean_w == pytest.approx(2.0)
    times = [sample.seconds for sample in trace.samples]
    assert times == sorted(times)


def test_a_meter_that_does_not_work_is_known_before_the_run() -> None:
    def broken(_: float) -> float:
        raise LinkError("it is off")

    with pytest.raises(LinkError, match="it is off"), Sampler(Scripted(Time(1), broken)):
        pytest.fail("the run began")


def test_a_meter_that_fails_in_the_middle_does_not_end_the_run() -> None:
    def fails(now: float) -> float:
        if now > 0.3:
            raise LinkError("it went off")
        return 1.0

    time = Time(1.0)
    with Sampler(Scripted(time, fails), time, lambda s: time.wait(s) or time.now > 0.5) as sampler:
        pass
    with pytest.raises(LinkError, match="it went off"):
        _ = sampler.trace


def test_the_runs_own_error_comes_through() -> None:
    meter = Scripted(Time(1), lambda _: 1.0, 0.001)
    with pytest.raises(KeyboardInterrupt), Sampler(meter):
        raise KeyboardInterrupt
    assert "power" not in [thread.name for thread in threading.enumerate()]


# A simulated instrument, from its name to joules per token.


@pytest.fixture
def instrument(tmp_path: Path) -> str:
    """The name of the meter."""
    path = tmp_path / "meter.yaml"
    path.write_text(INSTRUMENT)
    return f"scpi:{RESOURCE},visa={path}@sim,interval=0.05"


def steps(now: float) -> float:
    """Prefill, decoding with a ripple, and a pause."""
    if now < 1:
        return 4.0
    return 2.5 + 0.5 * math.sin(2 * math.pi * now) if now < 6 else 0.8


STEPS_J = 4.0 + 5 * 2.5 + 2 * 0.8
"""Integral over 8 s: the ripple makes whole periods."""

TOKENS = 40


def play(power: Power, time: Time) -> None:
    with power.run():
        assert time.over.wait(10)


def follow(instrument: str, power: Callable[[float], float]) -> Callable[[float], object]:
    """Has the simulated instrument follow a function of time."""
    meter = parse_meter(instrument).open()
    resource = vars(meter)["_resource"]
    return lambda now: resource.query(f"SET:POW {power(now):.5f}")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_joules_per_token_are_those_of_the_instruments_trace(instrument: str) -> None:
    pytest.importorskip("pyvisa_sim")
    then = follow(instrument, steps)
    then(0.0)
    time = Time(8.0, then)
    power = Power(parse_meter(instrument), None, time, time.wait)
    play(power, time)
    report = power.report(TOKENS)
    power.close()
    assert 160 <= report.samples <= 162  # every 50 ms, and at both ends
    assert report.seconds == pytest.approx(8.0)
    assert report.energy_j == pytest.approx(STEPS_J, rel=0.01)
    assert report.j_per_token == pytest.approx(STEPS_J / TOKENS, rel=0.01)
    assert (report.source, report.meter) == (Source.METERED, f"scpi {RESOURCE}")
    assert (report.idle_w, report.net_energy_j, report.simulated) == (None, None, False)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_idle_baseline_is_measured_and_subtracted(instrument: str) -> None:
    pytest.importorskip("pyvisa_sim")
    then = follow(instrument, steps)
    then(7.0)
    time = Time(8.0, then)
    power = Power(parse_meter(instrument), None, time, time.wait)

    def idle(seconds: float) -> None:
        time.now += seconds

    power.measure_idle(2.0, idle)
    time.now = 0.0
    then(0.0)
    play(power, time)
    report = power.report(TOKENS)
    power.close()
    assert report.idle_w == pytest.approx(0.8)
    assert report.net_energy_j == pytest.approx(STEPS_J - 8 * 0.8, rel=0.01)
    assert report.j_per_token == pytest.approx((STEPS_J - 8 * 0.8) / TOKENS, rel=0.01)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("query=MEAS:POW?", 1.25),
        ("query=MEAS:POW?,unit=mW", 1.25e-3),
        ("query=MEAS:VOLT?,times=MEAS:CURR?", 1.25),
    ],
)
def test_queries_of_instruments(instrument: str, keys: str, expected: float) -> None:
    pytest.importorskip("pyvisa_sim")
    meter = parse_meter(f"{instrument},{keys}").open()
    assert meter.read_w() == pytest.approx(expected)
    meter.close()
    meter.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ("query=MEAS:RES?", ("says '12.5 OHM', and OHM is no unit of power",)),
        ("query=MEAS:NOTHING?", ("says '9.91E37': it has no reading",)),
        ("query=WHAT?", ("says 'ERROR', which is no power",)),
        ("query=MEAS:VOLT?,times=WHAT?", ("says 'ERROR', which is no power",)),
    ],
)
def test_instruments_that_measure_something_else(
    instrument: str, keys: str, parts: tuple[str, ...]
) -> None:
    pytest.importorskip("pyvisa_sim")
    meter = parse_meter(f"{instrument},{keys}").open()
    with pytest.raises(JalError) as error:
        meter.read_w()
    meter.close()
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A port that takes connections, and never says anything unless told to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def over_tcp(server: socket.socket, keys: str = "") -> Meter:
    pytest.importorskip("pyvisa_py")
    port = server.getsockname()[1]
    return parse_meter(f"scpi:TCPIP::127.0.0.1::{port}::SOCKET{keys}").open()


def test_an_instrument_at_a_socket(server: socket.socket) -> None:
    meter = over_tcp(server)
    connection, _ = server.accept()
    with connection:

        def answer() -> None:
            assert connection.recv(100) == b"MEAS:POW?\n"
            connection.sendall(b"1.5 W\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert meter.read_w() == 1.5
        thread.join()
    meter.close()


def test_an_instrument_that_says_nothing(server: socket.socket) -> None:
    meter = over_tcp(server, ",timeout=0.05")
    with pytest.raises(LinkError, match=r"does not answer MEAS:POW\?: Timeout") as error:
        meter.read_w()
    meter.close()
    assert "\n" not in str(error.value)


def test_no_instrument_at_all(server: socket.socket) -> None:
    port = server.getsockname()[1]
    server.close()
    pytest.importorskip("pyvisa_py")
    with pytest.raises(LinkError) as error:
        parse_meter(f"scpi:TCPIP::127.0.0.1::{port}::SOCKET,timeout=0.1").open().read_w()
    assert f"scpi TCPIP::127.0.0.1::{port}::SOCKET does not answer" in str(error.value)
    assert "\n" not in str(error.value)


def test_without_the_library_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jalhost.environment.find_spec", lambda _: None)
    with pytest.raises(EnvironmentProblem, match="needs pyvisa, pyvisa_py") as error:
        parse_meter(f"scpi:{RESOURCE}").open()
    assert "pip install" in error.value.hint
    assert "[power]" in error.value.hint


def test_an_estimate_needs_a_run() -> None:
    with pytest.raises(UsageError, match="nothing runs"), open_power("estimate"):
        pytest.fail("there is nothing to estimate")
