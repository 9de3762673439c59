// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Holding the guest still: from the host's request, through the count with all CPUs
 * stopped, to the moment when the host, or the lack of one, lets go.
 *
 * A parked guest looks at two things. Its canary is zero in a machine that was
 * made from a checkpoint: there the set is killed before anything else runs. The host
 * writes RESUMED before a machine that was parked goes on. Neither depends on time:
 * clocks jump while a machine stands.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nmi.h>
#include <linux/sched/signal.h>
#include <linux/stop_machine.h>

#include "compat.h"
#include "sparc.h"

#define POLL_MS		20
#define RETRY_MS	20
#define MAX_RETRIES	100
#define TOUCH_TURNS	0x10000

static unsigned long park_turns = 100000000;
module_param(park_turns, ulong, 0644);
MODULE_PARM_DESC(park_turns, "turns after which a parked guest no longer waits for its host");

struct parking {
	struct sparc_collection collection;
	u32 sequence;
	u64 turns;
	u32 outcome;
	u32 killed;
	u32 reason;
	int error;
	atomic_t arrived;
	bool done;
};

/* The request that is being answered; guarded by the lock. */
static DEFINE_MUTEX(request_lock);
static u32 sequence;
static bool preparing;
static struct task_struct *poller;
static DECLARE_WAIT_QUEUE_HEAD(poller_wait);

/* The host waits for it no longer. */
bool sparc_park_abandoned(u32 of)
{
	return READ_ONCE(sparc_mailbox->request) == SPARC_WORD(of, SPARC_REQUEST_ABANDON);
}

/* ------------------------------------------------ with all CPUs stopped */

static void kill_set(struct parking *parking)
{
	struct task_struct *leader, *task;

	for_each_process(leader) {
		if ((leader->flags & PF_KTHREAD) || is_global_init(leader))
			continue;
		for_each_thread(leader, task) {
			if (!sparc_is_member(task) && !(task->mm && sparc_is_space(task->mm)))
				continue;
			if (!send_sig_info(SIGKILL, SEND_SIG_PRIV, task))
				parking->killed++;
			break;
		}
	}
}

/*
 * While interrupts are off, only a watchdog that works with NMIs can look: in a guest whose
 * hypervisor shows it a PMU. What others find afterwards was not seen to make them complain.
 */
static void wait_a_turn(u64 turn)
{
	cpu_relax();
	if (!(turn % TOUCH_TURNS))
		touch_nmi_watchdog();
}

/* What ends the park, or 0. */
static u32 ending(struct parking *parking)
{
	u64 word = READ_ONCE(sparc_mailbox->request);
	u32 outcome = 0;

	/* A host in a hurry asks anew before it was seen that the machine runs again. */
	if (SPARC_WORD_SEQUENCE(word) != parking->sequence ||
	    SPARC_WORD_WHAT(word) == SPARC_REQUEST_RESUMED)
		outcome = SPARC_OUTCOME_RESUMED;
	else if (SPARC_WORD_WHAT(word) == SPARC_REQUEST_ABANDON)
		outcome = SPARC_OUTCOME_FAILED;
	else if (parking->turns >= READ_ONCE(park_turns))
		outcome = SPARC_OUTCOME_LOST;
	/* Between reading the request and the canary the machine may have been restored. */
	smp_rmb();
	return sparc_canary_gone() ? SPARC_OUTCOME_RESTORED : outcome;
}

static void spin(struct parking *parking)
{
	for (; !(parking->outcome = ending(parking)); parking->turns++)
		wait_a_turn(parking->turns);
	if (parking->outcome == SPARC_OUTCOME_RESTORED) {
		sparc_objects_stopped(&parking->collection);
		kill_set(parking);
	}
	if (parking->outcome == SPARC_OUTCOME_LOST)
		parking->reason = SPARC_REASON_LOST;
	if (parking->outcome == SPARC_OUTCOME_FAILED)
		parking->reason = SPARC_REASON_ABANDONED;
	/* A host that comes this late must not take the manifest for valid. */
	sparc_mailbox_status(parking->sequence,
			     parking->reason ? SPARC_STATE_FAILED : SPARC_STATE_IDLE,
			     parking->reason, 0, NULL);
}

