/* LiteDRAM's initialisation includes <stdlib.h>, but takes nothing from it. */
#pragma once
