// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sockets: what waits in their queues, of either end, whoever sent it. What was sent to
 * an outsider, and by whom, is in socket_unix.c, socket_tcp.c and socket_udp.c.
 */
#include <linux/fs.h>
#include <linux/net.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/af_unix.h>
#include <net/inet_connection_sock.h>
#include <net/tcp.h>

#include "sockets.h"
#include "compat_net.h"

static bool is_inet(const struct sock *sk)
{
	return sk->sk_family == AF_INET || sk->sk_family == AF_INET6;
}

bool sparc_is_tcp(const struct sock *sk)
{
	return is_inet(sk) && sk->sk_type == SOCK_STREAM && sk->sk_protocol == IPPROTO_TCP;
}

bool sparc_is_udp(const struct sock *sk)
{
	return is_inet(sk) && sk->sk_type == SOCK_DGRAM && sk->sk_protocol == IPPROTO_UDP;
}

static int each_in_queue(struct sparc_collection *collection, struct sk_buff_head *queue,
			 sparc_buffer_visit visit)
{
	struct sk_buff *skb;
	int error = 0;

	skb_queue_walk(queue, skb) {
		error = visit(collection, skb);
		if (error < 0)
			return error;
	}
	return 0;
}

static int each_in_tree(struct sparc_collection *collection, struct rb_root *tree,
			sparc_buffer_visit visit)
{
	struct rb_node *node;
	int error;

	for (node = rb_first(tree); node; node = rb_next(node)) {
		error = visit(collection, rb_to_skb(node));
		if (error < 0)
			return error;
	}
	return 0;
}

static int each_of_tcp(struct sparc_collection *collection, struct sock *sk,
		       sparc_buffer_visit visit)
{
	int error = each_in_tree(collection, &sk->tcp_rtx_queue, visit);

	return error ?: each_in_tree(collection, &tcp_sk(sk)->out_of_order_queue, visit);
}

static int each_in_lists(struct sparc_collection *collection, struct sock *sk,
			 sparc_buffer_visit visit)
{
	struct sk_buff *skb;
	int node, error = each_in_queue(collection, &udp_sk(sk)->reader_queue, visit);

	for (node = 0; node < sparc_udp_producers(sk) && !error; node++)
		llist_for_each_entry(skb, sparc_udp_produced(sk, node), ll_node) {
			error = visit(collection, skb);
			if (error < 0)
				return error;
		}
	return error;
}

/* The datagrams that wait in a UDP socket. */
int sparc_each_datagram(struct sparc_collection *collection, struct sock *sk,
			sparc_buffer_visit visit)
{
	int error = each_in_queue(collection, &sk->sk_receive_queue, visit);

	return error ?: each_in_lists(collection, sk, visit);
}

/* All that waits in a socket. */
int sparc_each_buffer(struct sparc_collection *collection, struct sock *sk,
		      sparc_buffer_visit visit)
{
	struct sk_buff *skb;
	int error;

	for (skb = sk->sk_backlog.head; skb; skb = skb->next) {
		error = visit(collection, skb);
		if (error < 0)
			return error;
	}
	error = each_in_queue(collection, &sk->sk_receive_queue, visit);
	if (!error)
		error = each_in_queue(collection, &sk->sk_write_queue, visit);
	if (!error)
		error = each_in_queue(collection, &sk->sk_error_queue, visit);
	if (!error && sparc_is_tcp(sk))
		error = each_of_tcp(collection, sk, visit);
	if (!error && sparc_is_udp(sk))
		error = each_in_lists(collection, sk, visit);
	return error;
}

/* ---------------------------------------------- sockets of no special kind */

static void hold(void *object)
{
	sock_hold(object);
}

/* The buffers themselves do the accounting. Those of UDP do not; see socket_udp.c. */
static void mend(void *object)
{
	struct sock *sk = object;

	skb_queue_purge(&sk->sk_error_queue);
	if (!sparc_is_udp(sk))
		skb_queue_purge(&sk->sk_receive_queue);
	sock_put(sk);
}

static const struct sparc_remedy remedy = { .stopped = hold, .mend = mend };

/* ------------------------------------------------------- those of the set */

/* Is something of it on its way through a device? */
static bool in_transit(const struct sock *sk)
{
	return is_inet(sk) && sk->sk_state != TCP_LISTEN &&
	       skb_queue_empty(&sk->sk_write_queue) && refcount_read(&sk->sk_wmem_alloc) > 1;
}

static int not_accepted(struct sparc_collection *collection, struct sock *sk)
{
	struct request_sock *request = inet_csk(sk)->icsk_accept_queue.rskq_accept_head;
	int error = 0;

	for (; request && !error; request = request->dl_next)
		if (request->sk)
			error = sparc_sock(collection, request->sk);
	return error;
}

static const struct sparc_remedy *remedy_for(struct sock *sk)
{
	if (sk->sk_family == AF_UNIX)
		return NULL;
	return sparc_is_tcp(sk) && sk->sk_state != TCP_LISTEN ? &sparc_tcp_remedy : &remedy;
}

/* A socket that the set has. Queues of unix sockets are looked at last, all together. */
int sparc_sock(struct sparc_collection *collection, struct sock *sk)
{
	int error = sparc_object(collection, sk, remedy_for(sk));

	if (error <= 0)
		return error;
	if (sk->sk_family == AF_UNIX)
		return mutex_is_locked(&unix_sk(sk)->iolock) ?
		       sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL) : 0;
	if (sock_owned_by_user_nocheck(sk) || in_transit(sk))
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	error = sparc_each_buffer(collection, sk, sparc_buffer_take);
	if (!error)
		error = sparc_buffer_holder(&sk->sk_frag);
	if (!error && sparc_is_udp(sk))
		error = sparc_each_datagram(collection, sk, sparc_udp_spoil);
	if (!error && sparc_is_tcp(sk) && sk->sk_state == TCP_LISTEN)
		error = not_accepted(collection, sk);
	return error;
}

int sparc_socket(struct sparc_collection *collection, struct file *file)
{
	struct socket *socket = sock_from_file(file);

	return socket && socket->sk ? sparc_sock(collection, socket->sk) : 0;
}

/* ---------------------------------------------------------- all together */

int sparc_sockets_begin(struct sparc_collection *collection)
{
	int error = sparc_buffers_begin();

	sparc_nic_begin();
	if (error)
		sparc_collect_blame(collection, SPARC_REASON_NO_MEMORY, NULL);
	return error;
}

void sparc_sockets_end(void)
{
	sparc_nic_end();
	sparc_buffers_end();
}

void sparc_sockets_clear(void)
{
	sparc_buffers_clear();
}

static int holders(void)
{
	struct task_struct *leader, *task;

	for_each_process_thread(leader, task)
		sparc_buffer_holder(&task->task_frag);
	return 0;
}

/* After all that the set has open: what of it is with others. */
int sparc_sockets_finish(struct sparc_collection *collection)
{
	int error;

	error = sparc_unix(collection);
	if (!error)
		error = sparc_transit(collection);
	if (!error)
		error = sparc_tcp(collection);
	if (!error)
		error = sparc_udp(collection);
	/* From here on everything else is an outsider's. */
	if (!error)
		error = sparc_tcp_pass(collection);
	if (!error)
		error = sparc_udp_pass(collection);
	if (!error)
		error = holders();
	if (!error)
		error = sparc_nic(collection);
	return error ?: sparc_buffers_finish(collection);
}
