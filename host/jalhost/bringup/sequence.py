"""All stages, by name."""

from collections.abc import Mapping

from jalhost.bringup.cable import cable, configuration, idcode
from jalhost.bringup.clocks import clocks
from jalhost.bringup.dram import dram_address, dram_data, dram_march, dram_random, dram_retention
from jalhost.bringup.engine import bandwidth, engine
from jalhost.bringup.identity import firmware, identity
from jalhost.bringup.levelling import levelling
from jalhost.bringup.link import link
from jalhost.bringup.sensors import sensors
from jalhost.bringup.stages import Stage, StageFunction
from jalhost.bringup.tokens import token, tokens

FUNCTIONS: Mapping[Stage, StageFunction] = {
    Stage.CABLE: cable,
    Stage.IDCODE: idcode,
    Stage.CONFIGURATION: configuration,
    Stage.LINK: link,
    Stage.IDENTITY: identity,
    Stage.FIRMWARE: firmware,
    Stage.CLOCKS: clocks,
    Stage.LEVELLING: levelling,
    Stage.DRAM_DATA: dram_data,
    Stage.DRAM_ADDRESS: dram_address,
    Stage.DRAM_RANDOM: dram_random,
    Stage.DRAM_MARCH: dram_march,
    Stage.DRAM_RETENTION: dram_retention,
    Stage.DRAM_BANDWIDTH: bandwidth,
    Stage.ENGINE: engine,
    Stage.TOKEN: token,
    Stage.TOKENS: tokens,
    Stage.SENSORS: sensors,
}
