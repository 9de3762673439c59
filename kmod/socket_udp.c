// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * UDP. A datagram says where it came from, not from whom: it is the set's if the set has that
 * port, or if nobody has it any more.
 */
#include <linux/net.h>
#include <linux/udp.h>
#include <net/net_namespace.h>
#include <net/udp.h>

#include "sockets.h"
#include "compat_net.h"

/*
 * In a restored machine: its checksum is wrong, so that the next reader drops it, and corrects
 * all counts. It must not be believed to be right already.
 */
static void spoil(void *object)
{
	struct sk_buff *skb = SPARC_UNTAGGED(object);

	skb->ip_summed = CHECKSUM_NONE;
	skb->csum_valid = 0;
	skb->csum_level = 0;
	/* Zeros alone have a sum that is right. */
	skb->csum = (__force __wsum)1;
	udp_skb_scratch(skb)->csum_unnecessary = false;
}

static const struct sparc_remedy remedy = { .stopped = spoil };

int sparc_udp_spoil(struct sparc_collection *collection, struct sk_buff *skb)
{
	int error = sparc_object(collection, SPARC_OUTSIDERS(skb), &remedy);

	return min(error, 0);
}

enum owner { NOBODY, OUTSIDERS, THE_SETS };

static enum owner owner_of(struct sparc_collection *collection, struct net *net, u16 port)
{
	struct udp_table *table = sparc_udp_table(net);
	enum owner owner = NOBODY;
	struct sock *sk;

	sk_for_each(sk, &table->hash[udp_hashfn(net, port, table->mask)].head) {
		if (!net_eq(sock_net(sk), net) || sk->sk_num != port)
			continue;
		if (sparc_object_met(collection, sk))
			return THE_SETS;
		owner = OUTSIDERS;
	}
	return owner;
}

static bool is_the_sets(struct sparc_collection *collection, struct net *receiver,
			struct sk_buff *skb)
{
	u16 port = ntohs(udp_hdr(skb)->source);
	struct net *net;

	if (skb->skb_iif == LOOPBACK_IFINDEX)
		return owner_of(collection, receiver, port) != OUTSIDERS;
	for_each_net(net)
		if (owner_of(collection, net, port) == THE_SETS)
			return true;
	return false;
}

/* The namespace of the socket that is looked at. */
static struct net *receiver;

static int datagram(struct sparc_collection *collection, struct sk_buff *skb)
{
	int error;

	if (!is_the_sets(collection, receiver, skb))
		return 0;
	error = sparc_buffer_take(collection, skb);
	return error < 0 ? error : sparc_udp_spoil(collection, skb);
}

static int outsiders(struct sparc_collection *collection, struct sock *sk)
{
	receiver = sock_net(sk);
	return sparc_each_datagram(collection, sk, datagram);
}

static int pass(struct sparc_collection *collection, struct sock *sk)
{
	int error = sparc_each_buffer(collection, sk, sparc_buffer_pass);

	return error ?: sparc_buffer_holder(&sk->sk_frag);
}

static int each_in(struct sparc_collection *collection, struct udp_table *table,
		   int (*visit)(struct sparc_collection *, struct sock *))
{
	unsigned int i;
	struct sock *sk;
	int error;

	for (i = 0; i <= table->mask; i++) {
		sk_for_each(sk, &table->hash[i].head) {
			error = sparc_object_met(collection, sk) ? 0 : visit(collection, sk);
			if (error < 0)
				return error;
		}
	}
	return 0;
}

static int each(struct sparc_collection *collection,
		int (*visit)(struct sparc_collection *, struct sock *))
{
	struct udp_table *common = sparc_udp_table(&init_net);
	int error = each_in(collection, common, visit);
	struct net *net;

	for_each_net(net) {
		struct udp_table *table = sparc_udp_table(net);

		if (!error && table && table != common)
			error = each_in(collection, table, visit);
	}
	return error;
}

int sparc_udp(struct sparc_collection *collection)
{
	return each(collection, outsiders);
}

int sparc_udp_pass(struct sparc_collection *collection)
{
	return each(collection, pass);
}
