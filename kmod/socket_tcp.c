// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TCP. The other end of a connection within the guest is found by its addresses. Where there
 * is none any more, or nobody has it open, nobody knows whose it was: it is kept out.
 */
#include <linux/fdtable.h>
#include <linux/net.h>
#include <linux/sched/signal.h>
#include <linux/tcp.h>
#include <net/inet_hashtables.h>
#include <net/inet6_hashtables.h>
#include <net/net_namespace.h>
#include <net/tcp.h>

#include "sockets.h"
#include "compat_net.h"

/* ------------------------------------------------------ a restored machine */

/* Nothing may be sent or received before it is mended: as if a process was at it. */
static void stopped(void *object)
{
	struct sock *sk = SPARC_UNTAGGED(object);

	sock_hold(sk);
	sk->sk_lock.owned = 1;
}

static void purge_unacknowledged(struct sock *sk)
{
	struct rb_node *node;

	while ((node = rb_first(&sk->tcp_rtx_queue))) {
		struct sk_buff *skb = rb_to_skb(node);

		tcp_rtx_queue_unlink(skb, sk);
		tcp_wmem_free_skb(sk, skb);
	}
	INIT_LIST_HEAD(&tcp_sk(sk)->tsorted_sent_queue);
	tcp_sk(sk)->highest_sack = NULL;
	tcp_clear_all_retrans_hints(tcp_sk(sk));
	tcp_sk(sk)->packets_out = 0;
	inet_csk(sk)->icsk_backoff = 0;
}

static void purge(struct sock *sk)
{
	struct rb_root *tree = &tcp_sk(sk)->out_of_order_queue;
	struct rb_node *node;
	struct sk_buff *skb;

	while ((skb = __skb_dequeue(&sk->sk_receive_queue)))
		kfree_skb(skb);
	WRITE_ONCE(tcp_sk(sk)->copied_seq, tcp_sk(sk)->rcv_nxt);
	while ((node = rb_first(tree))) {
		rb_erase(node, tree);
		kfree_skb(rb_to_skb(node));
	}
	tcp_sk(sk)->ooo_last_skb = NULL;
	while ((skb = __skb_dequeue(&sk->sk_write_queue))) {
		tcp_skb_tsorted_anchor_cleanup(skb);
		tcp_wmem_free_skb(sk, skb);
	}
	purge_unacknowledged(sk);
	skb_queue_purge(&sk->sk_error_queue);
}

static void mend(void *object)
{
	struct sock *sk = SPARC_UNTAGGED(object);

	local_bh_disable();
	purge(sk);
	local_bh_enable();
	release_sock(sk);
	/* It may be gone already: its other end came first. */
	tcp_abort(sk, ECONNRESET);
	sock_put(sk);
}

const struct sparc_remedy sparc_tcp_remedy = { .stopped = stopped, .mend = mend };

/* --------------------------------------------------------------- the count */

static struct sock *lookup(struct net *net, struct sock *sk, int device)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6 && !ipv6_addr_v4mapped(&sk->sk_v6_daddr))
		return sparc_inet6_lookup(net, &sk->sk_v6_rcv_saddr, htons(sk->sk_num),
					  &sk->sk_v6_daddr, ntohs(sk->sk_dport), device);
#endif
	return sparc_inet_lookup(net, sk->sk_rcv_saddr, htons(sk->sk_num), sk->sk_daddr,
				 ntohs(sk->sk_dport), device);
}

/* The other end, if that is within the guest. All CPUs stand: nobody lets go of it. */
static struct sock *find_peer(struct net *net, struct sock *sk)
{
	struct sock *peer = lookup(net, sk, sk->sk_bound_dev_if ?: LOOPBACK_IFINDEX);

	if (!peer)
		return NULL;
	sock_gen_put(peer);
	return sk_fullsock(peer) ? peer : NULL;
}

static bool is_local(struct sock *sk)
{
	return sk->sk_rx_dst_ifindex == LOOPBACK_IFINDEX;
}

/* Has the set the other end, or was it the set's, for all that is known? */
static bool is_peer_the_sets(struct sparc_collection *collection, struct sock *sk)
{
	struct sock *peer = find_peer(sock_net(sk), sk);
	struct net *net;

	if (peer && peer != sk)
		return sock_flag(peer, SOCK_DEAD) || sparc_object_met(collection, peer);
	if (is_local(sk))
		return true;
	for_each_net(net) {
		peer = find_peer(net, sk);
		if (peer && peer != sk && sparc_object_met(collection, peer))
			return true;
	}
	return false;
}

