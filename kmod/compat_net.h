/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What differs between kernels where they deal with networks. The table of changes: README.md. */
#ifndef SPARC_COMPAT_NET_H
#define SPARC_COMPAT_NET_H

#include <linux/netdevice.h>
#include <linux/udp.h>
#include <linux/version.h>
#include <net/af_unix.h>
#include <net/inet_hashtables.h>
#include <net/inet6_hashtables.h>
#include <net/udp.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#include <net/hotdata.h>
#endif

/* What a unix socket notes in a buffer. Private to it since 6.17, but the same. */
#ifdef CONFIG_RANDSTRUCT
#error "the fields of private structures are not where they are declared: CONFIG_RANDSTRUCT"
#endif
struct sparc_unix_cb {
	struct pid *pid;
	kuid_t uid;
	kgid_t gid;
	struct scm_fp_list *fp;
#ifdef CONFIG_SECURITY_NETWORK
	u32 secid;
#endif
	u32 consumed;
};

#define SPARC_UNIX_CB(skb) ((struct sparc_unix_cb *)(skb)->cb)
#define SPARC_UNIX_BUCKETS 512

/* Bytes in the queue are counted since 6.17. */
static inline void sparc_unix_uncount(struct sock *sk, u32 length)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
	unix_sk(sk)->inq_len -= length;
#endif
}

/* The table of sockets has been their namespace's since 6.2; its own is not exported since. */
static inline struct udp_table *sparc_udp_table(struct net *net)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	return net->ipv4.udp_table;
#else
	return &udp_table;
#endif
}

/* Datagrams that have not got into the queue yet: since 6.18, a list for each node. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#define sparc_udp_producers(sk) (udp_sk(sk)->udp_prod_queue ? nr_node_ids : 0)
#define sparc_udp_produced(sk, node) (udp_sk(sk)->udp_prod_queue[node].ll_root.first)
#else
#define sparc_udp_producers(sk) 0
#define sparc_udp_produced(sk, node) NULL
#endif

/* Connections by their addresses. Their table is no argument any more since 6.18. */
static inline struct sock *sparc_inet_lookup(struct net *net, __be32 from, __be16 from_port,
					     __be32 to, u16 to_port, int device)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	return __inet_lookup_established(net, from, from_port, to, to_port, device, 0);
#else
	return __inet_lookup_established(net, net->ipv4.tcp_death_row.hashinfo, from, from_port,
					 to, to_port, device, 0);
#endif
}

#if IS_ENABLED(CONFIG_IPV6)
static inline struct sock *sparc_inet6_lookup(struct net *net, const struct in6_addr *from,
					      __be16 from_port, const struct in6_addr *to,
					      u16 to_port, int device)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	return __inet6_lookup_established(net, from, from_port, to, to_port, device, 0);
#else
	return __inet6_lookup_established(net, net->ipv4.tcp_death_row.hashinfo, from, from_port,
					  to, to_port, device, 0);
#endif
}
#endif

/*
 * Buffers that a CPU is to free for another: a list for each CPU, since 6.18 one for each
 * node and CPU.
 */
static inline int sparc_deferred_buffers(struct sparc_collection *collection, int cpu,
					 int (*take)(struct sparc_collection *, struct sk_buff *))
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	struct skb_defer_node *nodes = per_cpu_ptr(net_hotdata.skb_defer_nodes, cpu);
	int node, error = 0;

	for (node = 0; node < nr_node_ids && !error; node++) {
		struct llist_node *first = nodes[node].defer_list.first;

		if (first)
			error = take(collection, llist_entry(first, struct sk_buff, ll_node));
	}
	return error;
#else
	return take(collection, per_cpu(softnet_data, cpu).defer_list);
#endif
}

#endif
