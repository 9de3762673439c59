/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files that deal with sockets share. */
#ifndef SPARC_SOCKETS_H
#define SPARC_SOCKETS_H

#include <linux/skbuff.h>
#include <net/sock.h>

#include "sparc.h"

/*
 * A socket is noted under its own address if a process of the set has it, and under this one
 * if it is an outsider's that has something of the set in it.
 */
#define SPARC_OUTSIDERS(object)	((void *)((unsigned long)(object) | 1))
#define SPARC_UNTAGGED(object)	((void *)((unsigned long)(object) & ~1UL))

typedef int (*sparc_buffer_visit)(struct sparc_collection *collection, struct sk_buff *skb);

/* socket_buffers.c: buffers, and the pages that they are made of */

int sparc_buffer_take(struct sparc_collection *collection, struct sk_buff *skb);
int sparc_buffer_pass(struct sparc_collection *collection, struct sk_buff *skb);
int sparc_buffer_holder(struct page_frag *frag);
int sparc_buffers_begin(void);
void sparc_buffers_end(void);
void sparc_buffers_clear(void);
int sparc_buffers_finish(struct sparc_collection *collection);

void sparc_buffer_fixed(struct page *page, u32 offset, u32 length);

/* sockets.c */

bool sparc_is_tcp(const struct sock *sk);
bool sparc_is_udp(const struct sock *sk);
int sparc_sock(struct sparc_collection *collection, struct sock *sk);
int sparc_each_datagram(struct sparc_collection *collection, struct sock *sk,
			sparc_buffer_visit visit);
int sparc_each_buffer(struct sparc_collection *collection, struct sock *sk,
		      sparc_buffer_visit visit);

/* socket_unix.c, socket_tcp.c, socket_udp.c: what of the set is with others */

int sparc_unix(struct sparc_collection *collection);
int sparc_tcp(struct sparc_collection *collection);
int sparc_tcp_pass(struct sparc_collection *collection);
int sparc_udp(struct sparc_collection *collection);
int sparc_udp_pass(struct sparc_collection *collection);
int sparc_udp_spoil(struct sparc_collection *collection, struct sk_buff *skb);
extern const struct sparc_remedy sparc_tcp_remedy;

/* socket_transit.c: what is on its way */

int sparc_transit(struct sparc_collection *collection);

/* socket_nic.c: what a network card has received */

void sparc_nic_begin(void);
void sparc_nic_end(void);
int sparc_nic(struct sparc_collection *collection);

#endif
