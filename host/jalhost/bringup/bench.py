"""What the stages of a bring-up work on: one device, and what is known of it so far."""

import shlex
from dataclasses import dataclass
from functools import cached_property

from jalgateware.contract.mailbox import MAGIC, BootReason, Field, Flag
from jalhost.bringup.access import Access
from jalhost.bringup.build import Build
from jalhost.bringup.sensors import ReadSensors, watts
from jalhost.bringup.stages import Stage, StageFailure
from jalhost.bundle import Bundle
from jalhost.device import Device
from jalhost.errors import JalError
from jalhost.flash.loader import Loader
from jalhost.links.link import Link
from jalhost.mailbox import Mailbox
from jalhost.models.image import Image
from jalhost.progress import Report


@dataclass
class Bench:
    """One device under test.

    Args:
        target: as it was named.
        access: how it is reached.
        image: the model of the stages ``token`` and ``tokens``.
        report: takes lines of progress.
        bundle: what is in the board, or should be.
        cable, cable_serial: as ``jalhost flash`` takes them.
        read_sensors: reads its sensors; None: nothing does.
        fault: what is broken on purpose.
    """

    target: str
    access: Access
    image: Image
    report: Report
    bundle: Bundle | None = None
    cable: str | None = None
    cable_serial: str | None = None
    read_sensors: ReadSensors | None = None
    fault: str = ""
    loader: Loader | None = None
    """openFPGALoader, once the stage ``cable`` has found it."""

    @property
    def build(self) -> Build | None:
        """What the device should be."""
        return self.access.build

    @cached_property
    def link(self) -> Link:
        """The link, opened once.

        Raises:
            LinkError: nothing answers.
        """
        return self.access.open()

    @cached_property
    def mailbox(self) -> Mailbox:
        """The mailbox; the firmware may not be ready."""
        return Mailbox(self.link, self.access.patience_s)

    @cached_property
    def device(self) -> Device:
        """The device, whose firmware is ready and finds no fault.

        Raises:
            DeviceError: it is not.
        """
        access = self.access
        device = Device(
            self.link,
            ready_timeout_s=access.boot_timeout_s,
            patience_s=access.patience_s,
        )
        access.settle(self.link, device.identity)
        return device

    @cached_property
    def simulated(self) -> bool:
        """Whether it is in a simulator, started here or by somebody else."""
        if self.access.simulated:
            return True
        flags = self.mailbox.read_steady(Field.FLAGS)[0]
        return bool(flags >> Flag.SIMULATED & 1)

    @property
    def boots(self) -> int | None:
        """Starts of the firmware, where it is known to run."""
        if "mailbox" not in self.__dict__:
            return None
        try:
            ready = self.mailbox.read_steady(Field.MAGIC)[0] == MAGIC
            return self.mailbox.read_steady(Field.BOOTS)[0] if ready else None
        except JalError:
            return None

    def check_boots(self, before: int | None) -> None:
        """Fails a stage in which the CPU started again.

        Raises:
            StageFailure: it did.
        """
        after = self.boots
        if before is None or after is None or before == after:
            return
        reason = BootReason(self.mailbox.read_steady(Field.BOOT_REASON)[0]).name
        raise StageFailure(
            f"the CPU started again during this stage ({reason})",
            ("the firmware hung: the watchdog reset it", "the supply drops under load"),
            self.command(Stage.FIRMWARE),
            layer=Stage.FIRMWARE,
        )

    def watts(self) -> float | None:
        """Power, where the device is open and has sensors that say."""
        if self.read_sensors is None or "device" not in self.__dict__:
            return None
        try:
            return watts(self.read_sensors(self.device))
        except JalError:
            return None  # the stage ``sensors`` tells

    def command(self, stage: Stage, *options: str) -> str:
        """The command that looks at one stage again."""
        words = ["jalhost", "bringup", "--target", self.target]
        words += ["--bundle", str(self.bundle.path)] if self.bundle else []
        words += ["--fault", self.fault] if self.fault else []
        return shlex.join([*words, "--stage", stage.value, *options])

    def flash_command(self) -> str:
        """The command that writes the bundle into the board."""
        return f"jalhost flash {self.bundle_name} --target {shlex.quote(self.target)}"

    @property
    def bundle_name(self) -> str:
        """The bundle, as a shell takes it."""
        return shlex.quote(str(self.bundle.path)) if self.bundle else "BUNDLE.jalb"

    def prepare(self) -> None:
        """Gets a simulator to run, which is none of the stages' time.

        Raises:
            BuildError: it cannot be built or does not start.
        """
        if self.access.simulated:
            self.access.time()

    def close(self) -> None:
        """Gives link and simulator back; a further round opens them again."""
        if "link" in self.__dict__:
            self.link.close()
        for name in ("link", "mailbox", "device", "simulated"):
            self.__dict__.pop(name, None)
        self.access.close()
