// See steady.h.
#include "ops/steady.h"

#include <stdlib.h>

// More than a clock is slewed, or a query takes, between two looks.
#define PACE_US INT64_C(1000000)

bool pl_steady_look(struct pl_steady *steady, int64_t wall_us, int64_t mono_us, int64_t for_us)
{
	int64_t apart_us = (wall_us - steady->wall_us) - (mono_us - steady->mono_us);

	if (steady->since_us == 0 || llabs(apart_us) > PACE_US)
		steady->since_us = mono_us;
	steady->wall_us = wall_us;
	steady->mono_us = mono_us;
	return mono_us - steady->since_us >= for_us;
}
