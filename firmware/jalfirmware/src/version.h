/* The firmware's own version: major, minor, patch in a byte each. */
#pragma once

#define FIRMWARE_VERSION 0x000100u