static void lead(struct parking *parking)
{
	while (atomic_read(&parking->arrived) < num_online_cpus())
		cpu_relax();
	parking->error = sparc_collect_stopped(&parking->collection);
	if (!parking->error) {
		sparc_mailbox_status(parking->sequence, SPARC_STATE_PARKED, 0, 0, NULL);
		spin(parking);
	}
	/* What was found is seen by all who see this. */
	smp_store_release(&parking->done, true);
}

/* Runs on each CPU. The first leads, the others wait for it with clean registers. */
static int parked(void *data)
{
	struct parking *parking = data;
	u64 turns = 0;

	sparc_drain_lru();
	sparc_registers_scrub();
	atomic_inc(&parking->arrived);
	if (smp_processor_id() == cpumask_first(cpu_online_mask))
		lead(parking);
	/* Pairs with the release in lead(). */
	while (!smp_load_acquire(&parking->done))
		wait_a_turn(turns++);
	sparc_rcu_quiescent();
	return 0;
}

/* ------------------------------------------------------- in the service */

static void tell_killed(struct parking *parking)
{
	struct sparc_manifest *manifest = &sparc_mailbox->manifest;
	struct sparc_process *process = sparc_run.base + manifest->run_bytes -
					manifest->processes * sizeof(*process);
	u32 i;

	for (i = 0; i < manifest->processes; i++)
		sparc_event(SPARC_EVENT_KILLED, parking->sequence, process[i].pid,
			    process[i].comm);
}

static void try_to_park(struct parking *parking)
{
	struct sparc_collection *collection = &parking->collection;
	bool hidden = sparc_stalls_hide();

	sparc_canary_fill();
	do {
		if (collection->retries)
			msleep(RETRY_MS);
		if (sparc_park_abandoned(parking->sequence)) {
			sparc_collect_blame(collection, SPARC_REASON_ABANDONED, NULL);
			parking->error = -ECANCELED;
			break;
		}
		parking->error = sparc_collect_begin(collection);
		if (parking->error)
			break;
		parking->done = false;
		atomic_set(&parking->arrived, 0);
		stop_machine(parked, parking, cpu_online_mask);
	} while (parking->error == -EAGAIN && ++collection->retries < MAX_RETRIES);
	if (hidden)
		sparc_stalls_show();
	if (parking->outcome == SPARC_OUTCOME_RESTORED)
		sparc_objects_mend(collection);
	sparc_collect_end(collection);
}

static void answer(struct parking *parking, struct sparc_park *park)
{
	struct sparc_collection *collection = &parking->collection;

	park->outcome = parking->error ? SPARC_OUTCOME_FAILED : parking->outcome;
	park->reason = parking->error ? collection->reason : parking->reason;
	park->reason_pid = parking->error ? collection->reason_pid : 0;
	memset(park->reason_comm, 0, sizeof(park->reason_comm));
	if (parking->error)
		memcpy(park->reason_comm, collection->reason_comm, sizeof(park->reason_comm));
	park->turns = parking->turns;
	park->collect_ns = collection->ns;
	park->retries = collection->retries;
	park->killed = parking->killed;
}

static void fail(u32 reason, s32 pid, const char *comm)
{
	preparing = false;
	sparc_mailbox_status(sequence, SPARC_STATE_FAILED, reason, pid, comm);
}

