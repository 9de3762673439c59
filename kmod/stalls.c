// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * RCU's complaints about CPUs that stand still.
 *
 * A grace period that is under way when the guest is parked stands still too. When clocks have
 * jumped meanwhile, the first tick finds it late and complains, before it can go on. So
 * complaints are off from before the park until a grace period has begun and ended after it.
 */
#include <linux/atomic.h>
#include <linux/rcupdate.h>

#include "compat.h"
#include "sparc.h"

static struct rcu_head calm;
static atomic_t hidden = ATOMIC_INIT(0);

static void show(struct rcu_head *head)
{
	WRITE_ONCE(rcu_cpu_stall_suppress, 0);
	atomic_set(&hidden, 0);
}

/* Whether they were not hidden before: then sparc_stalls_show() has to follow. */
bool sparc_stalls_hide(void)
{
	if (READ_ONCE(rcu_cpu_stall_suppress) || atomic_xchg(&hidden, 1))
		return false;
	WRITE_ONCE(rcu_cpu_stall_suppress, 1);
	return true;
}

void sparc_stalls_show(void)
{
	call_rcu(&calm, show);
}

/* They are shown again. */
void sparc_stalls_stop(void)
{
	rcu_barrier();
}