static bool has_buffers(struct sock *sk)
{
	return !skb_queue_empty(&sk->sk_receive_queue) || !skb_queue_empty(&sk->sk_write_queue) ||
	       !skb_queue_empty(&sk->sk_error_queue) || !RB_EMPTY_ROOT(&sk->tcp_rtx_queue) ||
	       !RB_EMPTY_ROOT(&tcp_sk(sk)->out_of_order_queue) || sk->sk_backlog.head;
}

static int take(struct sparc_collection *collection, struct sock *sk)
{
	int error = sparc_object(collection, SPARC_OUTSIDERS(sk), &sparc_tcp_remedy);

	if (error <= 0)
		return error;
	if (sock_owned_by_user_nocheck(sk))
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	error = sparc_each_buffer(collection, sk, sparc_buffer_take);
	return error ?: sparc_buffer_holder(&sk->sk_frag);
}

static int outsiders(struct sparc_collection *collection, struct sock *sk)
{
	if (sparc_object_met(collection, sk) || !has_buffers(sk))
		return 0;
	if (sock_flag(sk, SOCK_DEAD) || is_peer_the_sets(collection, sk))
		return take(collection, sk);
	return 0;
}

static int pass(struct sparc_collection *collection, struct sock *sk)
{
	int error;

	if (sparc_object_met(collection, sk) ||
	    sparc_object_met(collection, SPARC_OUTSIDERS(sk)))
		return 0;
	error = sparc_each_buffer(collection, sk, sparc_buffer_pass);
	return error ?: sparc_buffer_holder(&sk->sk_frag);
}

static int each_in(struct sparc_collection *collection, struct inet_hashinfo *table,
		   int (*visit)(struct sparc_collection *, struct sock *))
{
	struct hlist_nulls_node *node;
	struct sock *sk;
	unsigned int i;
	int error;

	for (i = 0; i <= table->ehash_mask; i++) {
		sk_nulls_for_each(sk, node, &table->ehash[i].chain) {
			error = sk_fullsock(sk) ? visit(collection, sk) : 0;
			if (error < 0)
				return error;
		}
	}
	return 0;
}

static int each(struct sparc_collection *collection,
		int (*visit)(struct sparc_collection *, struct sock *))
{
	struct inet_hashinfo *common = init_net.ipv4.tcp_death_row.hashinfo;
	int error = each_in(collection, common, visit);
	struct net *net;

	for_each_net(net) {
		struct inet_hashinfo *table = net->ipv4.tcp_death_row.hashinfo;

		if (!error && table && table != common)
			error = each_in(collection, table, visit);
	}
	return error;
}

/* A connection that was reset is in no table any more; what came before can still be read. */
static int reset(struct sparc_collection *collection, struct files_struct *files)
{
	struct fdtable *table = rcu_dereference_raw(files->fdt);
	unsigned int i;
	int error = 0;

	for (i = 0; i < table->max_fds && !error; i++) {
		struct file *file = rcu_dereference_raw(table->fd[i]);
		struct socket *socket = file ? sock_from_file(file) : NULL;
		struct sock *sk = socket ? socket->sk : NULL;

		if (sk && sparc_is_tcp(sk) && sk->sk_state == TCP_CLOSE && is_local(sk))
			error = outsiders(collection, sk);
	}
	return error;
}

static int each_reset(struct sparc_collection *collection)
{
	struct task_struct *leader, *task;
	int error;

	for_each_process_thread(leader, task) {
		struct files_struct *files = task->files;

		error = files ? sparc_object(collection, SPARC_OUTSIDERS(files), NULL) : 0;
		if (error > 0)
			error = reset(collection, files);
		if (error < 0)
			return error;
	}
	return 0;
}

/* What outsiders have of the set in their sockets. */
int sparc_tcp(struct sparc_collection *collection)
{
	int error = each(collection, outsiders);

	return error ?: each_reset(collection);
}

/* Which pieces of pages are theirs alone. */
int sparc_tcp_pass(struct sparc_collection *collection)
{
	return each(collection, pass);
}