/* Returns when the park is over, however it ended. -ECANCELED: nobody waits for that one. */
int sparc_park(struct sparc_park *park)
{
	struct parking parking = {
		.sequence = park->sequence,
		.collection = { .sequence = park->sequence, .must_be_frozen = true },
	};
	struct sparc_collection *collection = &parking.collection;

	mutex_lock(&request_lock);
	if (!preparing || park->sequence != sequence) {
		mutex_unlock(&request_lock);
		return -ECANCELED;
	}
	if (sparc_set_incomplete()) {
		sparc_collect_blame(collection, SPARC_REASON_NO_MEMORY, NULL);
		parking.error = -ENOMEM;
	} else {
		try_to_park(&parking);
	}
	if (parking.error)
		fail(collection->reason, collection->reason_pid, collection->reason_comm);
	preparing = false;
	answer(&parking, park);
	if (parking.outcome == SPARC_OUTCOME_RESTORED)
		tell_killed(&parking);
	mutex_unlock(&request_lock);
	return 0;
}

/* The service could not freeze the others, or not bring back what is in swap. */
int sparc_park_fail(const struct sparc_fail *failure)
{
	char comm[SPARC_COMM_LEN] = "";
	struct task_struct *task;
	int error = -ECANCELED;
	struct pid *pid;

	if (failure->reason != SPARC_REASON_FREEZE && failure->reason != SPARC_REASON_SERVICE &&
	    failure->reason != SPARC_REASON_SWAP)
		return -EINVAL;
	pid = find_get_pid(failure->pid);
	rcu_read_lock();
	task = pid_task(pid, PIDTYPE_PID);
	if (task)
		strscpy_pad(comm, task->comm, sizeof(comm));
	rcu_read_unlock();
	mutex_lock(&request_lock);
	if (preparing && failure->sequence == sequence) {
		fail(failure->reason, pid ? pid_nr(pid) : 0, comm);
		error = 0;
	}
	mutex_unlock(&request_lock);
	put_pid(pid);
	return error;
}

/* The service has gone: nobody will answer what was asked. */
void sparc_park_orphaned(void)
{
	mutex_lock(&request_lock);
	if (preparing)
		fail(SPARC_REASON_NO_SERVICE, 0, NULL);
	mutex_unlock(&request_lock);
}

/* --------------------------------------------------- looking for requests */

static void look(void)
{
	u64 word = READ_ONCE(sparc_mailbox->request);
	u32 asked = SPARC_WORD_SEQUENCE(word);

	/* While the service parks, it looks itself. */
	if (!mutex_trylock(&request_lock))
		return;
	if (SPARC_WORD_WHAT(word) == SPARC_REQUEST_PREPARE && asked != sequence) {
		sequence = asked;
		preparing = true;
		if (sparc_has_opener()) {
			sparc_mailbox_status(sequence, SPARC_STATE_PREPARING, 0, 0, NULL);
			sparc_event(SPARC_EVENT_PREPARE, sequence, 0, NULL);
		} else {
			fail(SPARC_REASON_NO_SERVICE, 0, NULL);
		}
	} else if (SPARC_WORD_WHAT(word) == SPARC_REQUEST_ABANDON && asked == sequence &&
		   preparing) {
		fail(SPARC_REASON_ABANDONED, 0, NULL);
		sparc_event(SPARC_EVENT_ABANDONED, sequence, 0, NULL);
	}
	mutex_unlock(&request_lock);
}

/* The mailbox is looked at only once something was excluded. */
static int poll(void *data)
{
	while (!kthread_should_stop()) {
		wait_event_interruptible(poller_wait, kthread_should_stop() ||
					 READ_ONCE(sparc_mailbox->status.armed));
		look();
		sparc_set_prune();
		sparc_terminals_forget(false);
		WRITE_ONCE(sparc_mailbox->status.heartbeat,
			   sparc_mailbox->status.heartbeat + 1);
		schedule_timeout_interruptible(msecs_to_jiffies(POLL_MS));
	}
	return 0;
}

void sparc_poll_wake(void)
{
	wake_up_interruptible(&poller_wait);
}

int sparc_poll_start(void)
{
	poller = kthread_run(poll, NULL, "sparc");
	return PTR_ERR_OR_ZERO(poller);
}

void sparc_poll_stop(void)
{
	kthread_stop(poller);
}
