// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Unix sockets. What is sent goes to the receiver's queue at once, and says which socket it came
 * from. Where that was closed nobody knows whose it was: it is kept out. Files that are passed
 * are followed, and sockets among them, until nothing new turns up.
 */
#include <linux/net.h>
#include <net/af_unix.h>
#include <net/net_namespace.h>
#include <net/scm.h>

#include "sockets.h"
#include "compat_net.h"

/* Of the last count, for the remedy; what that took out of queues. */
static struct sparc_collection *counted;
static struct sk_buff_head taken;

static bool is_the_sets(struct sparc_collection *collection, struct sk_buff *skb)
{
	struct sock *sender = skb->sk;

	return !sender || sock_flag(sender, SOCK_DEAD) || sparc_object_met(collection, sender);
}

static int passed_files(struct sparc_collection *collection, struct sk_buff *skb)
{
	struct scm_fp_list *files = SPARC_UNIX_CB(skb)->fp;
	int i, error = 0;

	for (i = 0; files && i < files->count && error >= 0; i++)
		error = sparc_open_file(collection, files->fp[i]);
	return min(error, 0);
}

/* ------------------------------------------------------ a restored machine */

/* What the socket counts of its queue. */
static void uncount(struct sock *sk, struct sk_buff *skb)
{
	struct scm_fp_list *files = SPARC_UNIX_CB(skb)->fp;
	struct unix_sock *u = unix_sk(sk);

	if (files) {
		atomic_sub(files->count, &u->scm_stat.nr_fds);
		u->scm_stat.nr_unix_fds -= files->count_unix;
	}
	sparc_unix_uncount(sk, skb->len - SPARC_UNIX_CB(skb)->consumed);
#if IS_ENABLED(CONFIG_AF_UNIX_OOB)
	if (u->oob_skb == skb)
		u->oob_skb = NULL;
#endif
}

static void stopped(void *object)
{
	struct sock *sk = SPARC_UNTAGGED(object);
	struct sk_buff *skb, *next;

	sock_hold(sk);
	if (!taken.next)
		__skb_queue_head_init(&taken);
	skb_queue_walk_safe(&sk->sk_receive_queue, skb, next) {
		if (!sparc_object_met(counted, skb))
			continue;
		uncount(sk, skb);
		__skb_unlink(skb, &sk->sk_receive_queue);
		__skb_queue_tail(&taken, skb);
		/* A stream with a hole in it is none: it ends here. */
		if (sk->sk_type != SOCK_DGRAM)
			WRITE_ONCE(sk->sk_shutdown, SHUTDOWN_MASK);
	}
}

static void mend(void *object)
{
	struct sock *sk = SPARC_UNTAGGED(object);
	struct sk_buff *skb;

	while ((skb = __skb_dequeue(&taken)))
		kfree_skb(skb);
	wake_up_interruptible_all(&unix_sk(sk)->peer_wait);
	sk->sk_state_change(sk);
	sock_put(sk);
}

static const struct sparc_remedy remedy = { .stopped = stopped, .mend = mend };

/* --------------------------------------------------------------- the count */

/* Those that wait to be accepted: each message of a listener is a new socket. */
static int not_accepted(struct sparc_collection *collection, struct sock *sk)
{
	struct sk_buff *skb;
	int error;

	skb_queue_walk(&sk->sk_receive_queue, skb) {
		error = skb->sk ? sparc_sock(collection, skb->sk) : 0;
		if (error < 0)
			return error;
	}
	return 0;
}

static int receiver(struct sparc_collection *collection, struct sock *sk)
{
	bool own = sparc_object_met(collection, sk);
	struct sk_buff *skb;
	int error;

	if (sk->sk_state == TCP_LISTEN)
		return own ? not_accepted(collection, sk) : 0;
	skb_queue_walk(&sk->sk_receive_queue, skb) {
		if (!own && !is_the_sets(collection, skb))
			continue;
		error = sparc_buffer_take(collection, skb);
		if (error > 0)
			error = sparc_object(collection, SPARC_OUTSIDERS(sk), &remedy);
		if (error >= 0)
			error = passed_files(collection, skb);
		if (error < 0)
			return error;
	}
	return 0;
}

static int all(struct sparc_collection *collection)
{
	struct sock *sk;
	struct net *net;
	int i, error;

	for_each_net(net) {
		for (i = 0; net->unx.table.buckets && i < SPARC_UNIX_BUCKETS; i++) {
			sk_for_each(sk, &net->unx.table.buckets[i]) {
				error = receiver(collection, sk);
				if (error < 0)
					return error;
			}
		}
	}
	return 0;
}

int sparc_unix(struct sparc_collection *collection)
{
	u32 before;
	int error;

	counted = collection;
	do {
		before = collection->objects_used;
		error = all(collection);
	} while (!error && collection->objects_used != before);
	return error;
}
