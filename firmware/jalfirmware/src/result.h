/* How results are passed: `enum jal_result` comes back and must be looked at, values leave by
 * out-parameters. */
#pragma once

#include "contract.h"

#define MUST_USE __attribute__((warn_unused_result))
